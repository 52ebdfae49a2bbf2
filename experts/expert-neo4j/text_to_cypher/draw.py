"""What a pattern draws from: a graph, sample values of its nodes, and a source of chance."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from text_to_sql.conditions import Condition
from text_to_sql.conditions import condition as sql_condition
from text_to_sql.database import Database
from text_to_sql.draw import Draw as TableDraw
from text_to_sql.draw import Unsuitable
from text_to_sql.schema import Column, Schema

from text_to_cypher import translate
from text_to_cypher.graph import Graph, Node, Relationship


@dataclass(frozen=True)
class Question:
    """A question, the Cypher that answers it, and its category."""

    text: str
    cypher: str
    category: str


class Draw(TableDraw):
    """A draw over a graph: each label's nodes are the rows of a table of its variable's name."""

    def __init__(self, graph: Graph, rng: random.Random) -> None:
        super().__init__(Database(Schema(graph.name, graph.nodes), rng), rng)
        self.graph = graph

    def relationship(self, *, loops: bool = False, between: bool = True) -> Relationship:
        """One that leads to another label (`between`), to the same one (`loops`), or any."""
        return self.pick(
            [
                r
                for r in self.graph.relationships
                if (r.is_loop and loops) or (not r.is_loop and between)
            ]
        )

    def end(self, relationship: Relationship) -> End:
        """A relationship seen from one of its ends."""
        return End(relationship, self.chance(0.5))

    def condition(self, node: Node, *kinds: str) -> Condition:
        """A filter on a node's property, in Cypher."""
        made = sql_condition(self, node, *kinds)
        return Condition(made.column, translate.condition(made.sql), made.after, made.before)

    def named(self, node: Node) -> tuple[str, str]:
        """The name of some node: as it is spoken of, and as a literal."""
        name = self.name_of(node)
        literal = "'" + name.replace("'", "\\'") + "'"
        return self.quoted(name), literal


@dataclass(frozen=True)
class End:
    """A relationship from the side of `this`: its source (`forward`) or its target."""

    relationship: Relationship
    forward: bool

    @property
    def this(self) -> Node:
        return self.relationship.source if self.forward else self.relationship.target

    @property
    def other(self) -> Node:
        return self.relationship.target if self.forward else self.relationship.source

    def arrow(self, held: str = "") -> str:
        """From `this` to `other`."""
        inner = f"[{held}:{self.relationship.type}]"
        return f"-{inner}->" if self.forward else f"<-{inner}-"

    def said(self, rest: str, *, single: bool = False) -> str:
        """Behind the noun of `this`: *who acted in {rest}*, *starring {rest}*."""
        if not self.forward:
            return f"{self.relationship.backward} {rest}"
        verb = self.relationship.single if single else self.relationship.plural
        return f"{self.this.who} {verb} {rest}"

    def asked(self, draw: Draw, rest: str) -> str:
        """A question for `this` by its relationship to `rest`, which is one node's name."""
        ones = self.this.plural
        verb = self.relationship.plural
        if self.forward:
            ways = [f"Which {ones} {verb} {rest}?"]
            if self.this.is_person and self.relationship.past:
                ways += [f"Who {verb} {rest}?", f"Who {verb} {rest}?"]
            elif self.this.is_person:
                ways.append(f"Who {self.relationship.single} {rest}?")
            ways.append(f"What {ones} {verb} {rest}?")
        else:
            did, base = self.relationship.did(), self.relationship.base
            ways = [
                f"Which {ones} {did} {rest} {base}?",
                f"What {ones} {did} {rest} {base}?",
                f"Which {ones} are {self.relationship.backward} {rest}?"
                if self.relationship.backward.split()[0].endswith(("ed", "by", "en"))
                else f"Which {ones} {did} {rest} {base}?",
            ]
        return draw.pick(ways)


def match(end: End, held: str = "") -> str:
    """``(this:This)-[:TYPE]->(other:Other)``"""
    return f"{end.this.pattern}{end.arrow(held)}{end.other.pattern}"


def query(pattern: str, where: str, returned: str, tail: str = "") -> str:
    text = f"MATCH {pattern}"
    if where:
        text += f" WHERE {where}"
    text += f" RETURN {returned}"
    return f"{text} {tail}" if tail else text


def is_named(node: Node, literal: str, variable: str = "") -> str:
    return f"{variable or node.name}.{name(node).name} = {literal}"


def name(node: Node) -> Column:
    """The property that names a node."""
    if node.label is None:
        raise Unsuitable
    return node.label


def refs(node: Node, columns: Sequence[Column], variable: str = "") -> str:
    return ", ".join(f"{variable or node.name}.{c.name}" for c in columns)


def asked_for(draw: Draw, node: Node) -> list[Column]:
    """Mostly the name alone."""
    if draw.chance(0.6):
        return [name(node)]
    return draw.shown(node, draw.pick([1, 1, 2]))

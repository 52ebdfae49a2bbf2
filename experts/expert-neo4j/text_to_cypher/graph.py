"""Graph schemas as values, and the notation they are written in.

Nodes and relationships stand one a line::

    Person*: name'person, born@1930-2004
    Movie: title'title, rating$1-10
    Person ACTED_IN[role{hero|villain}] Movie: act in, acted in, starring

Properties are written like expert-sql's columns; ``*`` marks people. A relationship has its verb
for several subjects, its past (``-`` where it is spoken of in the present), and what stands
behind the target's noun: *movies starring …*.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property

from text_to_sql import english
from text_to_sql.schema import Column, Table, parse_column

_RELATIONSHIP = re.compile(r"^(\w+) ([A-Z_]+)(?:\[(.+)\])? (\w+)$")
_NODE = re.compile(r"^(\w+)(\*?)$")
_RESERVED = frozenset(
    {"order", "group", "case", "match", "set", "index", "table", "transaction", "check", "path"}
)


@dataclass(frozen=True)
class Node(Table):
    """The nodes of one label. ``name`` is the variable that Cypher calls them by."""

    label_name: str = ""
    human: bool = False

    @property
    def is_person(self) -> bool:
        return self.human

    @property
    def pattern(self) -> str:
        return f"({self.name}:{self.label_name})"

    @property
    def who(self) -> str:
        return "who" if self.human else "that"


@dataclass(frozen=True)
class Relationship:
    """``(source)-[:type]->(target)``, with the words for it."""

    source: Node
    type: str
    target: Node
    base: str
    past: str
    backward: str
    held: Column | None = None

    @property
    def is_loop(self) -> bool:
        return self.source == self.target

    @property
    def plural(self) -> str:
        """Behind several subjects: *acted in*, *live in*."""
        return self.past or self.base

    @property
    def single(self) -> str:
        """Behind one subject: *acted in*, *lives in*."""
        return self.past or third_person(self.base)

    def did(self, many: bool = False) -> str:
        """Before a subject that the base follows: *did*, *does*, *do*."""
        return "did" if self.past else "do" if many else "does"


@dataclass(frozen=True)
class Graph:
    """Nodes of distinct labels and variables, and relationships between them."""

    name: str
    nodes: tuple[Node, ...]
    relationships: tuple[Relationship, ...]

    @cached_property
    def labels(self) -> frozenset[str]:
        return frozenset(n.label_name for n in self.nodes)


def third_person(base: str) -> str:
    first, _, rest = base.partition(" ")
    if first.endswith(("s", "sh", "ch", "x", "z", "go", "do")):
        verb = first + "es"
    elif first.endswith("y") and first[-2] not in "aeiou":
        verb = first[:-1] + "ies"
    else:
        verb = first + "s"
    return f"{verb} {rest}".strip()


def make_node(label: str, columns: tuple[Column, ...], human: bool) -> Node:
    """Noun and variable follow from the label: ``BlogPost`` is a *blog post*, ``blogPost``."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower()
    variable = label[0].lower() + label[1:]
    if variable in _RESERVED:
        variable += "Node"
    return Node(variable, columns, words, english.plural(words), label, human)


def parse_graphs(text: str) -> dict[str, Graph]:
    """Read graphs separated by blank lines: a line with the name, then a line for each part."""
    graphs = {}
    for block in text.strip().split("\n\n"):
        name, *lines = block.strip().splitlines()
        graphs[name] = _parse_graph(name, lines)
    return graphs


def _parse_graph(name: str, lines: list[str]) -> Graph:
    nodes: dict[str, Node] = {}
    related: list[tuple[str, str]] = []
    for line in lines:
        head, _, body = line.partition(": ")
        if match := _NODE.match(head):
            columns = tuple(parse_column(part) for part in body.split(", "))
            nodes[match[1]] = make_node(match[1], columns, bool(match[2]))
        else:
            related.append((head, body))
    return Graph(
        name, tuple(nodes.values()), tuple(_parse_relationship(h, b, nodes) for h, b in related)
    )


def _parse_relationship(head: str, body: str, nodes: dict[str, Node]) -> Relationship:
    match = _RELATIONSHIP.match(head)
    if match is None:
        raise ValueError(f"not a relationship: {head!r}")
    source, type_, column, target = match.groups()
    return relationship(
        nodes[source], f"{type_}[{column}]" if column else type_, nodes[target], body
    )


def relationship(source: Node, type_: str, target: Node, words: str) -> Relationship:
    """From ``TYPE[property]`` and ``base, past, backward``."""
    name, _, column = type_.rstrip("]").partition("[")
    base, past, backward = words.split(", ")
    past = "" if past == "-" else past
    return Relationship(
        source, name, target, base, past, backward, parse_column(column) if column else None
    )


def renamed(graph: Graph, nodes: tuple[Node, ...]) -> Graph:
    """The graph with other versions of its nodes, by label; relationships to absent ones go."""
    new = {n.label_name: n for n in nodes}
    kept = tuple(
        replace(r, source=new[r.source.label_name], target=new[r.target.label_name])
        for r in graph.relationships
        if r.source.label_name in new and r.target.label_name in new
    )
    return Graph(graph.name, nodes, kept)

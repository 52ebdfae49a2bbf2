"""How a graph schema and a question are written into messages."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from text_to_sql.schema import Column

from hive_expert.training.generated import Messages
from text_to_cypher.graph import Graph, Node

ONE_MESSAGE = 0.08
"""Share of questions that come with their schema in one message."""

_TYPES = {"int": "INTEGER", "real": "FLOAT", "year": "INTEGER", "date": "DATE", "bool": "BOOLEAN"}


def bare(column: Column) -> str:
    return column.name


def typed(column: Column) -> str:
    return f"{column.name}: {_TYPES.get(column.kind, 'STRING')}"


def patterns(
    graph: Graph, write: Callable[[Column], str] = bare, *, repeat: bool = False
) -> list[str]:
    """``(:Person {name})-[:ACTED_IN {role}]->(:Movie {title})``, one for each relationship.

    Properties stand where a label comes first, or with `repeat` everywhere.
    """
    told: set[str] = set()

    def node(one: Node) -> str:
        if one.label_name in told and not repeat:
            return f"(:{one.label_name})"
        told.add(one.label_name)
        return f"(:{one.label_name} {{{', '.join(write(c) for c in one.columns)}}})"

    def lines() -> Iterator[str]:
        for r in graph.relationships:
            held = f" {{{write(r.held)}}}" if r.held else ""
            yield f"{node(r.source)}-[:{r.type}{held}]->{node(r.target)}"
        for one in graph.nodes:
            if one.label_name not in told:
                yield node(one)

    return list(lines())


def nodes_first(graph: Graph) -> list[str]:
    """A line for each label, then relationships between bare labels."""
    nodes = [f"(:{n.label_name} {{{', '.join(c.name for c in n.columns)}}})" for n in graph.nodes]
    between = []
    for r in graph.relationships:
        held = f" {{{r.held.name}}}" if r.held else ""
        between.append(f"(:{r.source.label_name})-[:{r.type}{held}]->(:{r.target.label_name})")
    return nodes + between


def schema_lines(graph: Graph, rng: random.Random) -> list[str]:
    form = rng.choices(["once", "nodes first", "repeated", "typed"], [74, 14, 7, 5])[0]
    match form:
        case "nodes first":
            return nodes_first(graph)
        case "repeated":
            return patterns(graph, repeat=True)
        case "typed":
            return patterns(graph, typed)
        case _:
            return patterns(graph)


def system_message(graph: Graph, rng: random.Random) -> str:
    return "Dialect: cypher\nSchema:\n" + "\n".join(schema_lines(graph, rng))


def in_one_message(graph: Graph, question: str, rng: random.Random) -> Messages:
    """Question and schema in the user message, and no system message."""
    lines = patterns(graph)
    line, block = ", ".join(lines), "\n".join(lines)
    ended = question if question.endswith(("?", ".")) else question + "."
    user = rng.choice(
        [
            f"{ended} Schema: {line}",
            f"{ended} Schema: {line}",
            f"{ended}\nSchema: {line}",
            f"{ended}\n\nSchema:\n{block}",
            f"Schema: {line}\n{question}",
            f"Schema:\n{block}\n\n{question}",
            f"Write a Cypher query. {ended} Schema: {line}",
        ]
    )
    return Messages("", user)

"""What a Cypher query says, once it is parsed (`cypher`).

An expression is a nested tuple; ``p.name = 'x'`` is
``("=", ("property", ("variable", "p"), "name"), ("string", "x"))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Expression: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class NodePattern:
    """``(variable:Label {property: value})``; what is not written is empty."""

    variable: str
    labels: frozenset[str]
    properties: tuple[tuple[str, Expression], ...] = ()


@dataclass(frozen=True, slots=True)
class RelationshipPattern:
    """``-[variable:TYPE*1..3]->``. ``direction`` is ``>``, ``<`` or empty; ``length`` None or
    (least, most), None where a bound is not written."""

    variable: str
    types: frozenset[str]
    direction: str
    length: tuple[int | None, int | None] | None = None
    properties: tuple[tuple[str, Expression], ...] = ()


@dataclass(frozen=True, slots=True)
class PathPattern:
    """Nodes with relationships between them. Law: one node more than relationships.

    ``function`` is ``shortestPath``, ``allShortestPaths`` or empty.
    """

    variable: str
    function: str
    nodes: tuple[NodePattern, ...]
    relationships: tuple[RelationshipPattern, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """``[OPTIONAL] MATCH … WHERE …``"""

    paths: tuple[PathPattern, ...]
    where: Expression | None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Projection:
    """``WITH`` or, as the last clause, ``RETURN``: (expression, alias) items and their order.

    The alias is empty where none is written; ``*`` is the item ``("*",)``.
    """

    items: tuple[tuple[Expression, str], ...]
    distinct: bool
    order: tuple[tuple[Expression, bool], ...]
    skip: Expression | None
    limit: Expression | None
    where: Expression | None
    is_return: bool


@dataclass(frozen=True, slots=True)
class Unwind:
    """``UNWIND expression AS variable``"""

    expression: Expression
    variable: str


Clause: TypeAlias = Match | Projection | Unwind


@dataclass(frozen=True, slots=True)
class Query:
    """Clauses of each part of a ``UNION``. Law: the last of each part is a RETURN."""

    parts: tuple[tuple[Clause, ...], ...]
    union_all: bool = False

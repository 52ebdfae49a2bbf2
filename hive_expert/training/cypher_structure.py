"""Whether two Cypher queries say the same, whatever their variables are called.

Each query is brought into a normal form: patterns become nodes and directed edges, properties
in patterns become conditions, conjunctions become sets, aliases are put where they are used. Two
queries are the same when some renaming of variables makes their forms equal (SPEC §12).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hive_expert.decoding.cypher_query import (
    Clause,
    Expression,
    Match,
    NodePattern,
    PathPattern,
    Projection,
    Query,
    RelationshipPattern,
)

MAX_RENAMINGS = 5_040
"""Tried at most; queries of more variables of one kind are compared by their first ones."""

# Not "+": of texts and lists the order counts, and nothing here knows the types.
_SYMMETRIC = frozenset({"=", "<>", "or", "xor", "*"})
_TURNED = {">": "<", ">=": "<="}
_OPPOSITE = {"=": "<>", "<>": "=", "<": ">=", ">": "<=", "<=": ">", ">=": "<"}

Form = Hashable
Renaming = Mapping[str, str]


def same_structure(expected: Query, actual: Query) -> bool:
    """Whether the queries are equal up to variables, spelling and the order of conditions."""
    if expected.union_all != actual.union_all or len(expected.parts) != len(actual.parts):
        return False
    return all(_same_part(a, b) for a, b in zip(expected.parts, actual.parts, strict=True))


def names_used(query: Query) -> tuple[set[str], set[str], set[str]]:
    """Labels, relationship types and properties that a query names."""
    labels: set[str] = set()
    types: set[str] = set()
    properties: set[str] = set()
    for one in _everything(query):
        if isinstance(one, NodePattern):
            labels |= one.labels
            properties |= {key for key, _ in one.properties}
        elif isinstance(one, RelationshipPattern):
            types |= one.types
            properties |= {key for key, _ in one.properties}
        elif isinstance(one, tuple) and one[:1] == ("property",):
            properties.add(one[2])
        elif isinstance(one, tuple) and one[:1] == ("has label",):
            labels.add(one[2])
    return labels, types, properties


def _everything(value: Any) -> Iterator[Any]:
    """Every part of a query, however deep."""
    yield value
    if isinstance(value, tuple | frozenset):
        for one in value:
            yield from _everything(one)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _everything(getattr(value, name))


def _same_part(expected: tuple[Clause, ...], actual: tuple[Clause, ...]) -> bool:
    ours, theirs = _Normal.of(expected), _Normal.of(actual)
    if Counter(ours.kinds.values()) != Counter(theirs.kinds.values()):
        return False
    goal = ours.form({name: name for name in ours.kinds})
    return any(theirs.form(names) == goal for names in _renamings(theirs.kinds, ours.kinds))


def _renamings(
    source: Mapping[str, Hashable], target: Mapping[str, Hashable]
) -> Iterator[Renaming]:
    """Each way to give the source's variables the names of the target's of the same kind."""
    kinds = sorted(set(source.values()), key=repr)
    mine = [[name for name, kind in source.items() if kind == wanted] for wanted in kinds]
    theirs = [[name for name, kind in target.items() if kind == wanted] for wanted in kinds]
    orders = itertools.product(*(itertools.permutations(names) for names in theirs))
    for order in itertools.islice(orders, MAX_RENAMINGS):
        yield {
            old: new
            for olds, news in zip(mine, order, strict=True)
            for old, new in zip(olds, news, strict=True)
        }


@dataclass
class _Normal:
    """A part of a query with its variables found. ``kinds`` is what a variable stands for."""

    clauses: tuple[Clause, ...]
    kinds: dict[str, Hashable] = field(default_factory=dict)
    aliases: dict[str, Expression] = field(default_factory=dict)

    @classmethod
    def of(cls, clauses: tuple[Clause, ...]) -> _Normal:
        """Merge adjacent MATCHes, name what has no name, and note what each name stands for."""
        made = cls(tuple(_merged(_named(clauses))))
        for clause in made.clauses:
            if isinstance(clause, Match):
                made._note_paths(clause)
            elif isinstance(clause, Projection):
                for expression, alias in clause.items:
                    if alias and not made._leads_to(expression, alias):
                        made.aliases[alias] = expression
            else:
                made.kinds[clause.variable] = "unwound"
        return made

    def _leads_to(self, expression: Expression, alias: str) -> bool:
        """Whether the alias would stand for itself in the end: `x AS y` and `y AS x`."""
        mentioned = [e[1] for e in _everything(expression) if _is_variable(e)]
        return alias in mentioned or any(
            self._leads_to(self.aliases[name], alias) for name in mentioned if name in self.aliases
        )

    def _note_paths(self, match: Match) -> None:
        for path in match.paths:
            if path.variable:
                self.kinds[path.variable] = "path"
            for node in path.nodes:
                known = self.kinds.get(node.variable, ("node", frozenset()))
                labels = known[1] if isinstance(known, tuple) else frozenset()
                self.kinds[node.variable] = ("node", labels | node.labels)
            for related in path.relationships:
                self.kinds[related.variable] = ("relationship", related.types)

    @property
    def may_be_null(self) -> bool:
        return any(isinstance(c, Match) and c.optional for c in self.clauses)

    def form(self, names: Renaming) -> Form:
        """The normal form under new names for the variables."""
        return tuple(self._clause(clause, names) for clause in self.clauses)

    def _clause(self, clause: Clause, names: Renaming) -> Form:
        if isinstance(clause, Match):
            tests = set(self._conjuncts(clause.where, names))
            shapes = [self._path(path, names, tests) for path in _needed(clause.paths)]
            edges = frozenset(Counter(itertools.chain(*shapes)).items())
            return ("match", clause.optional, edges, frozenset(tests))
        if isinstance(clause, Projection):
            items = tuple(self._value(expression, names) for expression, _ in clause.items)
            if not clause.is_return:
                items = tuple(sorted(items, key=repr))
            return (
                "return" if clause.is_return else "with",
                clause.distinct,
                items,
                tuple((self._value(e, names), down) for e, down in clause.order),
                clause.skip and self._value(clause.skip, names),
                clause.limit and self._value(clause.limit, names),
                frozenset(self._conjuncts(clause.where, names)),
            )
        return ("unwind", self._value(clause.expression, names), names[clause.variable])

    def _path(self, path: PathPattern, names: Renaming, tests: set[Form]) -> Iterator[Form]:
        """Nodes and edges of a path; conditions in its patterns go to ``tests``."""
        shape = (path.function, names.get(path.variable, path.variable))
        held: tuple[NodePattern | RelationshipPattern, ...] = (*path.nodes, *path.relationships)
        for one in held:
            new = names.get(one.variable, one.variable)
            for key, value in one.properties:
                sides = [("property", ("variable", new), key), self._value(value, names)]
                tests.add(("=", frozenset(Counter(sides).items())))
        if any(shape) or not path.relationships:
            yield (*shape, tuple(names.get(n.variable, n.variable) for n in path.nodes))
        for at, related in enumerate(path.relationships):
            ends = [names.get(n.variable, n.variable) for n in path.nodes[at : at + 2]]
            if related.direction == "<":
                ends.reverse()
            joined = tuple(ends) if related.direction else frozenset(ends)
            name = names.get(related.variable, related.variable)
            yield ("edge", name, related.types, related.length, joined)

    def _conjuncts(self, where: Expression | None, names: Renaming) -> Iterator[Form]:
        if where is None:
            return
        if where[0] == "and":
            yield from self._conjuncts(where[1], names)
            yield from self._conjuncts(where[2], names)
        else:
            yield self._value(where, names)

    def _value(self, value: Expression, names: Renaming) -> Form:
        head, *rest = value
        if not rest:  # the star of RETURN * and count(*)
            return value
        if head == "variable":
            (name,) = rest
            if name in self.aliases and name not in names:
                return self._value(self.aliases[name], names)
            return ("variable", names.get(name, name))
        if head in ("path", "count of path"):
            tests = set(self._conjuncts(rest[1] if len(rest) > 1 else None, names))
            edges = tuple(self._path(rest[0], names, tests))
            nodes = [(n.labels, names.get(n.variable, n.variable)) for n in rest[0].nodes]
            return (
                head,
                frozenset(Counter(edges).items()),
                frozenset(Counter(nodes).items()),
                frozenset(tests),
            )
        if value[:3] == ("call", "count", False) and len(value) == 4 and not self.may_be_null:
            counted = value[3]
            if counted[0] == "variable" and counted[1] in self.kinds:
                return ("call", "count", False, ("*",))
        if head == "not" and rest[0][0] in _OPPOSITE:
            inner = rest[0]
            head, rest = _OPPOSITE[inner[0]], list(inner[1:])
        if head in _TURNED:
            head, rest = _TURNED[head], [rest[1], rest[0]]
        if head == "in" and rest[1][0] == "list":
            values = frozenset(self._value(v, names) for v in rest[1][1:])
            return ("in", self._value(rest[0], names), values)
        if head == "or":
            return ("or", frozenset(self._alternatives(value, names)))
        if head in _SYMMETRIC:
            return (head, frozenset(Counter(self._value(v, names) for v in rest).items()))
        return (head, *(self._part(one, names) for one in rest))

    def _alternatives(self, value: Expression, names: Renaming) -> Iterator[Form]:
        for one in value[1:]:
            if one[0] == "or":
                yield from self._alternatives(one, names)
            elif one[0] == "and":
                yield ("all", frozenset(self._conjuncts(one, names)))
            else:
                yield self._value(one, names)

    def _part(self, one: Any, names: Renaming) -> Form:
        """An operand: an expression, or a name, number or flag as it is."""
        if isinstance(one, tuple) and one and isinstance(one[0], str):
            return self._value(one, names)
        if isinstance(one, tuple):
            return tuple(self._part(inner, names) for inner in one)
        return one


def _is_variable(one: Any) -> bool:
    return isinstance(one, tuple) and len(one) == 2 and one[0] == "variable"


def _needed(paths: tuple[PathPattern, ...]) -> Iterator[PathPattern]:
    """Without single nodes that stand in a longer path too, or twice; conditions stay."""
    held = {n.variable for path in paths if path.relationships for n in path.nodes}
    for path in paths:
        (node, *more) = path.nodes
        if more or path.variable or node.properties or node.variable not in held:
            held.add(node.variable)
            yield path


def _named(clauses: tuple[Clause, ...]) -> Iterator[Clause]:
    """Every node and relationship of a MATCH with a variable; given ones cannot hold a blank."""
    count = itertools.count(1)

    def node(one: NodePattern) -> NodePattern:
        return one if one.variable else NodePattern(f" {next(count)}", one.labels, one.properties)

    def related(one: RelationshipPattern) -> RelationshipPattern:
        if one.variable:
            return one
        return RelationshipPattern(
            f" {next(count)}", one.types, one.direction, one.length, one.properties
        )

    for clause in clauses:
        if not isinstance(clause, Match):
            yield clause
            continue
        paths = tuple(
            PathPattern(
                path.variable,
                path.function,
                tuple(map(node, path.nodes)),
                tuple(map(related, path.relationships)),
            )
            for path in clause.paths
        )
        yield Match(paths, clause.where, clause.optional)


def _merged(clauses: Iterator[Clause]) -> Iterator[Clause]:
    """Neighbouring plain MATCHes as one."""
    held: Match | None = None
    for clause in clauses:
        if isinstance(clause, Match) and not clause.optional:
            if held is not None:
                tests = [t for t in (held.where, clause.where) if t is not None]
                where = ("and", *tests) if len(tests) == 2 else tests[0] if tests else None
                clause = Match(held.paths + clause.paths, where)
            held = clause
            continue
        if held is not None:
            yield held
            held = None
        yield clause
    if held is not None:
        yield held

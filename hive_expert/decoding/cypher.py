"""Cypher queries that read, parsed: ``MATCH``, ``WITH``, ``UNWIND``, ``RETURN``, ``UNION``.

The grammar is openCypher 9's part for reading, with ``EXISTS { … }`` and ``COUNT { … }`` of
later versions. Clauses that write, ``CALL`` and list comprehensions are not read.

An expression is a nested tuple; ``p.name = 'x'`` is
``("=", ("property", ("variable", "p"), "name"), ("string", "x"))``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from hive_expert.decoding.cypher_tokens import Token, tokenize
from hive_expert.errors import DecodingError

Expression: TypeAlias = tuple[Any, ...]

MAX_DEPTH = 60
MAX_TRIES = 2_000
"""Parentheses that are first read as a pattern: nested ones are read twice at each depth."""

_AFTER_OPERAND = {"=": "=", "<>": "<>", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "=~": "=~"}
_CLAUSES = frozenset({"MATCH", "OPTIONAL", "WITH", "RETURN", "UNWIND", "UNION"})


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


def parse_cypher(text: str) -> Query:
    """Parse one statement, a final ``;`` allowed. Raises DecodingError saying where it fails."""
    return _Parser(tokenize(text)).query()


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.tries = 0

    # tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def fail(self, wanted: str) -> DecodingError:
        found = self.token.text or "the end"
        return DecodingError(f"character {self.token.at + 1}: {found!r} where {wanted} should be")

    def is_word(self, *words: str, ahead: int = 0) -> bool:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)].word in words

    def is_sign(self, sign: str, ahead: int = 0) -> bool:
        token = self.tokens[min(self.at + ahead, len(self.tokens) - 1)]
        return token.kind == "sign" and token.text == sign

    def take_word(self, *words: str) -> bool:
        """Take these words if they come next, in this order."""
        if not all(self.is_word(word, ahead=i) for i, word in enumerate(words)):
            return False
        self.at += len(words)
        return True

    def take(self, sign: str) -> bool:
        found = self.is_sign(sign)
        self.at += found
        return found

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise self.fail(repr(sign))

    def name(self, what: str) -> str:
        if self.token.kind not in ("name", "quoted"):
            raise self.fail(what)
        self.at += 1
        return self.tokens[self.at - 1].text

    def several(self, one: Callable[[], Any]) -> tuple[Any, ...]:
        found = [one()]
        while self.take(","):
            found.append(one())
        return tuple(found)

    # clauses

    def query(self) -> Query:
        parts, union_all = [self.part()], False
        while self.take_word("UNION"):
            union_all = self.take_word("ALL") or union_all
            parts.append(self.part())
        self.take(";")
        if self.token.kind != "end":
            raise self.fail("the end")
        return Query(tuple(parts), union_all)

    def part(self) -> tuple[Clause, ...]:
        clauses: list[Clause] = []
        while not (clauses and isinstance(clauses[-1], Projection) and clauses[-1].is_return):
            clauses.append(self.clause())
        return tuple(clauses)

    def clause(self) -> Clause:
        if self.take_word("OPTIONAL", "MATCH"):
            return self.match(optional=True)
        if self.take_word("MATCH"):
            return self.match(optional=False)
        if self.take_word("UNWIND"):
            expression = self.expression()
            if not self.take_word("AS"):
                raise self.fail("AS")
            return Unwind(expression, self.name("a variable"))
        if self.take_word("WITH"):
            return self.projection(is_return=False)
        if self.take_word("RETURN"):
            return self.projection(is_return=True)
        raise self.fail("MATCH, WITH or RETURN")

    def match(self, *, optional: bool) -> Match:
        paths = self.several(self.path)
        return Match(paths, self.where(), optional)

    def where(self) -> Expression | None:
        return self.expression() if self.take_word("WHERE") else None

    def projection(self, *, is_return: bool) -> Projection:
        distinct = self.take_word("DISTINCT")
        items = self.several(self.item)
        order: tuple[tuple[Expression, bool], ...] = ()
        if self.take_word("ORDER", "BY"):
            order = self.several(self.sorting)
        skip = self.expression() if self.take_word("SKIP") else None
        limit = self.expression() if self.take_word("LIMIT") else None
        where = None if is_return else self.where()
        return Projection(items, distinct, order, skip, limit, where, is_return)

    def item(self) -> tuple[Expression, str]:
        if self.take("*"):
            return ("*",), ""
        expression = self.expression()
        return expression, self.name("an alias") if self.take_word("AS") else ""

    def sorting(self) -> tuple[Expression, bool]:
        """(what to sort by, whether downwards)"""
        expression = self.expression()
        for word in ("DESC", "DESCENDING"):
            if self.take_word(word):
                return expression, True
        if not self.take_word("ASC"):
            self.take_word("ASCENDING")
        return expression, False

    # patterns

    def path(self) -> PathPattern:
        variable = ""
        if self.is_sign("=", ahead=1):
            variable = self.name("a variable")
            self.expect("=")
        if self.is_sign("(", ahead=1) and self.is_word("SHORTESTPATH", "ALLSHORTESTPATHS"):
            shortest = self.is_word("SHORTESTPATH")
            self.at += 2
            nodes, related = self.chain()
            self.expect(")")
            name = "shortestPath" if shortest else "allShortestPaths"
            return PathPattern(variable, name, nodes, related)
        return PathPattern(variable, "", *self.chain())

    def chain(self) -> tuple[tuple[NodePattern, ...], tuple[RelationshipPattern, ...]]:
        nodes, related = [self.node()], []
        while self.is_sign("-") or self.is_sign("<"):
            related.append(self.relationship())
            nodes.append(self.node())
        return tuple(nodes), tuple(related)

    def node(self) -> NodePattern:
        self.expect("(")
        variable = self.name("a variable") if self.token.kind in ("name", "quoted") else ""
        labels: set[str] = set()
        while self.take(":") or (labels and self.take("&")):
            labels.add(self.name("a label"))
        properties = self.properties()
        self.expect(")")
        return NodePattern(variable, frozenset(labels), properties)

    def relationship(self) -> RelationshipPattern:
        left = self.take("<")
        self.expect("-")
        variable, length = "", None
        types: set[str] = set()
        properties: tuple[tuple[str, Expression], ...] = ()
        if self.take("["):
            variable = self.name("a variable") if self.token.kind in ("name", "quoted") else ""
            if self.take(":"):
                types.add(self.name("a type"))
                while self.take("|"):
                    self.take(":")
                    types.add(self.name("a type"))
            length = self.length()
            properties = self.properties()
            self.expect("]")
        self.expect("-")
        right = self.take(">")
        if left and right:
            raise self.fail("a relationship in one direction")
        direction = "<" if left else ">" if right else ""
        return RelationshipPattern(variable, frozenset(types), direction, length, properties)

    def length(self) -> tuple[int | None, int | None] | None:
        if not self.take("*"):
            return None
        low = self.whole()
        if not self.take(".."):
            return low, low
        return low, self.whole()

    def whole(self) -> int | None:
        token = self.token
        if token.kind == "number" and token.text.isdecimal():
            self.at += 1
            return int(token.text)
        return None

    def properties(self) -> tuple[tuple[str, Expression], ...]:
        if not self.take("{"):
            return ()
        entries: tuple[tuple[str, Expression], ...] = ()
        if not self.is_sign("}"):
            entries = self.several(self.entry)
        self.expect("}")
        return entries

    def entry(self) -> tuple[str, Expression]:
        key = self.name("a property")
        self.expect(":")
        return key, self.expression()

    # expressions

    def expression(self) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise DecodingError("nested too deep")
        found = self.either(
            ("OR",), lambda: self.either(("XOR",), lambda: self.either(("AND",), self.negated))
        )
        self.depth -= 1
        return found

    def either(self, words: tuple[str], one: Callable[[], Expression]) -> Expression:
        found = one()
        while self.take_word(*words):
            found = (words[0].lower(), found, one())
        return found

    def negated(self) -> Expression:
        count = 0
        while self.take_word("NOT"):
            count += 1
        found = self.comparison()
        return ("not", found) if count % 2 else found

    def comparison(self) -> Expression:
        found = self.sum()
        links: list[Expression] = []
        while True:
            made = self.compared(found)
            if made is None:
                break
            links.append(made)
            found = made[2] if made[0] in _AFTER_OPERAND else made
        # `1 < x < 5` means both.
        chained = [link for link in links if link[0] in _AFTER_OPERAND]
        if len(chained) < 2 or len(chained) != len(links):
            return links[-1] if links else found
        whole = chained[0]
        for link in chained[1:]:
            whole = ("and", whole, link)
        return whole

    def compared(self, left: Expression) -> Expression | None:
        if self.token.kind == "sign" and self.token.text in _AFTER_OPERAND:
            sign = self.token.text
            self.at += 1
            return (_AFTER_OPERAND[sign], left, self.sum())
        for words, kind in (
            (("STARTS", "WITH"), "starts with"),
            (("ENDS", "WITH"), "ends with"),
            (("CONTAINS",), "contains"),
            (("IN",), "in"),
        ):
            if self.take_word(*words):
                return (kind, left, self.sum())
        if self.take_word("IS", "NOT", "NULL"):
            return ("not", ("is null", left))
        if self.take_word("IS", "NULL"):
            return ("is null", left)
        return None

    def sum(self) -> Expression:
        found = self.product()
        while self.is_sign("+") or self.is_sign("-"):
            sign = self.token.text
            self.at += 1
            found = (sign, found, self.product())
        return found

    def product(self) -> Expression:
        found = self.signed()
        while any(map(self.is_sign, ("*", "/", "%", "^"))):
            sign = self.token.text
            self.at += 1
            found = (sign, found, self.signed())
        return found

    def signed(self) -> Expression:
        if self.take("-"):
            return ("negative", self.signed())
        self.take("+")
        found = self.atom()
        while True:
            if self.is_sign(".") and self.tokens[self.at + 1].kind in ("name", "quoted"):
                self.at += 1
                found = ("property", found, self.name("a property"))
            elif self.take("["):
                found = ("index", found, self.expression())
                self.expect("]")
            elif self.is_sign(":") and found[0] == "variable":
                self.at += 1
                found = ("has label", found, self.name("a label"))
            else:
                return found

    def atom(self) -> Expression:
        token = self.token
        if token.kind in ("string", "number", "parameter"):
            self.at += 1
            value = float(token.text) if token.kind == "number" else token.text
            return (token.kind, value)
        if token.kind in ("name", "quoted"):
            return self.named()
        if self.is_sign("["):
            self.at += 1
            values = () if self.is_sign("]") else self.several(self.expression)
            self.expect("]")
            return ("list", *values)
        if self.is_sign("{"):
            return ("map", *self.properties())
        if self.is_sign("("):
            return self.path_or_parentheses()
        raise self.fail("a value")

    def named(self) -> Expression:
        if self.is_word("TRUE", "FALSE", "NULL"):
            self.at += 1
            return ("constant", self.tokens[self.at - 1].word.lower())
        if self.is_word("CASE") and not self.is_sign("(", ahead=1):
            return self.case()
        if self.is_word("EXISTS", "COUNT") and self.is_sign("{", ahead=1):
            return self.subquery()
        if self.token.word in _CLAUSES:
            raise self.fail("a value")
        name = self.name("a name")
        while (
            self.is_sign(".") and self.tokens[self.at + 1].kind == "name" and self.is_sign("(", 2)
        ):
            self.at += 1
            name += f".{self.name('a function')}"
        return self.call(name) if self.take("(") else ("variable", name)

    def call(self, name: str) -> Expression:
        function = name.lower()
        if self.take("*"):
            self.expect(")")
            return ("call", function, False, ("*",))
        distinct = self.take_word("DISTINCT")
        arguments = () if self.is_sign(")") else self.several(self.expression)
        self.expect(")")
        if function == "exists" and len(arguments) == 1:
            (inner,) = arguments
            return inner if inner[0] == "path" else ("not", ("is null", inner))
        return ("call", function, distinct, *arguments)

    def case(self) -> Expression:
        self.take_word("CASE")
        subject = None if self.is_word("WHEN") else self.expression()
        branches = []
        while self.take_word("WHEN"):
            test = self.expression()
            if not self.take_word("THEN"):
                raise self.fail("THEN")
            branches.append((test, self.expression()))
        otherwise = self.expression() if self.take_word("ELSE") else None
        if not branches or not self.take_word("END"):
            raise self.fail("END")
        return ("case", subject, tuple(branches), otherwise)

    def subquery(self) -> Expression:
        kind = "path" if self.is_word("EXISTS") else "count of path"
        self.at += 2
        self.take_word("MATCH")
        path = self.path()
        where = self.where()
        self.expect("}")
        return (kind, path) if where is None else (kind, path, where)

    def path_or_parentheses(self) -> Expression:
        """``(p)-[:KNOWS]->(q)`` as a condition, or an expression in parentheses."""
        start, depth = self.at, self.depth
        self.tries += 1
        if self.tries > MAX_TRIES:
            raise DecodingError("too many parentheses")
        try:
            nodes, related = self.chain()
        except DecodingError:
            related = ()
        self.depth = depth
        if related:
            return ("path", PathPattern("", "", nodes, related))
        self.at = start + 1
        found = self.expression()
        self.expect(")")
        return found

"""Expressions and patterns of Cypher, by recursive descent: each may stand within the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hive_expert.decoding.cypher_cursor import Cursor
from hive_expert.decoding.cypher_query import (
    Expression,
    NodePattern,
    PathPattern,
    RelationshipPattern,
)
from hive_expert.decoding.cypher_tokens import Token
from hive_expert.errors import DecodingError

MAX_DEPTH = 60
MAX_TRIES = 2_000
"""Parentheses that are first read as a pattern: nested ones are read twice at each depth."""

_AFTER_OPERAND = {"=": "=", "<>": "<>", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "=~": "=~"}
_CLAUSES = frozenset({"MATCH", "OPTIONAL", "WITH", "RETURN", "UNWIND", "UNION"})


class Expressions(Cursor):
    """Reads one expression or path where it stands, however deep within others."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self.depth = 0
        self.tries = 0

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

    def where(self) -> Expression | None:
        return self.expression() if self.take_word("WHERE") else None

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

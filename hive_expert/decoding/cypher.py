"""Cypher queries that read, parsed: ``MATCH``, ``WITH``, ``UNWIND``, ``RETURN``, ``UNION``.

The grammar is openCypher 9's part for reading, with ``EXISTS { … }`` and ``COUNT { … }`` of
later versions. Clauses that write, ``CALL`` and list comprehensions are not read.
"""

from __future__ import annotations

from hive_expert.decoding.cypher_expressions import Expressions
from hive_expert.decoding.cypher_query import Clause, Expression, Match, Projection, Query, Unwind
from hive_expert.decoding.cypher_tokens import tokenize


def parse_cypher(text: str) -> Query:
    """Parse one statement, a final ``;`` allowed. Raises DecodingError saying where it fails."""
    return _Clauses(tokenize(text)).query()


class _Clauses(Expressions):
    """Reads a whole query, clause by clause."""

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

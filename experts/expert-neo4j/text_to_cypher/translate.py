"""From expert-sql's SQL over one table to Cypher over the nodes of one label."""

from __future__ import annotations

from collections.abc import Mapping

import sqlglot
from sqlglot import exp

from text_to_cypher.graph import Node

_COMPARISONS = {exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.LT: "<", exp.GTE: ">=", exp.LTE: "<="}
_AGGREGATES = {exp.Avg: "avg", exp.Sum: "sum", exp.Min: "min", exp.Max: "max"}


class Untranslatable(Exception):  # noqa: N818 - a verdict that is caught, not an error
    """The query has a part that Cypher says in another way."""


def condition(sql: str, variables: Mapping[str, str] | None = None) -> str:
    """A filter in Cypher. ``variables`` renames tables that are called otherwise there."""
    return _Writer(None, variables or {}).test(sqlglot.parse_one(sql, dialect="sqlite"))


def query(sql: str, node: Node) -> str:
    """One SELECT over the table of ``node`` as one MATCH … RETURN.

    Raises Untranslatable for subqueries and joins.
    """
    tree = sqlglot.parse_one(sql, dialect="sqlite")
    if not isinstance(tree, exp.Select) or tree.args.get("joins") or tree.find(exp.Subquery):
        raise Untranslatable
    writer = _Writer(node, {})
    text = f"MATCH {node.pattern}"
    if where := tree.args.get("where"):
        text += f" WHERE {writer.test(where.this)}"
    items = [writer.value(item) for item in tree.expressions]
    keys = [writer.value(k) for k in group.expressions] if (group := tree.args.get("group")) else []
    if having := tree.args.get("having"):
        text += f" WITH {_having(writer, having.this, keys)}"
        items = ["result" if item in keys else item for item in items]
    order = _order(writer, tree, items)
    distinct = "DISTINCT " if tree.args.get("distinct") else ""
    text += f" RETURN {distinct}{', '.join(items)}{order}"
    if limit := tree.args.get("limit"):
        text += f" LIMIT {limit.expression.sql()}"
    return text


def _having(writer: _Writer, test: exp.Expression, keys: list[str]) -> str:
    if len(keys) != 1 or type(test) not in _COMPARISONS:
        raise Untranslatable
    left, right = writer.value(test.this), writer.value(test.expression)
    return f"{keys[0]} AS result, {left} AS total WHERE total {_COMPARISONS[type(test)]} {right}"


def _order(writer: _Writer, tree: exp.Select, items: list[str]) -> str:
    order = tree.args.get("order")
    if not order:
        return ""
    parts = []
    for item in order.expressions:
        value = writer.value(item.this)
        # Cypher sorts groups only by what it returns.
        if isinstance(item.this, exp.AggFunc) and value not in items:
            items.append(value)
        parts.append(f"{value} DESC" if item.args.get("desc") else value)
    return f" ORDER BY {', '.join(parts)}"


class _Writer:
    def __init__(self, node: Node | None, variables: Mapping[str, str]) -> None:
        self.node = node
        self.variables = variables

    def test(self, tree: exp.Expression) -> str:
        match tree:
            case exp.And() | exp.Or():
                word = "AND" if isinstance(tree, exp.And) else "OR"
                return f"{self.test(tree.this)} {word} {self.test(tree.expression)}"
            case exp.Between():
                low, high = self.value(tree.args["low"]), self.value(tree.args["high"])
                what = self.value(tree.this)
                return f"{what} >= {low} AND {what} <= {high}"
            case exp.Like():
                return self._like(tree)
            case exp.In():
                values = ", ".join(self.value(v) for v in tree.expressions)
                return f"{self.value(tree.this)} IN [{values}]"
            case exp.Is():
                return f"{self.value(tree.this)} IS NULL"
            case exp.Not() if isinstance(tree.this, exp.Is):
                return f"{self.value(tree.this.this)} IS NOT NULL"
            case exp.EQ() if self._is_flag(tree):
                flag = "true" if tree.expression.name == "1" else "false"
                return f"{self.value(tree.this)} = {flag}"
            case _ if type(tree) in _COMPARISONS:
                left, right = self.value(tree.this), self.value(tree.expression)
                return f"{left} {_COMPARISONS[type(tree)]} {right}"
        raise Untranslatable

    def _like(self, tree: exp.Like) -> str:
        pattern = tree.expression.name
        inner = pattern.strip("%").replace("'", "\\'")
        if pattern.startswith("%") and pattern.endswith("%"):
            word = "CONTAINS"
        else:
            word = "ENDS WITH" if pattern.startswith("%") else "STARTS WITH"
        return f"{self.value(tree.this)} {word} '{inner}'"

    def _is_flag(self, tree: exp.EQ) -> bool:
        return tree.this.name.startswith(("is_", "is", "protected", "has_")) and (
            tree.expression.name in ("0", "1") and not tree.expression.is_string
        )

    def value(self, tree: exp.Expression) -> str:
        match tree:
            case exp.Column():
                if isinstance(tree.this, exp.Star):
                    return self._node()
                return f"{self.variables.get(tree.table, tree.table)}.{tree.name}"
            case exp.Star():
                return self._node()
            case exp.Literal():
                if tree.is_string:
                    return "'" + tree.name.replace("'", "\\'") + "'"
                return tree.name
            case exp.Neg():
                return f"-{self.value(tree.this)}"
            case exp.Count():
                inner = tree.this
                if isinstance(inner, exp.Distinct):
                    return f"count(DISTINCT {self.value(inner.expressions[0])})"
                return f"count({self.value(inner)})"
            case _ if type(tree) in _AGGREGATES:
                return f"{_AGGREGATES[type(tree)]}({self.value(tree.this)})"
        raise Untranslatable

    def _node(self) -> str:
        if self.node is None:
            raise Untranslatable
        return self.node.name

"""Pieces of SQL, in the one style that the answers have.

Keywords in capitals, columns always with their table, no aliases, the child of a foreign key
before its parent: a small model learns one style of many, and the table's name makes it settle
whose column it is before it writes the column.
"""

from __future__ import annotations

from collections.abc import Sequence

from text_to_sql.schema import Column, Link, Table

Value = str | int | float | None


def query(what: str, source: str, where: str = "", tail: str = "") -> str:
    """``SELECT what FROM source WHERE where tail``, without what is empty."""
    text = f"SELECT {what} FROM {source}"  # noqa: S608 - from our own schemas, never from users
    if where:
        text += f" WHERE {where}"
    return f"{text} {tail}" if tail else text


def ref(table: Table, column: Column) -> str:
    return f"{table.name}.{column.name}"


def refs(table: Table, columns: Sequence[Column]) -> str:
    return ", ".join(ref(table, c) for c in columns)


def literal(value: Value) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def joined(*links: Link) -> str:
    """``child JOIN parent ON …``, each next table joined to what is there already."""
    text, present = links[0].child.name, {links[0].child.name}
    for link in links:
        new = link.parent if link.child.name in present else link.child
        text += f" JOIN {new.name} ON {link.condition}"
        present.add(new.name)
    return text


def by(expression: str, down: bool) -> str:
    """``ORDER BY``, in the direction that is asked for."""
    return f"ORDER BY {expression} {'DESC' if down else 'ASC'}"

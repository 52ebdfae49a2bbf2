"""A filled in-memory SQLite database for a schema: where every answer is executed."""

from __future__ import annotations

import random
import sqlite3
from datetime import date, timedelta

from text_to_sql.schema import Column, Schema, Table
from text_to_sql.sql import Value, literal, query

Rows = list[tuple[Value, ...]]


def create_statement(table: Table) -> str:
    columns = []
    for column in table.columns:
        text = f"{column.name} {column.sql_type}"
        if column.kind == "id":
            text += " PRIMARY KEY"
        if column.kind == "fk":
            text += f" REFERENCES {column.target}(id)"
        columns.append(text)
    return f"CREATE TABLE {table.name} ({', '.join(columns)});"


class Database:
    """The schema's tables with 14 to 22 rows each, drawn from `rng`.

    Law: labels are unique in their table, numbers too where their range allows it, some
    parents have no children, so that top-n, grouping and "without" questions have one answer.
    `even` spreads the children over more parents, so that fewer wrong joins come out right.
    """

    def __init__(self, schema: Schema, rng: random.Random, even: bool = False) -> None:
        self.schema = schema
        self.rows: dict[str, Rows] = {}
        sizes = {t.name: rng.randint(14, 22) for t in schema.tables}
        self._connection = sqlite3.connect(":memory:")
        for table in schema.tables:
            columns = [_values(c, sizes, table.name, rng, even) for c in table.columns]
            self.rows[table.name] = list(zip(*columns, strict=True))
            self._connection.execute(create_statement(table))
            marks = ",".join("?" * len(table.columns))
            self._connection.executemany(
                f"INSERT INTO {table.name} VALUES ({marks})",  # noqa: S608 - our own names
                self.rows[table.name],
            )

    def execute(self, sql: str) -> Rows:
        """Raises sqlite3.Error where the statement is wrong."""
        return self._connection.execute(sql).fetchall()

    def count(self, table: Table, where: str) -> int:
        [(number,)] = self.execute(query("COUNT(*)", table.name, where))
        return int(number or 0)

    def column(self, table: Table, column: Column) -> list[Value]:
        at = table.columns.index(column)
        return [row[at] for row in self.rows[table.name]]

    def script(self) -> str:
        """SQL that creates and fills this database anywhere."""
        lines = []
        for table in self.schema.tables:
            lines.append(create_statement(table))
            rows = ",".join(
                "(" + ",".join(literal(v) for v in row) + ")" for row in self.rows[table.name]
            )
            lines.append(f"INSERT INTO {table.name} VALUES {rows};")  # noqa: S608 - our own names
        return "\n".join(lines)


def _values(
    column: Column, sizes: dict[str, int], table: str, rng: random.Random, even: bool
) -> list[Value]:
    rows = sizes[table]
    values: list[Value]
    match column.kind:
        case "id":
            values = list(range(1, rows + 1))
        case "fk":
            values = list(_foreign_keys(rows, sizes[column.target], rng, even))
        case "label":
            values = list(_labels(column, rows, rng))
        case "choice":
            few = rng.sample(column.values, min(len(column.values), 5))
            values = [rng.choice(few) for _ in range(rows)]
            values[: len(few)] = few
        case "bool":
            values = [int(rng.random() < 0.6) for _ in range(rows)]
            values[:2] = [1, 0]
        case "date":
            values = list(_dates(column, rows, rng))
        case _:
            values = list(_numbers(column, rows, rng))
    if column.nullable:
        values = [None if i % 4 == 1 else v for i, v in enumerate(values)]
    return values


def _foreign_keys(rows: int, parents: int, rng: random.Random, even: bool) -> list[int]:
    """Skewed, so that some parents lead; two fifths or more of them stay without children."""
    order = list(range(1, parents + 1))
    rng.shuffle(order)
    used = order[: max(3, parents * 3 // 5)]
    if even:
        return [*used[:rows], *rng.choices(used[: len(used) // 2], k=max(0, rows - len(used)))]
    return [used[min(int(rng.expovariate(4 / len(used))), len(used) - 1)] for _ in range(rows)]


def _labels(column: Column, rows: int, rng: random.Random) -> list[str]:
    values = list(column.values)
    rng.shuffle(values)
    for number in range(2, 2 + rows):
        if len(values) >= rows:
            break
        values += [f"{value} {number}" for value in column.values]
    return values[:rows]


def _numbers(column: Column, rows: int, rng: random.Random) -> list[int | float]:
    span = column.high - column.low + 1
    if column.kind == "real":
        return [
            round(n / 100, 2) for n in rng.sample(range(column.low * 100, column.high * 100), rows)
        ]
    step = 1 if span < 1000 else 10 if span < 10000 else 100 if span < 100000 else 500
    grid = range(column.low - column.low % step, column.high + 1, step)
    if len(grid) >= rows:
        return rng.sample(grid, rows)
    return [rng.choice(grid) for _ in range(rows)]


def _dates(column: Column, rows: int, rng: random.Random) -> list[str]:
    start = date(column.low, 1, 1)
    days = (date(column.high, 12, 31) - start).days
    return [str(start + timedelta(n)) for n in rng.sample(range(days), rows)]

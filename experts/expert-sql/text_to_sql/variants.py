"""Variants of a schema: fewer tables and columns, other names, another order.

A model that meets each schema in one fixed form learns it by heart; these make it read.
"""

from __future__ import annotations

import random
from dataclasses import replace

from text_to_sql import english
from text_to_sql.schema import Column, Schema, Table

SYNONYMS = {
    "title": ("title", "title", "name", "label"),
    "price": ("price", "cost", "amount", "unit_price"),
    "city": ("city", "town", "location", "home_city"),
    "country": ("country", "nation", "home_country", "region"),
    "salary": ("salary", "pay", "income", "yearly_salary", "wage"),
    "age": ("age", "age_years", "current_age"),
    "genre": ("genre", "category", "style", "kind"),
    "status": ("status", "state", "stage", "condition"),
    "rating": ("rating", "score", "grade", "stars"),
    "email": ("email", "email_address", "contact_email"),
    "duration": ("duration", "length", "minutes", "hours"),
    "amount": ("amount", "total", "sum_paid", "payment"),
    "color": ("color", "colour", "shade"),
    "capacity": ("capacity", "seats", "max_guests"),
    "experience": ("experience", "years_experience", "seniority"),
    "weight": ("weight", "mass", "net_weight"),
    "category": ("category", "type", "kind", "group_name"),
    "type": ("type", "kind", "category"),
    "specialty": ("specialty", "field", "expertise"),
    "hire_date": ("hire_date", "hired_on", "start_date"),
    "release_year": ("release_year", "year_released", "launch_year"),
    "score": ("score", "points", "mark", "result"),
    "budget": ("budget", "funding", "funds"),
    "size": ("size", "area", "floor_space"),
    "quantity": ("quantity", "units", "pieces", "item_count"),
    "distance": ("distance", "length", "kilometers"),
}


def vary(schema: Schema, rng: random.Random, renamed: bool = True) -> Schema:
    """A variant that keeps every label and every foreign key between the tables it keeps.

    Without `renamed` every name stays, and no column may be NULL that was not before.
    """
    tables = _fewer_tables(schema, rng)
    names = {t.name for t in tables}
    tables = [_fewer_columns(t, names, rng) for t in tables]
    if renamed:
        tables = [_renamed_columns(t, rng) for t in tables]
    tables = [_reordered(t, rng) for t in tables]
    if renamed:
        tables = with_missing_values(tables, rng)
    if rng.random() < 0.5:
        rng.shuffle(tables)
    made = Schema(schema.name, tuple(tables))
    return named_in_style(made, rng) if renamed else made


def with_missing_values(tables: list[Table], rng: random.Random) -> list[Table]:
    """In a third of the schemas one column may be NULL."""
    at = rng.randrange(len(tables))
    columns = tables[at].of_kind("choice", "date", "int")
    if not columns or rng.random() > 0.35:
        return tables
    chosen = rng.choice(columns)
    changed = replace(
        tables[at],
        columns=tuple(replace(c, nullable=True) if c == chosen else c for c in tables[at].columns),
    )
    return [*tables[:at], changed, *tables[at + 1 :]]


def _fewer_tables(schema: Schema, rng: random.Random) -> list[Table]:
    """One to all of the tables, connected by keys."""
    size = rng.choices([1, 2, 3, 4], [20, 42, 32, 6])[0]
    kept = [rng.choice(schema.tables)]
    for _ in range(size - 1):
        names = {t.name for t in kept}
        near = [
            other
            for link in schema.links
            for other, this in ((link.parent, link.child), (link.child, link.parent))
            if this.name in names and other.name not in names
        ]
        if not near:
            break
        kept.append(rng.choice(near))
    names = {t.name for t in kept}
    return [t for t in schema.tables if t.name in names]


def _fewer_columns(table: Table, tables: set[str], rng: random.Random) -> Table:
    must = [
        c
        for c in table.columns
        if c.kind in ("id", "label") or (c.kind == "fk" and c.target in tables)
    ]
    rest = [c for c in table.columns if c not in must and c.kind != "fk"]
    few = rng.sample(rest, rng.randint(min(2, len(rest)), min(4, len(rest))))
    return replace(table, columns=tuple(c for c in table.columns if c in must or c in few))


def _renamed_columns(table: Table, rng: random.Random) -> Table:
    columns: list[Column] = []
    for column in table.columns:
        known = SYNONYMS.get(column.name, (column.name,))
        if column.name == "name":
            known = ("name", "full_name") if table.is_person else ("name", "title", "label")
        new = rng.choice(known)
        taken = {c.name for c in (*table.columns, *columns)}
        if new != column.name and new not in taken and rng.random() < 0.5:
            # Now and then the question keeps the old word, and the model must find the synonym.
            phrase = column.phrase if rng.random() < 0.2 else english.spoken(new)
            column = replace(column, name=new, phrase=phrase)
        columns.append(column)
    return replace(table, columns=tuple(columns))


def _reordered(table: Table, rng: random.Random) -> Table:
    """Keys first or last, the others shuffled half of the time."""
    columns = [c for c in table.columns if c.kind != "fk"]
    keys = [c for c in table.columns if c.kind == "fk"]
    if rng.random() < 0.5:
        head, tail = columns[:1], columns[1:]
        rng.shuffle(tail)
        columns = head + tail
    at = rng.choice([1, len(columns), rng.randint(1, len(columns))])
    return replace(table, columns=(*columns[:at], *keys, *columns[at:]))


def named_in_style(schema: Schema, rng: random.Random) -> Schema:
    """Mostly plural snake_case; some singular table names, some camelCase, some capitals."""
    style = rng.choices(["plain", "singular", "camel", "capital"], [80, 12, 5, 3])[0]
    if style == "plain":
        return schema
    new = {t.name: _styled_table(t, style) for t in schema.tables}
    if len(set(new.values())) < len(new):
        return schema
    tables = tuple(
        replace(
            t, name=new[t.name], columns=tuple(_styled_column(c, style, new) for c in t.columns)
        )
        for t in schema.tables
    )
    return Schema(schema.name, tables)


_RESERVED = {
    "order",
    "group",
    "table",
    "index",
    "case",
    "match",
    "user",
    "set",
    "check",
    "transaction",
}


def _styled_table(table: Table, style: str) -> str:
    match style:
        case "singular":
            name = table.singular.replace(" ", "_")
            return table.name if name in _RESERVED else name
        case "camel":
            return _camel(table.name)
        case _:
            return table.name.capitalize()


def _styled_column(column: Column, style: str, tables: dict[str, str]) -> Column:
    name = _camel(column.name) if style == "camel" else column.name
    return replace(column, name=name, target=tables.get(column.target, column.target))


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)

"""How a schema and a question are written into messages."""

from __future__ import annotations

import random

from hive_expert.training.generated import Messages
from text_to_sql.database import create_statement
from text_to_sql.schema import Schema, Table

ONE_MESSAGE = 0.08
"""Share of questions that come with their schema in one message."""


def bare(table: Table) -> str:
    return f"{table.name}({', '.join(c.name for c in table.columns)})"


def typed(table: Table) -> str:
    return f"{table.name}({', '.join(f'{c.name} {c.sql_type}' for c in table.columns)})"


def system_message(schema: Schema, rng: random.Random) -> str:
    """Mostly bare columns in the ``sql`` dialect; some typed, some as CREATE TABLE."""
    form = rng.choices([bare, typed, create_statement], [86, 8, 6])[0]
    if len(schema.tables) > 2 and form is create_statement:
        form = bare  # too long
    dialect = rng.choices(["sql", "sqlite", "postgres", "mysql"], [82, 8, 6, 4])[0]
    if dialect in ("postgres", "mysql") and any(t.of_kind("bool") for t in schema.tables):
        dialect = "sqlite"  # TRUE, not 1, would be the answer there
    return f"Dialect: {dialect}\nSchema:\n" + "\n".join(form(t) for t in schema.tables)


def in_one_message(schema: Schema, question: str, rng: random.Random) -> Messages:
    """Question and schema in the user message, and no system message."""
    tables = [bare(t) for t in schema.tables]
    line = ", ".join(tables) if rng.random() < 0.5 else "; ".join(tables)
    lines = "\n".join(tables)
    ended = question if question.endswith(("?", ".")) else question + "."
    user = rng.choice(
        [
            f"{ended} Schema: {line}",
            f"{ended} Schema: {line}",
            f"{ended}\nSchema: {line}",
            f"{ended}\n\nSchema:\n{lines}",
            f"Schema: {line}\n{question}",
            f"Schema:\n{lines}\n\n{question}",
            f"Write a SQL query. {ended} Schema: {line}",
        ]
    )
    return Messages("", user)


_QUESTION_STARTS = ("Can ", "Could ", "How ", "What", "Which", "Who")


def punctuated(question: str, rng: random.Random) -> str:
    """Capital and final mark as people set them: mostly, not always."""
    is_question = question.endswith("?") or question.startswith(_QUESTION_STARTS)
    question = question.rstrip("?")
    if is_question:
        question += "?" if rng.random() < 0.93 else ""
    elif rng.random() < 0.4:
        question += "."
    small = rng.random() < 0.06
    return (question[0].lower() if small else question[0].upper()) + question[1:]

"""Which rows of a data set belong together: those that ask about one schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from hive_expert.decoding.extract_cypher import labels_in, properties_in, relationship_types_in
from hive_expert.decoding.extract_sql import tables_in
from hive_expert.decoding.prompt import Message, schema_texts
from hive_expert.decoding.prompt_schema import stated_schema
from hive_expert.errors import DecodingError
from hive_expert.training.datasets import Example


def group_of(example: Example) -> str:
    """What rows of one group have in common: the schema in their messages, else the system
    message, else the question.

    Law: one schema is one group, in whichever message it stands, before or after the question,
    and in whatever order it lists its names.
    """
    messages = [Message(m["role"], m["content"]) for m in example.messages()]
    return _schema(messages) or example.system or example.user


def _schema(messages: Sequence[Message]) -> str | None:
    """The schema's names, since a question may follow it; its text where no names are read."""
    try:
        stated = stated_schema(messages)
    except DecodingError:
        stated = None  # begins like a JSON Schema, and is none
    if stated is not None:
        return json.dumps(json.loads(stated), sort_keys=True)
    texts = [text for text in schema_texts(messages) if text.strip()]
    for text in texts:
        if names := next(filter(None, (read(text) for read in _READERS)), None):
            return json.dumps(names, sort_keys=True)
    return " ".join(texts[0].split()) if texts else None


def _tables(text: str) -> Any:
    return {table: sorted(columns) for table, columns in tables_in(text).items()}


def _graph(text: str) -> Any:
    if not (labels := labels_in(text)):
        return None
    return [sorted(labels), sorted(relationship_types_in(text)), sorted(properties_in(text))]


_READERS: tuple[Callable[[str], Any], ...] = (_tables, _graph)

"""The rows of a test split as test cases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hive_expert.decoding.prompt import Message, schema_texts
from hive_expert.decoding.prompt_schema import stated_schema
from hive_expert.errors import DecodingError
from hive_expert.training.cases import Metric, TestCase, TestSuite
from hive_expert.training.datasets import Example, FieldMapping, read_examples
from hive_expert.training.language import Language


def split_suite(path: Path, format_: str, mapping: FieldMapping, language: Language) -> TestSuite:
    """Every row of the file as a case, scored by as much as rows tell: JSON under the schema in
    the messages, Cypher by its structure where they carry a graph's; all else by its text.

    Raises DatasetError for bad rows.
    """
    examples = read_examples(path, format_, mapping)
    schemas = [_schema(one) for one in examples]
    metric: Metric = "exact_match"
    if language == "json" and all(schemas):
        metric = "json_schema"
    elif language == "cypher" and all(any(schema_texts(_messages(one))) for one in examples):
        metric = "cypher_structure"
    cases = [
        TestCase(
            id=one.where.removeprefix(f"{path.parent}/"),
            category="",
            messages=tuple(one.messages()),
            expected=one.answer,
            schema=json.loads(schema) if schema and metric == "json_schema" else None,
            language=language if metric == "exact_match" else None,
        )
        for one, schema in zip(examples, schemas, strict=True)
    ]
    return TestSuite(metric, tuple(cases))


def _schema(example: Example) -> str | None:
    try:
        return stated_schema(_messages(example))
    except DecodingError:
        return None


def _messages(example: Example) -> Sequence[Message]:
    return [Message(m["role"], m["content"]) for m in example.messages()]

"""The test cases: generated ones and hand-written ones, and the file that holds them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

from hive_expert.errors import DatasetError, Problem
from text_to_json.examples import Example
from text_to_json.schemas import COMPACT


@dataclass(frozen=True, slots=True)
class Case:
    """One question with the answer that counts as right.

    Law: ``expected`` is valid under ``schema``, and the prompt holds that schema. An empty
    ``system`` means that the user message is the only one.
    """

    id: str
    group: str
    category: str
    system: str
    user: str
    expected: str
    schema: Mapping[str, Any]

    def row(self) -> dict[str, str]:
        """The case as a row of ``test.jsonl``."""
        return {
            "input": self.system,
            "instruction": self.user,
            "response": self.expected,
            "group": self.group,
            "category": self.category,
        }

    def entry(self) -> dict[str, Any]:
        """The case as an entry of ``test_cases.json``."""
        messages = [{"role": "user", "content": self.user}]
        if self.system:
            messages.insert(0, {"role": "system", "content": self.system})
        return {
            "id": self.id,
            "category": self.category,
            "messages": messages,
            "expected": self.expected,
            "schema": self.schema,
        }


def generated_cases(examples: Iterable[Example]) -> list[Case]:
    """The examples of the test split, numbered within their group."""
    numbers: dict[str, int] = {}
    cases = []
    for e in examples:
        group = e.schema.id
        numbers[group] = number = numbers.get(group, 0) + 1
        schema = e.schema.document
        cases.append(
            Case(f"{group}-{number}", group, e.category, e.system, e.user, e.response, schema)
        )
    return cases


def hand_written_cases(path: Path) -> list[Case]:
    """Cases that a person wrote, in free phrasing.

    Raises :class:`DatasetError` with every case that breaks the law of :class:`Case`.
    """
    with path.open("rb") as file:
        tables = tomllib.load(file)
    cases: list[Case] = []
    problems: list[Problem] = []
    for name, table in tables.items():
        validator = jsonschema.Draft202012Validator(json.loads(table["schema"]))
        for number, written in enumerate(table["cases"], start=1):
            case = _hand_written(name, number, table, written)
            where = f"{path.name}: {name} {number}"
            errors = validator.iter_errors(json.loads(case.expected))
            problems += (Problem(where, e.message) for e in errors)
            if table["schema"] not in case.system + case.user:
                problems.append(Problem(where, "the message does not hold the schema"))
            cases.append(case)
    if problems:
        raise DatasetError(*problems)
    return cases


def _hand_written(
    name: str, number: int, table: Mapping[str, Any], written: Mapping[str, Any]
) -> Case:
    alone = written.get("one_message", False)
    return Case(
        id=f"hand-{name}-{number}",
        group=f"hand-{name}",
        category=f"other-hand/{'one-message' if alone else table['category']}",
        system="" if alone else f"Dialect: json\nSchema:\n{table['schema']}",
        user=written["text"],
        expected=json.dumps(
            json.loads(written["expected"]), ensure_ascii=False, separators=COMPACT
        ),
        schema=json.loads(table["schema"]),
    )


def document(cases: Iterable[Case]) -> str:
    """The text of ``test_cases.json``: format 1, metric ``json_schema``, one case a line."""
    lines = (json.dumps(case.entry(), ensure_ascii=False) for case in cases)
    body = ",\n".join(lines)
    return f'{{"format": 1, "metric": "json_schema", "fixtures": {{}}, "cases": [\n{body}\n]}}\n'

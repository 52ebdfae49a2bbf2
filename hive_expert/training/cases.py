"""The test cases of an expert: ``tests/test_cases.json``, parsed and checked.

::

    {"format": 1,
     "metric": "sql_execution" | "json_schema" | "cypher_structure" | "typescript_tests" |
               "exact_match",
     "fixtures": {"shop": "CREATE TABLE …; INSERT …"},
     "cases": [{"id": "…", "category": "…", "messages": [{"role": "…", "content": "…"}],
                "expected": "…", "fixture": "shop" | "schema": {…} | "tests": "…"}]}
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from hive_expert.errors import DatasetError, Problem
from hive_expert.training.language import Language

Metric = Literal[
    "sql_execution", "json_schema", "cypher_structure", "typescript_tests", "exact_match"
]

MAX_FILE_BYTES = 64 << 20
SEED = 12_345


@dataclass(frozen=True, slots=True)
class TestCase:
    """One question with the answer it should get.

    ``database`` is the SQLite script that the answer is run on (sql_execution); ``schema`` the
    JSON Schema that it must satisfy (json_schema); ``tests`` the TypeScript that is checked and
    run with it (typescript_tests); ``language`` what it must parse as (exact_match); none of them
    for cypher_structure, where the messages carry the graph's schema.
    """

    __test__ = False  # pytest collects classes by this name

    id: str
    category: str
    messages: tuple[Mapping[str, str], ...]
    expected: str
    database: str | None = None
    schema: Mapping[str, Any] | None = None
    tests: str | None = None
    language: Language | None = None


@dataclass(frozen=True, slots=True)
class TestSuite:
    """The cases of one expert and how they are scored. Law: ids are distinct."""

    __test__ = False

    metric: Metric
    cases: tuple[TestCase, ...]


def parse_test_cases(data: bytes, where: str = "test_cases.json") -> TestSuite:
    """Parse a file of test cases, or raise DatasetError with all that is wrong with it."""
    document = _parse_document(data, where)
    problems: list[Problem] = []
    metric: Any = document.get("metric")
    if document.get("format") != 1:
        problems.append(Problem(where, f"format is {document.get('format')!r}", "1 is known"))
    if metric not in get_args(Metric):
        known = " or ".join(get_args(Metric))
        problems.append(Problem(where, f"metric is {metric!r}", f"use {known}"))
    raw_cases: Any = document.get("cases")
    fixtures = document.get("fixtures") or {}
    if not isinstance(raw_cases, list) or not raw_cases:
        problems.append(Problem(where, "there are no cases"))
    if not isinstance(fixtures, dict):
        problems.append(Problem(where, "fixtures is not an object"))
    if problems:
        raise DatasetError(*problems)
    cases = []
    for index, raw in enumerate(raw_cases):
        wrong = list(_case_problems(raw, metric, fixtures, f"{where}: cases[{index}]"))
        problems.extend(wrong)
        if not wrong:
            cases.append(_case(raw, metric, fixtures))
    for identifier, count in Counter(case.id for case in cases).items():
        if count > 1:
            problems.append(Problem(where, f"the id {identifier!r} is used {count} times"))
    if problems:
        raise DatasetError(*problems)
    return TestSuite(metric, tuple(cases))


def every_nth(suite: TestSuite, count: int) -> TestSuite:
    """``count`` cases spread evenly over the suite, so that each category keeps its share."""
    total = len(suite.cases)
    if count >= total:
        return suite
    return replace(suite, cases=tuple(suite.cases[i * total // count] for i in range(count)))


def in_fixed_disorder(suite: TestSuite) -> TestSuite:
    """The same cases, shuffled the same way each time: those that are answered first are then a
    fair sample of all, whatever order the file has."""
    shuffled = list(suite.cases)
    random.Random(SEED).shuffle(shuffled)  # noqa: S311 - no secret
    return replace(suite, cases=tuple(shuffled))


def _parse_document(data: bytes, where: str) -> dict[str, Any]:
    if len(data) > MAX_FILE_BYTES:
        raise DatasetError(Problem(where, f"{len(data)} bytes, more than {MAX_FILE_BYTES}"))
    try:
        document = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DatasetError(Problem(where, f"not UTF-8 at byte {error.start}")) from error
    except json.JSONDecodeError as error:
        what = f"broken JSON at line {error.lineno}: {error.msg}"
        raise DatasetError(Problem(where, what)) from error
    except RecursionError as error:
        raise DatasetError(Problem(where, "JSON nested too deeply")) from error
    if not isinstance(document, dict):
        raise DatasetError(Problem(where, "not a JSON object"))
    return document


def _case_problems(
    raw: Any, metric: Metric, fixtures: Mapping[str, Any], where: str
) -> Iterator[Problem]:
    if not isinstance(raw, dict):
        yield Problem(where, "not an object")
        return
    for field in ("id", "expected"):
        if not isinstance(raw.get(field), str) or not raw[field]:
            yield Problem(where, f"{field} is not a text")
    if not isinstance(raw.get("category", ""), str):
        yield Problem(where, "category is not a text")
    messages = raw.get("messages")
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        yield Problem(where, "messages is not a list of {role, content}")
    if metric == "sql_execution":
        if not isinstance(fixtures.get(str(raw.get("fixture"))), str):
            yield Problem(where, f"there is no fixture {raw.get('fixture')!r}")
    elif metric == "json_schema" and not isinstance(raw.get("schema"), dict):
        yield Problem(where, "schema is not an object")
    elif metric == "typescript_tests" and not isinstance(raw.get("tests"), str):
        yield Problem(where, "tests is not a text")


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"role", "content"}
        and all(isinstance(text, str) for text in value.values())
    )


def _case(raw: Mapping[str, Any], metric: Metric, fixtures: Mapping[str, str]) -> TestCase:
    return TestCase(
        id=raw["id"],
        category=raw.get("category", ""),
        messages=tuple(raw["messages"]),
        expected=raw["expected"],
        database=fixtures[raw["fixture"]] if metric == "sql_execution" else None,
        schema=raw["schema"] if metric == "json_schema" else None,
        tests=raw["tests"] if metric == "typescript_tests" else None,
        language="none" if metric == "exact_match" else None,
    )

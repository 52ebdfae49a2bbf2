"""Scores one answer: the same case and answer always give the same score."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jsonschema
import referencing.exceptions

from hive_expert.decoding.cypher import parse_cypher
from hive_expert.decoding.cypher_query import Query
from hive_expert.decoding.extract_cypher import (
    labels_in,
    properties_in,
    relationship_types_in,
)
from hive_expert.decoding.json_schema import validator_of
from hive_expert.decoding.prompt import Message, schema_texts
from hive_expert.decoding.validators import Check, Rule, check_for, validate
from hive_expert.errors import DatasetError, DecodingError, Problem
from hive_expert.training.cases import TestCase, TestSuite
from hive_expert.training.cypher_structure import names_used, same_structure
from hive_expert.training.json_fields import equal_fields, same_json
from hive_expert.training.sql_execution import (
    QueryError,
    is_ordered,
    run_query,
    same_result,
    single_query,
)
from hive_expert.training.typescript_checks import Checker, Program

_FENCED = re.compile(r"```[a-zA-Z]*\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CaseScore:
    """What an answer is worth.

    ``correct``: it gives the expected result, or is the expected query in other words (Cypher),
    or its types are right together with its tests, and they pass (TypeScript), or it is the
    expected text but for white space (exact match).
    ``valid``: it runs (SQL), it satisfies the schema (JSON), it parses and names nothing that
    the schema has not (Cypher), it parses (TypeScript, exact match). ``clean``: the whole answer
    is one statement, one JSON object or nothing but code.
    ``reason`` says why it is not correct. ``fields`` is the share of the object's fields that are
    right (`equal_fields`), and None where no object is asked for.

    An answer in one code fence is taken out of it for ``correct`` and ``valid``, since that is
    how a chat model that was not trained for the task writes; it is not ``clean``.
    Law: correct implies valid.
    """

    correct: bool
    valid: bool
    clean: bool
    reason: str = ""
    fields: float | None = None


def score_case(case: TestCase, answer: str) -> CaseScore:
    """Score an answer by the kind of its case.

    Raises TrainingError for TypeScript where Node or its compiler is missing.
    """
    if case.database is not None:
        return _score_sql(case, answer)
    if case.tests is not None:
        return _score_typescript(case, answer)
    if case.language is not None:
        return _score_text(case, answer)
    return _score_json(case, answer) if case.schema is not None else _score_cypher(case, answer)


Score = Callable[[Sequence[tuple[TestCase, str]]], list[CaseScore]]
"""How answers are scored: here, or apart (`scoring_apart`) where the cases are a stranger's."""


def score_all(answers: Sequence[tuple[TestCase, str]]) -> list[CaseScore]:
    """Score several answers."""
    return [score_case(case, answer) for case, answer in answers]


def check_expected(suite: TestSuite, score: Score = score_all) -> None:
    """Raise DatasetError unless every expected answer scores as correct.

    A case that its own answer fails would count against every model.
    """
    scores = score([(case, case.expected) for case in suite.cases])
    problems = [
        Problem(f"case {case.id}", f"its expected answer fails: {found.reason}")
        for case, found in zip(suite.cases, scores, strict=True)
        if not found.correct
    ]
    if problems:
        raise DatasetError(*problems)


def _score_sql(case: TestCase, answer: str) -> CaseScore:
    assert case.database is not None
    clean = single_query(answer) is not None
    try:
        expected = run_query(case.database, case.expected)
    except QueryError as error:
        return CaseScore(False, False, clean, f"the expected query: {error}")
    try:
        actual = run_query(case.database, _unfenced(answer))
    except QueryError as error:
        return CaseScore(False, False, clean, str(error))
    if same_result(expected, actual, ordered=is_ordered(case.expected)):
        return CaseScore(True, True, clean)
    reason = f"{len(actual)} rows differ from the {len(expected)} expected"
    return CaseScore(False, True, clean, reason)


def _score_json(case: TestCase, answer: str) -> CaseScore:
    assert case.schema is not None
    clean = isinstance(_parse(answer), dict)
    value = _parse(_unfenced(answer))
    if value is _BROKEN:
        return CaseScore(False, False, clean, "not JSON", 0.0)
    expected = _parse(case.expected)
    fields = equal_fields(expected, value)
    broken = _schema_violation(value, case.schema)
    if broken is not None:
        return CaseScore(False, False, clean, broken, fields)
    if same_json(value, expected):
        return CaseScore(True, True, clean, "", fields)
    return CaseScore(False, True, clean, "fields differ from the expected ones", fields)


def _score_cypher(case: TestCase, answer: str) -> CaseScore:
    clean = isinstance(_parse_query(answer), Query)
    expected, actual = _parse_query(case.expected), _parse_query(_unfenced(answer))
    if isinstance(expected, str):
        return CaseScore(False, False, clean, f"the expected query: {expected}")
    if isinstance(actual, str):
        return CaseScore(False, False, clean, actual)
    unknown = _unknown_names(case, actual)
    if unknown:
        return CaseScore(False, False, clean, f"not in the schema: {', '.join(unknown)}")
    if same_structure(expected, actual):
        return CaseScore(True, True, clean)
    return CaseScore(False, True, clean, "another query than the expected one")


def _score_typescript(case: TestCase, answer: str) -> CaseScore:
    assert case.tests is not None
    clean = _syntax_error(answer) is None
    code = _unfenced(answer)
    broken = _syntax_error(code)
    if broken is not None:
        return CaseScore(False, False, clean, broken)
    (verdict,) = _typescript().check([Program(code, case.tests)])
    return CaseScore(not verdict.reason, True, clean, verdict.reason)


def _score_text(case: TestCase, answer: str) -> CaseScore:
    assert case.language is not None
    text = _unfenced(answer).strip()
    broken = None if text else "empty"
    if case.language != "none":
        messages = [Message(m["role"], m["content"]) for m in case.messages]
        broken = validate(check_for(Rule(case.language), messages), text)
    if broken is not None:
        return CaseScore(False, False, False, broken)
    clean = text == answer.strip()
    if text.split() == case.expected.split():
        return CaseScore(True, True, clean)
    return CaseScore(False, True, clean, "another text than the expected one")


def _syntax_error(code: str) -> str | None:
    return validate(Check("typescript", None, None), code)


@cache
def _typescript() -> Checker:
    """Started with the first answer; its process ends with this one."""
    return Checker()


def _parse_query(text: str) -> Query | str:
    """The query, or why it is none."""
    try:
        return parse_cypher(text)
    except DecodingError as error:
        return error.problems[0].what


def _unknown_names(case: TestCase, query: Query) -> list[str]:
    """Labels, types and properties of the query that the messages' schema has not."""
    texts = tuple(schema_texts([Message(m["role"], m["content"]) for m in case.messages]))
    known = (labels_in, relationship_types_in, properties_in)
    return [
        name
        for names, read in zip(names_used(query), known, strict=True)
        for name in sorted(names - {name for text in texts for name in read(text)})
    ]


def _unfenced(answer: str) -> str:
    blocks = _FENCED.findall(answer)
    return blocks[0] if len(blocks) == 1 else answer


_BROKEN = object()


def _parse(text: str) -> Any:
    """The text as JSON, or ``_BROKEN``; NaN, Infinity and repeated keys are not JSON."""
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        return _BROKEN


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("repeated key")
    return value


def _schema_violation(value: Any, schema: Mapping[str, Any]) -> str | None:
    try:
        error = jsonschema.exceptions.best_match(validator_of(schema).iter_errors(value))
    except (referencing.exceptions.Unresolvable, jsonschema.exceptions.SchemaError) as problem:
        return f"the schema: {problem}"
    return None if error is None else f"{error.json_path}: {error.message}"

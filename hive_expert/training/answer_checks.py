"""Whether an answer of the training data is what its expert should write, and small repairs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from hive_expert.decoding.cypher import parse_cypher
from hive_expert.decoding.prompt import Message, dialect_of
from hive_expert.decoding.validators import Rule, check_for, sql_dialect, validate
from hive_expert.errors import DecodingError
from hive_expert.manifest.model import Manifest
from hive_expert.training.datasets import Example
from hive_expert.training.language import LANGUAGES, Language

_FENCE = re.compile(r"\A\s*```\w*\n(.*?)\n?```\s*\Z", re.DOTALL)

Check = Callable[[Example], str]
"""From an example to its answer, repaired. Raises ValueError saying why it is none."""


def language_of(manifest: Manifest | None) -> Language:
    """What the expert's capabilities say that it writes."""
    stated = {c.partition(":")[2] for c in (manifest.capabilities if manifest else ())}
    return next((one for one in LANGUAGES if one in stated), "none")


def _sql(example: Example) -> str:
    """One statement that sqlglot reads in the prompt's dialect, ended by a semicolon."""
    answer = _unfenced(example.answer).rstrip("; \n") + ";"
    dialect = sql_dialect(dialect_of(_messages(example)))
    reason = validate(check_for(Rule("sql", dialect), _messages(example)), answer)
    if reason is not None:
        raise ValueError(reason)
    return answer


def _json(example: Example) -> str:
    """One object, valid under the prompt's schema where it has one, written compactly."""
    answer = _unfenced(example.answer)
    reason = validate(check_for(Rule("json"), _messages(example)), answer)
    if reason is not None:
        raise ValueError(reason)
    return json.dumps(json.loads(answer), ensure_ascii=False, separators=(",", ":"))


def _cypher(example: Example) -> str:
    answer = _unfenced(example.answer).rstrip("; \n")
    try:
        parse_cypher(answer)
    except DecodingError as error:
        raise ValueError(error.problems[0].what) from error
    return answer


def _typescript(example: Example) -> str:
    answer = _unfenced(example.answer)
    reason = validate(check_for(Rule("typescript"), _messages(example)), answer)
    if reason is not None:
        raise ValueError(reason)
    return answer


def _anything(example: Example) -> str:
    return example.answer.strip()


CHECKS: Mapping[Language, Check] = MappingProxyType(
    {"sql": _sql, "json": _json, "cypher": _cypher, "typescript": _typescript, "none": _anything}
)


def _messages(example: Example) -> tuple[Message, ...]:
    return tuple(Message(m["role"], m["content"]) for m in example.messages())


def _unfenced(answer: str) -> str:
    """Out of the code fence that chat models put around it."""
    fenced = _FENCE.match(answer)
    return (fenced[1] if fenced else answer).strip()

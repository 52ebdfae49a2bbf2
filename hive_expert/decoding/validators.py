"""Whether a finished answer is what its expert promises: JSON, or SQL. SPEC section 7.

:func:`validate` parses text that a model wrote, under a schema that anybody wrote, so a server
runs it in a child (`validate_child.py`). What is checked is form, by a real parser; whether the
answer is true is another question.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from hive_expert.decoding.prompt import Message, dialect_of
from hive_expert.decoding.prompt_schema import stated_schema
from hive_expert.errors import DecodingError
from hive_expert.manifest.strict_json import read_json

Kind: TypeAlias = Literal["json", "sql"]

MAX_ANSWER = 256 * 1024
"""Characters of an answer that is parsed."""
MAX_REASON = 160

SQL_DIALECTS = frozenset(
    {"athena", "bigquery", "clickhouse", "databricks", "dax", "doris", "dremio", "drill"}
    | {"druid", "duckdb", "dune", "exasol", "fabric", "hive", "materialize", "mysql", "oracle"}
    | {"postgres", "presto", "prql", "redshift", "risingwave", "snowflake"}
    | {"solr", "spark", "spark2", "sqlite", "starrocks", "tableau", "teradata", "trino", "tsql"}
)
"""Names that sqlglot knows. Others, `sql` among them, mean its own common SQL."""
_ALIASES = {"postgresql": "postgres", "sqlserver": "tsql", "mssql": "tsql", "mariadb": "mysql"}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a manifest's `training.decoding.validation` asks for."""

    kind: Kind
    dialect: str | None = None
    json_schema: str | None = None
    """Compact JSON."""


@dataclass(frozen=True, slots=True)
class Check:
    """A rule for one request: the messages' dialect and schema count first."""

    kind: Kind
    dialect: str | None
    json_schema: str | None

    def message(self, answer: str) -> dict[str, Any]:
        """For the child."""
        return {**asdict(self), "answer": answer}


def check_for(rule: Rule, messages: Sequence[Message]) -> Check:
    """The check of this request's answer."""
    named = dialect_of(messages) if rule.kind == "sql" else None
    schema = _stated(messages) if rule.kind == "json" else None
    dialect = sql_dialect(named) or sql_dialect(rule.dialect)
    return Check(rule.kind, dialect, schema or rule.json_schema)


def _stated(messages: Sequence[Message]) -> str | None:
    try:
        return stated_schema(messages)
    except DecodingError:
        return None


def sql_dialect(name: str | None) -> str | None:
    """sqlglot's name for a dialect; None for one it does not know."""
    name = _ALIASES.get(name or "", name)
    return name if name in SQL_DIALECTS else None


def validate(check: Check, answer: str) -> str | None:
    """Why the answer is not what it should be, in one line of printable ASCII; None if it is."""
    if len(answer) > MAX_ANSWER:
        return f"longer than {MAX_ANSWER} characters"
    reason = _json_reason(check, answer) if check.kind == "json" else _sql_reason(check, answer)
    return None if reason is None else _one_line(reason)


def _json_reason(check: Check, answer: str) -> str | None:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    try:
        value = read_json(answer.encode(), "", error=DecodingError, max_bytes=4 * MAX_ANSWER)
    except (DecodingError, UnicodeEncodeError) as error:
        return f"not JSON: {error}"
    if check.json_schema is None:
        return None
    schema = json.loads(check.json_schema)
    kind = validator_for(schema, default=Draft202012Validator)
    broken = next(kind(schema).iter_errors(value), None)
    return None if broken is None else f"{broken.json_path}: {broken.message}"


def _sql_reason(check: Check, answer: str) -> str | None:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        statements = [s for s in sqlglot.parse(answer, read=check.dialect) if s is not None]
    except SqlglotError as error:
        return f"not SQL: {error}"
    except RecursionError:
        return "nested too deep"
    if len(statements) != 1:
        return f"{len(statements)} statements, not one"
    # What sqlglot cannot parse but knows the first word of, it hands through as a command.
    return "not a statement that is understood" if isinstance(statements[0], exp.Command) else None


def _one_line(text: str) -> str:
    line = " ".join(text.split())[:MAX_REASON]
    return "".join(c if " " <= c <= "~" else "?" for c in line)

"""Whether a finished answer is what its expert promises: JSON, SQL, Cypher or TypeScript. SPEC
section 7.

:func:`validate` parses text that a model wrote, under a schema that anybody wrote, so a server
runs it in a child (`validate_child.py`). What is checked is form, by a real parser; whether the
answer is true is another question. Of Cypher it is the part that reads (`cypher.py`): a statement
that changes the database is no answer to a question.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from jsonschema.exceptions import UnknownType
from referencing.exceptions import Unresolvable

from hive_expert.decoding.cypher import parse_cypher
from hive_expert.decoding.json_schema import validator_of
from hive_expert.decoding.prompt import Message, dialect_of
from hive_expert.decoding.prompt_schema import stated_schema
from hive_expert.errors import DecodingError
from hive_expert.manifest.strict_json import read_json

Kind: TypeAlias = Literal["json", "sql", "cypher", "typescript"]

MAX_ANSWER = 256 * 1024
"""Characters of an answer that is parsed."""
MAX_REASON = 160
_OF_SCHEMAS = (
    *(Unresolvable, UnknownType, RecursionError, re.error),
    *(AttributeError, LookupError, TypeError, ValueError),
)
"""What schemas raise that their drafts allow: references to nothing, to themselves or to what is no
schema, and patterns that are none."""

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
    reason = _REASONS[check.kind](check, answer)
    return None if reason is None else _one_line(reason)


def _json_reason(check: Check, answer: str) -> str | None:
    try:
        value = read_json(answer.encode(), "", error=DecodingError, max_bytes=4 * MAX_ANSWER)
    except (DecodingError, UnicodeEncodeError) as error:
        return f"not JSON: {error}"
    if check.json_schema is None:
        return None
    schema = json.loads(check.json_schema)
    try:
        broken = next(validator_of(schema).iter_errors(value), None)
    except _OF_SCHEMAS as error:
        return f"not checked against its schema, which is broken: {type(error).__name__}"
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


def _cypher_reason(check: Check, answer: str) -> str | None:
    try:
        parse_cypher(answer)
    except DecodingError as error:
        return f"not a Cypher query that reads: {error}"
    return None


def _typescript_reason(check: Check, answer: str) -> str | None:
    import tree_sitter_typescript
    from tree_sitter import Language, Parser

    source = answer.encode(errors="replace")
    if not source.strip():
        return "no code"
    if source.lstrip().startswith(b"```"):
        return "not TypeScript: a code fence"  # though it parses, as template literals in a row
    parser = Parser(Language(tree_sitter_typescript.language_typescript()))
    tree = parser.parse(source)
    if not tree.root_node.has_error:
        return None
    wrong = _first_error(tree.walk())
    line, column = wrong.start_point
    found = f"{wrong.type} is missing" if wrong.is_missing else "unexpected text"
    return f"not TypeScript: {found} at {line + 1}:{column + 1}"


def _first_error(cursor: Any) -> Any:
    """The first node that the parser did not understand, or missed. There is one."""
    while True:
        node = cursor.node
        if node.is_error or node.is_missing:
            return node
        entered = cursor.goto_first_child()
        while entered and not cursor.node.has_error:
            entered = cursor.goto_next_sibling()
        if not entered:
            return node


_REASONS: Mapping[Kind, Callable[[Check, str], str | None]] = {
    "json": _json_reason,
    "sql": _sql_reason,
    "cypher": _cypher_reason,
    "typescript": _typescript_reason,
}


def _one_line(text: str) -> str:
    line = " ".join(text.split())[:MAX_REASON]
    return "".join(c if " " <= c <= "~" else "?" for c in line)

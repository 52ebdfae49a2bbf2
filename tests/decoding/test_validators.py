"""A finished answer is what it should be, or the reason is told in one line."""

from __future__ import annotations

import pytest
from sqlglot.dialects.dialect import Dialects

from hive_expert.decoding.child import Child
from hive_expert.decoding.prompt import Message
from hive_expert.decoding.validators import SQL_DIALECTS, Check, Rule, check_for, validate

SCHEMA = '{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"]}'

CYPHER = Check("cypher", None, None)
TYPESCRIPT = Check("typescript", None, None)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (Check("json", None, None), '{"a": [1, null]}'),
        (Check("json", None, SCHEMA), '{"age": 3}'),
        (Check("sql", None, None), "SELECT name FROM users WHERE age > 25;"),
        (Check("sql", "postgres", None), "SELECT a::text FROM t WHERE b ILIKE '%x%'"),
        (CYPHER, "MATCH (p:Person)-[:ACTED_IN]->(m:Movie) WHERE m.year > 1999 RETURN p.name;"),
        (CYPHER, "MATCH (n) RETURN count(*) AS n ORDER BY n LIMIT 3"),
        (TYPESCRIPT, "export const sum = <T extends number>(...xs: T[]): number => 0;"),
        (TYPESCRIPT, "interface A { b?: string | null }\nenum C { D = 1 }\n"),
        (TYPESCRIPT, "const s: string = `größer ${1 + 2}`; // 谁\n"),
    ],
)
def test_what_is_right_passes(check: Check, answer: str) -> None:
    assert validate(check, answer) is None


@pytest.mark.parametrize(
    ("check", "answer", "reason"),
    [
        (Check("json", None, None), '{"a": 1', "not JSON"),
        (TYPESCRIPT, "```ts\nconst a = 1;\n```", "a code fence"),
        (Check("json", None, None), 'Here it is: {"a": 1}', "not JSON"),
        (Check("json", None, None), '{"a": 1, "a": 2}', "not JSON"),
        (Check("json", None, None), "\ud800", "not JSON"),
        (Check("json", None, SCHEMA), '{"age": "three"}', "$.age: 'three' is not of type"),
        (Check("json", None, SCHEMA), "{}", "'age' is a required"),
        (Check("sql", None, None), "SELECT FROM WHERE", "not SQL"),
        (Check("sql", None, None), "SELECT 1; SELECT 2;", "2 statements"),
        (Check("sql", None, None), "", "0 statements"),
        (Check("sql", None, None), "Sure! Here is the query you wanted:", "not SQL"),
        (Check("sql", None, None), "x" * 300_000, "longer than"),
        (CYPHER, "MATCH (p:Person RETURN p", "not a Cypher query that reads: character 17"),
        (CYPHER, "SELECT 1", "not a Cypher query"),
        (CYPHER, "CREATE (n:Person)", "not a Cypher query"),
        (CYPHER, "", "not a Cypher query"),
        (TYPESCRIPT, "function f(a: string { return a }", "not TypeScript: "),
        (TYPESCRIPT, "let x: number = 1;\nlet y = (2;\n", "not TypeScript: ) is missing at 2:11"),
        (TYPESCRIPT, "Sure! Here is the code you wanted:", "unexpected text at 1:"),
        (TYPESCRIPT, " \n", "no code"),
        (TYPESCRIPT, "\ud800 let", "not TypeScript"),
    ],
)
def test_what_is_wrong_is_told(check: Check, answer: str, reason: str) -> None:
    told = validate(check, answer)
    assert told is not None
    assert reason in told
    assert len(told) <= 160
    assert told.isascii() and told.isprintable()


@pytest.mark.parametrize(
    "schema",
    [
        '{"$ref":"#/$defs/nope"}',
        '{"$ref":"#"}',
        '{"$ref":"#/enum/x","enum":[]}',
        '{"$ref":"#/const","const":"text"}',
        '{"$ref":"#/default","default":{"type":"secret"}}',
        '{"$ref":"#/default","default":{"required":3}}',
        '{"$ref":"#/default","default":{"properties":"secret"}}',
        '{"properties":{"age":{"pattern":"(secret"}}}',
    ],
)
def test_a_schema_that_nothing_can_be_checked_against_is_told(schema: str) -> None:
    reason = validate(Check("json", None, schema), '{"age": "three"}')
    assert reason is not None
    assert reason.startswith("not checked against its schema")
    assert "secret" not in reason


def test_the_messages_decide_dialect_and_schema_before_the_manifest() -> None:
    rule = Rule("sql", "mysql")
    assert check_for(rule, [Message("system", "Dialect: postgresql")]).dialect == "postgres"
    assert check_for(rule, [Message("system", "Dialect: sql")]).dialect == "mysql"
    assert check_for(rule, []).dialect == "mysql"
    rule = Rule("json", None, "{}")
    assert check_for(rule, [Message("user", f"Schema: {SCHEMA}")]).json_schema == SCHEMA
    assert check_for(rule, [Message("user", "Schema: {broken")]).json_schema == "{}"


def test_the_dialects_are_those_of_sqlglot() -> None:
    assert {d.value for d in Dialects if d.value} == SQL_DIALECTS


SQL = Check("sql", None, None)


@pytest.mark.parametrize(
    ("check", "sound", "deep"),
    [
        (SQL, "SELECT 1", "SELECT " + "(" * 3000 + "1" + ")" * 3000),
        (CYPHER, "RETURN 1", "RETURN " + "(" * 3000 + "1" + ")" * 3000),
        (TYPESCRIPT, "let a = 1", "let a = " + "(" * 100_000),
    ],
)
async def test_the_child_checks_and_survives_deep_nesting(
    check: Check, sound: str, deep: str
) -> None:
    child = Child("hive_expert.decoding.validate_child")
    try:
        assert (await child.ask(check.message(sound), limit_s=20))["reason"] is None
        assert (await child.ask(check.message(deep), limit_s=20))["reason"]
        assert (await child.ask(check.message(sound), limit_s=20))["reason"] is None
    finally:
        await child.close()

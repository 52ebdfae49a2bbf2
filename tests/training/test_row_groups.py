from __future__ import annotations

import pytest

from hive_expert.training.datasets import Example
from hive_expert.training.row_groups import group_of

SQL = "users(id, name, age)\norders(id, total)"
CYPHER = "(:Person {name})-[:ACTED_IN {role}]->(:Movie {title})"
JSON = '{"type":"object","properties":{"a":{"type":"string"}}}'


def group(user: str, system: str = "") -> str:
    return group_of(Example(system, user, "answer", "x:1"))


@pytest.mark.parametrize("schema", [SQL, CYPHER, JSON, "two lists,\nof names"])
def test_a_schema_is_one_group_in_whichever_message_it_stands(schema: str) -> None:
    apart = group("How many?", f"Dialect: x\nSchema:\n{schema}")
    assert group(f"How many? Schema: {schema}") == apart
    assert group(f"Which one?\nSchema:\n{schema}") == apart
    assert group("Which one?", "Answer briefly.") != apart


@pytest.mark.parametrize("schema", [SQL, CYPHER, JSON])
def test_a_question_may_follow_the_schema(schema: str) -> None:
    assert group(f"Schema: {schema}\nHow many are there?") == group(f"All? Schema: {schema}")


@pytest.mark.parametrize(
    ("schema", "same"),
    [
        (SQL, "orders(total, id), users(age, id, name)"),
        (CYPHER, "(:Movie {title})<-[:ACTED_IN {role}]-(:Person {name})"),
        (JSON, '{"properties": {"a": {"type": "string"}}, "type": "object"}'),
    ],
)
def test_the_order_of_names_makes_no_other_schema(schema: str, same: str) -> None:
    assert group(f"All? Schema: {same}") == group(f"All? Schema: {schema}")


@pytest.mark.parametrize(
    ("schema", "other"),
    [(SQL, "users(id)"), (CYPHER, "(:Person {age})"), (JSON, '{"type":"object"}')],
)
def test_other_names_are_another_schema(schema: str, other: str) -> None:
    assert group(f"All? Schema: {other}") != group(f"All? Schema: {schema}")


def test_without_a_schema_the_system_message_or_the_question_is_the_group() -> None:
    assert group("a", "system") == group("b", "system") == "system"
    assert group("a") == "a"

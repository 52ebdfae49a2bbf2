"""What a request's messages say, in the forms that people write them."""

from __future__ import annotations

import pytest

from hive_expert.decoding.prompt import (
    MAX_CHARACTERS,
    MAX_SCHEMAS,
    Message,
    dialect_of,
    messages_of,
    schema_texts,
)


def test_texts_come_from_strings_and_from_parts_of_text() -> None:
    parts = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "text", "text": "b"},
    ]
    body = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": parts}]}
    assert messages_of(body) == (Message("system", "s"), Message("user", "a\nb"))


@pytest.mark.parametrize(
    "asked",
    [
        "q",
        [{"role": "user", "content": "q"}],
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "q"}]}],
        [{"role": "user", "content": "q"}, {"type": "function_call_output", "output": "r"}],
    ],
)
def test_a_responses_request_has_messages_too(asked: object) -> None:
    body = {"instructions": "s", "input": asked}
    assert messages_of(body) == (Message("system", "s"), Message("user", "q"))


@pytest.mark.parametrize("asked", [None, 3, [3], [{"role": 3}], {"role": "user"}])
def test_nothing_odd_in_an_input_raises(asked: object) -> None:
    assert all(m.text == "" for m in messages_of({"input": asked, "instructions": 3}))


TEMPLATED = (
    "<|im_start|>system\nSchema:\nusers(id)<|im_end|>\n"
    "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        ("Find all. Schema: users(id)", [("user", "Find all. Schema: users(id)")]),
        (["q"], [("user", "q")]),
        (TEMPLATED, [("system", "Schema:\nusers(id)"), ("user", "q"), ("assistant", "")]),
        (["q", "r"], []),
        ([1, 2], []),
        ([[1, 2]], []),
        ([], []),
        (None, []),
        (3, []),
    ],
)
def test_a_prompt_is_read_as_the_conversation_it_was_rendered_from(
    prompt: object, messages: list[tuple[str, str]]
) -> None:
    assert messages_of({"prompt": prompt}) == tuple(Message(*m) for m in messages)


@pytest.mark.parametrize("messages", [None, 3, "x", [3], [{"content": 3}], [{"role": "user"}]])
def test_nothing_odd_raises(messages: object) -> None:
    assert all(m.text == "" for m in messages_of({"messages": messages}))


def test_the_system_message_comes_before_the_last_of_the_user_s() -> None:
    messages = [
        Message("system", "Dialect: sql\nSchema:\nusers(id)"),
        Message("user", "Old. Schema: old(id)"),
        Message("assistant", "Schema: mine(id)"),
        Message("user", "Find all. schema: new(id)"),
    ]
    assert list(schema_texts(messages)) == ["users(id)", "new(id)"]
    assert dialect_of(messages) == "sql"


def test_a_message_beyond_the_limit_is_not_searched() -> None:
    assert list(schema_texts([Message("system", "Schema: " + "x" * MAX_CHARACTERS)])) == []


def test_messages_share_the_limit() -> None:
    long = Message("system", "Schema: " + "x" * (MAX_CHARACTERS - 20))
    second = Message("system", "Schema: users(id) and more")
    assert list(schema_texts([long, second])) == [long.text.removeprefix("Schema: ")]


def test_of_a_word_that_is_repeated_only_the_first_count() -> None:
    many = Message("system", "Schema:\n" * 10_000)
    user = Message("user", "Schema: users(id)")
    assert len(list(schema_texts([many, many, user]))) == MAX_SCHEMAS


def test_dialects_are_read_in_lower_case_and_only_as_a_line() -> None:
    assert dialect_of([Message("system", "dialect: Postgres\nSchema:")]) == "postgres"
    assert dialect_of([Message("user", "the dialect: it is a story")]) is None

from __future__ import annotations

import pytest

from hive_expert.router.turns import (
    HEAD,
    MAX_USER_TURNS,
    TAIL,
    Turn,
    bounded,
    continued,
    instruction_of,
    request_of,
    requests_of,
    turns_of,
)


def test_turns_come_from_messages_in_openai_s_form() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"text": "two"}]},
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "42"},
        {"content": "nobody says this"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, "text"]},
    ]
    assert turns_of(messages) == (
        Turn("system", "Be brief."),
        Turn("user", "one\ntwo"),
        Turn("assistant", ""),
        Turn("user", ""),
    )


def test_requests_are_the_last_user_messages_each_with_all_system_messages() -> None:
    turns = [Turn("system", "a"), *(Turn("user", str(n)) for n in range(9)), Turn("system", "b")]
    requests = requests_of(turns)
    assert [request.text for request in requests] == ["5", "6", "7", "8"]
    assert len(requests) == MAX_USER_TURNS
    assert {request.system for request in requests} == {"a\nb"}


def test_assistant_messages_are_not_requests() -> None:
    assert requests_of([Turn("assistant", "SELECT 1;")]) == ()


def test_a_long_text_keeps_its_start_and_its_end() -> None:
    text = "START" + "x" * 100_000 + "END"
    cut = bounded(text)
    assert cut.startswith("START")
    assert cut.endswith("END")
    assert len(cut) == HEAD + TAIL + 1


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Explain this: ```SELECT 1;``` please", "Explain this:   please"),
        ('Translate "a sentence in a foreign tongue" now', "Translate   now"),
        ("Type {name: string} it", "Type   it"),
        ("an open block ```SELECT 1", "an open block  "),
        ("«une longue citation» en anglais", "  en anglais"),
    ],
)
def test_the_instruction_is_without_its_data(text: str, kept: str) -> None:
    assert instruction_of(text) == kept


@pytest.mark.parametrize("text", ['{"a": 1}', '"only a long quotation"', "```x```", "123", ""])
def test_data_alone_is_its_own_instruction(text: str) -> None:
    assert instruction_of(text) == text


def test_a_line_too_long_for_a_request_is_data() -> None:
    row = "1,2,3," * 100
    assert instruction_of(f"Sum the column.\n{row}\nThanks") == "Sum the column.\nThanks"
    assert instruction_of(f"Sum this: {row}").startswith("Sum this: 1,2")


def test_the_demand_ends_where_data_may_follow_a_colon() -> None:
    assert request_of("Turn this into JSON: explain it to me").demand == "Turn this into JSON"
    assert request_of("Note: do it").demand == "Note: do it"


@pytest.mark.parametrize("text", ["", "  \n ", "?!…", "😀"])
def test_without_a_letter_or_digit_nothing_is_asked(text: str) -> None:
    assert request_of(text).is_empty


def test_a_digit_is_something() -> None:
    assert not request_of("7").is_empty


def test_an_addition_is_read_together_with_what_it_adds_to() -> None:
    first = request_of("Users older than 25", "Schema: users(id)")
    both = continued(first, request_of("sorted by name", "Schema: users(id)"))
    assert both.text == "Users older than 25\nsorted by name"
    assert both.system == "Schema: users(id)"

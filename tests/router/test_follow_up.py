from __future__ import annotations

import pytest

from hive_expert.router.follow_up import MAX_WORDS, is_follow_up
from hive_expert.router.turns import request_of


@pytest.mark.parametrize(
    "text",
    [
        "now sort them by name",
        "Great, thanks! Only those from Paris",
        "and without duplicates",
        "can you also limit it to ten",
        "what about last year?",
        "make the number a string",
        "descending",
        "rewrite it with a join",
        "could it be shorter",
        "I meant those of last year",
        "handle null as well",
    ],
)
def test_additions(text: str) -> None:
    assert is_follow_up(request_of(text))


@pytest.mark.parametrize(
    "text",
    [
        "Tell me a joke",
        "Write a TypeScript function that sorts",
        "What is a join?",
        "and what is a join?",
        "nowadays everything is sorted",
        "Is that right?",
        "Tell me more about those",
        "Thanks",
        "now " + "word " * MAX_WORDS,
        "",
    ],
)
def test_messages_that_stand_alone(text: str) -> None:
    assert not is_follow_up(request_of(text))

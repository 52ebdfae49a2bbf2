from __future__ import annotations

import pytest

from hive_expert.router.cue_words import word_cues
from hive_expert.router.generic import generic_cues, is_generic


@pytest.mark.parametrize(
    ("text", "cue"),
    [
        ("explain what select does", "explains"),
        ("so, could you please tell me about joins", "explains"),
        ("what is a graph database?", "what is"),
        ("ok, what are enums", "what is"),
        ("what does match mean in cypher?", "what does"),
        ("how do i install neo4j", "how to"),
        ("hello, how are indexes stored?", "how to"),
        ("why is sql declarative", "why"),
        ("who invented json", "why"),
    ],
)
def test_general_questions(text: str, cue: str) -> None:
    cues = generic_cues(text)
    assert cues[cue]
    assert is_generic(cues)


@pytest.mark.parametrize(
    "text",
    [
        "what is the average salary per department",
        "what are the titles of the longest films",
        "find all users older than 25",
        "write a function that describes a user",
        "how many orders are there",
        "define an interface for users",
        "",
    ],
)
def test_requests_for_work(text: str) -> None:
    assert not is_generic(generic_cues(text))


@pytest.mark.parametrize(
    ("text", "cue"),
    [
        ("sql versus nosql", "compares"),
        ("a tutorial for typescript", "teaches"),
        ("is json better", "yes or no"),
    ],
)
def test_hints_alone_make_no_general_question(text: str, cue: str) -> None:
    cues = generic_cues(text)
    assert cues.get(cue) or cue in word_cues(text)
    assert not is_generic(cues)

from __future__ import annotations

import pytest

from hive_expert.client.answers import Answer, ChainAnswer, Origin, Usage, origin_of


def answer(output: str, *experts: str, ms: float = 1.0) -> Answer:
    return Answer(output, Origin(experts), ms, Usage(2, 3))


def test_headers_tell_who_answered_and_why() -> None:
    headers = {
        "x-hive-experts": "expert-a@0.1.0:0.7, expert-b@1.0.0:0.3",
        "x-hive-route": "score=0.90; why",
        "x-hive-residency": "hit",
    }
    origin = origin_of(headers)
    assert origin.experts == ("expert-a@0.1.0:0.7", "expert-b@1.0.0:0.3")
    assert (origin.route, origin.residency, origin.validation) == ("score=0.90; why", "hit", None)


@pytest.mark.parametrize(
    ("grammar", "unbound"),
    [
        (None, None),
        ("manifest", None),
        ("prompt: its schema; known", None),
        ("none (prompt: the prompt's schema: it (still) does not end)",
         "the prompt's schema: it (still) does not end"),
        ("manifest (prompt: no table found)", "no table found"),
        ("request: tools", None),
    ],
)  # fmt: skip
def test_an_answer_that_its_prompt_did_not_bind_says_why(
    grammar: str | None, unbound: str | None
) -> None:
    origin = origin_of({} if grammar is None else {"x-hive-grammar": grammar})
    assert (origin.grammar, origin.unbound) == (grammar, unbound)


@pytest.mark.parametrize("headers", [{}, {"x-hive-experts": ""}])
def test_without_experts_the_base_answered(headers: dict[str, str]) -> None:
    assert origin_of(headers).experts == ()


def test_names_of_experts_are_without_version_and_weight() -> None:
    assert answer("x", "expert-a@0.1.0:0.7", "expert-b@1.0.0").experts_used == (
        "expert-a",
        "expert-b",
    )


def test_a_chain_adds_up_and_names_each_expert_once() -> None:
    chain = ChainAnswer(
        (answer("1", "expert-a@1"), answer("2"), answer("3", "expert-b@1", "expert-a@1", ms=4.0))
    )
    assert chain.output == "3"
    assert chain.experts_used == ("expert-a", "expert-b")
    assert chain.latency_ms == 6
    assert chain.usage == Usage(6, 9)
    assert chain.usage.total_tokens == 15

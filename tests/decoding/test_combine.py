"""A composition decodes as its heaviest member, with everybody's stops."""

from __future__ import annotations

import pytest

from hive_expert.decoding.binding import SchemaInPrompt
from hive_expert.decoding.combine import Voice, combine_contracts
from hive_expert.decoding.contract import Contract
from hive_expert.decoding.sampling_fields import MAX_STOPS
from hive_expert.decoding.validators import Rule
from hive_expert.errors import DecodingError

LEFT = Contract(temperature=0.1, top_p=0.9, max_tokens=10, stop=(";", "\n\n"), grammar="a")
RIGHT = Contract(temperature=0.4, top_k=50, stop=(";", "END"))


def test_one_alone_decodes_as_it_is() -> None:
    assert combine_contracts([Voice(LEFT, 0.3, 0)]) == LEFT


@pytest.mark.parametrize(
    ("left", "right", "leader"),
    [
        ((0.7, 1), (0.3, 9), LEFT),
        ((0.3, 9), (0.7, 1), RIGHT),
        ((1.0, 2), (1.0, 8), RIGHT),
        ((1.0, 8), (1.0, 2), LEFT),
        ((1.0, 0), (1.0, 1), RIGHT),
        ((1.0, 5), (1.0, 5), LEFT),
    ],
)
def test_the_heaviest_decides_the_sampling_and_load_order_a_tie(
    left: tuple[float, int], right: tuple[float, int], leader: Contract
) -> None:
    whole = combine_contracts([Voice(LEFT, *left), Voice(RIGHT, *right)])
    for name in ("temperature", "top_p", "top_k", "max_tokens"):
        assert getattr(whole, name) == getattr(leader, name)


def test_stops_are_united_the_leader_s_first() -> None:
    whole = combine_contracts([Voice(LEFT, 0.3, 0), Voice(RIGHT, 0.7, 0)])
    assert whole.stop == (";", "END", "\n\n")


@pytest.mark.parametrize(
    ("grammars", "expected"),
    [
        (("a", None), "a"),
        ((None, "a"), "a"),
        (("a", "a"), "a"),
        (("a", "a", None), "a"),
        (("a", "b"), None),
        ((None, None), None),
    ],
)
def test_a_grammar_holds_if_all_that_have_one_agree(
    grammars: tuple[str | None, ...], expected: str | None
) -> None:
    voices = [Voice(Contract(grammar=grammar), 1, 0) for grammar in grammars]
    assert combine_contracts(voices).grammar == expected


def test_a_grammar_and_a_schema_do_not_agree() -> None:
    voices = [Voice(Contract(grammar="a"), 1, 0), Voice(Contract(json_schema="{}"), 1, 0)]
    whole = combine_contracts(voices)
    assert (whole.grammar, whole.json_schema) == (None, None)


def test_what_the_prompt_says_goes_with_the_structure() -> None:
    bound, plain = Contract(binding=SchemaInPrompt()), Contract(temperature=1)
    assert combine_contracts([Voice(bound, 1, 0), Voice(plain, 1, 0)]).binding == SchemaInPrompt()
    other = Contract(grammar="a", binding=SchemaInPrompt())
    assert not combine_contracts([Voice(bound, 1, 0), Voice(other, 1, 0)]).constrains


def test_answers_are_checked_if_all_that_check_agree() -> None:
    json, sql = (Voice(Contract(validation=Rule(kind)), 1, 0) for kind in ("json", "sql"))
    assert combine_contracts([json, Voice(Contract(), 1, 0)]).validation == Rule("json")
    assert combine_contracts([json, sql]).validation is None


def test_experts_of_different_templates_do_not_go_together() -> None:
    alpaca, own = Contract(template="alpaca"), Contract()
    assert combine_contracts([Voice(alpaca, 1, 0), Voice(alpaca, 1, 0)]).template == "alpaca"
    with pytest.raises(DecodingError, match="alpaca, the base model's own"):
        combine_contracts([Voice(alpaca, 1, 0), Voice(own, 1, 0)])


def test_too_many_stops_together_are_refused() -> None:
    halves = [
        Voice(Contract(stop=tuple(f"{side}{n}" for n in range(MAX_STOPS // 2 + 1))), 1, 0)
        for side in "ab"
    ]
    with pytest.raises(DecodingError, match="stops"):
        combine_contracts(halves)

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.router.combine import COMPANION, Choice, Selection, choose
from hive_expert.router.index import RoutingIndex
from tests.router.experts import index_of, manifest


def index(**constraints: dict[str, Any]) -> RoutingIndex:
    """expert-a, expert-b and expert-c, with the constraints given by letter."""
    return index_of(
        *(manifest(f"expert-{x}", constraints=constraints.get(x, {})) for x in ("a", "b", "c"))
    )


def select(
    experts: RoutingIndex,
    probabilities: dict[str, float],
    *,
    max_experts: int = 1,
    near: str = "",
    margin: float = 0.05,
) -> Selection:
    choices = [
        Choice(experts.entries[experts.positions[f"expert-{x}"]], p, 2 if x in near else 0)
        for x, p in probabilities.items()
    ]
    return choose(choices, experts, max_experts=max_experts, margin=margin)


def names(selection: Selection) -> list[str]:
    return [name.removeprefix("expert-") for name, _ in selection.experts]


def test_the_most_probable_answers_alone() -> None:
    assert select(index(), {"a": 0.7, "b": 0.9}).experts == (("expert-b", 1.0),)


@pytest.mark.parametrize(("other", "answers"), [(0.86, ["b"]), (0.84, ["a"])])
def test_the_nearer_answers_within_the_margin_only(other: float, answers: list[str]) -> None:
    assert names(select(index(), {"a": 0.9, "b": other}, near="b")) == answers


def test_priority_then_probability_then_name_decide_among_the_near() -> None:
    preferred = index_of(manifest("expert-a"), manifest("expert-b", routing={"priority": 0.9}))
    assert names(select(preferred, {"a": 0.9, "b": 0.88})) == ["b"]
    assert names(select(index(), {"a": 0.88, "b": 0.9})) == ["b"]
    assert names(select(index(), {"b": 0.9, "a": 0.9})) == ["a"]


def test_several_answer_if_allowed_and_about_as_probable() -> None:
    scores = {"a": 0.9, "b": 0.9 * COMPANION, "c": 0.9 * COMPANION - 0.01}
    assert names(select(index(), scores, max_experts=3)) == ["a", "b"]
    assert names(select(index(), scores)) == ["a"]


def test_weights_are_in_proportion_and_add_up_to_one() -> None:
    selection = select(index(), {"a": 0.9, "b": 0.8}, max_experts=2)
    assert selection.experts == (("expert-a", 0.53), ("expert-b", 0.47))


def test_an_expert_brings_what_it_requires_with_its_own_weight() -> None:
    experts = index(a={"requires": ["expert-b"]}, b={"requires": ["expert-c"]})
    selection = select(experts, {"a": 0.9}, max_experts=3)
    assert selection.experts == (("expert-a", 1.0), ("expert-b", 1.0), ("expert-c", 1.0))


def test_what_is_required_and_not_there_rules_an_expert_out() -> None:
    selection = select(index(a={"requires": ["expert-z"]}), {"a": 0.9, "b": 0.7}, max_experts=2)
    assert names(selection) == ["b"]
    assert "requires expert-z, which is not there" in selection.reasons[0]


def test_what_is_required_counts_among_those_allowed() -> None:
    selection = select(index(a={"requires": ["expert-b"]}), {"a": 0.9})
    assert selection.experts == ()
    assert "it would take 2 experts, more than 1" in selection.reasons[0]


@pytest.mark.parametrize("who", ["a", "b"])
def test_incompatible_experts_do_not_answer_together(who: str) -> None:
    other = {"a": "expert-b", "b": "expert-a"}[who]
    experts = index(**{who: {"incompatible_with": [other]}})
    selection = select(experts, {"a": 0.9, "b": 0.85, "c": 0.8}, max_experts=3)
    assert names(selection) == ["a", "c"]
    assert "does not go with" in selection.reasons[0]


def test_max_chain_limits_how_many_answer() -> None:
    experts = index(a={"max_chain": 2})
    selection = select(experts, {"a": 0.9, "b": 0.85, "c": 0.8}, max_experts=3)
    assert names(selection) == ["a", "b"]
    assert "at most 1 others" in selection.reasons[0]


def test_an_expert_that_is_required_and_probable_weighs_the_more() -> None:
    experts = index(a={"requires": ["expert-b"]})
    selection = select(experts, {"a": 0.8, "b": 0.8}, max_experts=2)
    assert selection.experts == (("expert-a", 0.5), ("expert-b", 0.5))


def test_experts_that_require_each_other_answer_together() -> None:
    experts = index(a={"requires": ["expert-b"]}, b={"requires": ["expert-a"]})
    assert names(select(experts, {"a": 0.9}, max_experts=2)) == ["a", "b"]

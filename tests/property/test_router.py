"""The router's laws, for any text."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hive_expert.router.cues import SHAPES, cues_of
from hive_expert.router.evidence import Meanings, gather
from hive_expert.router.keywords import Automaton, words_of
from hive_expert.router.policy import PAIR_FEATURES
from hive_expert.router.route import Settings, route
from hive_expert.router.turns import HEAD, TAIL, Turn, continued, request_of, requests_of
from tests.router.experts import four_manifests, index_of

FOUR = index_of(*four_manifests())

# Words that the router knows, beside any text at all.
WORDS = (
    "sql", "graph", "json", "typescript", "explain", "what is", "users(id, name)", "Dialect: sql",
    "(:Person {name})", '{"type": "object"}', "now", "sort", "delete", "```", "\n", "\uff1a", "谁",
)  # fmt: skip
texts = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=20)), max_size=12).map(" ".join)
turns = st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), texts)
conversations = st.lists(turns, max_size=6)
residencies = st.dictionaries(
    st.sampled_from([entry.name for entry in FOUR.entries]),
    st.sampled_from(["slot", "cpu", "disk"]),
)
choices = st.builds(
    Settings,
    max_experts=st.integers(1, 4),
    threshold=st.one_of(st.none(), st.floats(0, 1)),
    residency_margin=st.floats(0, 0.3),
)


@given(conversations, residencies, choices)
def test_a_decision_holds_its_laws(
    messages: list[Turn], residency: dict, settings: Settings
) -> None:  # type: ignore[type-arg]  # literals
    decision = route(messages, FOUR, residency, settings)
    again = route(messages, FOUR, residency, settings)
    assert decision.as_json() == again.as_json()
    assert decision.abstained == (not decision.experts) == (decision.model is None)
    assert decision.reasons
    assert 0 <= decision.score <= 1
    names = [name for name, _ in decision.experts]
    assert names == sorted(set(names))
    assert len(names) <= settings.max_experts
    assert all(0 < weight <= 1 for _, weight in decision.experts)
    threshold = FOUR.policy.threshold if settings.threshold is None else settings.threshold
    by_name = {candidate.name: candidate for candidate in decision.candidates}
    for name in names:
        assert by_name[name].ruled_out is None
        assert by_name[name].probability >= threshold - 1e-4
        assert by_name[name].probability <= decision.score + 1e-4


@given(conversations, residencies)
def test_residency_only_tells_close_ones_apart(messages: list[Turn], residency: dict) -> None:  # type: ignore[type-arg]  # literals
    settings = Settings(residency_margin=0)
    cold = route(messages, FOUR, {}, settings)
    assert route(messages, FOUR, residency, settings).as_json() == cold.as_json()


@given(st.text(max_size=300), st.integers(0, 40))
def test_a_request_is_bounded(text: str, times: int) -> None:
    request = request_of(text * times, text * times)
    assert max(len(request.text), len(request.system)) <= HEAD + TAIL + 1
    assert len(request.instruction) <= len(request.text) + 10
    assert request.is_empty or request.instruction


@given(conversations)
def test_what_the_assistant_says_does_not_count(messages: list[Turn]) -> None:
    heard = [turn for turn in messages if turn.role != "assistant"]
    assert requests_of(messages) == requests_of(heard)
    assert route(messages, FOUR).as_json() == route(heard, FOUR).as_json()


@given(texts, texts)
def test_cues_are_zero_or_one(text: str, system: str) -> None:
    assert set(cues_of(request_of(text, system)).tolist()) <= {0, 1}


SIGNS = "()[]{}<>-:;,\"'“”`?\n 1"
SHAPED = (
    "   ", "a", "x_y", "AB_C", "id", "Person", "int", "create ", "table", "select", "from", "match",
    "function", "SELECT", "MERGE", "groupBy", "insert into",
)  # fmt: skip
pieces = st.lists(st.sampled_from((*SIGNS, *SHAPED)), max_size=40).map("".join)


@given(pieces, st.sampled_from(sorted(SHAPES)))
def test_no_shape_is_found_without_what_it_needs(text: str, name: str) -> None:
    shape = SHAPES[name]
    assert shape.is_in(text) == (shape.pattern.search(text) is not None)


@given(texts, texts)
def test_a_message_means_the_same_in_its_conversation_as_alone(first: str, second: str) -> None:
    before, added = request_of(first), request_of(second)
    meanings = Meanings(FOUR)
    for request in (before, added, continued(before, added), before):
        known, alone = gather(request, FOUR, meanings), gather(request, FOUR)
        assert np.array_equal(known.pairs, alone.pairs)
        assert np.array_equal(known.log_odds, alone.log_odds)


@given(texts)
def test_an_expert_is_compared_with_the_best_of_the_others(text: str) -> None:
    pairs = gather(request_of(text), FOUR).pairs
    for feature in ("keywords", "nearest example"):
        column = PAIR_FEATURES.index(feature)
        values, beyond = (
            pairs[:, column],
            pairs[:, PAIR_FEATURES.index(f"{feature} beyond the rivals'")],
        )
        rivals = [np.delete(values, own).max() for own in range(len(values))]
        np.testing.assert_allclose(beyond, values - rivals, atol=1e-6)


small = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(" ".join)


@given(st.lists(st.tuples(small, st.integers(0, 3)), max_size=8), small)
def test_the_automaton_finds_what_stands_in_the_text(
    phrases: list[tuple[str, int]], text: str
) -> None:
    words = words_of(text)
    found = {m.phrase: sorted(m.owners) for m in Automaton(phrases).find(words)}
    expected: dict[str, list[int]] = {}
    for phrase in {phrase for phrase, _ in phrases}:
        if f" {phrase} " in f" {' '.join(words)} ":
            expected[phrase] = sorted({owner for name, owner in phrases if name == phrase})
    assert found == expected

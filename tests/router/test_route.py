from __future__ import annotations

import json

import pytest

from hive_expert.router.index import RoutingIndex
from hive_expert.router.queries import read_queries
from hive_expert.router.route import SHOWN, Decision, Settings, route
from hive_expert.router.turns import Turn
from hive_expert.training.router_policy import is_right
from tests.router.experts import ACTORS, CAPITAL, ROOT, USERS, four_manifests, index_of, manifest

TYPED = "Write a TypeScript function that debounces another function"
EXTRACT = "Extract name and age as JSON: Anna Berg is 34 years old."


def ask(index: RoutingIndex, *texts: str, system: str = "", **settings: float) -> Decision:
    """Route a conversation of these user messages."""
    turns = [Turn("system", system)] if system else []
    for text in texts:
        turns += [Turn("user", text), Turn("assistant", "…")]
    return route(turns[:-1], index, settings=Settings(**settings))  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (USERS, "expert-sql"),
        (ACTORS, "expert-neo4j"),
        (TYPED, "expert-typescript"),
        (EXTRACT, "expert-json"),
        (CAPITAL, None),
        ("Explain what SELECT does", None),
        ("What is TypeScript?", None),
        ("Write a poem about databases", None),
        ("Write a Python function that sorts a list", None),
        ("Tell me a joke", None),
    ],
)
def test_requests_reach_who_should_answer(four: RoutingIndex, text: str, model: str | None) -> None:
    assert ask(four, text).model == model


def test_the_queries_it_was_fitted_to_are_mostly_routed_rightly(four: RoutingIndex) -> None:
    """What it does on others is measured by benchmarks/router.py."""
    queries = read_queries(ROOT / "benchmarks" / "router" / "dev.jsonl")
    right = [is_right(route(query.turns, four).experts, query) for query in queries]
    base = [ok for ok, query in zip(right, queries, strict=True) if not query.experts]
    assert sum(right) / len(right) > 0.95
    assert sum(base) / len(base) > 0.98


@pytest.mark.parametrize("texts", [(), ("",), ("  \n",), ("?!",), (USERS, "")])
def test_with_nothing_to_route_the_base_answers(four: RoutingIndex, texts: tuple[str, ...]) -> None:
    decision = ask(four, *texts)
    assert decision.abstained
    assert "nothing to route" in decision.reasons[0]
    assert decision.candidates == ()


def test_without_experts_the_base_answers() -> None:
    assert "no experts" in ask(index_of(), USERS).reasons[0]


def test_a_general_question_stays_on_the_base_and_says_so(four: RoutingIndex) -> None:
    decision = ask(four, "What is SQL?")
    assert decision.abstained
    assert "general question" in decision.reasons[0]
    assert len(decision.candidates) == 4


def test_a_declared_dialect_beats_the_look_of_a_general_question(four: RoutingIndex) -> None:
    system = "Dialect: sql\nSchema:\nplanets(id, name, mass)"
    assert ask(four, "What is heavier than Mars?", system=system).model == "expert-sql"


def test_an_excluded_keyword_rules_an_expert_out() -> None:
    expert = manifest(
        "expert-sql",
        capabilities=["task:text-to-sql", "language:sql"],
        routing={"keywords": ["sql"], "exclude_keywords": ["mongodb"]},
    )
    decision = ask(index_of(expert), f"In MongoDB: {USERS}", system="Dialect: sql", threshold=0.1)
    assert decision.abstained
    assert "expert-sql is ruled out: the request says 'mongodb', which it excludes" in (
        decision.reasons
    )
    assert decision.candidates[0].ruled_out


def test_an_excluded_keyword_in_the_data_rules_nothing_out() -> None:
    expert = manifest(
        "expert-json",
        capabilities=["task:information-extraction", "format:json"],
        routing={"keywords": ["json"], "exclude_keywords": ["explain"]},
    )
    text = "Turn this into JSON please: the teacher can explain it and is 34 years old"
    assert ask(index_of(expert), text, system="Dialect: json").model == "expert-json"


def test_a_declared_limitation_rules_an_expert_out() -> None:
    (sql,) = (m for m in four_manifests() if m.name == "expert-sql")
    text = "Delete all users older than 90. Schema: users(id, name, age)"
    decision = ask(index_of(sql), text, system="Dialect: sql", threshold=0.1)
    assert decision.abstained
    assert any("a limitation it declares" in reason for reason in decision.reasons)


def test_the_threshold_decides_whether_an_expert_answers(four: RoutingIndex) -> None:
    score = ask(four, USERS).score
    assert ask(four, USERS, threshold=score - 0.001).model == "expert-sql"
    decision = ask(four, USERS, threshold=min(score + 0.001, 1.1))
    assert decision.abstained
    assert "no expert is right with probability" in decision.reasons[-1]


def twins() -> RoutingIndex:
    """Two SQL experts that fare alike."""
    (sql,) = (m for m in four_manifests() if m.name == "expert-sql")
    other = sql.model_copy(update={"name": "expert-sql-too"})
    return index_of(sql, other)


@pytest.mark.parametrize(
    ("residency", "model"),
    [
        ({}, "expert-sql"),
        ({"expert-sql-too": "cpu"}, "expert-sql-too"),
        ({"expert-sql-too": "slot", "expert-sql": "cpu"}, "expert-sql-too"),
        ({"expert-sql-too": "cpu", "expert-sql": "slot"}, "expert-sql"),
        ({"expert-sql-too": "disk", "expert-sql": "disk"}, "expert-sql"),
    ],
)
def test_of_equals_the_one_nearer_to_the_engine_answers(residency: dict, model: str) -> None:  # type: ignore[type-arg]  # literals
    assert route([Turn("user", USERS)], twins(), residency).model == model


def test_residency_does_not_beat_evidence(four: RoutingIndex) -> None:
    decision = route([Turn("user", USERS)], four, {"expert-json": "slot"})
    assert decision.model == "expert-sql"


def test_several_answer_only_if_allowed() -> None:
    assert ask(twins(), USERS).model == "expert-sql"
    assert ask(twins(), USERS, max_experts=2).model == "expert-sql:0.5+expert-sql-too:0.5"


def test_an_addition_stays_with_who_answered_before(four: RoutingIndex) -> None:
    for before, addition in (
        (USERS, "now sort them by name"),
        (TYPED, "also make it generic"),
        (EXTRACT, "add the field city too"),
    ):
        first = ask(four, before)
        then = ask(four, before, addition)
        assert then.model == first.model
        assert "the message adds to the one before, which it answered" in then.reasons


def test_a_new_request_changes_the_expert(four: RoutingIndex) -> None:
    assert ask(four, USERS, TYPED).model == "expert-typescript"
    assert ask(four, TYPED, USERS).model == "expert-sql"


def test_a_general_question_in_between_goes_to_the_base(four: RoutingIndex) -> None:
    assert ask(four, USERS, "Explain what a join is").abstained
    assert ask(four, USERS, "Tell me a joke").abstained


def test_the_previous_expert_has_the_advantage_in_a_close_case() -> None:
    experts = twins()
    (first, second) = (entry.name for entry in experts.entries)
    close = ask(experts, USERS, USERS.replace("25", "30"), sticky=0.5)
    assert close.model == first
    assert {c.name: c.probability for c in close.candidates}[second] < close.score


def test_a_request_of_100_kb_is_routed_by_its_ends(four: RoutingIndex) -> None:
    rows = "Anna Berg, 34, Oslo.\n" * 5000
    assert ask(four, f"Extract name, age and city as JSON.\n\n{rows}").model == "expert-json"


def test_a_decision_as_json_says_all(four: RoutingIndex) -> None:
    shown = json.loads(json.dumps(ask(four, USERS).as_json()))
    assert shown["model"] == "expert-sql"
    assert shown["experts"] == [{"name": "expert-sql", "weight": 1.0}]
    assert shown["abstained"] is False
    assert len(shown["candidates"]) <= SHOWN
    assert shown["candidates"][0]["features"]["nearest example"] > 0.5


def test_the_best_candidates_are_told_in_order(four: RoutingIndex) -> None:
    probabilities = [c.probability for c in ask(four, USERS).candidates]
    assert probabilities == sorted(probabilities, reverse=True)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hive_expert.router.embeddings import load_embeddings
from hive_expert.router.policy import dump_policy
from hive_expert.router.queries import Query
from hive_expert.router.turns import Turn
from hive_expert.training.router_policy import (
    Fitted,
    digest_of,
    fit_policy,
    is_right,
    logistic,
    subject_of,
    vocabulary_of,
)
from tests.router.experts import manifest

ALPHA = manifest("expert-alpha", capabilities=["task:sail"], routing={"keywords": ["ship", "sail"]})
BETA = manifest("expert-beta", capabilities=["task:bake"], routing={"keywords": ["bread", "oven"]})


def query(text: str, *experts: str) -> Query:
    return Query((Turn("user", text),), frozenset(experts), "plain")


def some(number: int) -> list[Query]:
    """Plain requests of two trades, and others."""
    return [
        *(query(f"sail ship {n} to port", "expert-alpha") for n in range(number)),
        *(query(f"bake bread {n} in the oven", "expert-beta") for n in range(number)),
        *(query(f"tell me story {n} of a dog") for n in range(number)),
    ]


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit_policy([ALPHA, BETA], some(8), some(5), load_embeddings())


def test_what_was_shown_is_learned(fitted: Fitted) -> None:
    assert fitted.accuracy == 1
    assert fitted.base_kept == 1
    assert 0.3 <= fitted.policy.threshold <= 0.9
    assert sorted(fitted.policy.subjects) == ["task:bake", "task:sail"]


def test_the_same_queries_give_the_same_policy(fitted: Fitted) -> None:
    again = fit_policy([BETA, ALPHA], some(8), some(5), load_embeddings())
    assert dump_policy(again.policy, {}) == dump_policy(fitted.policy, {})


def test_the_vocabulary_is_what_several_queries_say() -> None:
    words = vocabulary_of([query("red ship")] * 3 + [query("red sail")])
    assert words == ("red",)


def test_only_the_last_message_is_learned_from() -> None:
    turns = (Turn("user", "first"), Turn("user", "last"))
    assert vocabulary_of([Query(turns, frozenset(), "x")] * 4) == ("last",)


def test_the_subject_is_the_first_task() -> None:
    assert subject_of(manifest(capabilities=["language:sql", "task:a", "task:b"])) == "task:a"
    assert subject_of(manifest()) is None


@pytest.mark.parametrize(
    ("experts", "labels", "right"),
    [
        ([], [], True),
        ([], ["a"], False),
        (["a"], ["a"], True),
        (["a"], ["a", "b"], True),
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["a"], False),
        (["a"], [], False),
    ],
)
def test_is_right(experts: list[str], labels: list[str], right: bool) -> None:
    assert is_right([(name, 1.0) for name in experts], query("x", *labels)) is right


def test_logistic_finds_the_least_penalized_loss() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 3))
    y = (x @ [2.0, -1.0, 0.0] + draw.normal(size=60) > 0).astype(float)
    weights, penalty = np.full(60, 1 / 60), np.full(3, 0.01)
    bias, found = logistic(x, y, weights, penalty)
    p = 1 / (1 + np.exp(-(x @ found + bias)))
    np.testing.assert_allclose(x.T @ (weights * (p - y)) + penalty * found, 0, atol=1e-6)
    assert weights @ (p - y) == pytest.approx(0, abs=1e-5)


def test_the_digest_depends_on_every_file(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("a")
    other.write_text("b")
    assert digest_of(one, other) != digest_of(other, one) != digest_of(one)

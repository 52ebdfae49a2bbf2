from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from hive_expert.errors import RoutingError
from hive_expert.router.policy import (
    GENERAL_CUES,
    PAIR_FEATURES,
    REQUEST_FEATURES,
    SHIPPED,
    LinearModel,
    Policy,
    dump_policy,
    parse_policy,
    shipped_policy,
)
from hive_expert.training.router_policy import digest_of, routed_by
from tests.router.experts import DATA, ROOT, four_manifests

VOCABULARY = ("group by", "sql")


def model(names: tuple[str, ...], words: int, bias: float = 0.5) -> LinearModel:
    return LinearModel(
        bias,
        np.arange(len(PAIR_FEATURES), dtype=np.float32),
        np.arange(len(names), dtype=np.float32),
        np.ones(words, np.float32),
    )


def policy() -> Policy:
    subject = model(REQUEST_FEATURES, len(VOCABULARY))
    return Policy({"task:x": subject}, model(GENERAL_CUES, 0, -1.0), 0.6, VOCABULARY)


def document() -> dict[str, Any]:
    written: dict[str, Any] = json.loads(dump_policy(policy(), {"queries": 3}))
    return written


def parse(changed: Any) -> Policy:
    return parse_policy(json.dumps(changed).encode(), "policy.json")


def test_what_is_written_is_read_back() -> None:
    read, written = parse(document()), policy()
    assert (read.threshold, read.vocabulary) == (written.threshold, written.vocabulary)
    for name in ("bias", "pair", "request", "words"):
        np.testing.assert_array_equal(getattr(read.general, name), getattr(written.general, name))
        np.testing.assert_array_equal(
            getattr(read.subjects["task:x"], name), getattr(written.subjects["task:x"], name)
        )


def test_the_notes_are_kept_in_the_file() -> None:
    assert document()["notes"] == {"queries": 3}


def _without_a_feature(policy: Any) -> None:
    del policy["general"]["pair"]["keywords"]


def _with_a_foreign_feature(policy: Any) -> None:
    policy["subjects"]["task:x"]["request"]["length of the name"] = 1.0


def _with_a_word_too_few(policy: Any) -> None:
    policy["subjects"]["task:x"]["words"].pop()


def _with_infinity(policy: Any) -> None:
    policy["general"]["bias"] = float("inf")


def _with_a_text_for_a_number(policy: Any) -> None:
    policy["general"]["bias"] = "much"


def _of_another_format(policy: Any) -> None:
    policy["format"] = 2


def _with_a_threshold_above_one(policy: Any) -> None:
    policy["threshold"] = 1.5


def _without_subjects(policy: Any) -> None:
    del policy["subjects"]


@pytest.mark.parametrize(
    ("corrupt", "says"),
    [
        (_without_a_feature, "general.pair: other features: keywords"),
        (_with_a_foreign_feature, "length of the name"),
        (_with_a_word_too_few, "not as long as the vocabulary"),
        (_with_infinity, "not a finite number"),
        (_with_a_text_for_a_number, "is no routing policy"),
        (_of_another_format, "format 2"),
        (_with_a_threshold_above_one, "not between 0 and 1"),
        (_without_subjects, "is no routing policy"),
    ],
)
def test_a_broken_policy_is_refused(corrupt: Any, says: str) -> None:
    changed = document()
    corrupt(changed)
    with pytest.raises(RoutingError, match=says):
        parse(changed)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'"text"', b"\xff"])
def test_what_is_no_policy_is_refused(data: bytes) -> None:
    with pytest.raises(RoutingError):
        parse_policy(data, "policy.json")


def test_all_problems_are_reported_at_once() -> None:
    changed = document()
    _without_a_feature(changed)
    _with_a_word_too_few(changed)
    _with_a_threshold_above_one(changed)
    with pytest.raises(RoutingError) as caught:
        parse(changed)
    assert len(caught.value.problems) == 3


def test_a_subject_nobody_trained_for_has_the_general_model() -> None:
    known = policy()
    assert known.model_of("task:unheard-of") is known.general
    assert known.model_of(None) is known.general
    assert known.model_of("task:x") is known.subjects["task:x"]


def test_terms_are_words_and_pairs_of_words_each_once() -> None:
    assert policy().terms_in(["sql", "group", "by", "sql"]) == [0, 1]
    assert policy().terms_in(["by", "group"]) == []


def test_the_shipped_policy_says_what_it_was_trained_from() -> None:
    notes = json.loads(SHIPPED.read_bytes())["notes"]
    used = digest_of(DATA / "train.jsonl", ROOT / "benchmarks" / "router" / "dev.jsonl")
    assert notes["sha256"] == used, "train it anew: hive-train router"
    told = {manifest.name: routed_by(manifest) for manifest in four_manifests()}
    assert notes["experts"] == told, "train it anew: hive-train router"


def test_the_shipped_policy_knows_the_four_subjects() -> None:
    assert sorted(shipped_policy().subjects) == [
        "task:information-extraction",
        "task:text-to-cypher",
        "task:text-to-sql",
        "task:text-to-typescript",
    ]

from __future__ import annotations

import numpy as np
import pytest

from hive_expert.router.embeddings import COMPARED, unit
from hive_expert.router.evidence import gather
from hive_expert.router.index import RoutingIndex
from hive_expert.router.policy import PAIR_FEATURES
from hive_expert.router.turns import continued, request_of
from tests.router.experts import ACTORS, USERS, four_manifests, index_of, manifest


def feature(text: str, index: RoutingIndex, name: str, system: str = "") -> list[float]:
    column = PAIR_FEATURES.index(name)
    return [float(v) for v in gather(request_of(text, system), index).pairs[:, column]]


def with_keywords(*experts: tuple[list[str], float]) -> RoutingIndex:
    return index_of(
        *(
            manifest(f"expert-{n}", routing={"keywords": keywords, "priority": priority})
            for n, (keywords, priority) in enumerate(experts)
        )
    )


def test_more_keywords_longer_phrases_and_a_higher_priority_score_more() -> None:
    index = with_keywords(
        (["alpha"], 0.5), (["alpha", "beta"], 0.5), (["alpha beta"], 0.5), (["alpha"], 1.0)
    )
    one, two, phrase, preferred = feature("alpha beta", index, "keywords")
    assert 0 < one < phrase < two < 1
    assert one < preferred < 1
    assert feature("gamma", index, "keywords") == [0, 0, 0, 0]


def test_a_score_is_compared_with_the_best_of_the_rivals() -> None:
    index = with_keywords((["alpha"], 0.5), (["alpha", "beta"], 0.5), (["gamma"], 0.5))
    one, two, none = feature("alpha beta", index, "keywords")
    beyond = feature("alpha beta", index, "keywords beyond the rivals'")
    assert beyond == pytest.approx([one - two, two - one, none - two], abs=1e-6)


def test_an_expert_alone_has_no_rivals() -> None:
    index = with_keywords((["alpha"], 0.5))
    assert feature("alpha", index, "keywords beyond the rivals'") == feature(
        "alpha", index, "keywords"
    )


def test_the_nearest_example_counts() -> None:
    index = index_of(manifest(routing={"examples": ["a poem about rain", USERS]}))
    assert feature(USERS, index, "nearest example") == pytest.approx([1], abs=1e-5)


def test_a_declared_dialect_speaks_for_its_experts_and_against_the_others(
    four: RoutingIndex,
) -> None:
    own = feature("who?", four, "dialect is the expert's", "Dialect: cypher")
    others = feature("who?", four, "dialect is another's", "Dialect: cypher")
    neo4j = four.positions["expert-neo4j"]
    assert own[neo4j] == 1
    assert others[neo4j] == 0
    assert sum(own) == 1
    assert sum(others) == len(own) - 1
    assert not any(feature("who?", four, "dialect is another's"))


def test_the_right_expert_is_the_most_probable(four: RoutingIndex) -> None:
    for text, name in ((USERS, "expert-sql"), (ACTORS, "expert-neo4j")):
        evidence = gather(request_of(text), four)
        assert four.entries[int(evidence.log_odds.argmax())].name == name


def test_experts_of_one_subject_and_one_manifest_fare_alike() -> None:
    texts = {"capabilities": ["task:text-to-sql"], "routing": {"keywords": ["sql"]}}
    evidence = gather(
        request_of(USERS), index_of(manifest("expert-a", **texts), manifest("expert-b", **texts))
    )
    np.testing.assert_array_equal(evidence.log_odds[0], evidence.log_odds[1])


def test_no_experts_no_evidence() -> None:
    evidence = gather(request_of(USERS), index_of())
    assert evidence.pairs.shape == (0, len(PAIR_FEATURES))
    assert evidence.log_odds.shape == (0,)


def test_what_continues_a_message_means_what_both_say_together() -> None:
    index = index_of(*four_manifests())
    first, then = request_of(USERS), request_of("only those from Oslo")
    together = gather(continued(first, then), index)
    plain = index.embeddings.embed(f"{first.instruction}\n{then.instruction}")
    assert float(together.embedding @ plain) > 0.99
    nearest = np.maximum.reduceat(
        index.examples @ unit(together.embedding[:COMPARED]), index.starts
    )
    np.testing.assert_allclose(together.pairs[:, 2], nearest, atol=1e-5)

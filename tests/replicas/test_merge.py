"""One answer from those of several replicas."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hive_expert.replicas import merge
from hive_expert.replicas.relay import Answer, Head


def page(count: int) -> str:
    registry = CollectorRegistry()
    plain = Counter("hive_plain", 'Says "a b" {c}.', registry=registry)
    plain.inc(count)
    labelled = Counter("hive_labelled", "With labels.", ["expert", "kind"], registry=registry)
    labelled.labels("a } b", 'q" {x\u2028').inc(2 * count)
    Histogram("hive_seconds", "Times.", registry=registry).observe(count)
    return generate_latest(registry).decode()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_every_sample_is_there_once_with_its_replica(counts: list[int]) -> None:
    pages = {f"r{n}": page(count) for n, count in enumerate(counts)}
    merged = list(text_string_to_metric_families(merge.labelled(pages)))
    for replica, alone in pages.items():
        for family in text_string_to_metric_families(alone):
            (found,) = [f for f in merged if f.name == family.name]
            assert (found.type, found.documentation) == (family.type, family.documentation)
            mine = [
                (s.name, {k: v for k, v in s.labels.items() if k != "replica"}, s.value)
                for s in found.samples
                if s.labels["replica"] == replica
            ]
            assert mine == [(s.name, s.labels, s.value) for s in family.samples]
    assert len({family.name for family in merged}) == len(merged)


ENTRY: dict[str, Any] = {
    "id": "expert-sql",
    "version": "0.2.0",
    "digest": "sha256:00",
    "source": "a.expert",
    "state": "available",
    "verified": True,
    "residency": "slot",
    "pinned": False,
    "in_use": 1,
    "requests": 3,
    "loads": 1,
    "evictions": 0,
    "last_used": "2026-01-01T00:00:00Z",
}
BROKEN = {"id": None, "state": "unavailable", "source": "b.expert", "problems": []}


def listing(replica: str, *entries: dict[str, Any]) -> Answer:
    body = {"object": "list", "data": entries}
    return Answer(replica, Head(200), json.dumps(body).encode())


def test_counts_add_up_and_the_nearest_place_counts() -> None:
    there = ENTRY | {"state": "announced", "verified": False, "residency": "disk", "in_use": 0}
    there |= {"requests": 1, "loads": 0, "last_used": None}
    listed = merge.experts([listing("a", there, BROKEN), listing("b", ENTRY, BROKEN)])
    expert, broken = listed["data"]
    assert expert["replicas"] == {"a": "disk", "b": "slot"}
    assert (expert["residency"], expert["state"], expert["verified"]) == ("slot", "available", True)
    assert (expert["requests"], expert["loads"], expert["in_use"]) == (4, 1, 1)
    assert expert["last_used"] == ENTRY["last_used"]
    assert broken == BROKEN


def test_versions_stay_apart() -> None:
    newer = ENTRY | {"version": "0.3.0", "digest": "sha256:11"}
    assert len(merge.experts([listing("a", ENTRY, newer), listing("b", ENTRY)])["data"]) == 2


def test_one_that_is_not_verified_everywhere_is_one() -> None:
    there = ENTRY | {"state": "announced", "verified": False, "residency": "disk", "digest": None}
    (expert,) = merge.experts([listing("a", there), listing("b", ENTRY), listing("c", there)])[
        "data"
    ]
    assert expert["digest"] == ENTRY["digest"]
    assert expert["replicas"] == {"a": "disk", "b": "slot", "c": "disk"}


def test_a_package_that_is_broken_for_one_replica_is_listed_both_ways() -> None:
    broken = {key: ENTRY[key] for key in ("id", "version", "source")} | {"state": "unavailable"}
    listed = merge.experts([listing("a", broken), listing("b", ENTRY)])["data"]
    assert [entry["state"] for entry in listed] == ["unavailable", "available"]


def test_one_expert_over_all_replicas() -> None:
    answers = [Answer(r, Head(200), json.dumps(ENTRY).encode()) for r in ("a", "b", "c")]
    merged = merge.expert(answers)
    assert merged["requests"] == 9
    assert merged["replicas"] == dict.fromkeys("abc", "slot")


def test_a_refusal_is_found() -> None:
    sound, refused = Answer("a", Head(200), b""), Answer("b", Head(409), b"no")
    assert merge.first_refusal([sound, refused]) is refused
    assert merge.first_refusal([sound]) is None


def test_what_one_replica_knows_is_known() -> None:
    sound, unknown = Answer("a", Head(200), b""), Answer("b", Head(404), b"no")
    refused = Answer("c", Head(409), b"no")
    assert merge.first_refusal([unknown, sound]) is None
    assert merge.found([unknown, sound]) == [sound]
    assert merge.first_refusal([unknown, sound, refused]) is refused
    assert merge.first_refusal([unknown, unknown]) is unknown

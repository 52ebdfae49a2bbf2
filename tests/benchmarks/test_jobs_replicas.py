"""What P17 and P18 make of what they measure."""

from __future__ import annotations

from collections import Counter
from random import Random

import jobs_affinity
import jobs_replicas
import pytest
from serving_client import Ask


def test_two_replicas_are_held_to_one() -> None:
    raw = {"two": [180.0, 170.0, 150.0], "one": [100.0] * 3, "one again": [100.0, 99.0, 101.0]}
    figure = jobs_replicas.found(raw).figures["P17"]
    assert (figure["ratio"], figure["low"], figure["high"], figure["ok"]) == (1.7, 1.5, 1.8, True)


def test_an_expert_in_memory_is_resident_and_one_on_disk_is_not() -> None:
    shared = [Counter(hit=90, cpu=8, disk=2), Counter(hit=80, cpu=10, disk=10)]
    in_turns = [Counter(hit=50, cpu=20, disk=30)] * 2
    finding = jobs_affinity.found(shared, in_turns, [0.75, 0.75])
    figure = finding.figures["P18"]
    assert (figure["low"], figure["high"]) == (0.9, 0.98)
    assert figure["ratio"] == pytest.approx(0.94) and not figure["ok"]
    assert finding.beside["in a slot"] == pytest.approx(0.85)
    assert finding.beside["resident, round robin"] == pytest.approx(0.7)


def test_demand_follows_zipf() -> None:
    experts = [f"expert-{n}" for n in range(20)]
    asked = jobs_affinity.zipf(Random(0), experts, 40_000)
    counts = Counter(asked)
    assert counts["expert-0"] / counts["expert-3"] == pytest.approx(4, rel=0.1)
    asks = [Ask(name, (1,), 1) for name in asked]
    # The first eight terms of the harmonic series, of twenty.
    assert jobs_affinity.best(asks) == pytest.approx(2.718 / 3.598, abs=0.01)

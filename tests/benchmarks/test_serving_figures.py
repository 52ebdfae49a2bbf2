"""From rounds of `benchmarks/serving.py` to its figures."""

from __future__ import annotations

from typing import Any

import pytest
import serving_churn
import serving_grammar
import serving_layer
import serving_slots
import serving_start
import serving_ttft
from rounds import Ratio
from serving_figures import Milliseconds, figure, percentile


@pytest.mark.parametrize(
    ("ratio", "bound", "ok"),
    [
        (1.1, "at most", True),
        (1.11, "at most", False),
        (1.1, "at least", True),
        (1.09, "at least", False),
    ],
)
def test_a_figure_is_held_to_its_target(ratio: float, bound: Any, ok: bool) -> None:
    assert figure(Ratio(ratio, 1, 2, 3), 1.1, bound)["ok"] is ok


def test_a_figure_is_not_met_while_the_rest_of_its_target_is_missed() -> None:
    assert figure(Ratio(1, 1, 1, 1), 1.1, "at most", also=False)["ok"] is False


def test_what_is_added_is_the_median_of_the_rounds_differences() -> None:
    added = Milliseconds.added([0.011, 0.030, 0.013], [0.010, 0.010, 0.011])
    assert (added.ms, added.low, added.high) == pytest.approx((2, 1, 20))


@pytest.mark.parametrize(("share", "expected"), [(0.99, 99), (0.5, 50), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_only_gaps_count_that_begin_when_all_streams_run() -> None:
    streams = [(0.0, 1.0, 2.0, 4.0), (1.5, 1.75, 2.0)]
    assert serving_churn.gaps_after(1.5, streams) == [2.0, 0.25, 0.25]


def ttft(cpu_ms: float) -> dict[str, list[float]]:
    """Rounds in which a cold expert is 5 % slower than a hot one."""
    short = {"hot": 0.1, "hot again": 0.1, "cpu": 0.1 + cpu_ms / 1000, "cold": 0.15}
    usual = {"hot": 1.0, "hot again": 1.0, "cpu": 1.01, "cold": 1.05}
    return {
        f"{where}, {length} tokens": [times[where]] * 3
        for length, times in ((serving_ttft.SHORT, short), (serving_ttft.LENGTH, usual))
        for where in times
    }


@pytest.mark.parametrize(("cpu_ms", "ok"), [(9.0, True), (11.0, False)])
def test_p6_is_both_of_its_targets(cpu_ms: float, ok: bool) -> None:
    found = serving_ttft.found(ttft(cpu_ms), [50.0], [serving_ttft.SHORT, serving_ttft.LENGTH])
    told = found.figures["P6"]
    assert told["ratio"] == pytest.approx(1.05)
    assert told["reactivation_ms"]["ms"] == pytest.approx(cpu_ms)
    assert told["ok"] is ok


@pytest.mark.parametrize(
    ("plain", "latency_ms", "ok"), [(100, 0.9, True), (110, 0.9, False), (100, 1.1, False)]
)
def test_p8_is_not_met_by_stocks_slowness_alone(plain: float, latency_ms: float, ok: bool) -> None:
    told = serving_layer.found(
        {
            "hive beside stock": [100.0],
            "stock": [10.0],
            "hive": [100.0],
            "hive again": [100.0],
            "plain": [float(plain)],
            "hive, base": [100.0],
            "plain, base": [100.0],
            "latency of hive": [0.02 + latency_ms / 1000],
            "latency of hive again": [0.02],
            "latency of plain": [0.02],
            "processor time of hive": [0.005],
            "processor time of hive again": [0.005],
            "processor time of plain": [0.004],
        }
    ).figures["P8"]
    assert told["ratio"] == 10
    assert told["added_processor_ms"]["ms"] == pytest.approx(1)
    assert told["ok"] is ok


def test_p10_is_the_worse_of_both_experts() -> None:
    raw = {
        f"{expert}, {way}": [rate]
        for expert, held in (("expert-sql", 99.0), ("expert-json", 90.0))
        for way, rate in (("free", 100.0), ("free again", 100.0), ("grammar", held))
    }
    told = serving_grammar.found(raw, {}).figures["P10"]
    assert (told["ratio"], told["ok"]) == (0.9, False)
    assert told["by_expert"]["expert-sql"]["ratio"] == 0.99


def test_p12_is_that_of_the_crowd() -> None:
    raw = {
        f"{server}, {clients} clients": [rate]
        for clients, few in ((serving_slots.CROWD, 95.0), (serving_slots.BATCH, 60.0))
        for server, rate in (("3 slots", few), ("10 slots", 100.0), ("10 slots again", 100.0))
    }
    told = serving_slots.found(raw).figures["P12"]
    assert (told["ratio"], told["ok"]) == (0.95, True)


def test_p14_says_how_many_packages_there_were() -> None:
    raw = {"few": [20.0], "few again": [20.0], "many": [23.0]}
    told = serving_start.found(raw, {}, {}, 200).figures["P14"]
    assert (told["ratio"], told["packages"], told["ok"]) == (1.15, 200, True)

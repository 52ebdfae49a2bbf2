"""What `/v1/experts` says of an expert before and after its weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hive_expert.catalog.checks import Check, remember_check
from hive_expert.engine.fake import FakeEngine
from hive_expert.serving.experts_api import listing
from hive_expert.serving.state import Hive
from tests.catalog.site import Site, write_sources
from tests.serving.test_supply import hive_of


@pytest.fixture
def hive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hive:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    site = Site.at(tmp_path, write_sources(tmp_path / "sources"))
    site.put()
    return hive_of(site, FakeEngine(delay=0.001))


def only(hive: Hive) -> dict[str, Any]:
    (entry,) = listing(hive)["data"]
    return dict(entry)


async def test_an_announced_expert_tells_what_its_signature_was_made_over(hive: Hive) -> None:
    announced = only(hive)
    assert (announced["state"], announced["verified"]) == ("announced", False)
    assert announced["publisher"] == "Ann"
    assert (announced["requests"], announced["loads"], announced["evictions"]) == (0, 0, 0)
    assert (announced["in_use"], announced["pinned"], announced["last_used"]) == (0, False, None)
    await hive.supply.require("expert-lora")
    available = only(hive)
    assert (available["state"], available["verified"]) == ("available", True)
    assert available["digest"] == announced["digest"]
    assert available["publisher"] == "Ann"
    assert announced.keys() <= available.keys()


async def test_what_a_check_found_is_told_before_and_after(hive: Hive) -> None:
    digest = str(only(hive)["digest"]).removeprefix("sha256:")
    assert only(hive)["check"] is None
    found = Check(
        reproduced=False, score=0.5, low=0.4, high=0.6, cases=24, total=100, base="b",
        date="2026-03-01", broken=("benchmark_score: …",),
    )  # fmt: skip
    remember_check(digest, found)
    assert only(hive)["check"] == found.model_dump(mode="json")
    await hive.supply.require("expert-lora")
    assert only(hive)["check"] == found.model_dump(mode="json")

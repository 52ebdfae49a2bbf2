"""How many experts are kept in memory where nobody says."""

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.catalog.memory import MOST, SHARE, available_memory, planned_capacity
from tests.catalog.test_composition import expert

LAYERS = {"q": (100, 50), "up": (200, 50)}
"""An adapter of rank 10 takes 4,000 elements."""


def planned(available: float, **change: Any) -> int:
    settings = {"rank": 10, "element_bytes": 2, "slots": 2, "available": int(available)} | change
    return planned_capacity(settings.pop("manifests", ()), LAYERS, **settings)


def test_a_share_of_the_free_memory_is_filled() -> None:
    assert planned(20 * 8000 / SHARE) == 20
    assert planned(20 * 8000 / SHARE, element_bytes=4) == 10


def test_there_are_never_fewer_than_slots_nor_too_many() -> None:
    assert planned(0) == 2
    assert planned(1 << 50) == MOST


@pytest.mark.parametrize(("stated", "found"), [(0.001, 64), (1.0, 32), (2.0, 16), (None, 64)])
def test_an_expert_that_states_more_counts_for_more(stated: float | None, found: int) -> None:
    manifest = expert("expert-a").manifest
    if stated is not None:
        document = manifest.model_dump(exclude_unset=True, mode="json")
        manifest = type(manifest).model_validate({**document, "perf": {"vram_mb_overhead": stated}})
    available = 32 * (1 << 20) / SHARE
    assert planned(available, manifests=[manifest], rank=655) == found


def test_this_machine_has_memory() -> None:
    assert available_memory() > 1 << 20

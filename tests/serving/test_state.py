"""Who answers a request: base, expert or composition; built once, beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hive_expert.catalog.catalog import assemble
from hive_expert.catalog.composition import Built, Composition
from hive_expert.catalog.residency import Resident
from hive_expert.catalog.scan import Host
from hive_expert.engine.fake import FakeEngine
from hive_expert.errors import CompositionError, UnknownExpertError
from hive_expert.serving import state as state_module
from hive_expert.serving.state import Hive, ServeSettings, Target
from hive_expert.serving.supply import Supply
from tests.catalog.test_composition import expert


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Engine names of the compositions that were built; building itself is tested elsewhere."""
    names: list[str] = []

    def build(composition: Composition, host: Host, *, cut: bool) -> Built:
        assert threading.current_thread() is not threading.main_thread()
        names.append(composition.engine_name)
        return Built(tmp_path, relative_error=0.25 if cut else 0.0)

    monkeypatch.setattr(state_module, "build", build)
    return names


@pytest.fixture
def hive(tmp_path: Path) -> Hive:
    catalog = assemble([expert(f"expert-{x}", adapter=tmp_path) for x in "ab"])
    nothing: Any = None
    settings = ServeSettings(nothing, nothing, ("base", "org/base"))
    supply = Supply(nothing, Resident(FakeEngine(delay=0.001)), catalog)
    return Hive(settings, supply, engine_client=None)


async def target_of(hive: Hive, model: str | None) -> Target:
    async with hive.answering(model) as target:
        return target


@pytest.mark.parametrize("model", [None, "", "base", "org/base"])
async def test_the_base_answers_to_its_names(hive: Hive, model: str | None) -> None:
    target = await target_of(hive, model)
    assert (target.model, target.parts, str(target)) == ("base", (), "")


async def test_one_expert_is_loaded_as_itself(hive: Hive, built: list[str]) -> None:
    target = await target_of(hive, "expert-a")
    assert str(target) == "expert-a@1.0.0"
    assert target.model == hive.catalog.experts["expert-a"].engine_name
    assert hive.resident.holds(hive.catalog.experts["expert-a"])
    assert built == []


async def test_a_composition_is_built_and_loaded_once_however_many_ask(
    hive: Hive, built: list[str]
) -> None:
    models = ["expert-a:0.7+expert-b", "expert-b+expert-a:0.7"] * 5
    targets = await asyncio.gather(*(target_of(hive, model) for model in models))
    assert len({t.model for t in targets}) == 1
    assert str(targets[0]) == "expert-a@1.0.0:0.7, expert-b@1.0.0"
    assert built == [targets[0].model]
    assert [t.residency.where for t in targets].count("disk") == 1


async def test_unknown_members_and_misspelled_weights_are_told_apart(hive: Hive) -> None:
    with pytest.raises(UnknownExpertError):
        await target_of(hive, "expert-a+expert-z")
    with pytest.raises(CompositionError):
        await target_of(hive, "expert-a:x")


async def test_the_number_of_compositions_is_bounded(
    hive: Hive, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "MAX_COMPOSITIONS", 2)
    for weight in ("0.1", "0.2"):
        await target_of(hive, f"expert-a:{weight}")
    with pytest.raises(CompositionError, match="2 compositions"):
        await target_of(hive, "expert-a:0.3")
    assert (await target_of(hive, "expert-a:0.1")).residency.where == "hit"
    await target_of(hive, "expert-b")


@pytest.mark.parametrize(("cut", "error"), [(False, 0.0), (True, 0.25)])
async def test_what_cutting_a_rank_loses_is_told(
    hive: Hive, built: list[str], cut: bool, error: float
) -> None:
    hive.settings = replace(hive.settings, cut_ranks=cut)
    assert (await target_of(hive, "expert-a+expert-b")).relative_error == error
    assert (await target_of(hive, "expert-a")).relative_error == 0

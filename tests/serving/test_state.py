"""Who answers a request: base, expert or composition; built once, beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hive_expert.adapters.store import AdapterStore
from hive_expert.catalog.catalog import assemble
from hive_expert.catalog.composition import Built, Composition
from hive_expert.catalog.residency import Resident
from hive_expert.catalog.scan import Host
from hive_expert.engine.fake import FakeEngine
from hive_expert.errors import AgentError, CompositionError, UnknownExpertError
from hive_expert.serving import compositions as compositions_module
from hive_expert.serving.agents import Agent, Agents
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

    monkeypatch.setattr(compositions_module, "build", build)
    return names


@pytest.fixture
def hive(tmp_path: Path) -> Hive:
    catalog = assemble([expert(f"expert-{x}", adapter=tmp_path) for x in "ab"])
    nothing: Any = None
    host: Any = SimpleNamespace(adapters=AdapterStore(tmp_path / "store"))
    settings = ServeSettings(nothing, host, ("base", "org/base"))
    supply = Supply(nothing, Resident(FakeEngine(delay=0.001)), catalog)
    return Hive(settings, supply, engine_client=None)


@pytest.mark.parametrize(
    "model", ["expert-a", "expert-a@1.0.0", "expert-a#0123456789ab", "expert-b+expert-a:0.5"]
)
async def test_what_the_sender_may_not_ask_is_not_even_looked_for(hive: Hive, model: str) -> None:
    agents = Agents(Agent(experts=("expert-b", "base")))
    required: list[str] = []

    async def require(model: str) -> None:
        required.append(model)

    hive.supply.require = require  # type: ignore[method-assign]  # it would read the package
    with pytest.raises(AgentError, match="may not ask expert-a"):
        async with hive.answering(model, partial(agents.require_allowed, "alice")):
            pass
    assert not required
    assert not hive.resident.held()


async def test_a_misspelt_base_or_auto_is_told(hive: Hive) -> None:
    async def require(model: str) -> None:
        """Nothing to be read."""

    hive.supply.require = require  # type: ignore[method-assign]  # it would read the package
    for model, meant in (("bsae", "base"), ("autoo", "auto")):
        with pytest.raises(UnknownExpertError, match=f"did you mean {meant}"):
            await target_of(hive, model)


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


@pytest.mark.parametrize(
    ("model", "names", "composed"),
    [
        ("base", "base", False),
        ("expert-a@1.0.0", "expert-a", False),
        ("expert-a:1", "expert-a", False),
        ("expert-a:0.5", "expert-a", True),
        ("expert-b:0.5+expert-a", "expert-a+expert-b", True),
    ],
)
async def test_metrics_can_tell_compositions_from_experts(
    hive: Hive, built: list[str], model: str, names: str, composed: bool
) -> None:
    target = await target_of(hive, model)
    assert (target.names, target.composed) == (names, composed)


async def test_unknown_members_and_misspelled_weights_are_told_apart(hive: Hive) -> None:
    with pytest.raises(UnknownExpertError):
        await target_of(hive, "expert-a+expert-z")
    with pytest.raises(CompositionError):
        await target_of(hive, "expert-a:x")


async def test_compositions_used_longest_ago_make_room_and_come_back(
    hive: Hive, built: list[str]
) -> None:
    hive.compositions.limit = 2
    weights = ("0.1", "0.2", "0.1", "0.3", "0.1", "0.2")
    for weight in weights:
        assert (await target_of(hive, f"expert-a:{weight}")).parts[0].weight == float(weight)
    # 0.2 had to make room for 0.3, and was built anew; 0.1 had been used since.
    assert [name.partition("@")[0] for name in built] == [
        f"expert-a:{weight}" for weight in ("0.1", "0.2", "0.3", "0.2")
    ]
    assert len(hive.compositions) == 2
    assert len(hive.resident.held()) == 2


async def test_one_in_use_does_not_make_room(hive: Hive, built: list[str]) -> None:
    hive.compositions.limit = 1
    async with hive.answering("expert-a:0.1") as target:
        for weight in ("0.2", "0.3"):
            await target_of(hive, f"expert-a:{weight}")
        assert target.model in {held.engine_name for held in hive.resident.held()}
        assert (await target_of(hive, "expert-a:0.1")).residency.where == "hit"
    assert built.count(target.model) == 1


async def test_any_number_of_clients_may_compose_at_once(hive: Hive, built: list[str]) -> None:
    hive.compositions.limit = 3

    async def ask(number: int) -> None:
        for turn in range(4):
            model = f"expert-a:0.{1 + (number * 5 + turn * 7) % 9}"
            async with hive.answering(model) as target:
                await asyncio.sleep(0)
                assert target.model in {held.engine_name for held in hive.resident.held()}

    await asyncio.gather(*(ask(number) for number in range(24)))
    await target_of(hive, "expert-a:0.95")
    assert len(hive.compositions) == 3
    assert len(hive.resident.held()) == 3


async def test_compositions_of_departed_experts_go_first(hive: Hive, built: list[str]) -> None:
    for model in ("expert-a+expert-b", "expert-b:0.5"):
        await target_of(hive, model)
    hive.supply.catalog = assemble([hive.catalog.experts["expert-a"]])
    await target_of(hive, "expert-a:0.5")
    assert len(hive.compositions) == 1


@pytest.mark.parametrize(("cut", "error"), [(False, 0.0), (True, 0.25)])
async def test_what_cutting_a_rank_loses_is_told(
    hive: Hive, built: list[str], cut: bool, error: float
) -> None:
    hive.compositions.cut = cut
    assert (await target_of(hive, "expert-a+expert-b")).relative_error == error
    assert (await target_of(hive, "expert-a")).relative_error == 0

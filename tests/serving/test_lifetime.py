"""How a server ends: asked to, or because its engine has died."""

from __future__ import annotations

import asyncio
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from hive_expert.engine.ending import Ending
from hive_expert.errors import Problem, UsageError
from hive_expert.serving.lifetime import GOOD_ORDER_S, LAST_WORDS_S, Lifetime, Reload
from hive_expert.serving.traffic import Traffic


def engine(finished: dict[str, int] | None = None) -> Any:
    manager = SimpleNamespace(finished_procs=lambda: finished or {})
    resources = SimpleNamespace(engine_manager=manager)
    return SimpleNamespace(errored=False, engine_core=SimpleNamespace(resources=resources))


def server() -> Any:
    config = SimpleNamespace(timeout_graceful_shutdown=None)
    return SimpleNamespace(started=True, should_exit=False, force_exit=False, config=config)


@pytest.fixture
def deadlines() -> list[float]:
    """When a server would have ended its process."""
    return []


@pytest.fixture
async def lifetime(deadlines: list[float]) -> Any:
    """A running one, whose server has started."""
    client = engine({"EngineCore": -9})
    life = Lifetime(client, Traffic(), Ending(), drain_s=7, end_within=deadlines.append)
    task = asyncio.create_task(life.run(SimpleNamespace(server=server())))
    await until(lambda: life.server is not None)
    yield life
    task.cancel()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_signal_lets_requests_finish(lifetime: Lifetime, deadlines: list[float]) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: lifetime.server.should_exit)
    assert lifetime.traffic.draining
    assert not lifetime.server.force_exit
    assert lifetime.server.config.timeout_graceful_shutdown == 7
    assert deadlines == [7 + GOOD_ORDER_S]


async def test_a_second_signal_does_not(lifetime: Lifetime, deadlines: list[float]) -> None:
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        await until(lambda: lifetime.server.should_exit)
    await until(lambda: lifetime.server.force_exit)
    assert deadlines[-1] == GOOD_ORDER_S


async def test_a_dead_engine_ends_the_server_with_its_reason(
    lifetime: Lifetime, deadlines: list[float]
) -> None:
    lifetime.client.errored = True
    await until(lambda: lifetime.server.should_exit)
    failure = lifetime.ending.failure
    assert failure is not None
    assert "SIGKILL" in failure.what
    assert "memory" in failure.remedy
    assert lifetime.traffic.draining
    assert lifetime.server.config.timeout_graceful_shutdown == LAST_WORDS_S
    assert deadlines == [LAST_WORDS_S + GOOD_ORDER_S]


async def test_an_engine_that_stops_because_the_server_does_has_not_died(
    lifetime: Lifetime,
) -> None:
    lifetime.stop()
    lifetime.client.errored = True
    await asyncio.sleep(0.5)
    assert lifetime.ending.failure is None


@pytest.mark.parametrize(
    ("status", "said"), [(-11, "SIGSEGV"), (1, "status 1"), (-9, "SIGKILL"), (0, "died")]
)
async def test_the_reason_is_what_is_known(status: int, said: str, deadlines: list[float]) -> None:
    ending = Ending()
    client = engine({"EngineCore": status})
    client.errored = True
    life = Lifetime(client, Traffic(), ending, drain_s=1, end_within=deadlines.append)
    await asyncio.wait_for(life.run(SimpleNamespace(server=server())), 60)
    assert ending.failure is not None
    assert said in ending.failure.what


async def test_a_status_that_comes_late_is_waited_for(deadlines: list[float]) -> None:
    statuses = iter([{}, {}, {"EngineCore": -9}])
    client = engine()
    client.engine_core.resources.engine_manager.finished_procs = lambda: next(statuses)
    client.errored = True
    ending = Ending()
    life = Lifetime(client, Traffic(), ending, drain_s=1, end_within=deadlines.append)
    await asyncio.wait_for(life.run(SimpleNamespace(server=server())), 60)
    assert ending.failure is not None
    assert "SIGKILL" in ending.failure.what


async def test_hangup_reloads_each_part_and_one_failure_stops_no_other(
    lifetime: Lifetime, caplog: pytest.LogCaptureFixture
) -> None:
    done = []

    async def broken() -> None:
        raise UsageError(Problem("keys.txt", "holds no key"))

    async def sound() -> None:
        done.append("sound")

    lifetime.reload.add("keys", broken)
    lifetime.reload.add("experts", sound)
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: done == ["sound"])
    assert "keys: not reloaded, the old ones stay: keys.txt: holds no key" in caplog.text


async def test_steps_run_in_their_order() -> None:
    reload, order = Reload(), []

    async def step(name: str) -> None:
        order.append(name)

    for name in "ab":
        reload.add(name, lambda name=name: step(name))  # type: ignore[misc]  # bound per name
    await reload.run()
    assert order == ["a", "b"]

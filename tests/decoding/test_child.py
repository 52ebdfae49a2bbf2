"""Whatever a job does, it ends in time, and the next one is answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from hive_expert.decoding import child as child_module
from hive_expert.decoding.child import (
    PATIENCE,
    BusyError,
    Child,
    ChildError,
    CrashedError,
    TooSlowError,
)
from hive_expert.decoding.turns import OWNER

ECHO = "tests.decoding.echo_child"
LONG = 20.0


@pytest.fixture
async def child() -> AsyncIterator[Child]:
    made = Child(ECHO, {"word": "hello"})
    yield made
    await made.close()


async def test_an_answer_comes_from_a_process_that_is_ready(child: Child) -> None:
    answer = await child.ask({"say": "é"}, limit_s=LONG)
    assert (answer["said"], answer["greeting"]) == ("é", "hello")
    assert answer["pid"] != os.getpid()


async def test_the_process_is_kept(child: Child) -> None:
    first = await child.ask({}, limit_s=LONG)
    assert (await child.ask({"do": "print"}, limit_s=LONG))["pid"] == first["pid"]


@pytest.mark.parametrize(
    ("harm", "failure"),
    [
        ({"do": "sleep", "seconds": 60}, BusyError),
        ({"do": "spin"}, TooSlowError),
        ({"do": "die"}, CrashedError),
        ({"do": "raise"}, CrashedError),
    ],
    ids=lambda value: str(value),
)
async def test_harm_ends_in_time_and_the_next_is_answered(
    child: Child, harm: dict[str, Any], failure: type[ChildError]
) -> None:
    first = await child.ask({}, limit_s=LONG)
    started = time.monotonic()
    with pytest.raises(failure):
        await child.ask(harm, limit_s=0.5)
    assert time.monotonic() - started < 0.5 * PATIENCE + 2
    answer = await child.ask({"say": "again"}, limit_s=LONG)
    assert answer["said"] == "again"
    assert answer["pid"] != first["pid"]


@pytest.mark.parametrize("harm", ["spin", "die", "raise", "eat"])
async def test_harm_costs_no_start_of_the_program(child: Child, harm: str) -> None:
    first = await child.ask({}, limit_s=LONG)
    with pytest.raises(ChildError):
        await child.ask({"do": harm}, limit_s=0.5 if harm == "spin" else LONG)
    assert (await child.ask({}, limit_s=LONG))["program"] == first["program"]


async def test_what_a_job_was_about_is_in_no_log(
    child: Child, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CrashedError):
        await child.ask({"do": "raise", "say": "a secret"}, limit_s=LONG)
    written = "".join(capfd.readouterr())
    assert "ValueError at " in written
    assert "echo_child.py:" in written
    assert "secret" not in written


async def test_a_process_that_is_killed_while_it_waits_is_replaced(child: Child) -> None:
    for word in ("one", "two", "three"):
        answer = await child.ask({"say": word}, limit_s=LONG)
        assert answer["said"] == word
        os.kill(answer["pid"], signal.SIGKILL)
        await until_gone(answer["pid"])


async def test_a_program_that_is_killed_is_replaced(child: Child) -> None:
    first = await child.ask({}, limit_s=LONG)
    os.kill(first["program"], signal.SIGKILL)
    # Whether its death was noticed before or is by this job, which is not to blame.
    assert (await child.ask({"say": "again"}, limit_s=LONG))["said"] == "again"
    await until_gone(first["pid"])


async def test_a_job_whose_program_is_killed_beside_it_is_done_by_another(child: Child) -> None:
    first = await child.ask({}, limit_s=LONG)
    job = asyncio.create_task(child.ask({"do": "sleep", "seconds": 1, "say": "on"}, limit_s=LONG))
    await asyncio.sleep(0.2)
    os.kill(first["program"], signal.SIGKILL)
    answer = await job
    assert (answer["said"], answer["program"] == first["program"]) == ("on", False)


async def test_a_job_under_which_every_program_dies_is_to_blame(child: Child) -> None:
    with pytest.raises(CrashedError):
        await child.ask({"do": "kill-program"}, limit_s=LONG)
    assert (await child.ask({"say": "again"}, limit_s=LONG))["said"] == "again"


async def test_nothing_is_left_of_it(child: Child) -> None:
    answer = await child.ask({}, limit_s=LONG)
    job = asyncio.create_task(child.ask({"do": "sleep", "seconds": 600}, limit_s=LONG))
    await asyncio.sleep(0.1)
    await child.close()
    with pytest.raises(ChildError):
        await job
    await until_gone(answer["pid"])
    await until_gone(answer["program"])


async def until_gone(pid: int) -> None:
    """Wait until a process has ended, whether or not somebody has asked what of."""
    async with asyncio.timeout(60):
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.01)


async def test_memory_is_limited(child: Child) -> None:
    with pytest.raises(CrashedError):
        await child.ask({"do": "eat"}, limit_s=LONG)


async def test_the_clock_s_limit_is_wider_than_that_of_the_processor(child: Child) -> None:
    # As on a machine that has other work: the job waits, and passes.
    answer = await child.ask({"do": "sleep", "seconds": 0.6, "say": "late"}, limit_s=0.3)
    assert answer["said"] == "late"


async def test_jobs_of_one_child_wait_for_each_other(child: Child) -> None:
    answers = await asyncio.gather(*(child.ask({"say": i}, limit_s=LONG) for i in range(20)))
    assert [a["said"] for a in answers] == list(range(20))
    assert len({a["pid"] for a in answers}) == 1


async def test_a_caller_that_leaves_does_not_garble_the_next_answer(child: Child) -> None:
    await child.start()
    leaving = asyncio.create_task(child.ask({"do": "sleep", "seconds": 1, "say": "old"}, limit_s=9))
    await asyncio.sleep(0.1)
    leaving.cancel()
    assert (await child.ask({"say": "new"}, limit_s=LONG))["said"] == "new"


async def test_too_many_are_turned_away(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "MAX_WAITING", 1)
    await child.start()
    asked = [
        asyncio.create_task(child.ask({"do": "sleep", "seconds": 0.3}, limit_s=LONG))
        for _ in range(4)
    ]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(r) for r in results] == [dict, dict, BusyError, BusyError]


async def on_behalf_of(owner: str, child: Child, **message: Any) -> dict[str, Any]:
    OWNER.set(owner)
    return await child.ask(message, limit_s=LONG)


def asked_by(owner: str, child: Child, **message: Any) -> asyncio.Task[dict[str, Any]]:
    """A task has a context of its own, and so an owner."""
    return asyncio.create_task(on_behalf_of(owner, child, **message))


async def test_one_owner_s_jobs_do_not_hold_up_another_s(child: Child) -> None:
    await child.start()
    many = [asked_by("a", child, do="sleep", seconds=0.1) for _ in range(8)]
    await asyncio.sleep(0.05)
    before = sum(task.done() for task in many)
    assert (await asked_by("b", child, say="b"))["said"] == "b"
    # The job that was running, and one whose turn had come.
    assert sum(task.done() for task in many) <= before + 2
    await asyncio.gather(*many)


async def test_an_owner_is_turned_away_by_its_own_jobs_alone(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "MAX_WAITING", 3)
    monkeypatch.setattr(child_module, "MAX_WAITING_EACH", 2)
    await child.start()
    running = asked_by("a", child, do="sleep", seconds=1.5)
    await asyncio.sleep(0.1)
    of_a = [asked_by("a", child) for _ in range(3)]
    of_b = [asked_by("b", child) for _ in range(3)]
    of_c = [asked_by("c", child) for _ in range(2)]
    results = await asyncio.gather(*of_a, *of_b, *of_c, return_exceptions=True)
    # Two of a; one of b fills the room; c, who has nothing there, gets one in all the same.
    a, b, c = dict, BusyError, BusyError
    assert [type(r) for r in results] == [a, a, BusyError, dict, b, b, dict, c]
    await running


async def test_nobody_waits_without_end(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "MAX_WAIT_S", 0.2)
    await child.start()
    slow = asyncio.create_task(child.ask({"do": "sleep", "seconds": 1}, limit_s=LONG))
    await asyncio.sleep(0.05)
    with pytest.raises(BusyError):
        await child.ask({}, limit_s=LONG)
    await slow


async def test_a_program_that_cannot_start_is_a_failure_not_a_loop() -> None:
    child = Child(ECHO, {"broken": True})
    # It says nothing of the job, which the program has not seen.
    with pytest.raises(BusyError, match="got ready"):
        await child.ask({}, limit_s=LONG)
    await asyncio.sleep(0.1)
    await child.close()
    with pytest.raises(BusyError):
        await child.ask({}, limit_s=LONG)


async def test_a_process_that_cannot_be_made_says_nothing_of_the_job(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "create_subprocess_exec", full)
        with pytest.raises(BusyError, match="temporarily unavailable"):
            await child.ask({}, limit_s=LONG)
    assert (await child.ask({"say": "again"}, limit_s=LONG))["said"] == "again"

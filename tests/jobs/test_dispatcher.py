"""Every request comes to an end, and is counted with it: once, and with how long it has waited."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from prometheus_client import CollectorRegistry

from hive_expert.jobs import dispatcher as dispatcher_module
from hive_expert.jobs.batch import Batch, Counts
from hive_expert.jobs.dispatcher import Dispatcher, _body
from hive_expert.jobs.pipelines.step_rows import RequestKey
from hive_expert.jobs.request_rows import Answered, Pending
from hive_expert.jobs.running import Running
from hive_expert.jobs.telemetry import JobTelemetry
from hive_expert.jobs.upstream import Reply
from hive_expert.serving.agents import Agent, Agents
from hive_expert.serving.auth import Caller
from hive_expert.serving.ledger import Ledger

T = TypeVar("T")
HOUR_S = 3600


class Scene:
    """A dispatcher without a database, whose server answers what `replies` has next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.registry = CollectorRegistry()
        self.ledger = Ledger(Agents(named={"alice": Agent(tokens=10)}))
        self.replies: list[int] = []
        self.asked = 0
        self.written: list[Answered] = []
        self.full = False

    async def ask(self, endpoint: str, body: bytes, caller: Caller, key: RequestKey) -> Reply:
        self.asked += 1
        return Reply(self.replies.pop(0), b"{}")

    def pending(self, batch_id: str, after: int, limit: int) -> list[Pending]:
        return [] if after else [Pending(1, "a", 0, 100)]

    def add(self, answer: Answered, written: Callable[[], None]) -> None:
        self.written.append(answer)
        written()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def end(self) -> None:
        pass

    def dispatcher(self) -> Dispatcher:
        this: Any = self
        return Dispatcher(
            store=this,
            answerer=self,
            ledger=self.ledger,
            recorder=this,
            room=lambda _: 1,
            draining=lambda: False,
            blocking=at_once,
            telemetry=JobTelemetry(self.registry),
        )

    async def work_through(self, *replies: int) -> None:
        """Have a batch of one request answered."""
        self.replies = list(replies)
        dispatcher = self.dispatcher()
        dispatcher.start()
        async with asyncio.timeout(60):
            await dispatcher.work_through(hour_old_batch("batch_1"), self.path)
        await dispatcher.stop()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"agent": "alice", **labels})


def hour_old_batch(batch_id: str) -> Batch:
    made = int(time.time()) - HOUR_S
    return Batch(
        id=batch_id,
        agent="alice",
        endpoint="/v1/chat/completions",
        input_file="file-1",
        window="2h",
        created_at=made,
        expires_at=made + 2 * HOUR_S,
        counts=Counts(total=1),
    )


async def at_once(function: Callable[[], T]) -> T:
    return function()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(dispatcher_module, "FIRST_PAUSE_S", 0.0)
    path = tmp_path / "input.jsonl"
    path.write_text(json.dumps({"custom_id": "a", "body": {}}))
    return Scene(path)


@pytest.mark.parametrize(
    ("replies", "result"),
    [
        ([200], "done"),
        ([400], "failed"),
        ([500, 503, 200], "done"),
        ([500, 500, 500, 500], "failed"),
        ([408, 499, 502, 504], "failed"),
    ],
)
async def test_a_request_is_counted_once_with_its_last_outcome(
    scene: Scene, replies: list[int], result: str
) -> None:
    await scene.work_through(*replies)
    other = {"done": "failed", "failed": "done"}[result]
    assert [answer.state for answer in scene.written] == [result]
    assert scene.value("hive_job_requests_total", result=result) == 1
    assert scene.value("hive_job_requests_total", result=other) is None
    assert scene.value("hive_job_run_seconds_count") == 1
    assert (scene.value("hive_job_retries_total") or 0) == len(replies) - 1


async def test_a_request_beyond_the_budget_is_counted(scene: Scene) -> None:
    scene.ledger.add("alice", 10)
    await scene.work_through()
    assert json.loads(scene.written[0].answer)["code"] == "budget_exceeded"
    assert scene.value("hive_job_requests_total", result="failed") == 1
    assert scene.value("hive_job_run_seconds_count") is None


async def test_a_request_whose_line_is_another_is_counted(scene: Scene) -> None:
    scene.path.write_text(json.dumps({"custom_id": "b", "body": {}}))
    await scene.work_through()
    assert json.loads(scene.written[0].answer)["code"] == "input_changed"
    assert scene.asked == 0
    assert scene.value("hive_job_requests_total", result="failed") == 1


async def test_what_a_batch_waited_before_this_process_counts(scene: Scene) -> None:
    await scene.work_through(200)
    assert scene.value("hive_job_wait_seconds_count") == 1
    assert HOUR_S <= (scene.value("hive_job_wait_seconds_sum") or 0) < HOUR_S + 60


async def test_what_waits_is_told_while_batches_come_and_go(scene: Scene) -> None:
    dispatcher = scene.dispatcher()
    class_of = scene.ledger.agents.of

    def of(tenant: str) -> Agent:
        """Another batch begins meanwhile, as one does when a thread asks for the metrics."""
        batch = hour_old_batch(f"batch_{len(dispatcher.running)}")
        dispatcher.running[batch.id] = Running(batch, scene.path, 1)
        return class_of(tenant)

    of("alice")
    scene.ledger.agents = SimpleNamespace(of=of)  # type: ignore[assignment]  # enough of it
    assert dispatcher.waiting()["batch"] == 1


def test_a_line_that_cannot_be_read_has_no_body(tmp_path: Path) -> None:
    assert _body(tmp_path / "gone", Pending(1, "a", 0, 10)) is None

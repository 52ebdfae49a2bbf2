"""Files and batches through the front: what the tests of one process hold to, over two replicas."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from hive_expert.jobs.admission import room_of
from hive_expert.jobs.service import JobSettings
from hive_expert.replicas import front, front_jobs
from hive_expert.replicas.settings import FrontJobSettings
from hive_expert.serving.agents import Agent, Agents, PriorityClass
from hive_expert.serving.auth import Caller
from tests.jobs.conftest import ALICE, BOB, ended, jsonl, line, lines_of, submit, upload
from tests.replicas.fronted import ADMIN, PLACES, Fronts, events_in, fronts


@pytest.fixture
async def quick(tmp_path: Path, new_database: Path) -> AsyncIterator[Fronts]:
    async with fronts(tmp_path / "jobs", new_database) as made:
        yield made


@pytest.fixture
async def slow(tmp_path: Path, new_database: Path) -> AsyncIterator[Fronts]:
    async with fronts(tmp_path / "jobs", new_database, seconds=0.1) as made:
        yield made


def many(count: int) -> bytes:
    return jsonl(line(f"n{n}", f"text {n}") for n in range(count))


async def chat(client: openai.AsyncOpenAI, text: str, **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": text}]
    return await client.chat.completions.create(model="fake", messages=messages, **more)


async def test_every_line_has_one_result(quick: Fronts) -> None:
    async with quick.front() as fronted:
        client = fronted.client()
        batch = await submit(client, many(120) + jsonl([line("bad", "refuse")]))
        done = await ended(client, batch.id)
        results = await lines_of(client, done.output_file_id)
        (error,) = await lines_of(client, done.error_file_id)
    assert {each["custom_id"]: each["response"]["status_code"] for each in results} == {
        f"n{n}": 200 for n in range(120)
    }
    said = {r["response"]["body"]["choices"][0]["message"]["content"] for r in results}
    assert said == {f"you said text {n}" for n in range(120)}
    assert (error["custom_id"], error["response"]["status_code"]) == ("bad", 400)
    assert all(fronted.times(f"text {n}") == 1 for n in range(120))
    assert all(model.asked for model in fronted.models)
    assert max(model.most_present for model in fronted.models) <= 2 * PLACES * 3 // 4


@pytest.mark.parametrize("job", [PriorityClass.BATCH, PriorityClass.AGENT])
async def test_a_replica_knows_whose_batch_it_is_and_how_urgent(
    quick: Fronts, job: PriorityClass
) -> None:
    async with quick.front(Agents(named={"alice": Agent(batches=job)})) as fronted:
        client = fronted.client()
        await ended(client, (await submit(client, many(6))).id)
        await chat(client, "somebody waits")
        assert fronted.callers.count(Caller("alice", admin=False, job=job)) == 6
        assert fronted.callers.count(Caller("alice", admin=False)) == 1


async def test_requests_of_a_batch_meet_where_their_expert_is(quick: Fronts) -> None:
    async with quick.front() as fronted:
        client = fronted.client()
        lines = [line(f"n{n}", f"text {n}", model="expert-long") for n in range(6)]
        # Who asks first finds out which names there are; those beside it do not wait for that.
        await ended(client, (await submit(client, jsonl(lines[:1]))).id)
        await ended(client, (await submit(client, jsonl(lines[1:]))).id)
    shared = [r.experts for r in fronted.engines.asked if r.target == "/v1/chat/completions"]
    assert shared == ["expert-long"] * 6


async def test_a_budget_stops_an_agent_in_batches_and_directly(quick: Fronts) -> None:
    async with quick.front(Agents(named={"alice": Agent(tokens=100)})) as fronted:
        client = fronted.client()
        for n in range(4):
            await chat(client, f"direct {n}")
        assert fronted.door.ledger.spent("alice") == 40
        done = await ended(client, (await submit(client, many(60))).id)
        results = await lines_of(client, done.output_file_id)
        errors = await lines_of(client, done.error_file_id)
        # What is in the engines when it is used up still ends.
        assert 6 <= len(results) <= 6 + 2 * PLACES
        assert len(results) + len(errors) == 60
        assert {e["error"]["code"] for e in errors if e["error"]} == {"budget_exceeded"}
        assert fronted.door.ledger.spent("alice") == 40 + 10 * len(results)
        with pytest.raises(openai.RateLimitError, match="of its 100 tokens"):
            await chat(client, "one more")
        assert (await chat(fronted.client(BOB), "of another")).choices


async def test_tokens_are_counted_on_where_a_front_is_started_anew(quick: Fronts) -> None:
    agents = Agents(named={"alice": Agent(tokens=1000)})
    for expected in (40, 80):
        async with quick.front(agents) as fronted:
            client = fronted.client()
            await ended(client, (await submit(client, many(3))).id)
            await chat(client, "directly")
            await fronted.app.state.hive_front_jobs.stop()
            assert fronted.door.ledger.spent("alice") == expected


async def test_a_stream_that_its_client_leaves_is_counted(
    quick: Fronts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "ACCOUNT_EVERY_S", 0.02)
    async with quick.front() as fronted:
        body = {"model": "fake", "prompt": "x", "stream": True}
        asking = asyncio.create_task(fronted.http().post("/v1/completions", json=body))
        async with asyncio.timeout(30):
            while sum(model.streamed for model in fronted.models) < 5:
                await asyncio.sleep(0.01)
            asking.cancel()
            while not fronted.door.ledger.spent("alice"):
                await asyncio.sleep(0.02)
        streamed = sum(model.streamed for model in fronted.models)
        assert fronted.door.ledger.spent("alice") == streamed >= 5
        assert fronted.door.traffic.present == 0


async def test_files_and_batches_of_others_are_not_there(quick: Fronts) -> None:
    async with quick.front() as fronted:
        client, other = fronted.client(), fronted.client(BOB)
        file = await upload(client, many(1))
        batch = await submit(client, many(1))
        for asked in (
            other.files.retrieve(file.id),
            other.files.content(file.id),
            other.files.delete(file.id),
            other.batches.retrieve(batch.id),
            other.batches.cancel(batch.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await asked
        assert (await other.files.list()).data == []
        assert [each.id for each in (await client.batches.list()).data] == [batch.id]
        with pytest.raises(openai.AuthenticationError):
            await fronted.client("nobodys-key-0123456789").files.list()


async def test_a_batch_goes_on_behind_the_next_front(slow: Fronts) -> None:
    async with slow.front() as fronted:
        client = fronted.client()
        batch = await submit(client, many(60))
        async with asyncio.timeout(30):
            while (await client.batches.retrieve(batch.id)).request_counts.completed < 10:
                await asyncio.sleep(0.02)
    before = sum(fronted.times(f"text {n}") for n in range(60))
    assert before < 60
    async with slow.front() as fronted:
        client = fronted.client()
        done = await ended(client, batch.id)
        results = await lines_of(client, done.output_file_id)
    assert sorted(each["custom_id"] for each in results) == sorted(f"n{n}" for n in range(60))
    # Those that were in the engines then are asked once more, and no others.
    assert sum(fronted.times(f"text {n}") for n in range(60)) <= 60 + 2 * PLACES


async def test_a_replica_that_falls_away_costs_a_batch_nothing(quick: Fronts) -> None:
    async with quick.front() as fronted:
        fronted.engines.lose = 2
        client = fronted.client()
        done = await ended(client, (await submit(client, many(20))).id)
        assert len(await lines_of(client, done.output_file_id)) == 20
        assert done.error_file_id is None


async def test_draining_holds_batches_back(slow: Fronts) -> None:
    async with slow.front() as fronted:
        client = fronted.client()
        fronted.door.traffic.draining = True
        await submit(client, many(5))
        await asyncio.sleep(0.5)
        assert fronted.callers == []
        fronted.door.traffic.draining = False


async def test_jobs_of_another_front_are_taken_up_when_it_has_ended(
    quick: Fronts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_jobs, "AGAIN_S", 0.1)
    async with quick.front() as first:
        batch = await submit(first.client(), many(3))
        other = quick.front()
        second = await other.__aenter__()
        try:
            with pytest.raises(openai.InternalServerError, match="another server"):
                await second.client().batches.retrieve(batch.id)
            await first.app.state.hive_front_jobs.stop()
            with pytest.raises(openai.InternalServerError, match="stops"):
                await first.client().batches.retrieve(batch.id)
            async with asyncio.timeout(30):
                while second.app.state.hive_front_jobs._jobs is None:
                    await asyncio.sleep(0.05)
            assert (await ended(second.client(), batch.id)).status == "completed"
        finally:
            await other.__aexit__(None, None, None)


async def test_batches_have_the_places_of_the_replicas_that_are_there(quick: Fronts) -> None:
    async with quick.front() as fronted:
        assert fronted.jobs.room == room_of(2 * PLACES)
        jobs = fronted.app.state.hive_front_jobs
        jobs.make_room(5)
        assert fronted.jobs.room == room_of(5 * PLACES)
        jobs.make_room(0)
        assert fronted.jobs.room == room_of(PLACES)


def pipeline_line(model: str) -> dict[str, Any]:
    steps = [
        {"name": "first", "model": model, "prompt": "{{document.text}}"},
        {"name": "second", "model": model, "prompt": "{{steps.first}}"},
    ]
    body = {"pipeline": {"name": "p", "steps": steps}, "document": {"id": 1, "text": "hello"}}
    return {"custom_id": "d1", "method": "POST", "url": "/v1/pipelines", "body": body}


@pytest.mark.parametrize(
    ("model", "status"),
    [("expert-long", 200), ("expert-long@1.0.0", 200), ("expert-short", 400), ("fake", 200)],
)
async def test_a_pipeline_keeps_its_experts_chain_limits(
    quick: Fronts, model: str, status: int
) -> None:
    async with quick.front() as fronted:
        client = fronted.client()
        file = await upload(client, jsonl([pipeline_line(model)]))
        batch = await client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/pipelines",  # type: ignore[arg-type]  # ours
            completion_window="24h",
        )
        done = await ended(client, batch.id)
        (found,) = await lines_of(client, done.output_file_id or done.error_file_id)
    assert found["response"]["status_code"] == status
    if status == 400:
        assert "chains of at most 1 steps" in found["response"]["body"]["error"]["message"]
        assert fronted.callers == []


async def test_events_and_metrics_come_through(quick: Fronts) -> None:
    async with quick.front() as fronted:
        client, http = fronted.client(), fronted.http()
        batch = await submit(client, many(3))
        events = events_in((await http.get(f"/v1/batches/{batch.id}/events")).text)
        assert events[-1]["status"] == "completed"
        own = (await http.get("/metrics")).text
        page = (await fronted.http(ADMIN).get("/metrics")).text.splitlines()
    assert 'agent="' not in own
    assert {'hive_x{replica="one"} 3', 'hive_x{replica="two"} 3'} <= set(page)
    done = 'hive_job_requests_total{replica="front",agent="alice",result="done"} 3.0'
    assert done in page
    assert any(line.startswith('hive_agent_tokens_used{replica="front"') for line in page)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/batches?limit=0", 400, "Bad Request"),
        ("GET", "/v1/batches/batch_none", 404, "NotFoundError"),
        ("PUT", "/v1/files", 405, "MethodNotAllowedError"),
    ],
)
async def test_errors_have_openai_s_shape(
    quick: Fronts, method: str, path: str, status: int, kind: str
) -> None:
    async with quick.front() as fronted:
        answer = await fronted.http(ALICE).request(method, path)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)


def test_settings_can_be_sent_to_where_the_front_runs(tmp_path: Path) -> None:
    settings = FrontJobSettings(JobSettings(tmp_path, database="postgresql://x"), 2, 8, 3)
    assert pickle.loads(pickle.dumps(settings)) == settings  # our own
    assert (settings.room(0).places, settings.room(4).jobs) == (8, 3)

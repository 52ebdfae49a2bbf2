"""Batches through the unchanged openai client."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy.exc import OperationalError

from hive_expert.jobs.answers import Asked
from hive_expert.jobs.batches_api import _events
from hive_expert.jobs.limits import ATTEMPTS, JobLimits
from hive_expert.jobs.workflows import AT_ONCE
from hive_expert.serving.agents import Agent, Agents
from tests.jobs.conftest import (
    ALICE,
    BOB,
    Running,
    Start,
    ended,
    jsonl,
    line,
    lines_of,
    submit,
    upload,
)


async def test_each_request_gets_its_own_answer(server: Running) -> None:
    client = server.client()
    batch = await submit(client, jsonl(line(f"r{n}", f"text {n}") for n in range(300)))
    assert batch.status == "validating" and batch.output_file_id is None
    done = await ended(client, batch.id)
    assert done.status == "completed"
    assert done.request_counts.model_dump() == {"total": 300, "completed": 300, "failed": 0}
    assert done.error_file_id is None
    answers = await lines_of(client, done.output_file_id)
    assert [each["custom_id"] for each in answers] == [f"r{n}" for n in range(300)]
    for n, each in enumerate(answers):
        assert each["error"] is None
        assert each["response"]["status_code"] == 200
        assert each["response"]["request_id"]
        message = each["response"]["body"]["choices"][0]["message"]
        assert message["content"] == f"you said text {n}"
    assert done.usage.output_tokens == 3000
    assert done.in_progress_at and done.finalizing_at and done.completed_at
    assert set(server.model.asked.values()) == {1}


async def test_errors_stand_in_a_file_of_their_own(server: Running) -> None:
    client = server.client()
    batch = await submit(client, jsonl([line("a", "hello"), line("b", "refuse this")]))
    done = await ended(client, batch.id)
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
    assert [each["custom_id"] for each in await lines_of(client, done.output_file_id)] == ["a"]
    (error,) = await lines_of(client, done.error_file_id)
    assert error["custom_id"] == "b"
    assert error["response"]["status_code"] == 400
    assert error["response"]["body"]["error"]["message"] == "refuse this"


async def test_broken_lines_are_named_and_nothing_runs(server: Running) -> None:
    client = server.client()
    good = jsonl([line("a", "hello")])
    batch = await submit(client, good + b"{nothing}\n" + good + b'{"custom_id": 3}\n')
    done = await ended(client, batch.id)
    assert done.status == "failed" and done.failed_at
    found = {(e.line, e.code) for e in done.errors.data}
    assert (2, "invalid_json_line") in found
    assert (3, "duplicate_custom_id") in found
    assert (4, "invalid_custom_id") in found and (4, "missing_required_parameter") in found
    assert not server.model.asked


async def test_a_cancelled_batch_keeps_what_it_has_and_says_so_of_the_rest(start: Start) -> None:
    server = await start(seconds=0.05, places=4)
    client = server.client()
    batch = await submit(client, jsonl(line(f"r{n}", f"text {n}") for n in range(200)))
    async with asyncio.timeout(180):
        while (await client.batches.retrieve(batch.id)).request_counts.completed < 5:
            await asyncio.sleep(0.02)
    cancelled = await client.batches.cancel(batch.id)
    assert cancelled.status in ("cancelling", "cancelled")
    done = await ended(client, batch.id)
    assert done.status == "cancelled" and done.cancelling_at and done.cancelled_at
    results = await lines_of(client, done.output_file_id)
    errors = await lines_of(client, done.error_file_id)
    assert len(results) >= 5 and errors
    assert sorted(e["custom_id"] for e in results + errors) == sorted(f"r{n}" for n in range(200))
    assert {e["error"]["code"] for e in errors} == {"batch_cancelled"}
    assert server.model.present == 0


async def test_cancelling_twice_or_when_done_changes_nothing(server: Running) -> None:
    client = server.client()
    batch = await submit(client, jsonl([line("a", "hello")]))
    await ended(client, batch.id)
    assert (await client.batches.cancel(batch.id)).status == "completed"


async def test_a_batch_that_is_too_slow_expires(start: Start) -> None:
    server = await start(seconds=0.2, places=4)
    client = server.client()
    batch = await submit(client, jsonl(line(f"r{n}", f"t{n}") for n in range(50)), window="1m")
    async with asyncio.timeout(180):
        while batch.id not in server.jobs.dispatcher.running:
            await asyncio.sleep(0.02)
    server.jobs.dispatcher.stop_batch(batch.id)  # what the clock does at the window's end
    done = await ended(client, batch.id)
    assert done.status == "expired" and done.expired_at
    errors = await lines_of(client, done.error_file_id)
    assert "batch_expired" in {e["error"]["code"] for e in errors}
    assert done.request_counts.completed + len(errors) == 50


async def test_metadata_and_lists_come_back(server: Running) -> None:
    client = server.client()
    made = []
    for n in range(5):
        batch = await submit(client, jsonl([line("a", "x")]), metadata={"number": str(n)})
        made.append(batch.id)
        await ended(client, batch.id)
    seen = [batch.id async for batch in client.batches.list(limit=2)]
    assert sorted(seen) == sorted(made)
    assert (await client.batches.retrieve(made[3])).metadata == {"number": "3"}


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("input_file_id", "file-000000000000000000000000", "No such file"),
        ("input_file_id", "../../etc/passwd", "No such file"),
        ("endpoint", "/v1/experts/rescan", "one of /v1/chat/completions"),
        ("completion_window", "soon", "completion_window"),
        ("completion_window", "9000d", "completion_window"),
        ("metadata", {"a": "x" * 600}, "512"),
        ("metadata", {str(n): "x" for n in range(17)}, "16"),
        ("output_expires_after", {"anchor": "now", "seconds": 5}, "anchor"),
        ("priority", 0, "no field of a batch"),
    ],
)
async def test_orders_that_make_no_sense_are_refused(
    server: Running, field: str, value: object, what: str
) -> None:
    client = server.client()
    file = await upload(client, jsonl([line("a", "x")]))
    body = {
        "input_file_id": file.id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        field: value,
    }
    async with server.http(ALICE) as http:
        answer = await http.post("/v1/batches", json=body)
    assert answer.status_code in (400, 404)
    assert what in answer.json()["error"]["message"]


async def test_another_tenants_things_are_not_there(server: Running) -> None:
    alice, bob = server.client(ALICE), server.client(BOB)
    batch = await ended(alice, (await submit(alice, jsonl([line("a", "secret")]))).id)
    for file_id in (batch.input_file_id, batch.output_file_id):
        for ask in (bob.files.retrieve, bob.files.content, bob.files.delete):
            with pytest.raises(openai.NotFoundError, match="No such file"):
                await ask(file_id)
    for ask in (bob.batches.retrieve, bob.batches.cancel):
        with pytest.raises(openai.NotFoundError, match="No such batch"):
            await ask(batch.id)
    with pytest.raises(openai.NotFoundError):
        await bob.batches.create(
            input_file_id=batch.input_file_id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
        )
    async with server.http(BOB) as http:
        for method, path in (("DELETE", ""), ("POST", "/retry"), ("GET", "/events")):
            answer = await http.request(method, f"/v1/batches/{batch.id}{path}", json={})
            assert answer.status_code == 404
    assert [b.id async for b in bob.batches.list()] == []
    assert [f.id async for f in bob.files.list()] == []
    assert (await bob.batches.list(limit=1)).data == []
    with pytest.raises(openai.NotFoundError):
        await bob.batches.list(after=batch.id)
    assert (await alice.batches.retrieve(batch.id)).status == "completed"


async def test_another_tenants_batches_are_in_no_stream_of_events(server: Running) -> None:
    events = _events(Asked(server.jobs, "bob"), server.door, None)
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    alice, bob = server.client(ALICE), server.client(BOB)
    await ended(alice, (await submit(alice, jsonl([line("a", "secret")]))).id)
    batch = await ended(bob, (await submit(bob, jsonl([line("b", "his own")]))).id)
    told = [await first]
    async with asyncio.timeout(60):
        while '"completed"' not in told[-1]:
            told.append(await anext(events))
    await events.aclose()
    batches = {json.loads(each.partition("data: ")[2])["id"] for each in told if "data: " in each}
    assert batches == {batch.id}


@pytest.mark.parametrize("climbing", ["..%2F..%2Fjobs.sqlite", "%2Fetc%2Fpasswd", "..", "a%00b"])
async def test_ids_that_climb_are_nobody_s(server: Running, climbing: str) -> None:
    async with server.http(ALICE) as http:
        for path in (
            f"/v1/files/{climbing}",
            f"/v1/files/{climbing}/content",
            f"/v1/batches/{climbing}",
        ):
            assert (await http.get(path)).status_code == 404
        assert (await http.delete(f"/v1/files/{climbing}")).status_code in (404, 405)


async def test_what_the_server_could_not_answer_is_asked_again(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive_expert.jobs.dispatcher.FIRST_PAUSE_S", 0.01)
    server.model.refuse_first = 2
    client = server.client()
    batch = await submit(client, jsonl(line(f"r{n}", f"t{n}") for n in range(20)))
    done = await ended(client, batch.id)
    assert done.request_counts.completed == 20
    assert set(server.model.asked.values()) == {3}


async def test_what_it_never_can_ends_as_an_error(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive_expert.jobs.dispatcher.FIRST_PAUSE_S", 0.01)
    client = server.client()
    batch = await submit(client, jsonl([line("a", "crash"), line("b", "fine")]))
    done = await ended(client, batch.id)
    (error,) = await lines_of(client, done.error_file_id)
    assert (error["custom_id"], error["response"]["status_code"]) == ("a", 500)
    assert server.model.asked["crash"] == ATTEMPTS


async def test_a_retry_asks_only_what_has_no_result(server: Running) -> None:
    client = server.client()
    lines = [line("a", "fine"), line("b", "refuse one"), line("c", "refuse two")]
    old = await ended(client, (await submit(client, jsonl(lines))).id)
    async with server.http(ALICE) as http:
        answer = await http.post(f"/v1/batches/{old.id}/retry", json={})
        new = await ended(client, answer.json()["id"])
        assert (await http.post(f"/v1/batches/{new.id}/retry", json={})).status_code == 200
    assert new.metadata == {"retry_of": old.id}
    assert [e["custom_id"] for e in await lines_of(client, new.error_file_id)] == ["b", "c"]
    assert server.model.asked["fine"] == 1


async def test_nothing_is_retried_of_a_batch_without_errors(server: Running) -> None:
    client = server.client()
    batch = await ended(client, (await submit(client, jsonl([line("a", "fine")]))).id)
    async with server.http(ALICE) as http:
        answer = await http.post(f"/v1/batches/{batch.id}/retry", json={})
    assert answer.status_code == 400
    assert "has a result" in answer.json()["error"]["message"]


async def test_a_deleted_batch_takes_its_output_along(server: Running) -> None:
    client = server.client()
    batch = await ended(client, (await submit(client, jsonl([line("a", "fine")]))).id)
    async with server.http(ALICE) as http:
        assert (await http.delete(f"/v1/batches/{batch.id}")).json()["deleted"] is True
    for ask in (client.batches.retrieve, client.files.retrieve):
        with pytest.raises(openai.NotFoundError):
            await ask(batch.id if ask == client.batches.retrieve else batch.output_file_id)
    assert (await client.files.retrieve(batch.input_file_id)).status == "processed"
    assert len(list(server.jobs.files.folder.iterdir())) == 1


async def test_an_open_batch_keeps_its_file_and_itself(start: Start) -> None:
    server = await start(seconds=0.2, places=2)
    client = server.client()
    batch = await submit(client, jsonl(line(f"r{n}", f"t{n}") for n in range(100)))
    with pytest.raises(openai.BadRequestError, match="cancel that batch first"):
        await client.files.delete(batch.input_file_id)
    async with server.http(ALICE) as http:
        answer = await http.delete(f"/v1/batches/{batch.id}")
    assert answer.status_code == 400 and "cancel it first" in answer.json()["error"]["message"]
    await client.batches.cancel(batch.id)
    await ended(client, batch.id)


async def test_open_batches_are_counted(start: Start) -> None:
    server = await start(seconds=0.5, places=2, limits=JobLimits(open_batches=2))
    client = server.client()
    content = jsonl(line(f"r{n}", f"t{n}") for n in range(50))
    batches = [await submit(client, content) for _ in range(2)]
    with pytest.raises(openai.BadRequestError, match="2 batches are open already"):
        await submit(client, content)
    for batch in batches:
        await client.batches.cancel(batch.id)


async def test_a_spent_budget_stops_an_agent_and_says_so(start: Start) -> None:
    agents = Agents(named={"alice": Agent(tokens=200)})
    server = await start(agents=agents, places=4)
    client = server.client()
    batch = await submit(client, jsonl(line(f"r{n}", f"t{n}") for n in range(100)))
    done = await ended(client, batch.id)
    errors = await lines_of(client, done.error_file_id)
    assert 20 <= done.request_counts.completed <= 24  # what was in the engine then
    assert len(errors) == 100 - done.request_counts.completed
    assert {e["error"]["code"] for e in errors} == {"budget_exceeded"}
    assert "alice has used" in errors[0]["error"]["message"]
    with pytest.raises(openai.RateLimitError, match="of its 200 tokens a day") as spent:
        await submit(client, jsonl([line("a", "x")]))
    assert 0 < int(spent.value.response.headers["retry-after"]) <= 24 * 60 * 60
    assert spent.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.RateLimitError, match="of its 200 tokens a day"):
        await client.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": "x"}]
        )
    bob = server.client(BOB)
    assert (await ended(bob, (await submit(bob, jsonl([line("a", "x")]))).id)).status == "completed"


async def test_jobs_go_on_where_a_stopped_server_left_them(start: Start, tmp_path: Path) -> None:
    from contextlib import AsyncExitStack

    from prometheus_client import CollectorRegistry

    from hive_expert.jobs.admission import room_of
    from hive_expert.jobs.service import JobSettings
    from tests.jobs.conftest import KEYS
    from tests.jobs.fake_server import FakeModel, application, local_door, serving

    folder = tmp_path / "kept"
    settings = JobSettings(folder, room_of(4), poll_s=0.05)
    async with AsyncExitStack() as first:
        registry, door, model = CollectorRegistry(), local_door(KEYS, 4), FakeModel(0.02)
        app = application(door, model, registry)
        await first.enter_async_context(serving(app, settings, registry))
        client = Running(app, door, model, registry).client()
        batch = await submit(client, jsonl(line(f"r{n}", f"t{n}") for n in range(100)))
        async with asyncio.timeout(180):
            while (await client.batches.retrieve(batch.id)).request_counts.completed < 10:
                await asyncio.sleep(0.02)
    second = await start(folder=folder, places=4)
    done = await ended(second.client(), batch.id)
    assert done.request_counts.model_dump() == {"total": 100, "completed": 100, "failed": 0}
    again = model.asked & second.model.asked
    assert len(again) <= 4  # what the first server had in its hands


async def test_a_database_that_is_away_is_said_without_its_address(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("SELECT secret", None, Exception("at db.example"))

    monkeypatch.setattr(type(server.jobs.store), "batches", away)
    async with server.http(ALICE) as http:
        answer = await http.get("/v1/batches")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "cannot be asked" in answer.json()["error"]["message"]
    assert "secret" not in answer.text


async def test_a_batch_that_waits_for_its_turn_is_cancelled_at_once(start: Start) -> None:
    server = await start(seconds=0.2, places=2)
    client = server.client()
    content = jsonl(line(f"r{n}", f"t{n}") for n in range(100))
    batches = [await submit(client, content) for _ in range(AT_ONCE + 1)]
    async with asyncio.timeout(180):
        while len(server.jobs.dispatcher.running) < AT_ONCE:
            await asyncio.sleep(0.02)
    waiting = next(b for b in batches if b.id not in server.jobs.dispatcher.running)
    assert (await client.batches.cancel(waiting.id)).status == "cancelled"
    for batch in batches:
        await client.batches.cancel(batch.id)
        await ended(client, batch.id)

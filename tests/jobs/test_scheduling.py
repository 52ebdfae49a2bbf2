"""Who is next, with several agents on one server: classes, weights, head-room."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest

from hive_expert.jobs.telemetry import JobCollector, JobSnapshot
from hive_expert.serving.agents import Agent, Agents, PriorityClass
from hive_expert.serving.auth import parse_keys
from hive_expert.serving.telemetry import MAX_EXPERTS
from tests.jobs.conftest import ALICE, BOB, CAROL, Running, Start, ended, jsonl, line, submit

ADMIN = "admin-key-0123456789"


async def test_three_agents_get_tokens_by_weight(start: Start) -> None:
    weights = {"alice": 1, "bob": 2, "carol": 4}
    agents = Agents(named={name: Agent(weight=weight) for name, weight in weights.items()})
    server = await start(agents=agents, seconds=0.005, places=8)
    batches = {}
    for name, key in (("alice", ALICE), ("bob", BOB), ("carol", CAROL)):
        size = {"alice": 40, "bob": 10, "carol": 20}[name]
        lines = (line(f"r{n}", f"{name} {n}", max_tokens=size) for n in range(2000))
        batches[name] = server.client(key), (await submit(server.client(key), jsonl(lines))).id
    async with asyncio.timeout(180):
        while len(server.jobs.dispatcher.running) < 3:
            await asyncio.sleep(0.02)
        before = server.model.tokens.copy()
        while sum((server.model.tokens - before).values()) < 20_000:
            await asyncio.sleep(0.02)
    tokens = server.model.tokens - before
    for client, batch_id in batches.values():
        await client.batches.cancel(batch_id)
    total = sum(tokens.values())
    for name, weight in weights.items():
        assert abs(tokens[name] / total - weight / 7) <= 0.1 * weight / 7, tokens


async def test_the_more_urgent_class_goes_first(start: Start) -> None:
    agents = Agents(named={"bob": Agent(batches=PriorityClass.AGENT)})
    server = await start(agents=agents, seconds=0.01, places=4)
    alice, bob = server.client(ALICE), server.client(BOB)
    slow = await submit(alice, jsonl(line(f"r{n}", f"a{n}") for n in range(1000)))
    async with asyncio.timeout(180):
        while not server.jobs.dispatcher.in_server:
            await asyncio.sleep(0.01)
    quick = await ended(
        bob, (await submit(bob, jsonl(line(f"r{n}", f"b{n}") for n in range(50)))).id
    )
    assert quick.status == "completed"
    assert (await alice.batches.cancel(slow.id)).request_counts.completed < 1000


async def test_batches_leave_room_for_whoever_waits(start: Start) -> None:
    server = await start(seconds=0.05, places=8)
    client = server.client()
    batch = await submit(client, jsonl(line(f"r{n}", f"t{n}") for n in range(300)))
    async with asyncio.timeout(180):
        while server.model.present < 6:
            await asyncio.sleep(0.005)
    assert server.model.most_present == 6
    assert server.jobs.dispatcher.room(6) == 6
    server.door.traffic.present += 4  # as four direct requests that take long would
    assert server.jobs.dispatcher.room(server.jobs.dispatcher.in_server) == 2
    async with asyncio.timeout(180):
        while server.model.present > 2:
            await asyncio.sleep(0.005)
    server.door.traffic.present -= 4
    await client.batches.cancel(batch.id)


async def test_what_jobs_do_is_counted(server: Running) -> None:
    client = server.client()
    lines = [line("a", "x", max_tokens=7), line("b", "refuse")]
    await ended(client, (await submit(client, jsonl(lines))).id)
    metrics = server.metrics()
    assert 'hive_job_requests_total{agent="alice",result="done"} 1.0' in metrics
    assert 'hive_job_requests_total{agent="alice",result="failed"} 1.0' in metrics
    assert 'hive_job_tokens_total{agent="alice",kind="completion"} 7.0' in metrics
    assert 'hive_job_wait_seconds_count{agent="alice"} 2.0' in metrics
    assert "hive_job_requests_running 0.0" in metrics
    assert server.door.ledger.spent("alice") == 7
    assert 'hive_agent_tokens_used{agent="alice"} 7.0' in metrics
    async with asyncio.timeout(60):
        while 'hive_batches{state="completed"} 1.0' not in server.metrics():
            await asyncio.sleep(0.05)


async def test_one_agent_is_not_told_of_the_others(server: Running) -> None:
    server.door.keys = replace(server.door.keys, admin=parse_keys(ADMIN, "admin"))
    client = server.client()
    await ended(client, (await submit(client, jsonl([line("a", "x", max_tokens=7)]))).id)
    pages = {}
    for key in (BOB, ADMIN):
        async with server.http(key) as http:
            pages[key] = (await http.get("/metrics")).text
    assert 'agent="' not in pages[BOB]
    assert "hive_job_requests_running 0.0" in pages[BOB]
    assert 'hive_agent_tokens_used{agent="alice"} 7.0' in pages[ADMIN]
    assert 'hive_job_tokens_total{agent="alice",kind="completion"} 7.0' in pages[ADMIN]


async def test_all_that_waits_is_counted_not_only_what_is_next(start: Start) -> None:
    agents = Agents(named={"alice": Agent(tokens=100_000)})
    server = await start(agents=agents, seconds=0.5, places=4)
    batch = await submit(server.client(), jsonl(line(f"r{n}", f"t{n}") for n in range(700)))
    async with asyncio.timeout(180):
        while not server.jobs.dispatcher.in_server:
            await asyncio.sleep(0.01)
    waiting = server.jobs.dispatcher.waiting()["batch"]
    assert 600 < waiting < 700
    assert f'hive_job_requests_waiting{{class="batch"}} {waiting}.0' in server.metrics()
    await server.client().batches.cancel(batch.id)
    assert server.jobs.dispatcher.waiting()["batch"] == 0


def test_agents_beyond_the_labels_are_counted_together() -> None:
    agents = [(f"agent-{n}", 1, 10) for n in range(MAX_EXPERTS + 5)]
    registry = CollectorRegistry()
    registry.register(JobCollector(lambda: JobSnapshot(agents=agents)))
    page = generate_latest(registry).decode()
    assert 'hive_agent_tokens_used{agent="others"} 5.0' in page
    assert 'hive_agent_tokens_allowed{agent="agent-0"} 10.0' in page
    assert 'hive_agent_tokens_allowed{agent="others"}' not in page


async def test_a_batch_tells_of_itself_until_it_is_done(server: Running) -> None:
    client = server.client()
    batch = await submit(client, jsonl(line(f"r{n}", f"t{n}") for n in range(50)))
    async with server.http(ALICE) as http, asyncio.timeout(180):
        answer = await http.get(f"/v1/batches/{batch.id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [each for each in answer.text.split("\n\n") if each.startswith("event: batch")]
    assert '"status": "completed"' in events[-1]
    assert server.jobs.changes.listeners == 0

"""Pipelines through the routes of batches: one result for each document, nothing left behind."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import func, select

from hive_expert.jobs.pipelines.request import ENDPOINT
from hive_expert.jobs.tables import STEPS
from tests.jobs.conftest import ALICE, BOB, Running, Start, ended, jsonl, lines_of, upload
from tests.jobs.pipelines.conftest import step, values

CHAIN = values(step("a", "{{document.text}}"), step("b", "{{steps.a}}"))


def line(custom_id: str, text: str, pipeline: dict[str, Any] | None = None) -> dict[str, Any]:
    body = {"pipeline": pipeline or CHAIN, "document": {"text": text}}
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}


async def submit(server: Running, content: bytes, key: str = ALICE) -> Any:
    client = server.client(key)
    file = await upload(client, content)
    return await client.batches.create(
        input_file_id=file.id,
        endpoint=ENDPOINT,  # type: ignore[arg-type]  # ours, beside OpenAI's
        completion_window="24h",
    )


def kept_steps(server: Running) -> int:
    with server.jobs.store.engine.connect() as connection:
        return connection.scalars(select(func.count()).select_from(STEPS)).one()


async def test_every_document_goes_through_all_steps(server: Running) -> None:
    documents = [line(f"line-{n}", f"t{n}") for n in range(1, 41)]
    documents.append(line("line-41", "refuse this"))
    batch = await ended(server.client(), (await submit(server, jsonl(documents))).id)
    assert batch.status == "completed"
    results = await lines_of(server.client(), batch.output_file_id)
    assert {r["custom_id"]: r["response"]["body"]["output"] for r in results} == {
        f"line-{n}": f"you said you said t{n}" for n in range(1, 41)
    }
    (error,) = await lines_of(server.client(), batch.error_file_id)
    assert error["custom_id"] == "line-41" and error["response"]["status_code"] == 400
    assert error["response"]["body"]["error"]["message"] == "step 'a': refuse this"
    assert batch.usage.output_tokens == 40 * 20
    assert server.model.tokens["alice"] == 40 * 20
    assert kept_steps(server) == 0


async def test_a_document_holds_one_place_in_the_engine(start: Start) -> None:
    server = await start(places=4, seconds=0.01)
    wide = values(*(step(f"s{n}") for n in range(6)))
    documents = jsonl(line(f"line-{n}", f"t{n}", wide) for n in range(12))
    await ended(server.client(), (await submit(server, documents)).id)
    assert server.model.most_present <= 3
    assert sum(server.model.asked.values()) == 72


async def test_a_server_without_room_is_asked_again_for_the_open_step_alone(
    server: Running,
) -> None:
    server.model.refuse_first = 1
    batch = await ended(server.client(), (await submit(server, jsonl([line("line-1", "x")]))).id)
    assert batch.request_counts.completed == 1
    assert dict(server.model.asked) == {"x": 2, "you said x": 2}


async def test_broken_lines_are_told_by_their_numbers_and_nothing_runs(server: Running) -> None:
    bad = values(step("a", "{{steps.b}}"))
    circle = values(step("a", "{{steps.b}}"), step("b", "{{steps.a}}"))
    code = values(step("a", "{{document.text.__class__}} {% for x in y %}"))
    content = jsonl([line("line-1", "x"), line("line-2", "y", bad)]) + b"{\n"
    content += jsonl([line("line-4", "x", circle), line("line-5", "x", code)])
    batch = await ended(server.client(), (await submit(server, content)).id)
    assert batch.status == "failed"
    assert {(e.line, e.code) for e in batch.errors.data} == {
        (2, "invalid_pipeline"),
        (3, "invalid_json_line"),
        (4, "invalid_pipeline"),
        (5, "invalid_pipeline"),
    }
    assert any(e.line == 4 and "in a circle" in e.message for e in batch.errors.data)
    assert not server.model.asked


async def test_a_document_is_never_read_as_a_template(server: Running) -> None:
    text = "{{document.secret}} {{steps.a}} {% raw %}"
    batch = await ended(server.client(), (await submit(server, jsonl([line("line-1", text)]))).id)
    assert batch.request_counts.completed == 1
    assert dict(server.model.asked) == {text: 1, f"you said {text}": 1}


async def test_a_cancelled_run_keeps_no_steps_and_can_be_retried(start: Start) -> None:
    server = await start(places=4, seconds=0.05)
    client = server.client()
    batch = await submit(server, jsonl(line(f"line-{n}", f"t{n}") for n in range(60)))
    async with asyncio.timeout(120):
        while (await client.batches.retrieve(batch.id)).request_counts.completed < 3:
            await asyncio.sleep(0.02)
    await client.batches.cancel(batch.id)
    done = await ended(client, batch.id)
    assert done.status == "cancelled"
    assert server.model.present == 0
    assert kept_steps(server) == 0
    server.model.seconds = 0.001
    async with server.http(ALICE) as http:
        again = (await http.post(f"/v1/batches/{batch.id}/retry")).json()
    rest = await ended(client, again["id"])
    assert rest.request_counts.completed == 60 - done.request_counts.completed


async def test_nobody_sees_the_results_of_another(server: Running) -> None:
    batch = await ended(server.client(), (await submit(server, jsonl([line("line-1", "x")]))).id)
    async with server.http(BOB) as http:
        assert (await http.get(f"/v1/batches/{batch.id}")).status_code == 404
        assert (await http.get(f"/v1/files/{batch.output_file_id}/content")).status_code == 404

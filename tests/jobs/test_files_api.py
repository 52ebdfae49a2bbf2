"""Files through the unchanged openai client, and forms that no client sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest

from hive_expert.jobs.limits import JobLimits
from tests.jobs.conftest import ALICE, Running, Start, jsonl, line, upload

GOOD = jsonl([line("a", "hello")])


def form(name: str = "in.jsonl", content: bytes = GOOD, purpose: str = "batch") -> bytes:
    return (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n'
        + purpose.encode()
        + b'\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="'
        + name.encode()
        + b'"\r\n\r\n'
        + content
        + b"\r\n--x--\r\n"
    )


HEADERS = {"content-type": "multipart/form-data; boundary=x"}


async def test_a_file_comes_back_as_it_was(server: Running) -> None:
    client = server.client()
    file = await upload(client, GOOD, "déjà vu.jsonl")
    assert (file.bytes, file.purpose, file.filename) == (len(GOOD), "batch", "déjà vu.jsonl")
    assert (await client.files.retrieve(file.id)).created_at == file.created_at
    assert (await client.files.content(file.id)).content == GOOD
    assert (await client.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(file.id)
    assert not list(server.jobs.files.folder.iterdir())


async def test_files_are_listed_page_by_page(server: Running) -> None:
    client = server.client()
    made = [(await upload(client, GOOD, f"{n}.jsonl")).id for n in range(5)]
    assert sorted([file.id async for file in client.files.list(limit=2)]) == sorted(made)
    assert [file.id async for file in client.files.list(purpose="batch_output")] == []


async def test_a_file_may_have_an_end(server: Running) -> None:
    client = server.client()
    file = await client.files.create(
        file=("in.jsonl", GOOD),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert file.expires_at == file.created_at + 3600
    gone = server.jobs.store.remove_expired_files(file.created_at + 3600)
    assert gone == [file.id]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b.jsonl", "a\\b", "..", "", "a\tb", "x" * 300, "a\u202eb"]
)
async def test_names_that_climb_are_refused(server: Running, name: str) -> None:
    async with server.http(ALICE) as http:
        answer = await http.post("/v1/files", content=form(name), headers=HEADERS)
    assert answer.status_code == 400
    assert "its name" in answer.json()["error"]["message"]
    assert not list(server.jobs.files.folder.glob("*"))


@pytest.mark.parametrize(
    ("content", "headers", "what"),
    [
        (GOOD, {"content-type": "application/json"}, "multipart/form-data"),
        (GOOD, {"content-type": "multipart/form-data"}, "multipart/form-data"),
        (GOOD, HEADERS, "is no form"),
        (form()[:-20], HEADERS, "ends in the middle"),
        (form(purpose="fine-tune"), HEADERS, "purpose"),
        (form().replace(b'name="file"', b'name="path"'), HEADERS, "path"),
        (form().replace(b'; filename="in.jsonl"', b""), HEADERS, "no file"),
        (form(purpose="b" * 5000), HEADERS, "too long"),
        (form().replace(b"form-data;", b"form-data;" + b" " * 9000, 1), HEADERS, "header"),
    ],
)
async def test_forms_that_are_none_are_refused(
    server: Running, content: bytes, headers: dict[str, str], what: str
) -> None:
    async with server.http(ALICE) as http:
        answer = await http.post("/v1/files", content=content, headers=headers)
    assert answer.status_code == 400
    assert what in answer.json()["error"]["message"]
    assert not list(server.jobs.files.folder.glob("*"))


async def test_a_file_that_never_ends_is_cut_off(start: Start) -> None:
    server = await start(limits=JobLimits(file_bytes=1_000_000))
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield form().partition(GOOD)[0]
        while True:
            sent += 65536
            assert sent < 10_000_000, "it is still read"
            yield b"x" * 65536
            await asyncio.sleep(0)

    async with server.http(ALICE) as http:
        answer = await http.post("/v1/files", content=endless(), headers=HEADERS)
    assert answer.status_code == 413
    assert not list(server.jobs.files.folder.glob("*"))


async def test_an_agent_has_so_much_room(start: Start) -> None:
    server = await start(limits=JobLimits(stored_bytes=3 * len(GOOD) // 2, files=2))
    client = server.client()
    await upload(client, GOOD)
    with pytest.raises(openai.APIStatusError, match="delete older files"):
        await upload(client, GOOD)
    await upload(client, GOOD[:10])
    with pytest.raises(openai.BadRequestError, match="2 files already"):
        await upload(client, b"x")


async def test_without_a_key_there_is_nothing(server: Running) -> None:
    async with server.http("wrong-key-0123456789") as http:
        for method, path in (
            ("POST", "/v1/files"),
            ("GET", "/v1/files"),
            ("GET", "/v1/files/file-1/content"),
            ("DELETE", "/v1/files/file-1"),
            ("POST", "/v1/batches"),
            ("GET", "/v1/batches"),
            ("GET", "/v1/jobs/events"),
        ):
            answer = await http.request(method, path, content=form(), headers=HEADERS)
            assert answer.status_code == 401

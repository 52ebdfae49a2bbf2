"""Killing the server of a pipeline at random moments: no finished step is asked again.

`python -m tests.jobs.pipelines.crash [--documents N] [--kills N] [--database URL]` prints what was
done as JSON. The server is a process of its own with the real routes, workflows and database; its
model is a fake that writes down what it is asked. After each SIGKILL the database says which steps
were finished: the model must not hear of them again. In the end each document has one result,
through all steps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request, Response
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from hive_expert.client.jobs import FINAL, JobsClient
from hive_expert.errors import ServerError
from hive_expert.jobs.admission import room_of
from hive_expert.jobs.pipelines.request import ENDPOINT
from hive_expert.jobs.service import JobSettings
from hive_expert.jobs.tables import STEPS, open_database
from tests.jobs.fake_server import FakeModel, application, local_door, serving
from tests.jobs.pipelines.conftest import step, values

START_LIMIT_S = 120.0
LIFE_S = 1.0
NAMES = ("a", "b", "c")
PIPELINE = values(
    step("a", "a {{document.text}}"), step("b", "b {{steps.a}}"), step("c", "c {{steps.b}}")
)


@dataclass
class Result:
    """What came of one run."""

    documents: int
    kills: int = 0
    finished_before_kills: int = 0
    """Steps that the database knew to be finished when their server died."""
    asked: int = 0
    """Requests that the model has heard of; beyond documents times steps: what was in its hands."""
    repeated: int = 0
    """Those of them that were finished before."""
    results: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0

    @property
    def ok(self) -> bool:
        return not (self.repeated or self.lost or self.twice or self.wrong)


def prompt_of(number: int, step: str) -> str:
    """What the model is asked in a step of a document."""
    prompt = f"a text {number}"
    for name in NAMES[1 : NAMES.index(step) + 1]:
        prompt = f"{name} you said {prompt}"
    return prompt


def run(
    folder: Path, *, documents: int, kills: int, seed: int, database: str | None = None
) -> Result:
    """One pipeline through `kills` deaths of its server."""
    dice, result = random.Random(seed), Result(documents)
    source = folder / "in.jsonl"
    with source.open("w") as out:
        for n in range(documents):
            body = {"pipeline": PIPELINE, "document": {"text": f"text {n}"}}
            request = {"custom_id": f"line-{n}", "method": "POST", "url": ENDPOINT, "body": body}
            out.write(json.dumps(request) + "\n")
    with running_server(folder, database) as (client, _):
        order = {
            "input_file_id": client.upload(source)["id"],
            "endpoint": ENDPOINT,
            "completion_window": "24h",
        }
        batch_id = client.make(order)["id"]
    finished: set[str] = set()
    heard = 0
    while result.kills < kills:
        with running_server(folder, database) as (client, process):
            if client.batch(batch_id)["status"] in FINAL:
                break
            time.sleep(dice.uniform(0, LIFE_S))
            process.kill()
            process.wait()
        result.kills += 1
        asked = _asked(folder)
        result.repeated += len(finished.intersection(asked[heard:]))
        heard = len(asked)
        finished = _finished(JobSettings(folder / "jobs", database=database))
        result.finished_before_kills = max(result.finished_before_kills, len(finished))
    with running_server(folder, database) as (client, _):
        while (batch := client.batch(batch_id))["status"] not in FINAL:
            time.sleep(0.2)
        lines = b"".join(client.content(batch["output_file_id"])).splitlines()
    asked = _asked(folder)
    result.repeated += len(finished.intersection(asked[heard:]))
    result.asked, result.results = len(asked), len(lines)
    told = {}
    for answer in map(json.loads, lines):
        told[answer["custom_id"]] = answer["response"]["body"]["output"]
    result.lost = documents - len(told)
    result.twice = len(lines) - len(told)
    result.wrong = sum(
        told.get(f"line-{n}") != f"you said {prompt_of(n, 'c')}" for n in range(documents)
    )
    return result


def _asked(folder: Path) -> list[str]:
    path = folder / "asked"
    return path.read_text().splitlines() if path.exists() else []


def _finished(settings: JobSettings) -> set[str]:
    engine = open_database(settings.url)
    with engine.connect() as connection:
        rows = connection.execute(select(STEPS.c.custom_id, STEPS.c.step)).all()
    engine.dispose()
    return {prompt_of(int(custom_id.removeprefix("line-")), step) for custom_id, step in rows}


class Listening(FakeModel):
    """A fake that writes down what it is asked, so that it outlives a kill."""

    def __init__(self, path: Path) -> None:
        super().__init__(seconds=0.005)
        self._out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def answer(self, request: Request) -> Response:
        text = (await request.json())["messages"][-1]["content"]
        os.write(self._out, f"{text}\n".encode())
        return await super().answer(request)


async def serve(port: int, folder: Path, database: str | None) -> None:
    import uvicorn

    registry = CollectorRegistry()
    app = application(local_door(), Listening(folder / "asked"), registry)
    models = {"data": [{"id": "fake"}]}
    app.get("/v1/models", response_model=None)(lambda: models)
    app.get("/v1/experts", response_model=None)(lambda: {"data": []})
    settings = JobSettings(folder / "jobs", room_of(32), database, poll_s=0.2)
    async with serving(app, settings, registry):
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")
        await uvicorn.Server(config).serve()


@contextmanager
def running_server(
    folder: Path, database: str | None = None
) -> Iterator[tuple[JobsClient, subprocess.Popen[bytes]]]:
    """A server until the block's end, which is a kill; yields once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.jobs.pipelines.crash", "--serve", str(port)]
    command += ["--folder", str(folder), *(["--database", database] if database else [])]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log)
    client = JobsClient(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            assert process.poll() is None, "the server did not start"
            try:
                next(client.batches(), None)
                break
            except ServerError:
                time.sleep(0.02)
        yield client, process
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", help="postgresql://…; SQLite otherwise")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        asyncio.run(serve(chosen.serve, chosen.folder, chosen.database))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), documents=chosen.documents, kills=chosen.kills, seed=chosen.seed)
    print(json.dumps({**vars(result), "ok": result.ok}))
    sys.exit(not result.ok)


if __name__ == "__main__":
    main()

"""Killing the server of a batch at random moments, until the batch is done all the same.

`python -m tests.jobs.crash [--requests N] [--kills N] [--database URL]` prints what was done as
JSON. The server is a process of its own with the real routes, workflows and database; its model is
a fake. It gets SIGKILL at least so often while the batch is open, at moments drawn from all of its
life: while it starts, reads the file, asks, writes down. In the end every custom_id must stand in
the output or the error file, once, with the answer to its own question.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hive_expert.client.jobs import FINAL, JobsClient
from hive_expert.errors import ServerError

START_LIMIT_S = 120.0
LIFE_S = 1.2
"""How long a server lives at most after it has answered for the first time. On PostgreSQL it takes
longer until a new server is at work, so for kills in the middle of it: `--life 5`."""


@dataclass
class Result:
    """What came of one run."""

    requests: int
    kills: int = 0
    states: Counter[str] = field(default_factory=Counter)
    """State of the batch → kills in it."""
    results: int = 0
    errors: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0
    """Answers to another question."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not (self.lost or self.twice or self.wrong)


def run(
    folder: Path,
    *,
    requests: int,
    kills: int,
    seed: int,
    database: str | None,
    life_s: float = LIFE_S,
) -> Result:
    """One batch through `kills` deaths of its server."""
    dice, result, started = random.Random(seed), Result(requests), time.monotonic()
    source = folder / "in.jsonl"
    with source.open("w") as out:
        for n in range(requests):
            text = f"refuse {n}" if n % 10 == 9 else f"text {n}"
            body = {"model": "fake", "messages": [{"role": "user", "content": text}]}
            request = {"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions"}
            out.write(json.dumps({**request, "body": body}) + "\n")
    with running_server(folder, database) as (client, _):
        order = {
            "input_file_id": client.upload(source)["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        batch_id = client.make(order)["id"]
    while result.kills < kills:
        with running_server(folder, database) as (client, process):
            if client.batch(batch_id)["status"] in FINAL:
                break
            time.sleep(dice.uniform(0, life_s))
            result.states[client.batch(batch_id)["status"]] += 1
            process.kill()
        result.kills += 1
    with running_server(folder, database) as (client, _):
        while (batch := client.batch(batch_id))["status"] not in FINAL:
            time.sleep(0.2)
        _judge(client, batch, result)
    result.seconds = round(time.monotonic() - started, 1)
    return result


def _judge(client: JobsClient, batch: dict[str, Any], result: Result) -> None:
    seen: Counter[str] = Counter()
    for key in ("output_file_id", "error_file_id"):
        content = b"".join(client.content(batch[key])) if batch[key] else b""
        for line in content.splitlines():
            answer = json.loads(line)
            seen[answer["custom_id"]] += 1
            number = int(answer["custom_id"][1:])
            body = answer["response"]["body"]
            if key == "output_file_id":
                result.results += 1
                right = body["choices"][0]["message"]["content"] == f"you said text {number}"
            else:
                result.errors += 1
                right = body["error"]["message"] == f"refuse {number}"
            result.wrong += not right or (number % 10 == 9) == (key == "output_file_id")
    result.lost = result.requests - len(seen)
    result.twice = sum(count - 1 for count in seen.values())


@contextmanager
def running_server(
    folder: Path, database: str | None
) -> Iterator[tuple[JobsClient, subprocess.Popen[bytes]]]:
    """A server until the block's end, which is a kill; yields once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.jobs.fake_server", str(port), str(folder / "jobs")]
    log = (folder / "server.log").open("ab")
    process = subprocess.Popen([*command, *([database] if database else [])], stderr=log)
    client = JobsClient(f"http://127.0.0.1:{port}")
    try:
        _wait(client, process)
        yield client, process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        log.close()


def _wait(client: JobsClient, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server did not start"
        try:
            next(client.batches(), None)
            return
        except ServerError:
            time.sleep(0.02)
    raise TimeoutError("the server did not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", help="postgresql://…; SQLite otherwise")
    parser.add_argument("--life", type=float, default=LIFE_S, help="seconds, at most")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(
            Path(folder),
            requests=chosen.requests,
            kills=chosen.kills,
            seed=chosen.seed,
            database=chosen.database,
            life_s=chosen.life,
        )
    print(json.dumps({**vars(result), "ok": result.ok}))
    sys.exit(not result.ok)


if __name__ == "__main__":
    main()

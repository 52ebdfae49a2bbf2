"""The servers that `jobs_crash.py` kills: hive-serve, and two that have a fake model."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving_bench import Bench
from sqlalchemy import select

from hive_expert.jobs.service import JobSettings
from hive_expert.jobs.tables import STEPS as FINISHED
from hive_expert.jobs.tables import open_database
from hive_expert.serving.local_server import LocalServer, free_port, running_server

ROOT = Path(__file__).parent.parent
NOBODY = "expert-nowhere"
WORDS = ("river", "stone", "cloud", "engine", "garden", "winter", "signal", "copper", "market")


def fails(number: int) -> bool:
    """One request in ten is such that it must."""
    return number % 10 == 9


@dataclass
class HiveServer:
    """hive-serve with SmolLM2-135M. An answer repeats its prompt (`echo`) and adds a token, so that
    it tells which request it is the answer to; what must fail asks for an expert that there is
    not."""

    bench: Bench
    database: str | None = None
    endpoint: str = "/v1/completions"

    @contextmanager
    def server(self) -> Iterator[LocalServer]:
        experts = self.bench.folder / "no experts"
        experts.mkdir(exist_ok=True)
        options = ("--jobs-database", self.database) if self.database else ()
        with self.bench.hive(experts, *options, jobs=True) as server:
            yield server

    def body(self, number: int) -> dict[str, Any]:
        model = NOBODY if fails(number) else self.bench.base.name
        asked = {"model": model, "prompt": prompt(number), "max_tokens": 1, "echo": True}
        return asked | {"temperature": 0}

    def right(self, number: int, response: dict[str, Any]) -> bool:
        if fails(number):
            return bool(response["status_code"] == 404)
        text: str = response["body"]["choices"][0]["text"]
        return text.startswith(prompt(number)) and len(text) > len(prompt(number))


def prompt(number: int) -> str:
    """Short, and no other request's: none begins as another does."""
    return f"{number}. One word about a {WORDS[number % len(WORDS)]}:"


@dataclass
class FakeServer:
    """The real routes, workflows and database, and what stands for a model: it starts in a second,
    and says what it was asked. What must fail asks for that."""

    folder: Path
    database: str | None = None
    endpoint: str = "/v1/chat/completions"
    module: str = "tests.jobs.fake_server"

    @contextmanager
    def server(self) -> Iterator[LocalServer]:
        port = free_port()
        command = [sys.executable, "-m", self.module, str(port)]
        command += [str(self.folder / "jobs"), *([self.database] if self.database else [])]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        log, url = self.folder / f"server-{port}.log", f"http://127.0.0.1:{port}"
        with running_server(command, url, environment=environment, log=log) as server:
            yield server

    def body(self, number: int) -> dict[str, Any]:
        return {"model": "fake", "messages": [{"role": "user", "content": self._asked(number)}]}

    def right(self, number: int, response: dict[str, Any]) -> bool:
        body = response["body"]
        if fails(number):
            return bool(body["error"]["message"] == self._asked(number))
        said = body["choices"][0]["message"]["content"]
        return bool(said == f"you said {self._asked(number)}")

    def _asked(self, number: int) -> str:
        return f"{'refuse' if fails(number) else 'text'} {number}"


STEPS = ("a", "b", "c")


@dataclass
class PipelineServer(FakeServer):
    """Documents go through three steps, each of which asks for what the one before has brought. The
    model writes down what it is asked, and must never hear of a step that the database knew to be
    finished when a server died."""

    endpoint: str = "/v1/pipelines"
    module: str = "tests.jobs.pipelines.listening_server"
    _finished: set[str] = field(default_factory=set)
    _heard: int = 0

    def body(self, number: int) -> dict[str, Any]:
        prompts = ("a {{document.text}}", "b {{steps.a}}", "c {{steps.b}}")
        steps = [
            {"name": name, "model": "fake", "prompt": prompt}
            for name, prompt in zip(STEPS, prompts, strict=True)
        ]
        pipeline = {"name": "test", "steps": steps}
        return {"pipeline": pipeline, "document": {"text": f"text {number}"}}

    def right(self, number: int, response: dict[str, Any]) -> bool:
        return bool(response["body"]["output"] == f"you said {step_prompt(number, 'c')}")

    def look(self) -> int:
        """How many steps were asked since the last look that were finished then."""
        asked = (self.folder / "jobs" / "asked").read_text().splitlines()
        repeated = len(self._finished.intersection(asked[self._heard :]))
        self._heard = len(asked)
        engine = open_database(JobSettings(self.folder / "jobs", database=self.database).url)
        with engine.connect() as connection:
            rows = connection.execute(select(FINISHED.c.custom_id, FINISHED.c.step)).all()
        engine.dispose()
        self._finished |= {step_prompt(int(custom_id[1:]), step) for custom_id, step in rows}
        return repeated


def step_prompt(number: int, step: str) -> str:
    """What the model is asked in a step of a document."""
    prompt = f"a text {number}"
    for name in STEPS[1 : STEPS.index(step) + 1]:
        prompt = f"{name} you said {prompt}"
    return prompt

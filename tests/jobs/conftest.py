"""A server of jobs in this process, and an openai client to it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from hive_expert.jobs.admission import room_of
from hive_expert.jobs.limits import JobLimits
from hive_expert.jobs.service import Jobs, JobSettings
from hive_expert.serving.agents import Agents
from hive_expert.serving.auth import Keys, parse_keys
from hive_expert.serving.guard import Door
from hive_expert.serving.ledger import Ledger
from hive_expert.serving.observation import CURRENT
from tests.jobs.fake_server import FakeModel, application, local_door, serving

ALICE = "alice-key-0123456789"
BOB = "bob-key-0123456789"
CAROL = "carol-key-0123456789"

KEYS = Keys(parse_keys(f"alice {ALICE}\nbob {BOB}\ncarol {CAROL}", "keys"), local=False)


@dataclass
class Running:
    """One server of jobs."""

    app: Any
    door: Door
    model: FakeModel
    registry: CollectorRegistry

    @property
    def jobs(self) -> Jobs:
        jobs: Jobs = self.app.state.hive_jobs
        return jobs

    def client(self, key: str = ALICE) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url="http://localhost/v1",
            api_key=key,
            max_retries=0,
            http_client=self.http(),
        )

    def http(self, key: str | None = None) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    def metrics(self) -> str:
        """As the server itself sees them: a test's requests run in its own context, and stay."""
        context = copy_context()
        context.run(CURRENT.set, None)
        return context.run(generate_latest, self.registry).decode()


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database: making one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("database")
    settings = JobSettings(folder, poll_s=0.05)

    async def make() -> None:
        registry = CollectorRegistry()
        async with serving(application(local_door(), FakeModel(), registry), settings, registry):
            pass

    asyncio.run(make())
    return folder / "jobs.sqlite"


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path, new_database: Path) -> AsyncIterator[Start]:
    """Starts a server; all are stopped at the end. `stop` in between: `await start.stop()`."""
    async with AsyncExitStack() as stack:

        async def started(
            *,
            agents: Agents | None = None,
            seconds: float = 0.001,
            places: int = 64,
            limits: JobLimits | None = None,
            folder: Path = tmp_path / "jobs",
        ) -> Running:
            registry, model = CollectorRegistry(), FakeModel(seconds)
            door = local_door(KEYS, places)
            door.ledger = Ledger(agents or Agents())
            app = application(door, model, registry)
            folder.mkdir(exist_ok=True)
            if not (folder / "jobs.sqlite").exists():
                shutil.copy(new_database, folder)
            settings = JobSettings(
                folder, room_of(places), limits=limits or JobLimits(), poll_s=0.05
            )
            await stack.enter_async_context(serving(app, settings, registry))
            return Running(app, door, model, registry)

        yield started


Open = Callable[..., Jobs]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens jobs, which have their folder and database, and do nothing of themselves."""
    with ExitStack() as stack:

        def made(
            *,
            folder: Path = tmp_path / "jobs",
            database: str | None = None,
            agents: Agents | None = None,
            limits: JobLimits | None = None,
        ) -> Jobs:
            door = local_door()
            door.ledger = Ledger(agents or Agents())
            settings = JobSettings(folder, database=database, limits=limits or JobLimits())
            nobody: Any = None
            jobs = Jobs(settings, door, nobody, CollectorRegistry())
            jobs._open()
            stack.callback(jobs._engine.dispose)
            stack.callback(jobs._lease.release)
            return jobs

        yield made


@pytest.fixture
async def server(start: Start) -> Running:
    return await start()


def line(custom_id: str, text: str, **body: Any) -> dict[str, Any]:
    """A request for the fake model."""
    messages = [{"role": "user", "content": text}]
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "fake", "messages": messages, **body},
    }


def jsonl(lines: Iterable[Any]) -> bytes:
    return "".join(f"{json.dumps(each)}\n" for each in lines).encode()


async def upload(client: openai.AsyncOpenAI, content: bytes, name: str = "in.jsonl") -> Any:
    return await client.files.create(file=(name, content), purpose="batch")


async def submit(
    client: openai.AsyncOpenAI, content: bytes, window: str = "24h", **more: Any
) -> Any:
    """A new batch of these lines."""
    file = await upload(client, content)
    return await client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window=window,  # type: ignore[arg-type]  # the client's type knows 24h only
        **more,
    )


async def ended(client: openai.AsyncOpenAI, batch_id: str) -> Any:
    """The batch, once it is done."""
    async with asyncio.timeout(180):
        while True:
            batch = await client.batches.retrieve(batch_id)
            if batch.status in ("failed", "completed", "expired", "cancelled"):
                return batch
            await asyncio.sleep(0.02)


async def lines_of(client: openai.AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of an output or error file; none if there is no file."""
    if file_id is None:
        return []
    content = (await client.files.content(file_id)).text
    return [json.loads(each) for each in content.splitlines()]

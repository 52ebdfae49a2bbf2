"""A server of jobs whose fake model writes down what it is asked, so that it outlives a kill.

`python -m tests.jobs.pipelines.listening_server PORT FOLDER [DATABASE]`, as
`tests.jobs.fake_server`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry

from tests.jobs.fake_server import FakeModel, application, local_door, serve


class Listening(FakeModel):
    """What stands for the engine; `path` gets a line for each request."""

    def __init__(self, path: Path) -> None:
        super().__init__(seconds=0.005)
        self._out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def answer(self, request: Request) -> Response:
        text = (await request.json())["messages"][-1]["content"]
        os.write(self._out, f"{text}\n".encode())
        return await super().answer(request)


def listening(folder: Path, registry: CollectorRegistry) -> FastAPI:
    """The application; `asked` in the folder is what its model writes."""
    folder.mkdir(parents=True, exist_ok=True)
    app = application(local_door(), Listening(folder / "asked"), registry)
    models = {"data": [{"id": "fake"}]}
    app.get("/v1/models", response_model=None)(lambda: models)
    app.get("/v1/experts", response_model=None)(lambda: {"data": []})
    return app


if __name__ == "__main__":
    registry = CollectorRegistry()
    folder = Path(sys.argv[2])
    asyncio.run(
        serve(listening(folder, registry), registry, int(sys.argv[1]), folder, *sys.argv[3:])
    )

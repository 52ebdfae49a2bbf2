"""An answer whose numbers overflow is an error that names the expert, in answers and streams."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send
from vllm.exceptions import GenerationError

from hive_expert.engine.overflow import OVERFLOWED
from hive_expert.errors import OverflowedError
from hive_expert.jobs.limits import ATTEMPTS
from hive_expert.jobs.upstream import Application
from hive_expert.serving.auth import Caller
from hive_expert.serving.observation import CURRENT, Observation
from hive_expert.serving.overflow import (
    OverflowClient,
    OverflowedAnswerError,
    overflowed,
    telling,
)
from hive_expert.serving.problems import error_response
from hive_expert.serving.telemetry import Telemetry

WHAT = "`expert-wild` has no answer to this: its adapter's numbers overflow"


def output(*answers: tuple[str | None, str | None]) -> Any:
    """One of the engine's, with the finish and stop reasons of each answer."""
    return SimpleNamespace(
        outputs=[SimpleNamespace(finish_reason=f, stop_reason=s) for f, s in answers]
    )


GOING_ON = output((None, None), (None, None))
GIVEN_UP = output((None, None), ("error", OVERFLOWED))


class Engine:
    """Yields what it is given, as vLLM's engine client does."""

    model_config = "kept"

    def __init__(self, *outputs: Any) -> None:
        self.outputs = outputs
        self.closed = False

    async def generate(self) -> Any:
        try:
            for each in self.outputs:
                yield each
        finally:
            self.closed = True


@pytest.fixture
def seen() -> Iterator[Observation]:
    observation = Observation("id", "POST", "/v1/completions", expert="expert-wild")
    token = CURRENT.set(observation)
    yield observation
    CURRENT.reset(token)


@pytest.mark.parametrize("kind", [OverflowedAnswerError, overflowed])
async def test_it_is_raised_and_noted_and_the_engine_hears_of_it(
    kind: Any, seen: Observation
) -> None:
    engine = Engine(GOING_ON, GIVEN_UP, GOING_ON)
    outputs = OverflowClient(engine, kind).generate()
    assert await anext(outputs) is GOING_ON
    with pytest.raises(OverflowedError, match="expert-wild"):
        await anext(outputs)
    assert engine.closed
    assert seen.overflowed


@pytest.mark.parametrize(
    "last",
    [
        output(("stop", None)),
        output(("stop", OVERFLOWED)),  # a stop sequence of the client's own
        output(("error", None)),  # vLLM tells of it itself
    ],
)
async def test_other_ends_pass(last: Any, seen: Observation) -> None:
    client = OverflowClient(Engine(GOING_ON, last), overflowed)
    assert [each async for each in client.generate()] == [GOING_ON, last]
    assert not seen.overflowed
    assert client.model_config == "kept"


async def test_without_a_request_it_is_the_model_s() -> None:
    with pytest.raises(OverflowedError, match="the model"):
        _ = [each async for each in OverflowClient(Engine(GIVEN_UP), overflowed).generate()]


def test_vllm_s_streams_know_it() -> None:
    error = OverflowedAnswerError("expert-wild")
    assert isinstance(error, GenerationError)
    assert (error.status_code, str(error).startswith(WHAT)) == (500, True)


def test_the_answer_is_an_error_of_the_server_that_asking_again_does_not_mend() -> None:
    answer = error_response(OverflowedAnswerError("expert-wild"))
    told = json.loads(bytes(answer.body))["error"]
    assert (answer.status_code, told["code"], told["type"]) == (500, 500, "OverflowedError")
    assert told["message"].startswith(WHAT)
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("overflows", [False, True])
async def test_a_batch_does_not_ask_again(*, overflows: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = JSONResponse({"error": {}}, status_code=500)
        if overflows:
            answer = error_response(overflowed("expert-wild"))
        await answer(scope, receive, send)

    reply = await Application(app).ask("/v1/completions", b"{}", Caller(None, False))
    assert (reply.status, reply.attempts) == (500, 1 if overflows else ATTEMPTS)


@pytest.mark.parametrize("overflows", [False, True])
def test_a_stream_of_responses_ends_with_an_event(*, overflows: bool) -> None:
    async def events() -> AsyncIterator[str]:
        yield "event: response.created\ndata: {}\n\n"
        if overflows:
            raise overflowed("expert-wild")

    app = FastAPI()
    app.add_api_route("/", lambda: telling(StreamingResponse(events())))
    first, *rest = TestClient(app).get("/").text.strip().split("\n\n")
    assert first == "event: response.created\ndata: {}"
    if not overflows:
        assert not rest
        return
    (last,) = rest
    kind, data = last.split("\n")
    told = json.loads(data.removeprefix("data: "))
    assert (kind, told["type"], told["sequence_number"]) == ("event: error", "error", 1)
    assert told["message"].startswith(WHAT)


def test_it_is_counted_by_expert(seen: Observation) -> None:
    registry = CollectorRegistry()
    seen.asks_model = seen.overflowed = True
    Telemetry(registry).record(seen)
    assert registry.get_sample_value("hive_overflows_total", {"expert": "expert-wild"}) == 1

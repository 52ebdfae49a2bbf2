"""ExpertEngine against the real server, and the tour that shows it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hive_expert import ExpertEngine, Sampling, Step
from hive_expert.errors import EngineError, ServerError
from tests.e2e.conftest import ROOT, Server
from tests.e2e.test_serving import BASE_MESSAGES, JSON_MESSAGES, SQL_MESSAGES, ask

pytestmark = pytest.mark.e2e

SYSTEM, QUESTION = (message["content"] for message in SQL_MESSAGES)
CAPITAL = BASE_MESSAGES[0]["content"]
GREEDY = Sampling(temperature=0, max_tokens=48)


@pytest.fixture
def engine(server: Server) -> Iterator[ExpertEngine]:
    with ExpertEngine(url=server.url) as running:
        yield running


def test_an_expert_that_is_named_answers(engine: ExpertEngine, server: Server) -> None:
    answer = engine.infer(QUESTION, experts=["expert-sql"], system=SYSTEM, sampling=GREEDY)
    expected = ask(server, "expert-sql", temperature=0, max_tokens=48).choices[0].message.content
    assert answer.output == expected
    assert answer.experts_used == ("expert-sql",)
    assert answer.route is None
    assert answer.latency_ms > 0
    assert answer.usage.completion_tokens > 3
    assert answer.finish_reason == "stop"


def test_without_names_the_router_chooses_and_says_why(engine: ExpertEngine) -> None:
    answer = engine.infer(QUESTION, system=SYSTEM, sampling=GREEDY)
    assert answer.experts_used == ("expert-sql",)
    assert "probability" in str(answer.route)
    assert engine.infer(CAPITAL, sampling=GREEDY).experts_used == ()


def test_an_empty_list_is_the_base_model(engine: ExpertEngine) -> None:
    answer = engine.infer(CAPITAL, experts=[], sampling=GREEDY)
    assert "Paris" in answer.output
    assert answer.experts_used == ()


def test_several_names_answer_as_one_composition(engine: ExpertEngine) -> None:
    answer = engine.infer(
        CAPITAL, experts=["expert-dora:0.5", "expert-sql:0.5"], sampling=Sampling(max_tokens=4)
    )
    assert answer.experts_used == ("expert-dora", "expert-sql")


def test_a_body_is_what_the_prompt_is_about(engine: ExpertEngine) -> None:
    system, text = (message["content"] for message in JSON_MESSAGES)
    answer = engine.infer(body=text, experts=["expert-json"], system=system, sampling=GREEDY)
    assert answer.output.startswith("{")


def test_a_stream_is_the_same_answer_in_pieces(engine: ExpertEngine) -> None:
    whole = engine.infer(QUESTION, system=SYSTEM, sampling=GREEDY)
    with engine.stream(QUESTION, system=SYSTEM, sampling=GREEDY) as stream:
        assert stream.experts_used == ("expert-sql",)
        pieces = list(stream)
    assert len(pieces) > 3
    assert "".join(pieces) == whole.output == stream.answer.output
    assert stream.answer.usage == whole.usage
    assert stream.answer.finish_reason == "stop"


def test_a_stream_that_is_left_early_is_interrupted(engine: ExpertEngine) -> None:
    with engine.stream(CAPITAL, experts=[], sampling=Sampling(max_tokens=500)) as stream:
        first = next(iter(stream))
    assert stream.answer.output == first
    assert stream.answer.finish_reason == "interrupted"


async def test_the_async_twins_answer_alike_and_together(engine: ExpertEngine) -> None:
    whole = engine.infer(QUESTION, system=SYSTEM, sampling=GREEDY)
    answers = await asyncio.gather(
        *(engine.infer_async(QUESTION, system=SYSTEM, sampling=GREEDY) for _ in range(4))
    )
    assert {answer.output for answer in answers} == {whole.output}
    async with await engine.stream_async(QUESTION, system=SYSTEM, sampling=GREEDY) as stream:
        pieces = [piece async for piece in stream]
    assert "".join(pieces) == whole.output
    await engine.client.close_async()


def test_in_a_chain_each_answers_what_the_one_before_said(engine: ExpertEngine) -> None:
    system, text = (message["content"] for message in JSON_MESSAGES)
    chain = engine.chain(
        [
            Step(["expert-json"], system=system, sampling=GREEDY),
            Step([], prompt="What is the name in this?", sampling=GREEDY),
        ],
        body=text,
    )
    first, last = chain.answers
    alone = engine.infer("What is the name in this?", first.output, [], sampling=GREEDY)
    assert chain.output == last.output == alone.output
    assert chain.experts_used == ("expert-json",)
    assert chain.usage == first.usage + last.usage


def test_options_reach_the_server(engine: ExpertEngine) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = engine.infer(CAPITAL, experts=[], sampling=GREEDY, structured_outputs={"json": schema})
    assert answer.output.startswith("{")


def test_experts_are_listed_and_routes_explained(engine: ExpertEngine) -> None:
    assert "expert-sql" in {expert["id"] for expert in engine.experts()}
    decision = engine.route(QUESTION, system=SYSTEM, max_experts=2)
    assert "expert-sql" in decision["model"]


def test_what_the_server_refuses_is_told(engine: ExpertEngine) -> None:
    with pytest.raises(ServerError, match="does not exist"):
        engine.infer("Hello", experts=["expert-absent"])


def test_an_engine_of_its_own_answers_and_ends_with_its_block(
    base_model: Path, publisher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVE_HOME", str(publisher))
    options = ["--dtype", "float32", "--max-slots", "2"]
    with ExpertEngine(base_model, publisher / "dir", options=options) as own:
        answer = own.infer(QUESTION, system=SYSTEM, sampling=GREEDY)
        assert answer.experts_used == ("expert-sql",)
        assert answer.output.startswith("SELECT")
        url = own.client.url
    with pytest.raises(ServerError), ExpertEngine(url=url) as gone:
        gone.infer(QUESTION)


def test_an_engine_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no-such-model"):
        ExpertEngine("./no-such-model", tmp_path)


def test_the_tour_runs(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "experts" / "tour.py"],
        env=os.environ | {"HIVE_URL": server.url},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "SELECT" in done.stdout
    assert "Paris" in done.stdout

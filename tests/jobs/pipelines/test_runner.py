"""A document's steps are asked in order, checked, asked again, and never twice once finished."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
from prometheus_client import CollectorRegistry

from hive_expert.jobs.limits import ATTEMPTS
from hive_expert.jobs.pipelines.checks import Checker
from hive_expert.jobs.pipelines.request import ENDPOINT
from hive_expert.jobs.pipelines.runner import CHAT, Runner
from hive_expert.jobs.pipelines.step_rows import RequestKey
from hive_expert.jobs.store import Store
from hive_expert.jobs.telemetry import JobTelemetry
from hive_expert.jobs.upstream import Reply
from hive_expert.serving.agents import PriorityClass
from hive_expert.serving.auth import Caller
from tests.jobs.pipelines.conftest import step, values

T = TypeVar("T")
CALLER = Caller("alice", admin=False, job=PriorityClass.BATCH)
KEY = RequestKey("batch_1", "line-1")
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@dataclass
class Script:
    """An application that answers each request with the next thing it is told to."""

    answers: list[Any] = field(default_factory=list)
    """A text, or a reply. Once there are none, an answer repeats the user message."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(self, endpoint: str, body: bytes, caller: Caller) -> Reply:
        assert endpoint == CHAT and caller == CALLER
        request = json.loads(body)
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else request["messages"][-1]["content"]
        if isinstance(answer, Reply):
            return answer
        told = {
            "model": request.get("model", "the-base"),
            "choices": [{"message": {"content": answer}}],
            "usage": {"prompt_tokens": 2, "completion_tokens": 3},
        }
        return Reply(200, json.dumps(told).encode(), headers=self.headers)


async def directly(function: Callable[[], T]) -> T:
    return function()


async def three(_model: str) -> int:
    return 3


@pytest.fixture
async def checker() -> AsyncIterator[Checker]:
    made = Checker()
    yield made
    await made.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def runner(script: Script, store: Store, checker: Checker, registry: CollectorRegistry) -> Runner:
    return Runner(script, store, directly, checker, JobTelemetry(registry), three)


async def run(runner: Runner, *steps: dict[str, Any], **document: Any) -> tuple[int, Any]:
    body = json.dumps({"pipeline": values(*steps), "document": document}).encode()
    reply = await runner.ask(ENDPOINT, body, CALLER, KEY)
    return reply.status, json.loads(reply.body)


async def test_each_step_has_the_answers_of_those_before(runner: Runner, script: Script) -> None:
    status, body = await run(
        runner,
        step("c", "{{steps.a}} and {{steps.b}}", system="Be {{document.tone}}."),
        step("a", "A {{document.text}}"),
        step("b", "B {{document.text}}", model="base"),
        text="x",
        tone="kind",
        id=7,
    )
    assert status == 200
    assert (body["id"], body["output"]) == (7, "B x")
    assert {name: found["output"] for name, found in body["steps"].items()} == {
        "a": "A x",
        "b": "B x",
        "c": "A x and B x",
    }
    assert body["usage"] == {"prompt_tokens": 6, "completion_tokens": 9, "total_tokens": 15}
    assert script.asked[2]["messages"][0] == {"role": "system", "content": "Be kind."}
    assert [request.get("model") for request in script.asked] == ["fake", None, "fake"]


async def test_a_system_message_of_nothing_is_none(runner: Runner, script: Script) -> None:
    await run(runner, step("a", system="{{document.schema?}}"), text="x")
    assert [message["role"] for message in script.asked[0]["messages"]] == ["user"]


async def test_a_step_asks_with_its_own_decoding(runner: Runner, script: Script) -> None:
    script.answers = ['{"name": "Ann"}', "yes"]
    await run(
        runner,
        step("a", json_schema=SCHEMA, temperature=0, max_tokens=9, stop=["\t"]),
        step("b", choices=["yes", "no"]),
        text="x",
    )
    first, second = script.asked
    assert (first["temperature"], first["max_tokens"], first["stop"]) == (0, 9, ["\t"])
    assert first["response_format"]["json_schema"]["schema"] == SCHEMA
    assert second["structured_outputs"] == {"choice": ["yes", "no"]}
    assert "temperature" not in second


@pytest.mark.parametrize(
    ("more", "bad", "good"),
    [
        ({"format": "json"}, "{", "{}"),
        ({"json_schema": SCHEMA}, "{}", '{"name": "Ann"}'),
        ({"format": "sql", "dialect": "sqlite"}, "SELECT FROM WHERE", "SELECT 1;"),
        ({"format": "cypher"}, "CREATE (n)", "MATCH (n) RETURN n"),
        ({"format": "typescript"}, "let = ;", "let a = 1;"),
        ({"choices": ["yes", "no"]}, "maybe", " yes\n"),
    ],
)
async def test_an_invalid_answer_is_asked_for_again(
    runner: Runner, script: Script, more: dict[str, Any], bad: str, good: str
) -> None:
    script.answers = [bad, good]
    status, body = await run(runner, step("a", **more), text="x")
    assert status == 200
    assert body["output"] == (good.strip() if "choices" in more else good)
    found = body["steps"]["a"]
    assert (found["attempts"], found["validation"]) == (2, "passed")
    assert (found["prompt_tokens"], found["completion_tokens"]) == (4, 6)
    assert script.asked[1]["seed"] == 1 and script.asked[1]["temperature"] > 0


async def test_after_the_last_try_the_document_fails(runner: Runner, script: Script) -> None:
    script.answers = ["{}", "{", "[", "{"]
    steps = step("a", format="json"), step("b", format="json", retries=2)
    status, body = await run(runner, *steps, text="x")
    assert status == 422
    assert body["error"]["param"] == "steps.b"
    assert "no valid answer in 3 tries: failed: not JSON" in body["error"]["message"]
    assert body["steps"]["a"]["output"] == "{}"
    assert body["usage"]["completion_tokens"] == 12


async def test_answers_are_counted_by_their_verdict(
    runner: Runner, script: Script, registry: CollectorRegistry
) -> None:
    script.answers = ["{", "{}"]
    await run(runner, step("a", format="json"), step("b"), text="x")
    counted = {
        valid: registry.get_sample_value("hive_job_steps_total", {"agent": "alice", "valid": valid})
        for valid in ("yes", "no")
    }
    assert counted == {"yes": 2, "no": 1}


async def test_or_goes_on_with_it_as_it_is(runner: Runner, script: Script) -> None:
    script.answers = ["{", "["]
    steps = step("a", format="json", on_invalid="keep"), step("b", "{{steps.a}}")
    status, body = await run(runner, *steps, text="x")
    assert (status, body["output"]) == (200, "[")
    assert body["steps"]["a"]["validation"].startswith("failed")


async def test_what_its_expert_finds_wrong_is_wrong(runner: Runner, script: Script) -> None:
    script.headers = {"x-hive-validation": "failed: 2 statements, not one"}
    status, body = await run(runner, step("a", retries=0), text="x")
    assert status == 422
    assert "the expert's own check: 2 statements" in body["error"]["message"]


async def test_a_finished_step_is_not_asked_again(
    runner: Runner, script: Script, store: Store
) -> None:
    steps = step("a", "A"), step("b", "{{steps.a}}B"), step("c", "{{steps.b}}C")
    script.answers = ["first", Reply(503, b'{"error": {"message": "busy"}}')]
    status, body = await run(runner, *steps)
    assert (status, body["error"]["message"]) == (503, "step 'b': busy")
    assert list(store.step_answers(KEY)) == ["a"]
    script.asked.clear()
    status, body = await run(runner, *steps)
    assert (status, body["output"]) == (200, "firstBC")
    assert [request["messages"][-1]["content"] for request in script.asked] == ["firstB", "firstBC"]


@pytest.mark.parametrize(
    ("reply", "status", "message"),
    [
        (Reply(404, b'{"error": {"message": "no such model"}}'), 404, "no such model"),
        (Reply(500, b"Internal Server Error"), 500, "Internal Server Error"),
        (Reply(200, b"<html>"), 502, "<html>"),
        (Reply(200, b"{}"), 502, "{}"),
    ],
)
async def test_a_step_without_an_answer_says_why(
    runner: Runner, script: Script, reply: Reply, status: int, message: str
) -> None:
    script.answers = [reply]
    found, body = await run(runner, step("a"), text="x")
    assert (found, body["error"]["message"]) == (status, f"step 'a': {message}")


@pytest.mark.parametrize(("in_vain", "attempts"), [(True, 1), (False, ATTEMPTS)])
async def test_a_document_is_not_asked_again_if_its_step_is_in_vain(
    runner: Runner, script: Script, in_vain: bool, attempts: int
) -> None:
    script.answers = [Reply(500, b'{"error": {"message": "overflow"}}', in_vain=in_vain)]
    body = json.dumps({"pipeline": values(step("a")), "document": {"text": "x"}}).encode()
    reply = await runner.ask(ENDPOINT, body, CALLER, KEY)
    assert (reply.status, reply.attempts) == (500, attempts)


async def test_a_value_that_an_answer_lacks_is_told(runner: Runner, script: Script) -> None:
    script.answers = ['{"nome": "Ann"}']
    steps = step("a", format="json"), step("b", "{{steps.a.name}}")
    status, body = await run(runner, *steps, text="x")
    assert (status, body["error"]["message"]) == (
        422,
        "step 'b': steps.a.name: there is no 'name'",
    )


async def test_no_answer_is_read_as_a_template(runner: Runner, script: Script) -> None:
    script.answers = ["{{document.secret}} {{steps.b}}"]
    steps = step("a", "A"), step("b", "{{document.text}}|{{steps.a}}")
    _, body = await run(runner, *steps, text="{{document.secret}}", secret="s3cret")
    assert body["output"] == "{{document.secret}}|{{document.secret}} {{steps.b}}"
    assert all("s3cret" not in json.dumps(request) for request in script.asked)


async def test_half_a_surrogate_pair_reaches_the_server_as_it_is(
    runner: Runner, script: Script
) -> None:
    script.answers = ['{"name": "\\ud83d"}']
    steps = step("a", format="json", on_invalid="keep", retries=0), step("b", "{{steps.a.name}}")
    status, _ = await run(runner, *steps, text="x")
    assert status == 200
    assert script.asked[1]["messages"][0]["content"] == "\ud83d"


async def test_a_fault_of_ours_is_an_error_and_no_silence(
    runner: Runner, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a fault")

    status, body = await run(replace(runner, blocking=broken), step("a", "x"))
    assert (status, body["error"]["message"]) == (500, "The server failed on this document.")
    assert "a fault" in caplog.text


async def test_a_chain_longer_than_its_experts_allow_is_refused(
    runner: Runner, script: Script
) -> None:
    steps = [step("s0", "x"), *(step(f"s{n}", f"{{{{steps.s{n - 1}}}}}") for n in range(1, 4))]
    status, body = await run(runner, *steps)
    assert status == 400
    assert (
        "steps[0].model: fake goes into chains of at most 3 steps, not 4"
        in (body["error"]["message"])
    )
    assert not script.asked


async def test_a_broken_order_is_refused(runner: Runner) -> None:
    status, body = await run(runner, step("a", "{{steps.b}}"))
    assert status == 400 and "there is no step 'b'" in body["error"]["message"]

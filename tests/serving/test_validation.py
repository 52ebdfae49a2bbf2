"""A bad answer is reported, asked again or refused, as the server is told."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from fastapi import Response
from fastapi.responses import JSONResponse, StreamingResponse
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

from hive_expert.decoding.child import TooSlowError
from hive_expert.decoding.prompt import Message
from hive_expert.decoding.validators import Check, Rule, check_for, validate
from hive_expert.errors import InvalidAnswerError
from hive_expert.serving import validation as validation_module
from hive_expert.serving.validation import (
    HEADER,
    ON_INVALID,
    Validator,
    answers_in,
    request_check,
)

CHECK = Check("json", None, None)
GOOD, BAD = '{"a":1}', '{"a":'


class Child:
    """Checks in this process."""

    async def ask(self, message: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]:
        if message["answer"] == "slow":
            raise TooSlowError("took more than 2 s")
        return {"reason": validate(CHECK, message["answer"])}


class Model:
    """Gives its answers in turn, and keeps the requests it got."""

    def __init__(self, *answers: str, status: int = 200) -> None:
        self.answers = list(answers)
        self.status = status
        self.asked: list[Any] = []

    async def __call__(self, request: Any) -> Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if not request.stream:
            choices = [{"index": 0, "message": {"content": answer}}]
            return JSONResponse({"choices": choices}, status_code=self.status)

        async def stream() -> AsyncIterator[str]:
            for piece in (answer[:3], answer[3:]):
                chunk = {"choices": [{"index": 0, "delta": {"content": piece}}]}
                # As vLLM's own types write it: only what JSON has to escape is escaped.
                yield f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
            yield ": keep-alive\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")


def request(**fields: Any) -> ChatCompletionRequest:
    body = {"messages": [{"role": "user", "content": "hi"}], **fields}
    return ChatCompletionRequest.model_validate(body)


async def answer(on_invalid: Any, model: Model, *, greedy: bool = False, **fields: Any) -> Response:
    child: Any = Child()
    validator = Validator(child, on_invalid, 2)
    response = await validator.answer(request(**fields), CHECK, model, greedy=greedy)
    assert response is not None
    return response


@pytest.mark.parametrize("on_invalid", ON_INVALID)
async def test_a_good_answer_passes_as_it_is(on_invalid: Any) -> None:
    model = Model(GOOD)
    response = await answer(on_invalid, model)
    assert response.headers[HEADER] == "passed"
    assert answers_in(json.loads(bytes(response.body))) == {0: GOOD}


async def test_report_only_tells() -> None:
    response = await answer("report", Model(BAD, GOOD))
    assert response.headers[HEADER].startswith("failed: not JSON")
    assert response.status_code == 200


async def test_error_refuses() -> None:
    with pytest.raises(InvalidAnswerError, match="not JSON"):
        await answer("error", Model(BAD))


async def test_retry_asks_again_with_another_seed_and_some_temperature() -> None:
    model = Model(BAD, BAD, GOOD)
    response = await answer("retry", model, seed=7, temperature=None)
    assert response.headers[HEADER] == "passed (asked again 2 times)"
    assert [asked.seed for asked in model.asked] == [7, 8, 9]
    assert [asked.temperature for asked in model.asked] == [None, 0.4, 0.4]


async def test_retry_ends() -> None:
    model = Model(BAD, BAD, BAD, GOOD)
    response = await answer("retry", model)
    assert response.headers[HEADER].startswith("failed")
    assert len(model.asked) == 3


async def test_a_client_that_asked_for_greedy_gets_greedy() -> None:
    model = Model(BAD, GOOD)
    response = await answer("retry", model, greedy=True, temperature=0)
    assert response.headers[HEADER].startswith("failed")
    assert len(model.asked) == 1


async def test_an_error_of_the_engine_is_passed_on_unchecked() -> None:
    response = await answer("error", Model(BAD, status=400))
    assert response.status_code == 400
    assert HEADER not in response.headers


async def test_what_cannot_be_checked_in_time_is_told() -> None:
    response = await answer("error", Model("slow"))
    assert response.headers[HEADER] == "not checked: took more than 2 s"


LINES = '{"a":"\u2028\u2029"}'
"""Ends of lines to Python, and none to JSON and to streams."""


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (GOOD, "passed"),
        (BAD, "failed: not JSON"),
        (LINES, "passed"),
        ("\u0085", "failed: not JSON"),
    ],
)
@pytest.mark.parametrize("on_invalid", ON_INVALID)
async def test_a_stream_ends_with_the_verdict_in_a_comment(
    on_invalid: Any, text: str, verdict: str
) -> None:
    response = await answer(on_invalid, Model(text), stream=True)
    assert response.headers[HEADER] == "at the end of the stream"
    assert isinstance(response, StreamingResponse)
    chunks = [chunk async for chunk in response.body_iterator]
    assert chunks[-1] == "data: [DONE]\n\n"
    assert str(chunks[-2]).startswith(f": {HEADER}: {verdict}")
    assert len(chunks) == 5


@pytest.mark.parametrize(
    "odd",
    [
        "data: {broken\n\n",
        'data: {"choices": [{"delta": {"content": "x"}}]}\n\n',
        'data: {"choices": [1]}\n\n',
        'data: {"choices": [{"index": 0, "delta": {"content": 1}}]}\n\n',
        b"data: {\xff}\n\n",
    ],
)
async def test_a_stream_goes_on_whatever_is_in_it(odd: str | bytes) -> None:
    async def events() -> AsyncIterator[str | bytes]:
        yield odd
        yield "data: [DONE]\n\n"

    async def ask(_: Any) -> Response:
        return StreamingResponse(events(), media_type="text/event-stream")

    validator = Validator(Child())  # type: ignore[arg-type]  # it has what is used of a child
    response = await validator.answer(request(stream=True), CHECK, ask, greedy=True)
    assert isinstance(response, StreamingResponse)
    first, verdict, last = [chunk async for chunk in response.body_iterator]
    assert (first, last) == (odd, "data: [DONE]\n\n")
    assert str(verdict).startswith(f": {HEADER}: not checked")


def test_calls_of_tools_are_no_texts() -> None:
    body = {"choices": [{"index": 0, "message": {"content": None, "tool_calls": [{}]}}]}
    assert answers_in(body) == {}
    assert answers_in({"choices": [{"index": 1, "text": "x"}]}) == {1: "x"}


def test_the_text_of_a_response_is_found() -> None:
    output = [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": GOOD}]},
        {"type": "function_call", "arguments": "{}"},
    ]
    assert answers_in({"output": output}) == {1: GOOD}


@pytest.mark.parametrize(("answer", "verdict"), [(GOOD, "passed"), (BAD, "failed")])
async def test_a_streamed_response_is_told_before_it_is_completed(
    answer: str, verdict: str
) -> None:
    async def events() -> AsyncIterator[str]:
        for piece in (answer[:3], answer[3:]):
            event = {"type": "response.output_text.delta", "output_index": 0, "delta": piece}
            yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
        yield 'event: response.completed\ndata: {"type": "response.completed"}\n\n'

    async def ask(_: Any) -> Response:
        return StreamingResponse(events(), media_type="text/event-stream")

    validator = Validator(Child())  # type: ignore[arg-type]  # it has what is used of a child
    response = await validator.answer(request(stream=True), CHECK, ask, greedy=True)
    assert isinstance(response, StreamingResponse)
    chunks = [str(chunk) async for chunk in response.body_iterator]
    assert chunks[-2].startswith(f": {HEADER}: {verdict}")
    assert chunks[-1].startswith("event: response.completed")


async def test_the_prompt_s_schema_is_not_read_on_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []

    def noted(rule: Rule, messages: Sequence[Message]) -> Check:
        threads.append(threading.get_ident())
        return check_for(rule, messages)

    monkeypatch.setattr(validation_module, "check_for", noted)
    check = await request_check(Rule("json"), [Message("user", 'Schema: {"type":"object"}')])
    assert check.json_schema == '{"type":"object"}'
    assert threading.get_ident() not in threads

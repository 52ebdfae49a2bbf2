"""Answers requests for pipelines: asks the steps of a document, one after the other.

It stands between the dispatcher and the application, and passes requests of other kinds on. Each
step is a request of its own at the application, past no check of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from hive_expert.errors import EngineError, PipelineError, Problem
from hive_expert.jobs.pipelines.chain_limit import ChainLimit, no_limit
from hive_expert.jobs.pipelines.checks import Checker
from hive_expert.jobs.pipelines.limits import MAX_KEPT_CHARACTERS
from hive_expert.jobs.pipelines.model import Pipeline, Step
from hive_expert.jobs.pipelines.request import ENDPOINT, Order, read_order
from hive_expert.jobs.pipelines.step_rows import RequestKey, StepAnswer, StepRows
from hive_expert.jobs.pipelines.template import Values, parse_template
from hive_expert.jobs.recorder import AWAY_S, Blocking
from hive_expert.jobs.telemetry import JobTelemetry
from hive_expert.jobs.upstream import Reply, Upstream, judge
from hive_expert.serving.agents import BASE
from hive_expert.serving.auth import Caller

log = logging.getLogger("hive_expert.jobs")

T = TypeVar("T")

CHAT = "/v1/chat/completions"
RETRY_TEMPERATURE = 0.4
"""For further tries of a step without a temperature: a greedy one would say the same again."""
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "max_tokens",
    "seed",
    "stop",
)


class Answerer(Protocol):
    """Whoever answers requests of batches, and may remember parts of an answer under a key."""

    async def ask(self, endpoint: str, body: bytes, caller: Caller, key: RequestKey) -> Reply: ...


@dataclass(frozen=True, slots=True)
class Runner:
    """An `Answerer` that knows pipelines.

    Law: a step that has been written down is not asked again.
    """

    application: Upstream
    rows: StepRows
    blocking: Blocking
    checker: Checker
    telemetry: JobTelemetry
    chain_limit: ChainLimit = no_limit

    async def ask(self, endpoint: str, body: bytes, caller: Caller, key: RequestKey) -> Reply:
        """The reply to a request, whose steps are written down under `key`."""
        if endpoint != ENDPOINT:
            return await self.application.ask(endpoint, body, caller)
        try:
            return await self._answer(body, caller, key)
        except EngineError as error:
            return _error(503, str(error.problems[0]), None)
        except Exception:
            # A request that dies unseen would leave its batch without an end.
            log.exception("a document of a pipeline failed")
            return _error(500, "The server failed on this document.", None)

    async def _answer(self, body: bytes, caller: Caller, key: RequestKey) -> Reply:
        try:
            # This, like filling templates, may take longer than the event loop has time for.
            order = await self.blocking(lambda: read_order(json.loads(body)))
            await self._require_short_enough(order.pipeline)
        except PipelineError as error:
            return _error(400, "; ".join(map(str, error.problems)), None)
        return await self._run(order, caller, key)

    async def _run(self, order: Order, caller: Caller, key: RequestKey) -> Reply:
        answers = await self._durably(partial(self.rows.step_answers, key))
        for step in order.pipeline.order:
            if step.name in answers:
                continue
            outputs = {name: answer.output for name, answer in answers.items()}
            try:
                values = Values(order.document, outputs)
                request = await self.blocking(partial(request_of, step, values))
            except PipelineError as error:
                return _error(422, str(error.problems[0]), step, answers)
            found = await self._asked(step, request, caller)
            if isinstance(found, Reply):
                return _failed(found, step, answers)
            if found.validation.startswith("failed") and step.on_invalid == "fail":
                what = f"no valid answer in {found.attempts} tries: {found.validation}"
                return _error(422, what, step, {**answers, step.name: found})
            await self._durably(partial(self.rows.add_step, key, found))
            answers[step.name] = found
        return Reply(200, json.dumps(result_of(order, answers)).encode())

    async def _asked(
        self, step: Step, request: Mapping[str, Any], caller: Caller
    ) -> StepAnswer | Reply:
        """A step's answer, after as many tries as it takes and may have; or why there is none."""
        prompt_tokens = completion_tokens = 0
        attempt = 0
        while True:
            body = json.dumps(varied(request, attempt)).encode()
            reply = await self.application.ask(CHAT, body, caller)
            seen = judge(reply)
            said = _said(reply)
            if said is None:
                return reply
            prompt_tokens += seen.prompt_tokens
            completion_tokens += seen.completion_tokens
            attempt += 1
            answer = await self._judged(step, reply, *said)
            valid = not answer.validation.startswith("failed")
            self.telemetry.stepped(caller.tenant or "", valid=valid)
            if valid or attempt > step.retries:
                return replace(
                    answer,
                    attempts=attempt,
                    prompt_tokens=prompt_tokens,
                    completion_tokens=completion_tokens,
                )

    async def _judged(self, step: Step, reply: Reply, output: str, model: str) -> StepAnswer:
        if step.choices is not None:
            output = output.strip()
        verdict = await self.checker.verdict(step, output, reply.headers)
        if len(output) > MAX_KEPT_CHARACTERS:
            output, verdict = "", f"failed: longer than {MAX_KEPT_CHARACTERS:,} characters"
        return StepAnswer(
            step.name,
            output,
            model,
            reply.headers.get("x-hive-experts", ""),
            reply.headers.get("x-hive-route", ""),
            verdict,
        )

    async def _require_short_enough(self, pipeline: Pipeline) -> None:
        """Raises PipelineError: a chain is longer than an expert in it allows."""
        problems = []
        for place, step in enumerate(pipeline.steps):
            length, limit = pipeline.chains[step.name], await self.chain_limit(step.model)
            if length > limit:
                what = f"{step.model} goes into chains of at most {limit} steps, not {length}"
                problems.append(Problem(f"steps[{place}].model", what))
        if problems:
            raise PipelineError(*problems)

    async def _durably(self, function: Callable[[], T]) -> T:
        """Call a function of the database; for as long as that is away, try again."""
        while True:
            try:
                return await self.blocking(function)
            except SQLAlchemyError as error:
                log.error("steps cannot be written down or read: %s", type(error).__name__)
                await asyncio.sleep(AWAY_S)


def _said(reply: Reply) -> tuple[str, str] | None:
    """The text of a chat's answer, and who gave it; None if it is no answer."""
    if not 200 <= reply.status < 300:
        return None
    try:
        body = json.loads(reply.body)
        return str(body["choices"][0]["message"].get("content") or ""), str(body["model"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None


def request_of(step: Step, values: Values) -> dict[str, Any]:
    """A step's chat request. Raises PipelineError: a value is not there, or there is too much."""
    messages = []
    for role, text in (("system", step.system), ("user", step.prompt)):
        filled = parse_template(text).fill(values) if text is not None else ""
        if filled or role == "user":
            messages.append({"role": role, "content": filled})
    request: dict[str, Any] = {"messages": messages}
    if step.model != BASE:  # a request without a model is the base's
        request["model"] = step.model
    for name in _SAMPLING:
        value = getattr(step, name)
        if value is not None:
            request[name] = list(value) if isinstance(value, tuple) else value
    if step.choices is not None:
        request["structured_outputs"] = {"choice": list(step.choices)}
    elif step.json_schema is not None:
        schema = {"name": "answer", "schema": step.json_schema, "strict": True}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    return request


def varied(request: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """A request as it is asked for the first time, and then so that the answer may differ."""
    if not attempt:
        return dict(request)
    temperature = request.get("temperature") or RETRY_TEMPERATURE
    seed = request.get("seed", 0) + attempt
    return {**request, "temperature": temperature, "seed": seed}


def result_of(order: Order, answers: Mapping[str, StepAnswer]) -> dict[str, Any]:
    """What a document's line in the output file has as its body."""
    pipeline, name = order.pipeline, order.document.get("id")
    return {
        "object": "pipeline.result",
        "pipeline": pipeline.name,
        **({"id": name} if isinstance(name, str | int) else {}),
        "output": answers[pipeline.result].output,
        "steps": {step.name: _shown(answers[step.name]) for step in pipeline.order},
        "usage": _usage(answers),
    }


def _shown(answer: StepAnswer) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(answer).items() if value != ""}
    del shown["step"]
    return {**shown, "output": answer.output}


def _usage(answers: Mapping[str, StepAnswer]) -> dict[str, int]:
    prompt = sum(answer.prompt_tokens for answer in answers.values())
    completion = sum(answer.completion_tokens for answer in answers.values())
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _failed(reply: Reply, step: Step, answers: Mapping[str, StepAnswer]) -> Reply:
    """The reply to a request whose step was not answered: the step's, where it stands, and whether
    asking again is in vain."""
    status = reply.status if reply.status >= 400 else 502
    try:
        error = json.loads(reply.body)["error"]
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        message = reply.body.decode("utf-8", "replace")[:1000]
    return replace(_error(status, message, step, answers), in_vain=reply.in_vain)


def _error(
    status: int,
    message: str,
    step: Step | None,
    answers: Mapping[str, StepAnswer] | None = None,
) -> Reply:
    """In OpenAI's shape, with what the steps before it have answered."""
    param = None if step is None else f"steps.{step.name}"
    error = {
        "message": message if step is None else f"step {step.name!r}: {message}",
        "type": "PipelineError",
        "param": param,
        "code": status,
    }
    steps = {name: _shown(answer) for name, answer in (answers or {}).items()}
    body = {"error": error, "steps": steps, "usage": _usage(answers or {})}
    return Reply(status, json.dumps(body).encode())

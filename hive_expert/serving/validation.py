"""Finished answers are checked, and what follows from a bad one. SPEC section 7.

The verdict is in the header `x-hive-validation`: `passed`, `failed: <reason>`, or
`not checked: <reason>`. Headers of a stream are gone before its answer is there, so a stream ends
with it in a comment (`: x-hive-validation: passed`), which clients of server-sent events skip, and
is never asked again or turned into an error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from fastapi import Response
from starlette.responses import StreamingResponse

from hive_expert.decoding.child import Child, ChildError
from hive_expert.decoding.prompt import Message
from hive_expert.decoding.validators import Check, Rule, check_for
from hive_expert.errors import InvalidAnswerError, Problem
from hive_expert.serving.observation import CURRENT

OnInvalid: TypeAlias = Literal["report", "retry", "error"]
ON_INVALID: tuple[OnInvalid, ...] = get_args(OnInvalid)

HEADER = "x-hive-validation"
IN_STREAM = "at the end of the stream"
NOT_UNDERSTOOD = "not checked: an event of the stream was not understood"
LIMIT_S = 2.0
"""For one answer."""
RETRY_TEMPERATURE = 0.4
"""For further tries of a greedy request: greedily it would say the same again."""
MAX_KEPT = 1024 * 1024
"""Characters of a stream that are kept for its check."""

Ask: TypeAlias = Callable[[Any], Awaitable[Response | None]]


async def request_check(rule: Rule, messages: Sequence[Message]) -> Check:
    """The check of the answer to these messages.

    In a thread: a schema that they carry takes up to a second of pure Python to be checked itself.
    """
    return await asyncio.to_thread(check_for, rule, messages)


@dataclass(frozen=True)
class Validator:
    """Checks answers in a child, and asks again where the server is told to."""

    child: Child
    on_invalid: OnInvalid = "report"
    retries: int = 2

    async def answer(
        self, request: Any, check: Check, ask: Ask, *, greedy: bool
    ) -> Response | None:
        """The checked answer to a request; ``ask`` gets it from the engine.

        ``greedy``: the client itself asked for temperature 0, so that no try would differ.

        Raises:
            InvalidAnswerError: it fails the check, and the server is told to say so.
        """
        response, verdict = await self._asked(request, check, ask, 0)
        if self.on_invalid == "retry" and not request.stream and not greedy:
            for attempt in range(1, self.retries + 1):
                if not verdict.startswith("failed"):
                    break
                response, verdict = await self._asked(request, check, ask, attempt)
                verdict += f" (asked again {attempt} times)" if verdict == "passed" else ""
        if self.on_invalid == "error" and verdict.startswith("failed"):
            raise InvalidAnswerError(Problem("answer", f"The answer is not valid: {verdict}"))
        if response is not None and verdict:
            response.headers[HEADER] = verdict
        return response

    async def _asked(
        self, request: Any, check: Check, ask: Ask, attempt: int
    ) -> tuple[Response | None, str]:
        # vLLM writes into the requests it gets.
        copy = request.model_copy(deep=True)
        if attempt:
            copy.seed = (request.seed or 0) + attempt
            copy.temperature = copy.temperature or RETRY_TEMPERATURE
        response = await ask(copy)
        if response is None or response.status_code != 200:
            return response, ""
        if isinstance(response, StreamingResponse):
            response.body_iterator = self._with_verdict(response.body_iterator, check)
            return response, IN_STREAM
        return response, await self.verdict(check, answers_in(json.loads(bytes(response.body))))

    async def verdict(self, check: Check, answers: dict[int, str]) -> str:
        """Of all answers to one request, by their place; the first that fails decides."""
        told = await self._verdict(check, answers)
        seen = CURRENT.get()
        if seen is not None:
            seen.validation = told.partition(":")[0].replace("not checked", "unchecked")
        return told

    async def _verdict(self, check: Check, answers: dict[int, str]) -> str:
        if not answers:
            return "not checked: no text"
        for place, answer in sorted(answers.items()):
            try:
                told = await self.child.ask(check.message(answer), limit_s=LIMIT_S)
            except ChildError as failure:
                return f"not checked: {failure}"
            if told["reason"] is not None:
                which = f"choice {place}: " if len(answers) > 1 else ""
                return f"failed: {which}{told['reason']}"
        return "passed"

    async def _with_verdict(self, stream: Any, check: Check) -> AsyncIterator[str | bytes]:
        answers: dict[int, str] = {}
        understood = True
        async for chunk in stream:
            text = chunk if isinstance(chunk, str) else bytes(chunk).decode(errors="replace")
            if text.startswith(("data: [DONE]", "event: response.completed")):
                told = await self.verdict(check, answers) if understood else NOT_UNDERSTOOD
                yield f": {HEADER}: {told}\n\n"
            elif sum(map(len, answers.values())) < MAX_KEPT:
                understood = _collect(text, answers) and understood
            yield chunk


def answers_in(body: Any) -> dict[int, str]:
    """The texts of a completion, chat or response by their place, calls of tools left out."""
    found = {}
    for choice in body.get("choices") or ():
        text = (
            (choice.get("message") or {}).get("content") if "message" in choice else choice["text"]
        )
        if text is not None:
            found[choice["index"]] = text
    for place, item in enumerate(body.get("output") or ()):
        parts = item.get("content") or () if item.get("type") == "message" else ()
        texts = [part["text"] for part in parts if part.get("type") == "output_text"]
        if texts:
            found[place] = "".join(texts)
    return found


def _collect(text: str, answers: dict[int, str]) -> bool:
    """Add what events say to the answers; False where one is of a form that is not known.

    Never raises: the client shall get the rest of its stream whatever becomes of the check.
    """
    # Not `splitlines`: JSON may hold U+2028 and its like as they are.
    for line in text.split("\n"):
        if not line.startswith("data: {"):
            continue
        try:
            for place, piece in _pieces(json.loads(line.removeprefix("data: "))):
                answers[place] = answers.get(place, "") + piece
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return False
    return True


def _pieces(event: Any) -> Iterator[tuple[int, str]]:
    for choice in event.get("choices") or ():
        piece = (choice.get("delta") or {}).get("content") or choice.get("text")
        if piece:
            yield choice["index"], piece
    if event.get("type") == "response.output_text.delta":
        yield event["output_index"], event["delta"]

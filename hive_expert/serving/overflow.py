"""An answer whose numbers overflowed becomes an error that names who gave it.

vLLM alone would call it an internal error of the server; it is the expert's (`engine.overflow`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse
from vllm.exceptions import GenerationError

from hive_expert.engine.overflow import OVERFLOWED
from hive_expert.errors import OverflowedError, Problem
from hive_expert.serving.observation import CURRENT, Observation


def overflowed(who: str) -> OverflowedError:
    """The error of an expert's answer."""
    return OverflowedError(_problem(who))


class OverflowedAnswerError(OverflowedError, GenerationError):
    """The same as vLLM knows it: its streams of chats and completions tell of it, and end."""

    def __init__(self, who: str) -> None:
        self.problems = (_problem(who),)
        GenerationError.__init__(self, str(self.problems[0]))


class OverflowClient:
    """Stands before vLLM's engine client, for the classes that serve requests.

    Law: outputs pass as they are, up to the one with which the engine gives a request up since its
    numbers overflow; that raises what `error` makes of the expert's name.
    """

    def __init__(self, inner: Any, error: Callable[[str], OverflowedError]) -> None:
        self._inner = inner
        self._error = error

    def generate(self, *arguments: Any, **options: Any) -> Any:
        return self._checked(self._inner.generate(*arguments, **options), CURRENT.get())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def _checked(self, outputs: Any, seen: Observation | None) -> AsyncIterator[Any]:
        async with aclosing(outputs):
            async for output in outputs:
                if any(_is_overflow(answer) for answer in output.outputs):
                    raise self._error(_blamed(seen))
                yield output


def telling(response: Response) -> Response:
    """A stream of `/v1/responses`, which ends with an error event where the numbers overflow.

    vLLM's own takes what it makes of a GenerationError for an event of the protocol, which it is
    not, and breaks off.
    """
    if isinstance(response, StreamingResponse):
        response.body_iterator = _told(response.body_iterator)
    return response


async def _told(events: Any) -> AsyncIterator[Any]:
    count = 0
    async with aclosing(events):
        try:
            async for event in events:
                yield event
                count += 1
        except OverflowedError as error:
            last = {
                "type": "error",
                "code": "server_error",
                "message": str(error),
                "param": None,
                "sequence_number": count,
            }
            yield f"event: error\ndata: {json.dumps(last)}\n\n"


def _is_overflow(answer: Any) -> bool:
    return answer.stop_reason == OVERFLOWED and answer.finish_reason == "error"


def _blamed(seen: Observation | None) -> str:
    """Who answers this request; it is noted that there is no answer."""
    if seen is None:
        return "the model"
    seen.overflowed = True
    return seen.expert or "the model"


def _problem(who: str) -> Problem:
    what = f"`{who}` has no answer to this: its adapter's numbers overflow"
    return Problem("", what, "its weights are at fault; tell its publisher")

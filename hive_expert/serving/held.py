"""What keeps an expert in memory until the last byte and the last token of a request.

Two things can be the last: the answer, which may be a stream that is sent long after the handler
has returned, and the engine's work, which goes on for a moment when a client has left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send

from hive_expert.catalog.residency import Resident


class HeldResponse(Response):
    """A response that lets go of what it needs once it is sent, or cannot be."""

    def __init__(self, inner: Response, needed: AsyncExitStack) -> None:
        """``needed`` is closed afterwards."""
        self.inner = inner
        self.needed = needed
        self.status_code = inner.status_code
        self.raw_headers = inner.raw_headers
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.needed:
            try:
                await self.inner(scope, receive, send)
            finally:
                # A client that left while a piece was sent to it leaves the stream half read, and
                # only the garbage collector would end it, and with it the engine's work.
                close = getattr(getattr(self.inner, "body_iterator", None), "aclose", None)
                if close is not None:
                    await close()


class KeepingClient:
    """Stands before vLLM's engine client, for the classes that serve requests.

    Law: an adapter is not removed while the engine works on a request for it. A handler may be
    gone before the engine has heard that its request is cancelled.
    """

    def __init__(self, inner: Any, resident: Resident) -> None:
        self._inner = inner
        self._resident = resident

    def generate(self, *arguments: Any, lora_request: Any = None, **options: Any) -> Any:
        outputs = self._inner.generate(*arguments, lora_request=lora_request, **options)
        return outputs if lora_request is None else self._kept(outputs, lora_request.lora_int_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def _kept(self, outputs: Any, adapter_id: int) -> AsyncIterator[Any]:
        # Closing the generator is what tells the engine that the request is cancelled.
        with self._resident.keeping(adapter_id):
            async with aclosing(outputs):
                async for output in outputs:
                    yield output

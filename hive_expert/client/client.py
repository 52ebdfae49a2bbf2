"""Ask a running server, through the openai client: whole answers and streams, sync and async."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hive_expert.client.answers import Answer, Origin, Usage, origin_of
from hive_expert.client.conversation import Message, Sampling
from hive_expert.client.plain_http import ask_server, checked_url, refusal, unreachable
from hive_expert.errors import Problem, ServerError

if TYPE_CHECKING:
    import openai

NO_KEY = "none"
"""What the openai client sends where a server asks for no key; it insists on one."""

Options = Mapping[str, Any]


class HiveClient:
    """One server. Errors are HiveErrors that say what the server said."""

    def __init__(self, url: str, api_key: str | None = None, *, timeout: float = 600.0) -> None:
        self.url = checked_url(url)
        self._api_key = api_key
        self._timeout = timeout

    def ask(
        self,
        messages: Sequence[Message],
        model: str,
        sampling: Sampling | None = None,
        options: Options | None = None,
    ) -> Answer:
        """Ask and wait. `options` are further fields of the request, as the server knows them.

        Raises:
            ServerError: nobody answers, or the server refuses.
        """
        started = time.perf_counter()
        with _translated(self.url):
            raw = self._sync.chat.completions.with_raw_response.create(
                **_fields(messages, model, sampling, options)
            )
            return _answer(raw.parse(), raw.headers, started)

    async def ask_async(
        self,
        messages: Sequence[Message],
        model: str,
        sampling: Sampling | None = None,
        options: Options | None = None,
    ) -> Answer:
        """As `ask`, for an event loop."""
        started = time.perf_counter()
        with _translated(self.url):
            raw = await self._async.chat.completions.with_raw_response.create(
                **_fields(messages, model, sampling, options)
            )
            return _answer(raw.parse(), raw.headers, started)

    def stream(
        self,
        messages: Sequence[Message],
        model: str,
        sampling: Sampling | None = None,
        options: Options | None = None,
    ) -> AnswerStream:
        """Ask, and get the answer piece by piece."""
        started = time.perf_counter()
        with _translated(self.url):
            chunks = self._sync.chat.completions.create(
                **_fields(messages, model, sampling, options), **_STREAMED
            )
        return AnswerStream(chunks, self.url, started)

    async def stream_async(
        self,
        messages: Sequence[Message],
        model: str,
        sampling: Sampling | None = None,
        options: Options | None = None,
    ) -> AsyncAnswerStream:
        """As `stream`, for an event loop."""
        started = time.perf_counter()
        with _translated(self.url):
            chunks = await self._async.chat.completions.create(
                **_fields(messages, model, sampling, options), **_STREAMED
            )
        return AsyncAnswerStream(chunks, self.url, started)

    def get(self, path: str) -> Any:
        """What the server answers to GET, as JSON."""
        return ask_server(self.url, path, api_key=self._api_key)

    def post(self, path: str, body: Any) -> Any:
        """What the server answers to POST, as JSON."""
        return ask_server(self.url, path, api_key=self._api_key, body=body)

    def close(self) -> None:
        if "_sync" in self.__dict__:
            self._sync.close()

    async def close_async(self) -> None:
        self.close()
        if "_async" in self.__dict__:
            await self._async.close()

    # Importing openai takes most of a second: only where something is really asked.
    @cached_property
    def _sync(self) -> openai.OpenAI:
        import openai

        return openai.OpenAI(**self._settings())

    @cached_property
    def _async(self) -> openai.AsyncOpenAI:
        import openai

        return openai.AsyncOpenAI(**self._settings())

    def _settings(self) -> dict[str, Any]:
        return {
            "base_url": f"{self.url}/v1",
            "api_key": self._api_key or NO_KEY,
            "timeout": self._timeout,
            "max_retries": 0,
        }


_STREAMED: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


class _Received:
    """What has come of a stream so far. `answer` is whole once the stream has ended."""

    def __init__(self, chunks: Any, url: str, started: float) -> None:
        self._chunks = chunks
        self._url = url
        self._started = started
        self._pieces: list[str] = []
        self._usage = Usage()
        self._finish_reason = "interrupted"
        self._latency_ms = 0.0
        self.origin: Origin = origin_of(chunks.response.headers)
        """Known before the first piece."""

    @property
    def experts_used(self) -> tuple[str, ...]:
        return self.answer.experts_used

    @property
    def answer(self) -> Answer:
        """What has been received; `finish_reason` is `interrupted` before the end."""
        return Answer(
            "".join(self._pieces), self.origin, self._latency_ms, self._usage, self._finish_reason
        )

    def _take(self, chunk: Any) -> str:
        """A chunk's text."""
        self._latency_ms = _since(self._started)
        if chunk.usage is not None:
            self._usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        piece = ""
        for choice in chunk.choices:
            piece += choice.delta.content or ""
            self._finish_reason = choice.finish_reason or self._finish_reason
        self._pieces.append(piece)
        return piece


class AnswerStream(_Received):
    """An answer's pieces, as they come. Leaving the block early stops the answer."""

    def __iter__(self) -> Iterator[str]:
        with _translated(self._url):
            for chunk in self._chunks:
                if piece := self._take(chunk):
                    yield piece

    def close(self) -> None:
        """Stop listening; the server stops generating."""
        self._chunks.close()

    def __enter__(self) -> AnswerStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncAnswerStream(_Received):
    """As `AnswerStream`, for an event loop."""

    async def __aiter__(self) -> AsyncIterator[str]:
        with _translated(self._url):
            async for chunk in self._chunks:
                if piece := self._take(chunk):
                    yield piece

    async def close(self) -> None:
        await self._chunks.close()

    async def __aenter__(self) -> AsyncAnswerStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _fields(
    messages: Sequence[Message],
    model: str,
    sampling: Sampling | None,
    options: Options | None,
) -> dict[str, Any]:
    fields: dict[str, Any] = {"messages": list(messages), "model": model}
    fields |= (sampling or Sampling()).as_fields()
    if options:
        fields["extra_body"] = dict(options)
    return fields


def _answer(completion: Any, headers: Mapping[str, str], started: float) -> Answer:
    choice = completion.choices[0]
    usage = completion.usage
    return Answer(
        output=choice.message.content or "",
        origin=origin_of(headers),
        latency_ms=_since(started),
        usage=Usage(usage.prompt_tokens, usage.completion_tokens) if usage else Usage(),
        finish_reason=choice.finish_reason,
    )


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """The openai client's errors as ours."""
    import httpx
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise refusal(error.status_code, error.response.content, url) from error
    except (openai.APIConnectionError, httpx.TransportError) as error:
        raise unreachable(url) from error
    except openai.APIError as error:
        # In the middle of a stream an error comes as a chunk of its own.
        raise ServerError(Problem(url, str(error))) from error

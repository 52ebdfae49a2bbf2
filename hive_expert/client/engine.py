"""The Python API: one engine with a base model and its experts, asked from the same program.

    with ExpertEngine(experts_dir="experts.d") as engine:
        answer = engine.infer("Find all users older than 25.", system="Dialect: sql\\n…")
        print(answer.output, answer.experts_used, answer.route)

The engine is a hive-serve of its own in a child process, so that what is asked here takes the
same path as what is asked over HTTP; `url` uses one that already runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from hive_expert import locations
from hive_expert.client.answers import Answer, ChainAnswer
from hive_expert.client.client import AnswerStream, AsyncAnswerStream, HiveClient
from hive_expert.client.conversation import Message, Sampling, bare_name, messages_of, model_of
from hive_expert.errors import CompositionError, Problem, UsageError
from hive_expert.serving.local_server import local_server

MAX_CHAIN = 10
"""Steps of a chain, whatever the experts allow."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a chain: who answers, and what is said to it beside the answer before."""

    experts: Sequence[str] | None = None
    """As in `ExpertEngine.infer`."""
    prompt: str = ""
    system: str = ""
    sampling: Sampling | None = None


class ExpertEngine:
    """A base model and its experts.

    Args:
        base_model: slug, local folder or hub name, as `hive-serve --base`.
        experts_dir: folder with `.expert` packages.
        options: more of hive-serve's options, such as ``["--trust", "warn"]``.
        url: use this running server instead of starting one.
        api_key: for a server that asks for one.

    Raises:
        EngineError: the engine did not start; says what it printed last.
    """

    def __init__(
        self,
        base_model: str | Path = "smollm2-135m",
        experts_dir: str | Path = "experts.d",
        *,
        options: Sequence[str] = (),
        url: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
    ) -> None:
        self._open = ExitStack()
        if url is None:
            url = self._open.enter_context(_own_server(base_model, Path(experts_dir), options))
        self.client = HiveClient(url, api_key, timeout=timeout)
        self._open.callback(self.client.close)

    def infer(
        self,
        prompt: str = "",
        body: str = "",
        experts: Sequence[str] | None = None,
        *,
        system: str = "",
        history: Sequence[Message] = (),
        sampling: Sampling | None = None,
        **options: Any,
    ) -> Answer:
        """Ask once and wait for the answer.

        Args:
            prompt: what is asked; `body` is what it is asked of, and follows after a blank line.
            experts: names, with `@version` or `:weight` if needed; several answer together, as
                one composition. None lets the router choose; an empty list is the base model.
            history: messages before this one, in OpenAI's form.
            options: further fields of the request, such as ``top_k=40``.

        Raises:
            ServerError: the engine refuses the request, or is gone.
            UsageError: nothing is asked.
        """
        messages = messages_of(prompt, body=body, system=system, history=history)
        return self.client.ask(messages, model_of(experts), sampling, options)

    async def infer_async(
        self,
        prompt: str = "",
        body: str = "",
        experts: Sequence[str] | None = None,
        *,
        system: str = "",
        history: Sequence[Message] = (),
        sampling: Sampling | None = None,
        **options: Any,
    ) -> Answer:
        """As `infer`, for an event loop."""
        messages = messages_of(prompt, body=body, system=system, history=history)
        return await self.client.ask_async(messages, model_of(experts), sampling, options)

    def stream(
        self,
        prompt: str = "",
        body: str = "",
        experts: Sequence[str] | None = None,
        *,
        system: str = "",
        history: Sequence[Message] = (),
        sampling: Sampling | None = None,
        **options: Any,
    ) -> AnswerStream:
        """As `infer`, piece by piece: iterate over it; its `answer` is whole at the end."""
        messages = messages_of(prompt, body=body, system=system, history=history)
        return self.client.stream(messages, model_of(experts), sampling, options)

    async def stream_async(
        self,
        prompt: str = "",
        body: str = "",
        experts: Sequence[str] | None = None,
        *,
        system: str = "",
        history: Sequence[Message] = (),
        sampling: Sampling | None = None,
        **options: Any,
    ) -> AsyncAnswerStream:
        """As `stream`, for an event loop."""
        messages = messages_of(prompt, body=body, system=system, history=history)
        return await self.client.stream_async(messages, model_of(experts), sampling, options)

    def chain(self, steps: Sequence[Step], *, body: str = "") -> ChainAnswer:
        """Ask one expert after the other: each answer is what the next step is asked of.

        Args:
            body: what the first step is asked of.

        Raises:
            CompositionError: more steps than an expert in them allows (`constraints.max_chain`).
            ServerError, UsageError: as `infer`.
        """
        self._require_short_enough(steps)
        answers: list[Answer] = []
        for step in steps:
            answer = self.infer(
                step.prompt, body, step.experts, system=step.system, sampling=step.sampling
            )
            answers.append(answer)
            body = answer.output
        return ChainAnswer(tuple(answers))

    async def chain_async(self, steps: Sequence[Step], *, body: str = "") -> ChainAnswer:
        """As `chain`, for an event loop."""
        self._require_short_enough(steps)
        answers: list[Answer] = []
        for step in steps:
            answer = await self.infer_async(
                step.prompt, body, step.experts, system=step.system, sampling=step.sampling
            )
            answers.append(answer)
            body = answer.output
        return ChainAnswer(tuple(answers))

    def experts(self) -> list[dict[str, Any]]:
        """All experts, those that are not served with their reasons, as `GET /v1/experts`."""
        listed: list[dict[str, Any]] = self.client.get("/v1/experts")["data"]
        return listed

    def route(
        self, prompt: str = "", body: str = "", *, system: str = "", max_experts: int | None = None
    ) -> dict[str, Any]:
        """Who would answer if the router chose, and why, as `POST /v1/route`."""
        asked: dict[str, Any] = {"messages": messages_of(prompt, body=body, system=system)}
        if max_experts is not None:
            asked["max_experts"] = max_experts
        decision: dict[str, Any] = self.client.post("/v1/route", asked)
        return decision

    def close(self) -> None:
        """Stop the engine, if it is our own."""
        self._open.close()

    def __enter__(self) -> ExpertEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _require_short_enough(self, steps: Sequence[Step]) -> None:
        if not steps:
            raise UsageError(Problem("steps", "a chain needs a step"))
        known = {expert["id"]: expert for expert in self.experts()}
        named = {bare_name(name) for step in steps for name in step.experts or ()}
        limits = {name: _max_chain(known[name]) for name in sorted(named & known.keys())}
        problems = [
            Problem(f"{name}: constraints.max_chain", f"goes into chains of at most {limit} steps")
            for name, limit in limits.items()
            if len(steps) > limit
        ]
        if not problems and len(steps) > MAX_CHAIN:
            problems = [Problem("steps", f"a chain has at most {MAX_CHAIN} steps")]
        if problems:
            raise CompositionError(*problems)


def _max_chain(expert: dict[str, Any]) -> int:
    constraints = expert.get("constraints") or {}
    return int(constraints.get("max_chain") or MAX_CHAIN)


@contextmanager
def _own_server(base_model: str | Path, experts_dir: Path, options: Sequence[str]) -> Iterator[str]:
    log = locations.data_dir() / "engine.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with local_server(experts_dir, "--base", str(base_model), *options, log=log) as server:
        yield server.url

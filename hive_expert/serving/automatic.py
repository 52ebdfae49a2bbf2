"""`model=auto`: the router's decision about a request, and who then really answers.

The router itself is pure (`hive_expert.router`). Here is what it works on: an index of the
catalog of the moment, made once for each catalog, and where the experts' weights are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from hive_expert.catalog.catalog import Catalog
from hive_expert.catalog.composition import find_experts
from hive_expert.catalog.residency import Place
from hive_expert.decoding.prompt import messages_of
from hive_expert.errors import AdapterError, AgentError, CatalogError, Problem, RequestError
from hive_expert.manifest.model import Manifest
from hive_expert.router.embeddings import load_embeddings
from hive_expert.router.index import RoutingIndex, build_index
from hive_expert.router.policy import shipped_policy
from hive_expert.router.route import Decision, Settings, route
from hive_expert.router.turns import Turn, turns_of
from hive_expert.serving.state import Hive, Permit, Target, anybody

log = logging.getLogger("hive_expert.serving")

MAX_EXPERTS = 10
MAX_HEADER = 400
"""Characters of a decision in a header."""


@dataclass
class Router:
    """Decides about requests to one server. The index is made anew when manifests change."""

    settings: Settings
    _catalog: Catalog | None = None
    _manifests: tuple[Manifest, ...] = ()
    _index: RoutingIndex | None = None
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def decide(
        self, hive: Hive, turns: Sequence[Turn], *, max_experts: int | None = None
    ) -> Decision:
        """Who should answer a conversation.

        Raises:
            RoutingError: the embeddings or the policy cannot be read.
        """
        settings = self.settings
        if max_experts is not None:
            settings = replace(settings, max_experts=max_experts)
        return route(turns, await self.index(hive.catalog), Places(hive), settings)

    async def index(self, catalog: Catalog) -> RoutingIndex:
        """What the router knows of a catalog's experts."""
        if self._index is None or self._catalog is not catalog:
            async with self._making:
                manifests = tuple(entry.manifest for entry in catalog.known.values())
                if self._index is None or self._manifests != manifests:
                    # A thousand experts take a third of a second: beside the event loop.
                    self._index = await asyncio.to_thread(index_of, manifests)
                    self._manifests = manifests
                    for warning in self._index.warnings:
                        log.warning("routing: %s", warning)
                self._catalog = catalog
        return self._index


def index_of(manifests: Sequence[Manifest]) -> RoutingIndex:
    return build_index(manifests, load_embeddings(), shipped_policy())


class Places(Mapping[str, Place]):
    """Where the experts' weights are, looked up only for those that are asked about."""

    def __init__(self, hive: Hive) -> None:
        self._experts = hive.catalog.experts
        self._resident = hive.resident

    def __getitem__(self, name: str) -> Place:
        return self._resident.place(self._experts[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._experts)

    def __len__(self) -> int:
        return len(self._experts)


@asynccontextmanager
async def answering_auto(
    hive: Hive, router: Router, turns: Sequence[Turn], permit: Permit = anybody
) -> AsyncIterator[tuple[Target, Decision]]:
    """Who answers a request for `auto`: what the router decides, as far as it can be served.

    Several experts that do not go together after all give way to the best of them, and an expert
    that cannot be loaded, or that the sender may not ask, to the base model: whoever asked for
    `auto` named none of them.

    Raises:
        AgentError: the sender may not ask the base model either.
    """
    decision = await router.decide(hive, turns)
    reasons: list[str] = []
    async with AsyncExitStack() as needed:
        for attempt in _attempts(decision):
            try:
                target = await needed.enter_async_context(hive.answering(attempt.model, permit))
            except (CatalogError, AdapterError, AgentError) as error:
                if attempt.abstained:
                    raise
                reasons.append(f"{attempt.model} cannot answer: {error.problems[0].what}")
                continue
            yield target, replace(attempt, reasons=(*attempt.reasons, *reasons))
            return


def _attempts(decision: Decision) -> Iterator[Decision]:
    yield decision
    if len(decision.experts) > 1:
        best = max(decision.experts, key=lambda expert: expert[1])[0]
        yield replace(decision, experts=((best, 1.0),))
    if decision.experts:
        yield replace(decision, experts=(), abstained=True)


def turns_of_request(body: Mapping[str, Any]) -> tuple[Turn, ...]:
    """The conversation in a request's body: its messages or its input, or its prompt as one user
    message.

    Raises:
        RequestError: there is neither, or several prompts, or one that is no text.
    """
    if "messages" in body:
        messages = body["messages"]
        if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
            raise RequestError(Problem("messages", "messages must be a list of objects"))
        return turns_of(messages)
    said = messages_of(body)
    if "input" not in body and not said:
        what = "model=auto reads messages, or one prompt that is text"
        raise RequestError(Problem("prompt", what, "name the model instead"))
    return turns_of([{"role": m.role, "content": m.text} for m in said])


def max_experts_of(body: Mapping[str, Any]) -> int | None:
    """How many experts a question about routing allows; None leaves it to the server.

    Raises:
        RequestError: it is no whole number from 1 to MAX_EXPERTS.
    """
    value = body.get("max_experts")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_EXPERTS:
        what = f"max_experts must be a whole number from 1 to {MAX_EXPERTS}"
        raise RequestError(Problem("max_experts", what))
    return value


def explain(decision: Decision, catalog: Catalog) -> dict[str, Any]:
    """A decision for `POST /v1/route`, and what keeps several experts from answering together."""
    told = {"object": "route", **decision.as_json()}
    if len(decision.experts) > 1 and decision.model is not None:
        told["reasons"] += [f"not together: {reason}" for reason in _refusals(catalog, decision)]
    return told


def _refusals(catalog: Catalog, decision: Decision) -> list[str]:
    """Why experts that the router chose together cannot be served together."""
    if any(name not in catalog.experts for name, _ in decision.experts):
        return []  # verified when somebody asks for them, and not for an explanation
    try:
        _ = find_experts(catalog, str(decision.model)).contract
    except CatalogError as error:
        return [problem.what for problem in error.problems]
    return []


def header_of(decision: Decision) -> str:
    """`score=0.97; why; why`, in what a header may hold: reasons quote requests."""
    text = "; ".join([f"score={decision.score:.2f}", *decision.reasons])
    plain = text.encode("ascii", "backslashreplace").decode()
    printable = "".join(c if c.isprintable() else " " for c in plain)
    return printable if len(printable) <= MAX_HEADER else f"{printable[: MAX_HEADER - 3]}..."

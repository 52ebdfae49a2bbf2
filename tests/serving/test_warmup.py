"""Every grammar is tried and compiled once, in turn; a bad one takes its own expert out only."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest

from hive_expert.catalog.catalog import Catalog, Expert, Unavailable, assemble
from hive_expert.catalog.residency import Resident
from hive_expert.decoding.admission import Admission
from hive_expert.decoding.binding import SchemaInPrompt
from hive_expert.decoding.contract import Contract
from hive_expert.decoding.prompt import Message
from hive_expert.decoding.prompt_schema import prompt_schema
from hive_expert.engine.fake import FakeEngine
from hive_expert.errors import CatalogError, Problem
from hive_expert.serving.state import Hive, ServeSettings
from hive_expert.serving.structures import Structures
from hive_expert.serving.supply import Supply
from hive_expert.serving.warmup import MAX_WARMED, WARMED_TEXTS, warm_grammars
from tests.catalog.test_catalog import expert

SCHEMA = '{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}}}'


class Client:
    """Stands in for vLLM's engine client."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def generate(self, prompt: Any, params: Any, request_id: str) -> AsyncIterator[None]:
        asked = params.structured_outputs
        self.asked.append(asked.grammar or asked.json)
        yield None


class Compiler:
    """Refuses the grammar `bad`."""

    async def ask(self, message: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]:
        if message["text"] == "bad":
            return {"refused": "no such rule"}
        return {"compile_s": 0.1, "mask_s": 0.001, "dead_end": False}


def named(name: str, grammar: str | None) -> Any:
    digest = name.encode().hex().ljust(64, "0")[:64]
    return replace(expert(name, digest=digest), contract=Contract(grammar=grammar))


class Directory:
    """Stands in for the inventory of the experts directory."""

    def __init__(self, experts: tuple[Any, ...]) -> None:
        self._found = assemble(experts)

    def catalog(self, without: Collection[str] = ()) -> Catalog:
        return self._found

    def withdraw(self, expert: Expert, problems: tuple[Problem, ...]) -> None:
        left = [e for e in self._found.versions if e is not expert]
        self._found = assemble(left, [Unavailable(expert.source, expert.name, problems)])


async def warmed(*experts: Any) -> tuple[Client, Hive]:
    directory: Any = Directory(experts)
    nothing: Any = None
    settings = ServeSettings(directory, nothing, ("base",))
    supply = Supply(directory, Resident(FakeEngine()), directory.catalog())
    client, hive = Client(), Hive(settings, supply, engine_client=None)
    await warm_grammars(client, hive, Structures(Admission(Compiler())))
    return client, hive


async def test_each_grammar_is_asked_once_and_experts_without_one_are_left_out() -> None:
    client, _ = await warmed(
        named("expert-a", "A"), named("expert-b", None), named("expert-c", "C")
    )
    assert client.asked == ["A", "C"]


async def test_an_expert_whose_grammar_fails_is_unavailable_and_the_next_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="hive_expert.serving"):
        client, hive = await warmed(named("expert-a", "bad"), named("expert-b", "B"))
    assert client.asked == ["B"]
    assert "expert-a" in caplog.text
    assert hive.catalog.names() == ("expert-b",)
    with pytest.raises(CatalogError, match="no such rule"):
        hive.catalog.find("expert-a")


async def test_texts_are_compiled_where_prompts_bring_schemas() -> None:
    bound = replace(named("expert-a", None), contract=Contract(binding=SchemaInPrompt()))
    client, _ = await warmed(bound, named("expert-b", "B"))
    assert client.asked[0] == "B"
    for text, characters in zip(client.asked[1:], WARMED_TEXTS, strict=True):
        # The same definition as that of a request's schema.
        messages = [Message("user", f"{'x' * characters} Schema: {SCHEMA}")]
        found = prompt_schema(messages).schema
        assert found is not None
        assert json.loads(text)["$defs"].items() <= json.loads(found)["$defs"].items()


async def test_a_thousand_experts_do_not_delay_anybody() -> None:
    client, _ = await warmed(*(named(f"expert-{i}", f"g{i}") for i in range(MAX_WARMED + 5)))
    assert len(client.asked) == MAX_WARMED

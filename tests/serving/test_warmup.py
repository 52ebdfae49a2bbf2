"""Every grammar is compiled once, in turn, and a bad one stops nobody."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from hive_expert.catalog.catalog import assemble
from hive_expert.decoding.contract import Contract
from hive_expert.serving.warmup import MAX_WARMED, warm_grammars
from tests.catalog.test_catalog import expert


class Client:
    """Stands in for vLLM's engine client; refuses the grammar `bad`."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def generate(self, prompt: Any, params: Any, request_id: str) -> AsyncIterator[None]:
        grammar = params.structured_outputs.grammar
        self.asked.append(grammar)
        if grammar == "bad":
            raise ValueError("no such rule")
        yield None


def named(name: str, grammar: str | None) -> Any:
    digest = name.encode().hex().ljust(64, "0")[:64]
    return replace(expert(name, digest=digest), contract=Contract(grammar=grammar))


async def test_each_grammar_is_asked_once_and_experts_without_one_are_left_out() -> None:
    client = Client()
    catalog = assemble([named("expert-a", "A"), named("expert-b", None), named("expert-c", "C")])
    await warm_grammars(client, catalog)
    assert client.asked == ["A", "C"]


async def test_a_grammar_that_does_not_compile_is_named_and_the_next_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client()
    with caplog.at_level(logging.WARNING, logger="hive_expert.serving"):
        await warm_grammars(client, assemble([named("expert-a", "bad"), named("expert-b", "B")]))
    assert client.asked == ["bad", "B"]
    assert "expert-a" in caplog.text
    assert "no such rule" in caplog.text


async def test_a_thousand_experts_do_not_delay_anybody() -> None:
    client = Client()
    many = [named(f"expert-{i}", f"g{i}") for i in range(MAX_WARMED + 5)]
    await warm_grammars(client, assemble(many))
    assert len(client.asked) == MAX_WARMED

"""An adapter that answers exactly as the base does is taken out again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hive_expert.adapters.engine_format import write_form
from hive_expert.adapters.normal_form import LayerDelta, NormalForm
from hive_expert.engine.effect import PROBE
from hive_expert.engine.vllm_adapters import VllmAdapters
from hive_expert.errors import AdapterError


class Client:
    """Answers with log probabilities that depend on the adapter as told."""

    errored = False

    def __init__(
        self, difference: float, *, overflows: bool = False, refuses: bool = False
    ) -> None:
        self.refuses = refuses
        self.difference = difference
        self.overflows = overflows
        self.loaded: set[int] = set()
        self.prompts: list[list[int]] = []
        self.output_processor = SimpleNamespace(has_unfinished_requests=lambda: False)

    async def collective_rpc(self, method: str, args: tuple[Any, ...]) -> list[bool]:
        assert method == "hive_read_ahead"
        return [True]

    async def add_lora(self, request: Any) -> None:
        self.loaded.add(request.lora_int_id)

    async def remove_lora(self, number: int) -> None:
        self.loaded.discard(number)

    async def generate(
        self, prompt: Any, sampling: Any, request_id: str, *, lora_request: Any
    ) -> AsyncIterator[Any]:
        if self.refuses:
            raise ValueError("too many logprobs")
        self.prompts.append(prompt["prompt_token_ids"])
        logprob = -1.0 + (self.difference if lora_request else 0.0)
        entry = {7: SimpleNamespace(logprob=logprob)}
        given_up = self.overflows and lora_request is not None
        answer = SimpleNamespace(
            logprobs=[] if given_up else [entry], finish_reason="error" if given_up else "length"
        )
        yield SimpleNamespace(outputs=[answer])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    delta = LayerDelta(torch.ones(1, 3), torch.ones(2, 1))
    form = NormalForm({"model.layers.0.mlp.up_proj": delta}, soft_prompt=torch.ones(3, 4))
    write_form(form, tmp_path)
    return tmp_path


async def test_one_that_differs_is_kept(directory: Path) -> None:
    client = Client(difference=1e-6)
    await VllmAdapters(client, {}, probe_effect=True).add_adapter("expert-a@1", 5, directory)
    assert client.loaded == {5}
    assert [len(prompt) for prompt in client.prompts] == [len(PROBE), len(PROBE) + 3]


async def test_one_that_does_not_is_refused(directory: Path) -> None:
    client, requests = Client(difference=0.0), {}
    adapters = VllmAdapters(client, requests, probe_effect=True)
    with pytest.raises(AdapterError, match="expert-a@1: has no effect"):
        await adapters.add_adapter("expert-a@1", 5, directory)
    assert client.loaded == set()
    assert requests == {}


async def test_one_whose_numbers_overflow_is_refused(directory: Path) -> None:
    client = Client(difference=1.0, overflows=True)
    with pytest.raises(AdapterError, match="expert-a@1: its numbers overflow"):
        await VllmAdapters(client, {}, probe_effect=True).add_adapter("expert-a@1", 5, directory)
    assert client.loaded == set()


async def test_one_that_cannot_be_asked_is_not_left_behind(directory: Path) -> None:
    client, requests = Client(difference=1.0, refuses=True), {}
    with pytest.raises(AdapterError, match="expert-a@1: the engine refuses it: too many logprobs"):
        await VllmAdapters(client, requests, probe_effect=True).add_adapter(
            "expert-a@1", 5, directory
        )
    assert client.loaded == set()
    assert requests == {}


async def test_nothing_is_asked_without_the_option(directory: Path) -> None:
    client = Client(difference=0.0)
    await VllmAdapters(client, {}).add_adapter("expert-a@1", 5, directory)
    assert client.prompts == []

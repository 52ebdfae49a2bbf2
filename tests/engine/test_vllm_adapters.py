"""What our adapter of vLLM's client makes of its successes and failures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hive_expert.engine.vllm_adapters import PIECE_S, VllmAdapters
from hive_expert.errors import AdapterError, EngineError


class Client:
    """Registers an adapter before it finds fault with it, as vLLM's worker does."""

    def __init__(self) -> None:
        self.registered: set[int] = set()
        self.errored = False
        self.read: list[tuple[Any, ...]] = []
        self.busy = False
        self.output_processor = SimpleNamespace(has_unfinished_requests=lambda: self.busy)

    async def collective_rpc(self, method: str, args: tuple[Any, ...]) -> list[bool]:
        """Two workers, one of which needs three pieces."""
        assert method == "hive_read_ahead"
        self.read.append(args)
        return [True, args[3] is None or len(self.read) == 3]

    async def add_lora(self, request: Any) -> bool:
        self.registered.add(request.lora_int_id)
        if "broken" in request.lora_path:
            raise RuntimeError("sizes do not match")
        return True

    async def remove_lora(self, adapter_id: int) -> bool:
        self.registered.discard(adapter_id)
        return True


async def test_an_adapter_is_known_by_name_until_it_is_removed() -> None:
    client, requests = Client(), dict[str, Any]()
    adapters = VllmAdapters(client, requests)
    await adapters.add_adapter("expert-a@1", 7, Path("/sound"))
    assert (requests["expert-a@1"].lora_int_id, client.registered) == (7, {7})
    assert client.read == [("expert-a@1", 7, "/sound", None)]
    await adapters.remove_adapter(7)
    assert (requests, client.registered) == ({}, set())


async def test_while_others_wait_for_tokens_it_is_read_in_pieces() -> None:
    client = Client()
    client.busy = True
    await VllmAdapters(client, {}).add_adapter("expert-a@1", 7, Path("/sound"))
    assert client.read == [("expert-a@1", 7, "/sound", PIECE_S)] * 3
    assert client.registered == {7}


async def test_a_refused_adapter_is_not_left_behind() -> None:
    client, requests = Client(), dict[str, Any]()
    with pytest.raises(AdapterError, match="sizes do not match"):
        await VllmAdapters(client, requests).add_adapter("expert-a@1", 7, Path("/broken"))
    assert (requests, client.registered) == ({}, set())


async def test_a_dead_engine_is_told_from_a_broken_adapter() -> None:
    client = Client()
    client.errored = True
    with pytest.raises(EngineError, match="died"):
        await VllmAdapters(client, {}).add_adapter("expert-a@1", 7, Path("/broken"))

"""`AdapterEngine` on vLLM's engine client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vllm.lora.request import LoRARequest
from vllm.v1.engine.exceptions import EngineDeadError

from hive_expert.engine.effect import require_effect
from hive_expert.errors import AdapterError, EngineError, Problem

PIECE_S = 0.003
"""How long tokens of others wait at most for a piece of an adapter."""


class VllmAdapters:
    """Adapters of one vLLM engine."""

    def __init__(
        self, client: Any, requests: dict[str, LoRARequest], *, probe_effect: bool = False
    ) -> None:
        """``requests`` maps a name to vLLM's handle on it, and is kept up to date here.

        With ``probe_effect``, an adapter that answers as the base does is refused.
        """
        self._client = client
        self._requests = requests
        self._probe_effect = probe_effect

    async def add_adapter(self, name: str, adapter_id: int, path: Path) -> None:
        request = LoRARequest(lora_name=name, lora_int_id=adapter_id, lora_path=str(path))
        try:
            await self._read(request)
            await self._client.add_lora(request)
            if self._probe_effect:
                await require_effect(self._client, request)
        except Exception as error:
            if self._client.errored:
                raise EngineError(Problem("engine", f"died while loading {name}")) from error
            # vLLM registers an adapter before it copies it into a slot; if that fails, it stays.
            await self._client.remove_lora(adapter_id)
            if isinstance(error, AdapterError):
                raise
            raise AdapterError(Problem(name, f"the engine refuses it: {error}")) from error
        self._requests[name] = request

    async def _read(self, request: LoRARequest) -> None:
        """Have the workers read an adapter: as long as others wait for tokens, a piece at a time.

        The engine computes a step between two pieces, as it does between any two calls.
        """
        what = (request.lora_name, request.lora_int_id, request.lora_path)
        done = [False]
        while not all(done):
            others = self._client.output_processor.has_unfinished_requests()
            seconds = PIECE_S if others else None
            done = await self._client.collective_rpc("hive_read_ahead", args=(*what, seconds))

    async def remove_adapter(self, adapter_id: int) -> None:
        for name, request in list(self._requests.items()):
            if request.lora_int_id == adapter_id:
                del self._requests[name]
        try:
            await self._client.remove_lora(adapter_id)
        except EngineDeadError as error:
            raise EngineError(Problem("engine", "is dead")) from error

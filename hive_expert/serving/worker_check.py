"""Whether every worker of the engine runs our part of it, and computes adapters rightly."""

from __future__ import annotations

from typing import Any

from hive_expert.engine import plugin
from hive_expert.errors import EngineError, Problem


async def require_active_plugin(engine_client: Any) -> None:
    """Refuse to serve when a worker does not run our part of the engine.

    vLLM only logs a plugin that fails to import, and would then serve adapters without their
    gains, and answer wrongly for base requests that share a batch with experts.
    """
    from vllm.platforms import current_platform

    required = {"gains": "active", "soft_prompts": "active", "overflows": "active"}
    if current_platform.is_cpu():
        required["punica_wrapper"] = plugin.CPU_WRAPPER
    statuses = await engine_client.collective_rpc("hive_status")
    problems = [
        Problem(
            f"worker {rank}",
            f"{part}: {status.get(part)}, not {wanted}",
            f"reinstall hive-expert beside vLLM {plugin.VLLM_VERSION}",
        )
        for rank, status in enumerate(statuses)
        for part, wanted in required.items()
        if status.get(part) != wanted
    ]
    if not problems:
        problems += await _wrong_layers(engine_client)
    if problems:
        raise EngineError(*problems)


async def _wrong_layers(engine_client: Any) -> list[Problem]:
    """Layers of a worker that do not compute adapters as they are defined."""
    findings = await engine_client.collective_rpc("hive_self_check")
    return [
        Problem(
            f"worker {rank}: {found['layer']}",
            f"computes adapters wrongly, by {found['error']:.1e} of {found['allowed']:.1e} allowed",
            f"this version is made for vLLM {plugin.VLLM_VERSION}; HIVE_CPU_KERNEL=torch leaves "
            "the compiled operator out",
        )
        for rank, wrong in enumerate(findings)
        for found in wrong
    ]

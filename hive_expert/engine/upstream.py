"""Every name of vLLM that our engine code overrides, replaces or reaches below the surface of.

vLLM promises nothing about these. They are looked up before anything is replaced, and the version
they were written for is pinned.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

_LAYER = "vllm.lora.layers.base_linear.BaseLinearLayerWithLoRA"
_PUNICA = "vllm.lora.punica_wrapper.punica_cpu.PunicaWrapperCPU"
_MANAGER = "vllm.lora.model_manager.LRUCacheLoRAModelManager"

NAMES = (
    "vllm.platforms.current_platform.get_punica_wrapper",
    f"{_PUNICA}.add_lora_linear",
    f"{_PUNICA}._apply_shrink",
    f"{_PUNICA}._apply_expand",
    f"{_PUNICA}.add_lora_embedding",
    f"{_PUNICA}.add_lora_logits",
    f"{_PUNICA}.update_metadata",
    "vllm.lora.utils._all_lora_classes",
    "vllm.lora.utils.get_adapter_absolute_path",
    "vllm.lora.utils.parse_fine_tuned_lora_name",
    f"{_LAYER}.apply",
    f"{_LAYER}.create_lora_weights",
    f"{_LAYER}.set_mapping",
    f"{_LAYER}.reset_lora",
    f"{_LAYER}.set_lora",
    f"{_LAYER}._apply_sync",
    f"{_LAYER}.slice_lora_b",
    f"{_LAYER}._get_quant_method",
    f"{_LAYER}._apply_base_forward",
    f"{_LAYER}._apply_lora_to_output",
    "vllm.lora.layers.row_parallel_linear.RowParallelLinearWithLoRA",
    f"{_MANAGER}.activate_adapter",
    f"{_MANAGER}.lora_slots",
    f"{_MANAGER}.set_adapter_mapping",
    "vllm.lora.worker_manager.LRUCacheWorkerLoRAManager.create_lora_manager",
    "vllm.model_executor.layers.vocab_parallel_embedding.VocabParallelEmbedding.forward",
    "vllm.model_executor.layers.vocab_parallel_embedding.ParallelLMHead",
    "vllm.lora.worker_manager.LRUCacheWorkerLoRAManager._load_adapter",
    "vllm.lora.worker_manager.LRUCacheWorkerLoRAManager._manager_cls",
    "vllm.lora.worker_manager.PEFTHelper.from_local_dir",
    "vllm.v1.worker.lora_model_runner_mixin.LRUCacheWorkerLoRAManager",
    "vllm.forward_context.get_forward_context",
    "vllm.triton_utils.HAS_TRITON",
    "vllm.v1.executor.uniproc_executor.UniProcExecutor",
    "vllm.utils.cpu_resource_utils.get_allowed_cpu_list",
    "vllm.utils.torch_utils.available_cpu_count",
    "vllm.v1.core.sched.async_scheduler.AsyncScheduler",
    "vllm.v1.core.sched.scheduler.Scheduler.schedule",
    "vllm.v1.core.sched.scheduler.Scheduler.add_request",
    "vllm.v1.core.sched.scheduler.Scheduler._handle_blocked_waiting_request",
    "vllm.v1.core.sched.scheduler.Scheduler.update_from_output",
    "vllm.v1.core.sched.scheduler.Scheduler.finish_requests",
    "vllm.v1.core.kv_cache_manager.KVCacheManager.get_block_ids",
    "vllm.v1.core.kv_cache_manager.KVCacheManager.evict_blocks",
    "vllm.v1.outputs.ModelRunnerOutput.num_nans_in_logits",
    "vllm.v1.engine.EngineCoreOutput.stop_reason",
    "vllm.envs.VLLM_COMPUTE_NANS_IN_LOGITS",
)
"""Dotted, a module followed by attributes."""


def missing_names() -> tuple[str, ...]:
    """Those of `NAMES` that the installed vLLM does not have."""
    return tuple(name for name in NAMES if not _exists(name))


def _exists(dotted: str) -> bool:
    parts = dotted.split(".")
    for module, attributes in _splits(parts):
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for name in attributes:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


def _splits(parts: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Ways to read a dotted name, the longest module first."""
    for length in range(len(parts), 0, -1):
        yield ".".join(parts[:length]), parts[length:]

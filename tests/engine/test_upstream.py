"""Every name of vLLM that we touch is there; if one were not, registration would say so."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hive_expert
from hive_expert.engine import plugin, upstream
from hive_expert.errors import EngineError

PACKAGE = Path(hive_expert.__file__).parent

ATTRIBUTES = {
    "vllm.lora.worker_manager.LRUCacheWorkerLoRAManager": ("_adapter_manager",),
    "vllm.lora.model_manager.LRUCacheLoRAModelManager": (
        "_last_mapping",
        "_registered_adapters",
        "lora_index_to_id",
        "model",
        "modules",
        "packed_modules",
        "punica_wrapper_mapping",
    ),
    "vllm.lora.punica_wrapper.punica_base.PunicaWrapperBase": ("_token_lora_indices",),
    "vllm.v1.core.sched.scheduler.Scheduler": (
        "current_step",
        "kv_cache_manager",
        "lora_config",
        "max_num_active_reqs",
        "max_num_scheduled_tokens",
        "num_waiting_for_streaming_input",
        "running",
        "waiting",
    ),
    "vllm.v1.request.Request": ("is_prefill_chunk", "next_decode_eligible_step", "priority"),
    "vllm.v1.worker.gpu_model_runner.GPUModelRunner": (
        "_get_nans_in_logits",
        "input_batch",
        "lora_manager",
        "model",
        "query_start_loc",
    ),
    "vllm.v1.worker.gpu_input_batch.InputBatch": ("num_reqs", "req_ids"),
    "vllm.v1.engine.async_llm.AsyncLLM": (
        "engine_core",
        "logger_manager",
        "model_config",
        "vllm_config",
    ),
    "vllm.v1.metrics.loggers.StatLoggerManager": ("stat_loggers",),
    "vllm.v1.metrics.loggers.PrometheusStatLogger": ("gauge_lora_info",),
    "vllm.v1.engine.core_client.MPClient": ("resources",),
    "vllm.v1.engine.utils.CoreEngineProcManager": ("finished_procs",),
    "vllm.v1.engine.core_client.BackgroundResources": ("engine_manager",),
    "vllm.entrypoints.openai.models.serving.OpenAIServingModels": ("lora_requests", "model_name"),
    "vllm.entrypoints.openai.chat_completion.serving.OpenAIServingChat": (
        "online_renderer",
        "model_config",
    ),
    "vllm.entrypoints.openai.completion.serving.OpenAIServingCompletion": ("online_renderer",),
    "vllm.entrypoints.openai.responses.serving.OpenAIServingResponses": ("online_renderer",),
    "vllm.entrypoints.openai.chat_completion.protocol.ChatCompletionRequest": (
        "build_chat_params",
    ),
    "vllm.v1.structured_output.backend_xgrammar.XgrammarBackend": ("compile_grammar",),
}
"""What we reach for in vLLM's objects, beside what `upstream.NAMES` has of its classes."""


def imports() -> Iterator[tuple[str, str]]:
    """Every `from vllm… import name` of the package."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vllm":
                yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize(("module", "name"), sorted(set(imports())))
def test_every_name_that_is_imported_is_there(module: str, name: str) -> None:
    if not hasattr(importlib.import_module(module), name):
        importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize(("dotted", "name"), [(c, a) for c in ATTRIBUTES for a in ATTRIBUTES[c]])
def test_every_attribute_that_is_reached_for_is_there(dotted: str, name: str) -> None:
    module, _, last = dotted.rpartition(".")
    found = getattr(importlib.import_module(module), last)
    sources = "".join(
        inspect.getsource(c) for c in found.__mro__ if c.__module__.startswith("vllm")
    )
    assert hasattr(found, name) or re.search(
        rf"self\.{name}\b[^=\n]* = |^    {name}: ", sources, re.M
    )


def test_the_installed_vllm_has_every_name() -> None:
    assert upstream.missing_names() == ()


@pytest.mark.parametrize(
    "name", ["vllm.lora.utils.no_such_name", "vllm.no_such_module.name", "no_such_package.a.b"]
)
def test_a_missing_name_stops_registration_with_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "NAMES", (name, "vllm.lora.utils.from_layer"))
    monkeypatch.setenv("VLLM_PLUGINS", plugin.NAME)
    with pytest.raises(EngineError) as caught:
        plugin.register()
    (problem,) = caught.value.problems
    assert problem.where == name
    assert plugin.VLLM_VERSION in problem.remedy

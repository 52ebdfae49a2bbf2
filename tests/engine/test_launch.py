"""Settings become arguments that vLLM's own parser accepts and understands as meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hive_expert.adapters.base_model import BaseModel
from hive_expert.engine.launch import (
    ADAPTED_MODULES,
    RANKS,
    EngineSettings,
    environment,
    parse_arguments,
    slot_rank,
    vllm_arguments,
)
from hive_expert.errors import EngineError

SETTINGS = EngineSettings(BaseModel(("Tiny", "org/Tiny"), Path("/models/tiny")))


def test_vllm_parses_what_we_pass() -> None:
    args = parse_arguments(replace(SETTINGS, port=8123, max_slots=3, max_rank=12, dtype="float32"))
    assert args.served_model_name == ["Tiny", "org/Tiny"]
    assert (args.host, args.port) == ("127.0.0.1", 8123)
    assert args.enable_lora and args.enforce_eager
    assert (args.max_loras, args.max_lora_rank, args.dtype) == (3, 16, "float32")
    assert args.lora_target_modules == list(ADAPTED_MODULES)
    assert args.structured_outputs_config.backend == "xgrammar"
    assert args.worker_extension_cls == "hive_expert.engine.plugin.WorkerExtension"


def test_lm_head_and_embedding_get_no_slots() -> None:
    assert not {"lm_head", "embed_tokens"} & set(ADAPTED_MODULES)


def test_cpu_cache_is_never_smaller_than_the_slots() -> None:
    arguments = vllm_arguments(replace(SETTINGS, max_slots=40, max_cpu_experts=32))
    assert arguments[arguments.index("--max-cpu-loras") + 1] == "40"


@pytest.mark.parametrize("rank", [1, 8, 9, 16, 100, 512])
def test_slot_rank_is_the_smallest_allowed_that_holds_it(rank: int) -> None:
    found = slot_rank(rank)
    assert found in RANKS
    assert found >= rank
    assert not [r for r in RANKS if rank <= r < found]


def test_a_rank_above_the_largest_slot_is_refused() -> None:
    with pytest.raises(EngineError, match="513"):
        slot_rank(513)


def test_both_plugins_are_named_and_nothing_waits_for_a_network() -> None:
    variables = environment(SETTINGS)
    assert variables["VLLM_PLUGINS"] == "hive_expert,hive_expert_endpoints"
    assert variables["HF_HUB_OFFLINE"] == "1"

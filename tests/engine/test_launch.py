"""Settings become arguments that vLLM's own parser accepts and understands as meant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hive_expert.adapters.base_model import BaseModel
from hive_expert.engine.base_options import BaseOptions, Dtype, Rope
from hive_expert.engine.effect import TOP
from hive_expert.engine.launch import (
    ADAPTED_MODULES,
    RANKS,
    EngineSettings,
    environment,
    parse_arguments,
    require_room,
    require_split,
    slot_rank,
    vllm_arguments,
)
from hive_expert.errors import EngineError

SETTINGS = EngineSettings(BaseModel(("Tiny", "org/Tiny"), Path("/models/tiny")))


def test_vllm_parses_what_we_pass() -> None:
    args = parse_arguments(
        replace(SETTINGS, port=8123, max_slots=3, max_rank=12, options=BaseOptions("float32"))
    )
    assert args.served_model_name == ["Tiny", "org/Tiny"]
    assert (args.host, args.port) == ("127.0.0.1", 8123)
    assert args.enable_lora and args.enforce_eager
    assert (args.max_loras, args.max_lora_rank, args.dtype) == (3, 16, "float32")
    assert args.enable_prefix_caching
    assert args.lora_target_modules == list(ADAPTED_MODULES)
    assert args.structured_outputs_config.backend == "xgrammar"
    assert args.worker_extension_cls == "hive_expert.engine.plugin.WorkerExtension"


def test_layers_are_split_over_as_many_as_asked_for() -> None:
    assert parse_arguments(SETTINGS).tensor_parallel_size == 1
    assert parse_arguments(replace(SETTINGS, tensor_parallel_size=2)).tensor_parallel_size == 2


@pytest.mark.parametrize(
    ("heads", "kv_heads", "inner", "wrong", "possible"),
    [
        (9, 9, 1539, 2, [1, 3, 9]),
        (9, 3, 1536, 9, [1, 3]),  # SmolLM2-135M: 9 does not divide its intermediate size
        (14, 2, 4864, 7, [1, 2]),  # Qwen2.5-0.5B: nor are 2 key-value heads shared out over 7
        (16, 8, 3072, 3, [1, 2, 4, 8, 16]),
    ],
)
def test_layers_that_cannot_be_shared_out_are_refused_at_once(
    tmp_path: Path, heads: int, kv_heads: int, inner: int, wrong: int, possible: list[int]
) -> None:
    config = {"num_attention_heads": heads, "num_key_value_heads": kv_heads}
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": inner}))
    settings = EngineSettings(BaseModel(("Tiny",), tmp_path), tensor_parallel_size=wrong)
    with pytest.raises(EngineError) as caught:
        require_split(settings)
    assert caught.value.problems[0].remedy == f"one of {', '.join(map(str, possible))}"
    for parts in possible:
        require_split(replace(settings, tensor_parallel_size=parts))


def test_a_longer_context_reaches_vllm(tmp_path: Path) -> None:
    rope = Rope("yarn", 4.0, 32768)
    (tmp_path / "config.json").write_text(json.dumps({"rope_theta": 1e6}))
    options = BaseOptions(rope=rope, attention_backend="CPU_ATTN")
    base = BaseModel(("Tiny",), tmp_path)
    args = parse_arguments(EngineSettings(base, options=options, gpu_memory_share=0.5))
    assert args.hf_overrides == rope.overrides({"rope_theta": 1e6})
    assert args.attention_backend == "CPU_ATTN"
    assert args.gpu_memory_utilization == 0.5


@pytest.mark.parametrize(
    ("length", "rope", "dtype", "gib"),
    [
        (None, None, "auto", None),
        (None, Rope("yarn", 16.0, 8192), "auto", 3),
        (None, Rope("yarn", 16.0, 8192), "float32", 6),
        (65536, Rope("yarn", 16.0, 8192), "auto", 2),
    ],
)
def test_a_context_that_the_cache_cannot_hold_is_refused_with_its_size(
    tmp_path: Path, length: int | None, rope: Rope | None, dtype: Dtype, gib: int | None
) -> None:
    config = {
        "max_position_embeddings": 8192,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "dtype": "bfloat16",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    settings = EngineSettings(
        BaseModel(("Tiny",), tmp_path), options=BaseOptions(dtype, rope), max_model_len=length
    )
    if gib is None:
        require_room(settings)
        return
    with pytest.raises(EngineError, match=f"--kv-cache-gib {gib}"):
        require_room(settings)
    require_room(replace(settings, kv_cache_gib=gib))
    require_room(replace(settings, tensor_parallel_size=3, kv_cache_gib=-(-gib // 3)))


def test_traces_limits_and_sites_reach_vllm() -> None:
    url = "http://collector:4317"
    origins = ("https://chat.example.org",)
    settings = replace(SETTINGS, otlp_traces_endpoint=url, max_logprobs=3, allowed_origins=origins)
    args = parse_arguments(settings)
    assert (args.otlp_traces_endpoint, args.max_logprobs) == (url, 3)
    assert args.allowed_origins == list(origins)
    assert parse_arguments(SETTINGS).allowed_origins == []


@pytest.mark.parametrize(("limit", "engine"), [(0, TOP), (5, TOP), (TOP + 1, TOP + 1)])
def test_a_probe_of_adapters_gets_its_logprobs_whatever_requests_may_ask(
    limit: int, engine: int
) -> None:
    settings = replace(SETTINGS, max_logprobs=limit, probe_effect=True)
    assert parse_arguments(settings).max_logprobs == engine


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
    assert variables["VLLM_PLUGINS"] == "hive_expert,hive_expert_endpoints,hive_expert_jobs"
    assert variables["HF_HUB_OFFLINE"] == "1"


def test_a_connection_is_kept_for_longer_than_proxies_keep_theirs() -> None:
    assert int(environment(SETTINGS)["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"]) > 60

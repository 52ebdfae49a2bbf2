"""Gains in vLLM's own layers, on the CPU, against the normal form's definition."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from vllm.config import DeviceConfig, VllmConfig, set_current_vllm_config
from vllm.distributed import (
    cleanup_dist_env_and_memory,
    ensure_model_parallel_initialized,
    init_distributed_environment,
)
from vllm.lora.layers import (
    LoRAMapping,
    MergedColumnParallelLinearWithLoRA,
    MergedQKVParallelLinearWithLoRA,
    RowParallelLinearWithLoRA,
)
from vllm.model_executor.layers.linear import (
    MergedColumnParallelLinear,
    QKVParallelLinear,
    RowParallelLinear,
)

from hive_expert.adapters.normal_form import LayerDelta, apply
from hive_expert.engine.cpu_kernel import build
from hive_expert.engine.cpu_kernel.choice import apply_gains_natively
from hive_expert.engine.cpu_lora import RunPunicaWrapper
from hive_expert.engine.gain_loading import _with_gains
from hive_expert.engine.gains import GainSlots
from hive_expert.errors import AdapterError

SLOTS, RANK = 3, 2
BY_RUNS = [1] * 9 + [2] * 8 + [0] * 4 + [3] * 5
BY_GATHER = [1, 0, 2, 3, 1, 2, 0, 3]
"""Adapter ids of tokens; adapter n is in slot n - 1, 0 is the base model."""


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What vLLM's layers need around them."""
    with set_current_vllm_config(VllmConfig(device_config=DeviceConfig(device="cpu"))):
        rendezvous = tmp_path_factory.mktemp("rendezvous") / "file"
        init_distributed_environment(1, 0, f"file://{rendezvous}", 0, backend="gloo")
        ensure_model_parallel_initialized(1, 1)
        yield
    cleanup_dist_env_and_memory()


def qkv(**options: Any) -> Any:
    layer = QKVParallelLinear(8, 4, 3, 1, bias=True, params_dtype=torch.float32, **options)
    return MergedQKVParallelLinearWithLoRA, layer


def gate_up() -> Any:
    layer = MergedColumnParallelLinear(8, [6, 6], bias=False, params_dtype=torch.float32)
    return MergedColumnParallelLinearWithLoRA, layer


def down() -> Any:
    return RowParallelLinearWithLoRA, RowParallelLinear(
        8, 6, bias=True, params_dtype=torch.float32, return_bias=False
    )


LAYERS = {"qkv": qkv, "gate_up": gate_up, "down": down}


def wrap(kind: str, *, gained: bool = True) -> Any:
    """One of vLLM's layers with random weights, wrapped for LoRA with or without our class."""
    wrapper, base = LAYERS[kind]()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    dense = base.weight.detach().clone()
    base.quant_method.process_weights_after_loading(base)  # may pack the weight away
    layer = (_with_gains(wrapper) if gained else wrapper)(base)
    config = SimpleNamespace(
        max_lora_rank=RANK, fully_sharded_loras=False, lora_dtype=torch.float32
    )
    layer.create_lora_weights(SLOTS, config)
    layer.dense = dense
    return layer


def widths(layer: Any) -> tuple[int, ...]:
    return layer.output_slices if layer.n_slices > 1 else (layer.output_size,)


def delta(layer: Any, seed: int, *parts: str) -> LayerDelta:
    """A random delta of the whole layer with A, B and some gains."""
    rng = torch.Generator().manual_seed(seed)
    sizes = {"gamma": layer.output_size, "shift": layer.output_size, "beta": layer.input_size}
    return LayerDelta(
        a=torch.randn(RANK, layer.input_size, generator=rng),
        b=torch.randn(layer.output_size, RANK, generator=rng),
        **{part: torch.randn(sizes[part], generator=rng) for part in parts},
    )


def load(layer: Any, slot: int, form: LayerDelta) -> None:
    """Put a delta into a slot as the model manager does: A and B, then the gains."""
    b = list(torch.split(form.b, widths(layer)))
    packed = layer.n_slices > 1
    layer.set_lora(slot, [form.a] * len(b) if packed else form.a, b if packed else b[0])
    layer.multiply_in(slot)
    parts: list[dict[str, Tensor]] = [{} for _ in b]
    for name, tensor in form.tensors():
        if name in ("gamma", "shift"):
            for part, piece in zip(parts, torch.split(tensor, widths(layer)), strict=True):
                part[name] = piece
        elif name == "beta":
            parts[0][name] = tensor
    layer.set_gains(slot, layer.prepare_gains("layer", parts))


def run(layer: Any, x: Tensor, tokens: list[int], way: str | None = None) -> Tensor:
    """One step of the layer, `tokens` being the adapter of each; its gains in one of `WAYS`."""
    wrapper = RunPunicaWrapper(64, 16, "cpu")
    layer.set_mapping(wrapper)
    if way is not None:
        choose(layer, way)
    wrapper.update_metadata(LoRAMapping(tuple(tokens), (0,), is_prefill=True), [1, 2, 3], SLOTS, 99)
    output = layer(x)
    return output[0] if isinstance(output, tuple) else output


def expected(layer: Any, x: Tensor, tokens: list[int], forms: dict[int, LayerDelta]) -> Tensor:
    """The definition, token by token, in float64."""
    weight, bias = layer.dense.double(), layer.base_layer.bias
    rows = []
    for row, token in zip(x.double(), tokens, strict=True):
        form = forms.get(token - 1, LayerDelta(torch.zeros(1, 8), torch.zeros(len(weight), 1)))
        double = LayerDelta(**{name: t.double() for name, t in form.tensors()})
        rows.append(apply(double, row[None], weight, None if bias is None else bias.double()))
    return torch.cat(rows)


def fused(
    values: Tensor,
    factors: Tensor,
    addends: Tensor | None,
    index: Tensor,
    active: Tensor,
    *,
    in_place: bool,
) -> Tensor:
    """What test_gains_triton shows of the kernel, in torch: only flagged slots are looked at."""
    flagged = active[index].bool()[:, None]
    scaled = values * (1 + factors[index])
    scaled = scaled if addends is None else scaled + addends[index]
    scaled = torch.where(flagged, scaled, values)
    return values.copy_(scaled) if in_place else scaled


def choose(layer: Any, way: str) -> None:
    """Have a layer apply its gains in one of the ways of the CPU, or of a GPU."""
    layer.by_runs = way in ("native", "runs")
    layer.fused = {"fused": fused, "native": apply_gains_natively}.get(way)


WAYS = ["native", "runs", "gather", "fused"]
OUTPUT_GAINS = {"qkv": ("gamma", "shift"), "gate_up": ("gamma",), "down": ("gamma", "shift")}


@pytest.mark.parametrize("kind", sorted(LAYERS))
@pytest.mark.parametrize("tokens", [BY_RUNS, BY_GATHER], ids=["long runs", "short runs"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("vllm", "native")
def test_output_gains_are_those_of_each_tokens_slot(kind: str, tokens: list[int], way: str) -> None:
    layer = wrap(kind)
    # The last slot has a low-rank part only.
    forms = {
        0: delta(layer, 1, *OUTPUT_GAINS[kind]),
        1: delta(layer, 2, "gamma"),
        2: delta(layer, 3),
    }
    for slot, form in forms.items():
        load(layer, slot, form)
    x = torch.randn(len(tokens), 8)
    assert torch.allclose(
        run(layer, x, tokens, way).double(), expected(layer, x, tokens, forms), atol=1e-5
    )


@pytest.mark.parametrize("tokens", [BY_RUNS, BY_GATHER], ids=["long runs", "short runs"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("vllm", "native")
def test_input_gains_scale_what_the_base_sees_but_not_what_a_sees(
    tokens: list[int], way: str
) -> None:
    layer = wrap("down")
    forms = {0: delta(layer, 1, "beta"), 1: delta(layer, 2, "gamma"), 2: delta(layer, 3)}
    for slot, form in forms.items():
        load(layer, slot, form)
    x = torch.randn(len(tokens), 8)
    before = x.clone()
    assert torch.allclose(
        run(layer, x, tokens, way).double(), expected(layer, x, tokens, forms), atol=1e-5
    )
    assert torch.equal(x, before)


@pytest.mark.parametrize("kind", sorted(LAYERS))
@pytest.mark.parametrize("tokens", [BY_RUNS, BY_GATHER], ids=["long runs", "short runs"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("vllm", "native")
def test_without_gains_every_bit_is_vllms(kind: str, tokens: list[int], way: str) -> None:
    layer, stock = wrap(kind), wrap(kind, gained=False)
    for slot in range(SLOTS):
        load(layer, slot, delta(layer, slot))
        b = torch.split(delta(layer, slot).b, widths(layer))
        a = delta(layer, slot).a
        packed = layer.n_slices > 1
        stock.set_lora(slot, [a] * len(b) if packed else a, list(b) if packed else b[0])
    x = torch.randn(len(tokens), 8)
    assert torch.equal(run(layer, x, tokens, way), run(stock, x, tokens))


@pytest.mark.usefixtures("vllm", "native")
def test_a_slot_that_is_used_again_forgets_its_gains() -> None:
    layer = wrap("down")
    load(layer, 0, delta(layer, 1, "gamma", "shift"))
    load(layer, 1, delta(layer, 2, "beta"))
    forms = {0: delta(layer, 3), 1: delta(layer, 4)}
    for slot, form in forms.items():
        load(layer, slot, form)
    assert not layer.output_slots
    assert not layer.input_slots
    for way in WAYS:
        x = torch.randn(len(BY_RUNS), 8)
        tokens = [min(t, 2) for t in BY_RUNS]
        assert torch.allclose(
            run(layer, x, tokens, way).double(), expected(layer, x, tokens, forms), atol=1e-5
        )


@pytest.mark.usefixtures("vllm")
def test_on_the_cpu_triton_is_not_even_loaded() -> None:
    assert wrap("down").fused is None
    assert "hive_expert.engine.gains_triton" not in sys.modules


@pytest.mark.usefixtures("vllm")
def test_the_compiled_operator_is_taken_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, native_library: Path
) -> None:
    monkeypatch.setenv("HIVE_CPU_KERNEL", "native")
    monkeypatch.setattr(build, "library", lambda: native_library)
    layer = wrap("down")
    layer.set_mapping(RunPunicaWrapper(64, 16, "cpu"))
    assert layer.fused is apply_gains_natively


@pytest.mark.usefixtures("vllm")
def test_nothing_is_multiplied_for_an_adapter_without_low_rank_part() -> None:
    layer = wrap("down")
    load(layer, 0, delta(layer, 1))
    load(layer, 1, delta(layer, 2, "gamma"))
    layer.set_lora(1, torch.zeros(RANK, 8), torch.zeros(6, RANK))
    assert layer.low_rank_slots == {0}
    run(layer, torch.randn(3, 8), [2, 1, 0])
    (plan,) = layer.punica_wrapper._plans.values()
    assert plan.tokens.tolist() == [1]
    layer.reset_lora(0)
    assert layer.low_rank_slots == frozenset()


@pytest.mark.usefixtures("vllm")
def test_small_gains_survive_bfloat16() -> None:
    """Kept as gamma - 1: gamma itself would be rounded to eight bits."""
    layer = wrap("down")
    layer.gamma_table = layer.gamma_table.bfloat16()
    gamma = torch.full((6,), 1.001)
    layer.set_gains(0, layer.prepare_gains("layer", [{"gamma": gamma}]))
    assert torch.allclose(1 + layer.gamma_table[0].float(), gamma, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "parts", "says"),
    [
        ("qkv", [{"beta": torch.ones(8)}, None, None], "share their input"),
        ("gate_up", [{"shift": torch.ones(6)}, None], "layer without bias"),
        ("qkv", [{"gamma": torch.ones(7)}, None, None], "layer.gamma: has the length 7, not 12"),
        ("qkv", [None, {"gamma": torch.ones(12)}, None], "not 4"),
        ("qkv", [{"gamma": torch.ones(12)}], "1 of 3 parts"),
        ("down", [{"beta": torch.ones(9)}], "has the length 9"),
        ("down", [{"gamma": torch.ones(8)}], "has the length 8, not 6"),
    ],
)
@pytest.mark.usefixtures("vllm")
def test_gains_without_a_place_are_refused(kind: str, parts: list[Any], says: str) -> None:
    with pytest.raises(AdapterError, match=says):
        wrap(kind).prepare_gains("layer", parts)


@pytest.mark.usefixtures("vllm")
def test_gains_before_a_bias_that_is_added_later_are_refused() -> None:
    layer = wrap("down")
    layer.base_layer.skip_bias_add = True
    with pytest.raises(AdapterError, match="added later"):
        layer.prepare_gains("layer", [{"gamma": torch.ones(6)}])


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.usefixtures("vllm")
def test_shards_take_their_part_of_the_vectors(rank: int) -> None:
    """Two shards: outputs of column-parallel layers, inputs of row-parallel ones."""
    layer = wrap("gate_up")
    layer.tp_size, layer.tp_rank = 2, rank
    layer.output_slices, layer.output_ids, layer.output_size = (3, 3), (rank, rank), 6
    gate, up = torch.arange(6.0), 10 + torch.arange(6.0)
    found = layer.prepare_gains("layer", [{"gamma": gate}, {"gamma": up}]).gamma
    mine = slice(3 * rank, 3 * rank + 3)
    assert torch.equal(found + 1, torch.cat([gate[mine], up[mine]]))

    layer = wrap("down")
    layer.tp_size, layer.tp_rank, layer.input_size = 2, rank, 4
    beta, gamma = torch.arange(8.0), torch.arange(6.0)
    assert torch.equal(
        layer.prepare_gains("layer", [{"beta": beta}]).beta + 1, beta[4 * rank : 4 * rank + 4]
    )
    assert torch.equal(layer.prepare_gains("layer", [{"gamma": gamma}]).gamma + 1, gamma)


@pytest.mark.usefixtures("vllm")
def test_only_the_first_of_summed_shards_adds_the_shift() -> None:
    layer = wrap("down")
    assert layer.shift_table is not None
    layer.tp_rank = 1
    layer.create_lora_weights(SLOTS, layer.lora_config)
    assert layer.shift_table is None
    layer.set_gains(0, layer.prepare_gains("layer", [{"shift": torch.ones(6)}]))


def test_every_wrapper_of_linear_layers_gets_gains_and_others_stay() -> None:
    from vllm.lora import utils

    gained = [_with_gains(c) for c in utils._all_lora_classes]
    assert [_with_gains(c) for c in gained] == gained
    names = {c.__name__ for c in gained}
    assert "GainRowParallelLinearWithShardedLoRA" in names
    assert {"FusedMoEWithLoRA", "FusedMoE3DWithLoRA", "VocabParallelEmbeddingWithLoRA"} <= names
    assert all(issubclass(c, GainSlots) == c.__name__.startswith("Gain") for c in gained)

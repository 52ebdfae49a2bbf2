"""The gains' Triton kernel on a GPU: against the definition, against the gather, in CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
SLOTS = 4
DTYPES = [torch.bfloat16, torch.float16, torch.float32]
WIDTHS = [1, 576, 1536, 4096, 14336 + 3]
"""Of SmolLM2-135M's layers, of large ones, and two that no block divides."""


@pytest.fixture
def apply_gains() -> Callable[..., Tensor]:
    """Imported late: where there is no GPU, this file is collected but Triton is not there."""
    from hive_expert.engine.gains_triton import apply_gains

    return apply_gains


class Layer:
    """What one layer keeps: tables with a neutral last row, flags, each token's slot."""

    def __init__(self, tokens: int, width: int, dtype: torch.dtype, seed: int = 0) -> None:
        self._rng = torch.Generator(DEVICE).manual_seed(seed)
        self.values = self._random(tokens, width, dtype=dtype)
        self.factors = torch.zeros(SLOTS + 1, width, dtype=dtype, device=DEVICE)
        self.addends = torch.zeros_like(self.factors)
        self.active = torch.zeros(SLOTS + 1, dtype=torch.int8, device=DEVICE)
        self.index = torch.zeros(tokens, dtype=torch.int64, device=DEVICE)
        self.change()

    def change(self) -> None:
        """Other slots for the tokens and other adapters in the slots; the last has no gains."""
        self.index.random_(-1, SLOTS, generator=self._rng)
        for table in (self.factors, self.addends):
            table[: SLOTS - 1] = self._random(SLOTS - 1, table.shape[1], dtype=table.dtype)
        self.active[: SLOTS - 1] = 1

    def definition(self, *, adds: bool = True) -> Tensor:
        """In float64."""
        wide = self.values.double() * (1 + self.factors.double()[self.index])
        return wide + self.addends.double()[self.index] if adds else wide

    def _random(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.randn(*shape, generator=self._rng, device=DEVICE).to(dtype)


def close(found: Tensor, exact: Tensor, dtype: torch.dtype) -> bool:
    """Within one rounding to the dtype and the float32 arithmetic of numbers of the order of 10."""
    bound = exact.abs() * torch.finfo(dtype).eps / 2 + 40 * torch.finfo(torch.float32).eps
    return bool(torch.all((found.double() - exact).abs() <= bound))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tokens", [0, 1, 7, 512])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("in_place", [True, False])
def test_the_kernel_rounds_the_definition_once(
    apply_gains: Any, dtype: torch.dtype, tokens: int, width: int, in_place: bool
) -> None:
    layer = Layer(tokens, width, dtype)
    values, before = layer.values.clone(), layer.values
    found = apply_gains(
        values, layer.factors, layer.addends, layer.index, layer.active, in_place=in_place
    )
    assert close(found, layer.definition(), dtype)
    assert torch.equal(found if in_place else before, values)
    without = (layer.index < 0) | (layer.index == SLOTS - 1)
    assert torch.equal(found[without], before[without])


def test_views_of_wider_and_turned_tensors(apply_gains: Any) -> None:
    layer = Layer(33, 100, torch.float32)
    for wide, columns in ((300, slice(7, 107)), (200, slice(0, 200, 2))):
        whole = torch.full((33, wide), 5.0, device=DEVICE)
        part = whole[:, columns].copy_(layer.values)
        apply_gains(part, layer.factors, None, layer.index, in_place=True)
        assert close(part, layer.definition(adds=False), torch.float32)
        assert int((whole == 5).sum()) >= 33 * (wide - 100)
    turned = layer.values.T.contiguous().T
    found = apply_gains(turned, layer.factors, None, layer.index, in_place=False)
    assert close(found, layer.definition(adds=False), torch.float32)


def test_more_than_two_to_the_31_elements(apply_gains: Any) -> None:
    """4.6 GiB of bfloat16."""
    tokens, width = 2**16 + 7, 2**15 + 8
    values = torch.ones(tokens, width, dtype=torch.bfloat16, device=DEVICE)
    factors = torch.ones(2, width, dtype=torch.bfloat16, device=DEVICE)
    index = torch.zeros(tokens, dtype=torch.int64, device=DEVICE)
    apply_gains(values, factors, None, index, in_place=True)
    assert torch.all(values[[0, -1]] == 2)
    assert torch.all(values[:, [0, -1]] == 2)


@pytest.mark.parametrize("tokens", [1, 8, 256])
def test_a_replayed_graph_follows_slots_and_gains_that_changed(
    apply_gains: Any, tokens: int
) -> None:
    layer = Layer(tokens, 1536, torch.bfloat16)

    def step() -> tuple[Tensor, Tensor]:
        tables = layer.factors, layer.addends, layer.index, layer.active
        scaled = apply_gains(layer.values, *tables, in_place=False)
        return scaled, apply_gains(layer.values.clone(), *tables, in_place=True)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()  # compiles the kernel, which a capture must not
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    for _ in range(5):
        layer.change()
        layer.values.normal_()
        graph.replay()
        assert all(close(result, layer.definition(), torch.bfloat16) for result in results)
    layer.index.fill_(-1)
    graph.replay()
    assert all(torch.equal(result, layer.values) for result in results)


def test_inductor_keeps_both_operators_and_the_input(apply_gains: Any) -> None:
    layer = Layer(64, 512, torch.float32)

    def forward(x: Tensor) -> Tensor:
        index = layer.index[: x.shape[0]]
        scaled = apply_gains(x, layer.factors, None, index, layer.active, in_place=False)
        y = scaled.sin()
        return apply_gains(y, layer.factors, layer.addends, index, layer.active, in_place=True) + x

    compiled = torch.compile(forward, fullgraph=True, dynamic=True)
    for tokens in (64, 17, 2):
        x = layer.values[:tokens]
        before = x.clone()
        assert torch.allclose(compiled(x), forward(x), atol=1e-5)
        assert torch.equal(x, before)


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What vLLM's layers need around them."""
    from vllm.config import DeviceConfig, VllmConfig, set_current_vllm_config
    from vllm.distributed import (
        cleanup_dist_env_and_memory,
        ensure_model_parallel_initialized,
        init_distributed_environment,
    )

    with set_current_vllm_config(VllmConfig(device_config=DeviceConfig(device=DEVICE))):
        rendezvous = tmp_path_factory.mktemp("rendezvous") / "file"
        init_distributed_environment(1, 0, f"file://{rendezvous}", 0, backend="gloo")
        ensure_model_parallel_initialized(1, 1)
        yield
    cleanup_dist_env_and_memory()


@pytest.mark.usefixtures("vllm")
def test_a_layer_takes_the_kernel_and_agrees_with_the_gather() -> None:
    from vllm.lora.layers import RowParallelLinearWithLoRA
    from vllm.model_executor.layers.linear import RowParallelLinear

    from hive_expert.engine.gain_loading import _with_gains

    with torch.device(DEVICE):
        base = RowParallelLinear(96, 160, bias=True, params_dtype=torch.float32)
    layer = _with_gains(RowParallelLinearWithLoRA)(base)
    config = SimpleNamespace(max_lora_rank=2, fully_sharded_loras=False, lora_dtype=torch.float32)
    layer.create_lora_weights(SLOTS, config)
    assert layer.fused is not None
    gains = {"gamma": torch.randn(160), "shift": torch.randn(160), "beta": torch.randn(96)}
    layer.set_gains(1, layer.prepare_gains("layer", [gains]))
    index = torch.tensor([1, -1, 0, 1], device=DEVICE)
    layer.punica_wrapper = SimpleNamespace(_token_lora_indices=index)
    x, y = torch.randn(4, 96, device=DEVICE), torch.randn(4, 160, device=DEVICE)

    fused = layer.scale_input(x), layer.scale_output(y.clone())
    layer.fused = None
    gathered = layer.scale_input(x), layer.scale_output(y.clone())

    for one, other in zip(fused, gathered, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert not torch.allclose(fused[1], y)

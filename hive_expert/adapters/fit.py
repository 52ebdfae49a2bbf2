"""Does an adapter fit its base model, and does it do anything at all? SPEC section 6.

An adapter whose targets match nothing, or whose updates are all zero, would answer as the base
model does under the expert's name. It is refused at load: fail closed. Headers decide, and for
LoRA the first value that is not zero; DoRA and IA3 are read whole when they are converted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from safetensors import safe_open

from hive_expert.adapters.peft_adapter import PeftAdapter
from hive_expert.adapters.peft_config import WEIGHTS_FILE
from hive_expert.errors import AdapterError, Problem

SHARED_INPUT = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
"""Layers the engine computes together (q, k, v; gate, up): their common input has no gains."""


def check_fit(
    adapter: PeftAdapter,
    shapes: Mapping[str, tuple[int, int]],
    max_rank: int,
    packed: Collection[str] = (),
) -> int:
    """Check an adapter against a base model's layers and the engine's slots; returns its rank.

    Args:
        shapes: the base's linear layers, module name → (out, in).
        max_rank: the most the server's slots hold.
        packed: the base's layers that quantization hides.

    Raises:
        AdapterError: every layer that does not fit, too large a rank, or no effect.
    """
    problems = layer_misfits(adapter, shapes, packed)
    if adapter.rank > max_rank:
        remedy = f"start the server with --max-rank {adapter.rank}"
        problems.append(Problem("rank", f"{adapter.rank} is above the server's {max_rank}", remedy))
    if not problems and adapter.config.kind == "lora" and not _lora_has_effect(adapter):
        problems.append(
            Problem(
                WEIGHTS_FILE,
                "has no effect: all updates are zero",
                "train it, or package the right checkpoint",
            )
        )
    if problems:
        raise AdapterError(*problems)
    return adapter.rank


def layer_misfits(
    adapter: PeftAdapter, shapes: Mapping[str, tuple[int, int]], packed: Collection[str] = ()
) -> list[Problem]:
    """Every layer of an adapter that a base model has not, or has quantized or in another size."""
    return [p for module in adapter.layers for p in _misfits(adapter, module, shapes, packed)]


def _misfits(
    adapter: PeftAdapter,
    module: str,
    shapes: Mapping[str, tuple[int, int]],
    packed: Collection[str],
) -> Iterator[Problem]:
    if module in packed:
        what = "the base model is quantized here: its weights are packed, and are not adapted"
        yield Problem(module, what, "serve the unquantized base model with --base")
        return
    layer = shapes.get(module)
    if layer is None:
        yield Problem(module, "no such layer in the base model")
        return
    for axis, found, expected in zip(("out", "in"), adapter.size_of(module), layer, strict=True):
        if found is not None and found != expected:
            yield Problem(module, f"made for {axis} size {found}, the base model's is {expected}")
    last = module.rpartition(".")[2]
    if adapter.config.scales_input(module) and last in SHARED_INPUT:
        yield Problem(
            module,
            f"an input gain on {last} is not served: the engine computes its neighbours from the "
            "same input",
            f"leave {last} out of feedforward_modules",
        )


def _lora_has_effect(adapter: PeftAdapter) -> bool:
    import torch  # what stands above is asked by hive-build as well, which starts without it

    with safe_open(adapter.directory / WEIGHTS_FILE, "pt") as file:
        return any(
            bool(torch.count_nonzero(file.get_tensor(parts["lora_B"].name)))
            and bool(torch.count_nonzero(file.get_tensor(parts["lora_A"].name)))
            for parts in adapter.layers.values()
        )

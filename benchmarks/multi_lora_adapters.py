"""Synthetic adapters for speed: every projection adapted, by numbers that change little."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from hive_expert.adapters.base_model import adaptable_shapes
from hive_expert.adapters.engine_format import write_form
from hive_expert.adapters.normal_form import LayerDelta, NormalForm, compose

LORAS = 10
GAINED = 4
"""Of DoRA and of IA3 each."""
MEMBERS = 3
"""Of a composition."""


@dataclass(frozen=True)
class Adapters:
    """Directories the engine loads, by kind."""

    lora: list[Path]
    gained: list[Path]
    """DoRA and IA3 by turns."""
    composed: Path
    summed_rank: Path
    """One LoRA of the rank of the composition."""


def make_adapters(base: Path, folder: Path, rank: int) -> Adapters:
    """Write all of them into `folder`."""
    shapes = adaptable_shapes(base)
    generator = torch.Generator().manual_seed(1)

    def lora(rank: int) -> NormalForm:
        return NormalForm(
            {
                module: LayerDelta(
                    torch.randn(rank, in_size, generator=generator) / in_size**0.5,
                    torch.randn(out_size, rank, generator=generator) * 0.01,
                )
                for module, (out_size, in_size) in shapes.items()
            }
        )

    def near_one(size: int) -> torch.Tensor:
        return 1 + 0.01 * torch.randn(size, generator=generator)

    def dora() -> NormalForm:
        return NormalForm(
            {
                module: LayerDelta(delta.a, delta.b, gamma=near_one(delta.out_size))
                for module, delta in lora(rank).layers.items()
            }
        )

    def ia3() -> NormalForm:
        """PEFT's choice for Llama: outputs of k and v, inputs of down."""
        layers = {}
        for module, (out_size, in_size) in shapes.items():
            last = module.rpartition(".")[2]
            if last in ("k_proj", "v_proj", "down_proj"):
                gain = "beta" if last == "down_proj" else "gamma"
                vector = near_one(in_size if last == "down_proj" else out_size)
                a, b = torch.empty(0, in_size), torch.empty(out_size, 0)
                layers[module] = LayerDelta(a, b, **{gain: vector})
        return NormalForm(layers)

    def written(name: str, form: NormalForm) -> Path:
        directory = folder / name
        directory.mkdir(parents=True)
        write_form(form, directory)
        return directory

    loras = [lora(rank) for _ in range(LORAS)]
    gained = [make() for _ in range(GAINED) for make in (dora, ia3)]
    return Adapters(
        lora=[written(f"lora-{i}", form) for i, form in enumerate(loras)],
        gained=[written(f"gained-{i}", form) for i, form in enumerate(gained)],
        composed=written("composed", compose(loras[:MEMBERS], [0.5, 0.3, 0.2])),
        summed_rank=written("summed-rank", lora(MEMBERS * rank)),
    )

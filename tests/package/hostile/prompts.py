"""Soft prompts that are not what the manifest says, or no numbers at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import document, packed, sealed
from tests.package.samples import lora_tensors, safetensors, sample_members

PATH = "soft_prompts/tone.safetensors"
STATED = {"name": "tone", "path": PATH, "tokens": 4, "init_method": "random"}


def _with(label: str, data: bytes, **changes: Any) -> Attack:
    members = {**sample_members(), PATH: data}
    manifest = document(members, soft_prompts=[{**STATED, **changes}])
    return Attack(label, packed(sealed(members, manifest=json.dumps(manifest).encode())))


def _prompt(shape: tuple[int, ...], value: bytes = b"\x80\x3f", dtype: str = "BF16") -> bytes:
    count = 1
    for size in shape:
        count *= size
    return safetensors({"prompt_embeddings": (dtype, shape, value * count)})


@attack_class("soft prompts other than declared")
def undeclared() -> Iterator[Attack]:
    for tokens in (1, 3, 5, 8, 512):
        yield _with(f"{tokens} tokens", _prompt((tokens, 8)))
    for shape in ((32,), (4, 2, 4), (1, 4, 8), (2, 16), (8, 4)):
        yield _with(f"shape {shape}", _prompt(shape))
    sound = _prompt((4, 8))
    for label, changes in {
        "0 tokens": {"tokens": 0},
        "513 tokens": {"tokens": 513},
        "-4 tokens": {"tokens": -4},
        "4.0 tokens": {"tokens": 4.0},
        "another path": {"path": "soft_prompts/other.safetensors"},
        "a path that leads out": {"path": "../tone.safetensors"},
        "a pickle's path": {"path": "soft_prompts/tone.pt"},
        "an unknown method": {"init_method": "evil"},
        "an unknown key": {"trust_remote_code": True},
        "a default that is no truth value": {"default": "yes"},
    }.items():
        yield _with(label, sound, **changes)
    one = ("BF16", (4, 8), b"\x80\x3f" * 32)
    for label, tensors in {
        "another tensor": {"evil": one},
        "one tensor more": {"prompt_embeddings": one, "evil": one},
        "an adapter": lora_tensors(),
        "another name": {"embedding.weight": one},
    }.items():
        yield _with(label, safetensors(tensors))


@attack_class("soft prompts that are no numbers")
def no_numbers() -> Iterator[Attack]:
    for label, value in {
        "NaN": b"\xc0\x7f",
        "infinity": b"\x80\x7f",
        "-infinity": b"\x80\xff",
    }.items():
        yield _with(label, _prompt((4, 8), value))
        whole = bytearray(_prompt((4, 8)))
        for position in range(2, 66, 16):
            changed = bytearray(whole)
            changed[-position : len(changed) - position + 2] = value
            yield _with(f"{label}, {position} from the end", bytes(changed))
    sound = _prompt((4, 8))
    for cut in range(0, len(sound), 6):
        yield _with(f"cut off at {cut}", sound[:cut])
    for label, data in {
        "a pickle": b"\x80\x04K\x01.",
        "a zip": b"PK\x03\x04" + bytes(60),
        "text": b"# a prompt\n",
        "a byte more": sound + b"\0",
        "F64": _prompt((4, 8), bytes(7) + b"\x3f", "F64"),
        "I8": _prompt((4, 8), b"\1", "I8"),
    }.items():
        yield _with(label, data)

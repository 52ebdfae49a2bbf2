"""Keys and points that make the verification equation say more than it should."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hive_expert.package.statement import signed_message
from tests.package.hostile import edwards
from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import ANN, document, packed, sha256
from tests.package.hostile.signatures import _b64, _written
from tests.package.samples import sample_members


def _signed(
    raw_key: bytes, raw_signature: bytes, claimed: str | None = None, **changes: Any
) -> bytes:
    """A package that names a raw key, and is "signed" with that value."""
    key_id = claimed or sha256(raw_key)
    members = sample_members()
    manifest = document(members, **changes)
    manifest["integrity"] |= {"key_id": key_id}
    body = {**members, "manifest.json": json.dumps(manifest).encode()}
    data = {
        "key_id": key_id,
        "algorithm": "ed25519",
        "signature": _b64(raw_signature),
        "public_key": _b64(raw_key),
    }
    return packed({**body, "signature.sig": _written(data)})


def _message() -> bytes:
    members = sample_members()
    body = {**members, "manifest.json": json.dumps(document(members)).encode()}
    return signed_message({path: sha256(content) for path, content in body.items()})


@attack_class("keys of small order")
def small_order_keys() -> Iterator[Attack]:
    """With such a key R = S·B fits one message in eight, or every one."""
    for name, raw_key in edwards.small_order_encodings():
        for raw_r_name, raw_r in edwards.small_order_encodings():
            yield Attack(f"{name}, R {raw_r_name}", _signed(raw_key, raw_r + bytes(32)))
        yield Attack(f"{name}, R = B", _signed(raw_key, edwards.encode(edwards.BASE) + _scalar(1)))
        yield Attack(f"{name}, Ann's key_id", _signed(raw_key, raw_key + bytes(32), ANN.key_id))


def _scalar(value: int) -> bytes:
    return value.to_bytes(32, "little")


@attack_class("R of small order")
def small_order_r() -> Iterator[Attack]:
    for name, raw_r in edwards.small_order_encodings():
        for s in (0, 1, 8, edwards.ORDER - 1):
            yield Attack(f"{name}, S = {s % 1000}", _signed(ANN.public.raw, raw_r + _scalar(s)))


@attack_class("keys of mixed order")
def mixed_order_keys() -> Iterator[Attack]:
    """Ann's key plus a point of small order: Ann's own signatures fit it, to some verifiers."""
    own = edwards.decode(ANN.public.raw)
    for name, torsion in edwards.small_order_points():
        mixed = edwards.encode(edwards.add(own, torsion))
        if mixed == ANN.public.raw:
            continue
        signature = ANN.sign(_message())
        yield Attack(f"+ {name}", _signed(mixed, signature))
        yield Attack(f"+ {name}, Ann's key_id", _signed(mixed, signature, ANN.key_id))
        r = edwards.encode(edwards.add(edwards.decode(signature[:32]), torsion))
        yield Attack(f"R + {name}", _signed(ANN.public.raw, r + signature[32:]))
        yield Attack(f"both + {name}", _signed(mixed, r + signature[32:], ANN.key_id))


@attack_class("keys that are no points")
def no_points() -> Iterator[Attack]:
    signature = ANN.sign(_message())
    for y in range(2, 40):
        raw = _scalar(y)
        yield Attack(f"y = {y}", _signed(raw, signature))
    for excess in range(19):
        yield Attack(f"y = p + {excess}", _signed(_scalar(edwards.PRIME + excess), signature))
    for length in (0, 1, 16, 31, 33, 64):
        yield Attack(f"{length} bytes", _signed((ANN.public.raw * 2)[:length], signature))
    yield Attack(
        "negated", _signed(ANN.public.raw[:31] + bytes([ANN.public.raw[31] ^ 0x80]), signature)
    )

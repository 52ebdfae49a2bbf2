"""Hashes that do not fit, and members exchanged behind them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import document, package, packed, sealed, sha256
from tests.package.samples import sample_members


@attack_class("hashes that do not fit")
def wrong_hashes() -> Iterator[Attack]:
    members = {**sample_members(), "README.md": b"good", "LICENSE": b"free"}
    true = document(members)
    for path, data in members.items():
        right = sha256(data)
        for label, wrong in {
            "zeros": "0" * 64,
            "upper case": right.upper(),
            "one digit off": right[:-1] + ("0" if right[-1] != "0" else "1"),
            "cut off": right[:32],
            "too long": right + "00",
            "prefixed": f"sha256:{right}",
            "a space before": f" {right}",
            "a newline after": f"{right}\n",
            "md5": hashlib.md5(data).hexdigest(),
            "sha512": hashlib.sha512(data).hexdigest(),
            "of nothing": sha256(b""),
            "empty": "",
            "null": None,
            "a number": 0,
            "a list": [right],
            "a glob": "*" * 64,
        }.items():
            files = {**true["integrity"]["files"], path: wrong}
            yield Attack(
                f"{path}: {label}",
                package(members, integrity={**true["integrity"], "files": files}),
            )


@attack_class("content exchanged after signing")
def exchanged() -> Iterator[Attack]:
    members = {**sample_members(), "README.md": b"good", "LICENSE": b"free"}
    everything = sealed(members)
    for path, data in everything.items():
        for label, other in {
            "empty": b"",
            "a space after": data + b" ",
            "a newline before": b"\n" + data,
            "one bit": data[:-1] + bytes([data[-1] ^ 1]),
            "doubled": data * 2,
            "cut": data[: len(data) // 2],
            "evil": b"evil",
        }.items():
            yield Attack(f"{path}: {label}", packed({**everything, path: other}))
    for one in everything:
        for other in everything:
            if one < other:
                swapped = {**everything, one: everything[other], other: everything[one]}
                yield Attack(f"{one} and {other} swapped", packed(swapped))


@attack_class("manifest changed after signing, with hashes that fit it")
def resealed() -> Iterator[Attack]:
    """What an attacker without the key can do to a signed package: all but the signature."""
    members = sample_members()
    everything = sealed(members)
    whole = document(members)
    for label, change in {
        "another name": {"name": "expert-sql"},
        "a newer version": {"version": "9.9.9"},
        "an older version": {"version": "0.0.1"},
        "a comment": {"_note": "hello"},
        "another description": {"description": "Better."},
        "a license": {"license": "MIT"},
    }.items():
        data = json.dumps({**whole, **change}).encode()
        yield Attack(label, packed({**everything, "manifest.json": data}))
    yield Attack(
        "spaces", packed({**everything, "manifest.json": json.dumps(whole, indent=1).encode()})
    )
    for path in ("README.md", "LICENSE", "grammar.gbnf"):
        more = {**members, path: b"evil"}
        data = json.dumps(document(more)).encode()
        yield Attack(f"{path} added", packed({**everything, path: b"evil", "manifest.json": data}))
    config = json.loads(members["adapter/adapter_config.json"])
    for key, value in (("lora_dropout", 0.5), ("revision", "x"), ("peft_version", "evil")):
        changed = {
            **members,
            "adapter/adapter_config.json": json.dumps({**config, key: value}).encode(),
        }
        resealed_ = sealed(changed)
        yield Attack(
            f"configuration: {key}",
            packed({**resealed_, "signature.sig": everything["signature.sig"]}),
        )

"""Signatures that are missing, borrowed, malleable, or over something else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from hive_expert.package.statement import Signature, signed_message
from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import (
    ANN,
    MALLORY,
    document,
    packed,
    sealed,
    sha256,
    signature,
)
from tests.package.samples import key, sample_members

ORDER = 2**252 + 27742317777372353535851937790883648493


def _hashes(members: dict[str, bytes]) -> dict[str, str]:
    return {path: sha256(data) for path, data in members.items()}


def _with_signature(data: bytes, members: dict[str, bytes] | None = None) -> bytes:
    return packed({**(members or sealed(sample_members())), "signature.sig": data})


def _sig_document() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(sealed(sample_members())["signature.sig"])
    return result


def _written(changed: dict[str, Any]) -> bytes:
    return (json.dumps(changed, indent=2) + "\n").encode()


def _raw_signature() -> bytes:
    return base64.b64decode(_sig_document()["signature"])


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _signed_as(raw: bytes) -> bytes:
    return _with_signature(_written({**_sig_document(), "signature": _b64(raw)}))


@attack_class("no signature")
def unsigned() -> Iterator[Attack]:
    members = sample_members()
    yield Attack("never signed", packed(sealed(members, signer=None)))
    stripped = sealed(members)
    del stripped["signature.sig"]
    yield Attack("stripped", packed(stripped))
    declared = document(members, signer=None)
    declared["integrity"]["publisher"] = "Ann"
    yield Attack(
        "publisher without a key", packed(sealed(members, None, json.dumps(declared).encode()))
    )
    declared["integrity"]["key_id"] = ANN.key_id
    yield Attack(
        "key without a signature", packed(sealed(members, None, json.dumps(declared).encode()))
    )
    yield Attack("empty signature", _with_signature(b""))
    for index in range(20):
        readme = {**members, "README.md": f"# {index}".encode()}
        yield Attack(f"never signed {index}", packed(sealed(readme, signer=None)))


@attack_class("signed by a stranger")
def strangers() -> Iterator[Attack]:
    for name in (
        "Mallory",
        "ann",
        "Ann ",
        "Ann Trusted",
        "Eve",
        *(f"stranger {i}" for i in range(25)),
    ):
        yield Attack(name, packed(sealed(sample_members(), key(name))))


@attack_class("the key comes with the package")
def key_from_bundle() -> Iterator[Attack]:
    """Mallory signs, and says in every combination of places that she is Ann."""
    members = sample_members()
    for claimed_id in (ANN.key_id, MALLORY.key_id):
        for named in ("Ann", "Mallory"):
            for shown in (ANN, MALLORY):
                for signer in (ANN, MALLORY):
                    if signer is ANN and shown is ANN and claimed_id == ANN.key_id:
                        continue
                    manifest = document(members, MALLORY)
                    manifest["integrity"] |= {"key_id": claimed_id, "publisher": named}
                    body = {**members, "manifest.json": json.dumps(manifest).encode()}
                    raw = signer.sign(signed_message(_hashes(body)))
                    for stated in (ANN.key_id, MALLORY.key_id):
                        data = Signature(stated, raw, shown.public).to_bytes()
                        label = f"{claimed_id[:4]} {named} {shown.name} {signer.name} {stated[:4]}"
                        yield Attack(label, packed({**body, "signature.sig": data}))


@attack_class("non-canonical S")
def other_s() -> Iterator[Attack]:
    """s + kL satisfies the same equation: a reader that takes it has malleable signatures."""
    raw = _raw_signature()
    s = int.from_bytes(raw[32:], "little")
    for factor in range(1, 16):
        if (other := s + factor * ORDER) < 2**256:
            yield Attack(f"S + {factor} L", _signed_as(raw[:32] + other.to_bytes(32, "little")))
    for label, other in {
        "L - S": ORDER - s,
        "0": 0,
        "L": ORDER,
        "L - 1": ORDER - 1,
        "1": 1,
        "the highest bit": s | 1 << 255,
        "2^256 - 1": 2**256 - 1,
    }.items():
        yield Attack(label, _signed_as(raw[:32] + other.to_bytes(32, "little")))


@attack_class("signatures of the wrong length or value")
def wrong_length() -> Iterator[Attack]:
    raw = _raw_signature()
    for length in (0, 1, 16, 31, 32, 33, 48, 63, 65, 66, 96, 128, 1000):
        yield Attack(f"{length} bytes", _signed_as((raw * 20)[:length]))
    for label, value in {
        "zeros": bytes(64),
        "ones": b"\xff" * 64,
        "halves swapped": raw[32:] + raw[:32],
        "reversed": raw[::-1],
        "R twice": raw[:32] * 2,
        "S twice": raw[32:] * 2,
        "the sign of R": raw[:31] + bytes([raw[31] ^ 0x80]) + raw[32:],
    }.items():
        yield Attack(label, _signed_as(value))
    for position in range(64):
        changed = bytearray(raw)
        changed[position] ^= 1
        yield Attack(f"bit of byte {position}", _signed_as(bytes(changed)))


@attack_class("signatures over something else")
def other_messages() -> Iterator[Attack]:
    members = sealed(sample_members())
    hashes = _hashes(members)
    message = signed_message(hashes)
    lines = message.split(b"\n")
    for label, other in {
        "nothing": b"",
        "the manifest": members["manifest.json"],
        "its hash": hashes["manifest.json"].encode(),
        "no header": b"\n".join(lines[1:]),
        "format 1": message.replace(b"expert/2", b"expert/1", 1),
        "format 3": message.replace(b"expert/2", b"expert/3", 1),
        "CRLF": message.replace(b"\n", b"\r\n"),
        "no last newline": message[:-1],
        "one newline more": message + b"\n",
        "one space": message.replace(b"  ", b" "),
        "binary marks": message.replace(b"  ", b" *"),
        "paths first": b"\n".join(b"  ".join(line.split(b"  ")[::-1]) for line in lines),
        "another order": b"\n".join([lines[0], *lines[1:-1][::-1], b""]),
        "without the manifest": b"\n".join(line for line in lines if b"manifest" not in line),
        "without the weights": b"\n".join(line for line in lines if b"model" not in line),
        "with the signature": message + b"0" * 64 + b"  signature.sig\n",
        "upper case": message.upper(),
        "its hash in binary": bytes.fromhex(sha256(message)),
        "the JSON of hashes": json.dumps(hashes).encode(),
        "the package's digest": sha256(packed(members)).encode(),
        "a prefix": message[:64],
    }.items():
        yield Attack(
            label, _with_signature(Signature(ANN.key_id, ANN.sign(other), ANN.public).to_bytes())
        )


@attack_class("signatures borrowed from another package")
def borrowed() -> Iterator[Attack]:
    """Ann has signed these other packages; her signature is put on evil ones."""
    evil = sealed({**sample_members(), "README.md": b"evil"})
    for label, manifest in {
        "another version": {"version": "0.2.0"},
        "another expert": {"name": "expert-other"},
        "another description": {"description": "Other."},
    }.items():
        members = sample_members()
        good = sealed(members, manifest=json.dumps(document(members, **manifest)).encode())
        yield Attack(label, packed({**evil, "signature.sig": good["signature.sig"]}))
        yield Attack(f"{label}, its manifest too", packed({**good, "README.md": b"evil"}))
        mixed = {**good, "adapter/adapter_config.json": b"{}"}
        yield Attack(f"{label}, other configuration", packed(mixed))
    for index in range(20):
        good = sealed({**sample_members(), "README.md": f"good {index}".encode()})
        yield Attack(f"good {index}", packed({**evil, "signature.sig": good["signature.sig"]}))


@attack_class("wrong algorithms")
def wrong_algorithm() -> Iterator[Attack]:
    for name in (
        "none",
        "None",
        "",
        "ED25519",
        "Ed25519",
        "ed25519ph",
        "ed25519ctx",
        "ed448",
        "rsa",
        "rsa-pss",
        "ecdsa",
        "hmac-sha256",
        "sha256",
        "x25519",
        "minisign",
        "gpg",
        "ed25519 ",
        " ed25519",
        "ed25519\u0000",
        "\u0435d25519",
        None,
        0,
        True,
        ["ed25519"],
        {"name": "ed25519"},
    ):
        yield Attack(f"{name!r}", _with_signature(_written({**_sig_document(), "algorithm": name})))


@attack_class("signature files in another form")
def other_forms() -> Iterator[Attack]:
    """The file is under no signature: a byte that may vary is a byte the attacker chooses."""
    true = _sig_document()
    text = _written(true).decode()
    value = true["signature"]
    for label, data in {
        "compact": json.dumps(true),
        "indented by 4": json.dumps(true, indent=4) + "\n",
        "sorted": json.dumps(true, indent=2, sort_keys=True) + "\n",
        "without the last newline": text[:-1],
        "with one more": text + "\n",
        "CRLF": text.replace("\n", "\r\n"),
        "a tab": text.replace("  ", "\t"),
        "a byte order mark": "\ufeff" + text,
        "a comment key": text.replace("{", '{\n  "_note": "x",', 1),
        "an extra key": text.replace("{", '{\n  "trusted": true,', 1),
        "a repeated key_id": text.replace("{", '{\n  "key_id": "x",', 1),
        "a repeated signature": text.replace("{", f'{{\n  "signature": "{value}",', 1),
        "an escape": text.replace("ed25519", "\\u0065d25519"),
        "a list": json.dumps([true]),
        "a list of two": json.dumps([true, true]),
        "two signatures": json.dumps({"signatures": [true]}),
        "a string": json.dumps(text),
        "null": "null",
        "a number": "1",
        "nothing": "{}",
        "two documents": text + text,
        "the raw signature": value,
        "PEM": f"-----BEGIN SIGNATURE-----\n{value}\n-----END SIGNATURE-----\n",
        "deep": "[" * 2000,
        "5 KB": text + " " * 5000,
    }.items():
        yield Attack(label, _with_signature(data.encode()))
    for label, other in {
        "url-safe": value.replace("+", "-").replace("/", "_").replace("=", "_"),
        "no padding": value.rstrip("="),
        "more padding": value + "==",
        "a space": value[:10] + " " + value[10:],
        "a newline": value[:10] + "\n" + value[10:],
        "spare bits": value[:-3] + chr(ord(value[-3]) + 1) + "==",
        "hexadecimal": _raw_signature().hex(),
        "letters that are not ASCII": "é" + value[1:],
        "a zero": value[:-1] + "\0",
        "null": None,
        "a number": 7,
        "a list": [value],
    }.items():
        for field in ("signature", "public_key", "key_id"):
            yield Attack(f"{field}: {label}", _with_signature(_written({**true, field: other})))
    for field in true:
        fewer = {k: v for k, v in true.items() if k != field}
        yield Attack(f"without {field}", _with_signature(_written(fewer)))


@attack_class("signatures by two")
def by_two() -> Iterator[Attack]:
    members = sealed(sample_members())
    other = signature(members, MALLORY)
    for label, data in {
        "one after the other": members["signature.sig"] + other,
        "the other way round": other + members["signature.sig"],
        "Mallory's alone": other,
        "in a list": b"[" + members["signature.sig"] + b"," + other + b"]",
    }.items():
        yield Attack(label, _with_signature(data, members))

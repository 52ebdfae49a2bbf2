"""Ed25519 keys: made, kept, and used to sign and verify. SPEC section 5."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import Field

from hive_expert.errors import KeyFileError, Problem, SignatureError
from hive_expert.manifest.record import Line, Record, Sha256
from hive_expert.manifest.strict_json import read_json
from hive_expert.manifest.validation import build

MAX_KEY_FILE_BYTES = 16 << 10

_FIELD_PRIME = 2**255 - 19
# The y coordinates of the points of order 1, 2, 4 and 8. With such a key one signature can fit
# many messages; the verification equation alone does not rule it out (RFC 8032 section 5.1.7).
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_8_Y, _FIELD_PRIME - _ORDER_8_Y})


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key to verify with. ``raw`` is its 32 bytes; ``name`` is what its holder calls himself.

    Law: equal raw bytes, equal ``key_id``; no instance is of small order or not canonical.
    Raises SignatureError for bytes that are no usable key.
    """

    raw: bytes
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        y = int.from_bytes(self.raw, "little") & ~(1 << 255)
        if len(self.raw) != 32 or y >= _FIELD_PRIME or y in _SMALL_ORDER_Y:
            raise SignatureError("not a usable Ed25519 public key")

    @property
    def key_id(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()

    def verify(self, signature: bytes, message: bytes, where: str) -> None:
        """Raise SignatureError unless ``signature`` is this key's over ``message``."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError) as exc:
            raise SignatureError(
                Problem(
                    where,
                    "the signature does not fit the members",
                    "the package was changed after signing; get it again from its publisher",
                )
            ) from exc


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the publisher's name."""

    name: str
    private: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> PublicKey:
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return PublicKey(raw, self.name)

    @property
    def key_id(self) -> str:
        return self.public.key_id

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature; the same message gives the same signature."""
        return self.private.sign(message)


class PublicKeyFile(Record):
    """The content of `<publisher>.pub.json`, which a publisher hands out."""

    name: Line
    """The publisher."""
    algorithm: Literal["ed25519"]
    """Signature scheme."""
    key_id: Sha256
    """SHA-256 of the raw public key."""
    public_key: Annotated[str, Field(strict=True, max_length=64)]
    """The raw public key in base64."""


def generate_key(name: str) -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.generate())


def public_file(private_file: Path) -> Path:
    """Where the public half of a key file lies: `publisher.pem` → `publisher.pub.json`."""
    return private_file.with_name(private_file.name.removesuffix(".pem") + ".pub.json")


def save_key(key: SigningKey, path: Path, passphrase: str | None = None) -> Path:
    """Write the private key (PKCS#8 PEM, mode 0600) and its public file; returns the latter.

    Raises KeyFileError if either file exists, since a key is never overwritten, or if the
    publisher's name is not a line of text.
    """
    build(PublicKeyFile, _public_document(key.public), "publisher", error=KeyFileError)
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase:
        encryption = BestAvailableEncryption(passphrase.encode())
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    public = public_file(path)
    for existing in (path, public):
        if existing.exists():
            raise KeyFileError(Problem(str(existing), "exists already", "choose another --output"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _create(path, pem, 0o600)
        _create(public, public_key_json(key.public), 0o644)
    except OSError as exc:
        raise KeyFileError(Problem(str(path), f"cannot be written: {exc.strerror}")) from exc
    return public


def public_key_json(key: PublicKey) -> bytes:
    """The content of the public file."""
    return (json.dumps(_public_document(key), indent=2, ensure_ascii=False) + "\n").encode()


def _public_document(key: PublicKey) -> dict[str, str]:
    return {
        "name": key.name,
        "algorithm": "ed25519",
        "key_id": key.key_id,
        "public_key": base64.b64encode(key.raw).decode(),
    }


def is_encrypted(path: Path) -> bool:
    """Whether the private key file asks for a passphrase."""
    return b"BEGIN ENCRYPTED PRIVATE KEY" in _read(path)


def load_signing_key(path: Path, passphrase: str | None = None) -> SigningKey:
    """Read a private key; the publisher's name comes from the public file beside it.

    Raises KeyFileError if it is missing, readable by others, not Ed25519, or locked.
    """
    pem = _read(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise KeyFileError(Problem(str(path), "can be read by other users", f"chmod 600 {path}"))
    if b"BEGIN ENCRYPTED PRIVATE KEY" in pem and not passphrase:
        raise KeyFileError(
            Problem(str(path), "needs a passphrase", "set HIVE_KEY_PASSPHRASE or type it")
        )
    password = passphrase.encode() if passphrase and b"ENCRYPTED" in pem else None
    try:
        private = load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        what = "cannot be unlocked with this passphrase" if password else "is not a private key"
        raise KeyFileError(Problem(str(path), what)) from exc
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(
            Problem(str(path), "is not an Ed25519 key", "make one with hive-build keygen")
        )
    signing = SigningKey(load_public_key(public_file(path)).name, private)
    if load_public_key(public_file(path)) != signing.public:
        raise KeyFileError(Problem(str(public_file(path)), f"does not belong to {path}"))
    return signing


def load_public_key(path: Path) -> PublicKey:
    """Read a `.pub.json`. Raises KeyFileError."""
    where = str(path)
    document = read_json(_read(path), where, error=KeyFileError, max_bytes=MAX_KEY_FILE_BYTES)
    stated = build(PublicKeyFile, document, where, error=KeyFileError)
    try:
        key = PublicKey(base64.b64decode(stated.public_key, validate=True), stated.name)
    except (ValueError, SignatureError) as exc:
        raise KeyFileError(Problem(where, "public_key is not an Ed25519 key")) from exc
    if key.key_id != stated.key_id:
        raise KeyFileError(Problem(where, "key_id is not the hash of public_key"))
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as exc:
        raise KeyFileError(Problem(str(path), f"cannot be read: {exc.strerror}")) from exc


def _create(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)

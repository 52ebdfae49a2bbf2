"""Tools of a forger: packages sealed and signed as they are, past every check of our packer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

from hive_expert.package.archive import Entry, write_archive
from hive_expert.package.gzip_stream import deflated
from hive_expert.package.keys import SigningKey
from hive_expert.package.layout import MANIFEST, SIGNATURE
from hive_expert.package.statement import Signature, signed_message
from tests.package.samples import key, packed_document, sample_members

ANN = key("Ann")
"""A publisher the victim trusts."""
MALLORY = key("Mallory")
"""A stranger."""

BLOCK = 512


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def document(
    members: Mapping[str, bytes], signer: SigningKey | None = ANN, **changes: Any
) -> dict[str, Any]:
    """The manifest that declares the members truthfully, but for ``changes``."""
    integrity: dict[str, Any] = {
        "format": 2,
        "algorithm": "sha256",
        "files": {path: sha256(data) for path, data in members.items()},
        "created_at": "2026-01-01T00:00:00Z",
    }
    if signer is not None:
        integrity |= {"publisher": signer.name, "key_id": signer.key_id}
    return {**packed_document(members), "integrity": integrity, **changes}


def sealed(
    members: Mapping[str, bytes], signer: SigningKey | None = ANN, manifest: bytes | None = None
) -> dict[str, bytes]:
    """The members with a manifest (by default the true one) and a signature over all of it."""
    if manifest is None:
        manifest = json.dumps(document(members, signer)).encode()
    everything = {**members, MANIFEST: manifest}
    if signer is not None:
        everything[SIGNATURE] = signature(everything, signer)
    return everything


def signature(members: Mapping[str, bytes], signer: SigningKey) -> bytes:
    message = signed_message({path: sha256(data) for path, data in members.items()})
    return Signature(signer.key_id, signer.sign(message), signer.public).to_bytes()


def packed(members: Mapping[str, bytes]) -> bytes:
    """The members as our own writer archives them."""
    out = BytesIO()
    write_archive([Entry(path, data) for path, data in members.items()], out, mtime=0)
    return out.getvalue()


def package(
    members: Mapping[str, bytes] | None = None,
    *,
    signer: SigningKey | None = ANN,
    manifest: bytes | None = None,
    **changes: Any,
) -> bytes:
    """A package; ``changes`` are fields of its manifest, ``manifest`` the whole of it."""
    members = sample_members() if members is None else members
    if changes:
        manifest = json.dumps(document(members, signer, **changes)).encode()
    return packed(sealed(members, signer, manifest))


def header(
    path: bytes,
    size: int,
    *,
    kind: bytes = b"0",
    link: bytes = b"",
    fields: Mapping[int, bytes] | None = None,
    fix: bool = True,
) -> bytes:
    """A ustar header of anything; ``fields`` are bytes to put at offsets, before the checksum."""
    block = bytearray(BLOCK)

    def put(offset: int, data: bytes) -> None:
        block[offset : offset + len(data)] = data

    put(0, path[:100])
    put(100, b"0000644\0")
    put(108, b"0000000\0")
    put(116, b"0000000\0")
    put(124, b"%011o\0" % size)
    put(136, b"%011o\0" % 0)
    put(156, kind)
    put(157, link[:100])
    put(257, b"ustar\x0000")
    for offset, data in (fields or {}).items():
        put(offset, data)
    if fix:
        total = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
        put(148, b"%06o\0 " % total)
    return bytes(block)


def record(path: str, data: bytes) -> bytes:
    """An honest member: header, content, padding."""
    return header(path.encode(), len(data)) + padded(data)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def tar(records: Iterable[bytes]) -> bytes:
    """Records as a whole archive, gzip'd as our writer would."""
    return deflated(b"".join(records) + bytes(2 * BLOCK))


def records(members: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """Every member's record in the order of the format."""
    return [(path, record(path, members[path])) for path in sorted(members)]


def spliced(extra: bytes, at: str, members: Mapping[str, bytes] | None = None) -> bytes:
    """A sound, signed package with a foreign record where the path ``at`` would stand."""
    rows = records(sealed(sample_members() if members is None else members))
    before = [row for path, row in rows if path < at]
    after = [row for path, row in rows if path >= at]
    return tar([*before, extra, *after])

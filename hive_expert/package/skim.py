"""A package's manifest and signature, without reading its weights. SPEC section 11.

Weights are most of a package, and they are stored: each block of them begins with its length, so
they are passed over without being read. What is signed is the hash of each member, and the
manifest declares those, so the signature is checked over what is declared. That the weights are
what was declared is found out when the package is opened (`package.open`), before it is used.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from itertools import count
from pathlib import Path

from hive_expert.errors import ArchiveError, Problem
from hive_expert.manifest.model import Manifest
from hive_expert.package.archive import MAX_MEMBERS, parse_header
from hive_expert.package.examine import examine_declared
from hive_expert.package.gzip_stream import HEADER, TRAILER_BYTES, too_many_blocks
from hive_expert.package.layout import MAX_TEXT_BYTES, is_weights, max_bytes, unexpected_member
from hive_expert.package.trust import PackageFacts
from hive_expert.package.unpack import DOCUMENTS, Unpacked, reading

_BLOCK = 512
_READ = 64 << 10
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True)
class Skimmed:
    """What a package says of itself, under a signature that fits it if there is one.

    Nothing of it may be loaded: it may not have the weights that it declares.
    """

    manifest: Manifest
    facts: PackageFacts


def skim(path: Path) -> Skimmed:
    """Read all of a package but its weights.

    Raises:
        ArchiveError: also for a sound package that `hive-build` did not write; opening it tells.
        PackageError, ManifestError: as `open_package`.
    """
    with reading(path) as file:
        return skim_file(file, path.name)


def skim_file(file: BufferedReader, where: str) -> Skimmed:
    """The same of an open file, which is then back at its start unless something was raised."""
    seen = _look(file, where)
    file.seek(0)
    examined = examine_declared(seen, where)
    return Skimmed(examined.manifest, examined.facts)


def _look(file: BufferedReader, where: str) -> Unpacked:
    hashes: dict[str, str] = {}
    sizes: dict[str, int] = {}
    documents: dict[str, bytes] = {}
    for path, size, content in _members(file, where):
        if path in sizes or len(sizes) >= MAX_MEMBERS:
            raise _unexpected(where)
        sizes[path] = size
        if content is not None:
            hashes[path] = hashlib.sha256(content).hexdigest()
            if path in DOCUMENTS:
                documents[path] = content
    return Unpacked(hashes, sizes, documents, {})


def _members(file: BufferedReader, where: str) -> Iterator[tuple[str, int, bytes | None]]:
    """Path, size and content of each member; no content of weights. One gzip member is one of ours,
    and the last one is the end of the archive."""
    size = os.fstat(file.fileno()).st_size
    while file.read(len(HEADER)) == HEADER:
        start = file.tell()
        passed = _pass_over_weights(file, where)
        if passed is not None:
            yield *passed, None
            continue
        file.seek(start)
        plain = _inflated(file, where)
        if plain == _END and file.tell() == size:
            return
        path, length = parse_header(plain[:_BLOCK], where)
        content = plain[_BLOCK : _BLOCK + length]
        if is_weights(path) or unexpected_member(path) or length > max_bytes(path):
            raise _unexpected(where)
        if len(content) != length or len(plain) % _BLOCK or any(plain[_BLOCK + length :]):
            raise _unexpected(where)
        yield path, length, content
    raise _unexpected(where)


def _pass_over_weights(file: BufferedReader, where: str) -> tuple[str, int] | None:
    """Path and size of a member that is stored, with the file after it; None if it is no weights.

    The first block is the member's header alone, and an empty one is the last.
    """
    path, size, passed = "", 0, 0
    for blocks in count(1):
        head = file.read(5)
        length = int.from_bytes(head[1:3], "little")
        if len(head) < 5 or length ^ 0xFFFF != int.from_bytes(head[3:5], "little"):
            return None
        if not path:
            if head[0] != 0 or length != _BLOCK:
                return None
            path, size = parse_header(file.read(_BLOCK), where)
            if not is_weights(path):
                return None
        elif head[0] == 0:
            file.seek(length, os.SEEK_CUR)
            passed += length
            if too_many_blocks(blocks, passed):
                raise _unexpected(where)
        elif head[0] == 1 and not length and passed == size + -size % _BLOCK:
            file.seek(TRAILER_BYTES, os.SEEK_CUR)
            return path, size
        else:
            raise _unexpected(where)
    raise AssertionError("there is always another number")


def _inflated(file: BufferedReader, where: str) -> bytes:
    """A whole gzip member, with the file after it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = bytearray()
    try:
        while not inflater.eof:
            packed = inflater.unconsumed_tail or file.read(_READ)
            plain += inflater.decompress(packed, _READ)
            if not packed or len(plain) > MAX_TEXT_BYTES + 2 * _BLOCK:
                raise _unexpected(where)
    except zlib.error as error:
        raise _unexpected(where) from error
    file.seek(-len(inflater.unused_data), os.SEEK_CUR)
    trailer = zlib.crc32(plain).to_bytes(4, "little") + len(plain).to_bytes(4, "little")
    if file.read(TRAILER_BYTES) != trailer:
        raise _unexpected(where)
    return bytes(plain)


def _unexpected(where: str) -> ArchiveError:
    return ArchiveError(Problem(where, "is not laid out as hive-build lays out packages"))

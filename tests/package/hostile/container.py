"""The gzip layer, and files that are something else altogether."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

from hive_expert.package.gzip_stream import deflated, stored
from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import package, padded, record, sealed
from tests.package.samples import sample_members


def _plain() -> bytes:
    return gzip.decompress(package())


@attack_class("gzip headers with more in them")
def gzip_headers() -> Iterator[Attack]:
    """Names, comments and extra fields are bytes that no signature covers."""
    body = deflated(_plain())[10:]
    base = bytearray(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
    for position in range(10):
        for value in (0, 1, 2, 3, 4, 8, 16, 32, 64, 128, 255):
            head = bytearray(base)
            head[position] = value
            if head != base:
                yield Attack(f"byte {position} is {value}", bytes(head) + body)
    for flag, extra in (
        (8, b"../../outside/secret\0"),
        (8, b"x" * 70_000 + b"\0"),
        (16, b"a comment\0"),
        (4, b"\x04\x00evil"),
        (4, b"\xff\xff" + b"e" * 65_535),
        (2, b"\x12\x34"),
        (31, b"\0" * 8),
    ):
        head = base[:3] + bytes([flag]) + base[4:]
        yield Attack(f"flag {flag}, {len(extra)} bytes", bytes(head) + extra + body)


@attack_class("gzip trailers that lie")
def gzip_trailers() -> Iterator[Attack]:
    whole = deflated(_plain())
    for position in range(1, 9):
        for bit in (0, 3, 7):
            changed = bytearray(whole)
            changed[-position] ^= 1 << bit
            yield Attack(f"bit {bit} of the byte {position} from the end", bytes(changed))
    yield Attack("no trailer", whole[:-8])
    yield Attack("zeros", whole[:-8] + bytes(8))
    yield Attack("twice", whole + whole[-8:])


@attack_class("data behind the package")
def behind() -> Iterator[Attack]:
    whole = package()
    evil = deflated(record("x.py", b"import os") + bytes(1024))
    for label, tail in {
        "a zero": b"\0",
        "zeros": bytes(512),
        "text": b"#!/bin/sh\n",
        "a gzip magic": b"\x1f\x8b",
        "a gzip header": deflated(b"")[:10],
        "an archive": evil,
        "the package itself": whole,
        "another package": package(version="0.2.0"),
        "zeros in gzip": deflated(bytes(20 * 512)),
        "an empty gzip member without trailer": deflated(b"")[:-8],
        "a zip": b"PK\x05\x06" + bytes(18),
    }.items():
        yield Attack(label, whole + tail)
    for label, front in {
        "a zero before": b"\0",
        "a script before": b"#!/bin/sh\n",
        "an archive before": evil,
        "a PE header before": b"MZ" + bytes(62),
    }.items():
        yield Attack(label, front + whole)


@attack_class("decompression bombs")
def bombs() -> Iterator[Attack]:
    """Weights of zeros, far more than the file: 1000 to 1, refused at 200 to 1."""
    for size in (1 << 20, 4 << 20, 16 << 20, 64 << 20):
        for name in ("adapter/adapter_model.safetensors", "soft_prompts/a.safetensors"):
            head = record(name, b"")[:124] + b"%011o\0" % size + record(name, b"")[136:]
            fixed = _checksummed(head)
            yield Attack(f"{name} of {size >> 20} MiB", _bomb(fixed, size, padded(b"")))
    for size in (1 << 21, 1 << 24):
        yield Attack(f"README.md of {size >> 20} MiB", deflated(record("README.md", bytes(size))))
        yield Attack(
            f"manifest of {size >> 20} MiB", deflated(record("manifest.json", bytes(size)))
        )
    for count in (10, 60):
        yield Attack(
            f"{count} members of zeros", deflated(bytes(512)) + deflated(bytes(1 << 20)) * count
        )
    inner = deflated(bytes(1 << 24))
    yield Attack("a bomb in a bomb", deflated(record("README.md", inner * 20)))
    yield Attack(
        "a bomb in a sound package", package({**sample_members(), "README.md": b" " * (15 << 20)})
    )


def _checksummed(block: bytes) -> bytes:
    total = sum(block[:148]) + 8 * ord(" ") + sum(block[156:512])
    return block[:148] + b"%06o\0 " % total + block[156:]


def _bomb(head: bytes, size: int, tail: bytes) -> bytes:
    """Deflated piece by piece, so that making it takes no memory either."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts, crc, total = [], 0, 0
    for piece in (head, *[bytes(1 << 20)] * (size >> 20), tail, bytes(1024)):
        parts.append(compressor.compress(piece))
        crc, total = zlib.crc32(piece, crc), total + len(piece)
    parts.append(compressor.flush())
    trailer = crc.to_bytes(4, "little") + total.to_bytes(4, "little")
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + b"".join(parts) + trailer


@attack_class("floods of gzip members and blocks")
def floods() -> Iterator[Attack]:
    whole = package()
    for count in (66, 1000, 20_000, 200_000):
        yield Attack(f"{count} empty members", deflated(b"") * count)
        yield Attack(f"{count} empty members first", deflated(b"") * count + whole)
        yield Attack(f"{count} empty members last", whole + deflated(b"") * count)
    plain = _plain()
    yield Attack("a member for each byte", b"".join(deflated(bytes([b])) for b in plain[:3000]))
    for count in (1000, 1_000_000):
        empty_blocks = b"\x00\x00\x00\xff\xff" * count
        body = deflated(b"")
        yield Attack(f"{count} empty blocks", body[:10] + empty_blocks + body[10:])
        weights = record("adapter/adapter_model.safetensors", bytes(count))
        for size in (1, 2, 100):
            cut = (weights[:512], *(weights[a : a + size] for a in range(512, count, size)))
            yield Attack(f"{count} bytes of weights by {size}", b"".join(stored(cut)))
        begun = b"".join(stored((weights[:512],)))[:-13]
        yield Attack(f"{count} empty blocks of weights", begun + empty_blocks + body[10:])


@attack_class("damaged deflate streams")
def deflate_streams() -> Iterator[Attack]:
    whole = deflated(_plain())
    head, tail = whole[:10], whole[-8:]
    for label, body in {
        "a reserved block type": b"\x07",
        "a stored block whose lengths disagree": b"\x01\x05\x00\x00\x00hello",
        "a distance beyond the start": zlib.compress(b"a" * 300, 9)[4:-4],
        "an incomplete code": b"\x05\xe0\x81\x08\x00\x00\x00\x00\x20\x7f\xeb\x0b\x00\x00",
        "zlib in place of deflate": zlib.compress(_plain()),
        "no last block": b"\x00\x00\x00\xff\xff",
        "ones": b"\xff" * 100,
        "zeros": bytes(100),
    }.items():
        yield Attack(label, head + body + tail)
    for cut in range(11, len(whole), 7):
        yield Attack(f"stream begun at {cut}", head + whole[cut:])


@attack_class("other containers")
def other_containers() -> Iterator[Attack]:
    plain = _plain()
    members = sealed(sample_members())
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for path, data in members.items():
            archive.writestr(path, data)
    yield Attack("zip", zipped.getvalue())
    yield Attack("bare tar", plain)
    yield Attack("bzip2", bz2.compress(plain))
    yield Attack("xz", lzma.compress(plain))
    yield Attack("lzma", lzma.compress(plain, format=lzma.FORMAT_ALONE))
    yield Attack("zlib", zlib.compress(plain))
    yield Attack("gzip twice", deflated(package()))
    yield Attack("gzip by another writer", gzip.compress(plain, mtime=0))
    yield Attack("stored in gzip by another writer", gzip.compress(plain, 0, mtime=1))
    yield Attack("stored without its end", b"".join(stored([plain]))[:-13])
    for name, form in (("pax", tarfile.PAX_FORMAT), ("gnu", tarfile.GNU_FORMAT)):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as archive_:
            for path, data in sorted(members.items()):
                info = tarfile.TarInfo(path)
                info.size, info.mode = len(data), 0o644
                if form == tarfile.PAX_FORMAT:
                    info.pax_headers = {"comment": "x"}
                archive_.addfile(info, io.BytesIO(data))
        yield Attack(f"{name} tar", deflated(out.getvalue()))
    for text in (
        b"",
        b"\n",
        b"{}",
        b"<html>404</html>",
        b"version https://git-lfs.github.com/spec/v1\n",
    ):
        yield Attack(f"{text[:20]!r}", text)
    for code in range(16):
        yield Attack(f"noise {code}", bytes((code * 37 + i * i * 11) % 256 for i in range(700)))

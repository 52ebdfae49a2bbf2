"""Archive members that are no regular files: what a careless extractor would create or follow."""

from __future__ import annotations

from collections.abc import Iterator

from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import header, padded, spliced

TARGETS = (
    "/etc/passwd",
    "../../outside/secret",
    "../../../outside/secret",
    "manifest.json",
    "../manifest.json",
    ".",
    "..",
    "/proc/self/mem",
    "/dev/stdin",
    "adapter",
    "C:\\windows\\win.ini",
    "a" * 100,
)
NAMES = ("README.md", "LICENSE", "grammar.gbnf", "adapter", "tests", "soft_prompts")


def _links(kind: bytes) -> Iterator[Attack]:
    for name in NAMES:
        for target in TARGETS:
            record = header(name.encode(), 0, kind=kind, link=target.encode())
            yield Attack(f"{name} -> {target}", spliced(record, name))


@attack_class("symbolic links")
def symbolic_links() -> Iterator[Attack]:
    yield from _links(b"2")


@attack_class("hard links")
def hard_links() -> Iterator[Attack]:
    yield from _links(b"1")


@attack_class("a link, and a member written through it")
def through_a_link() -> Iterator[Attack]:
    for target in TARGETS:
        link = header(b"adapter", 0, kind=b"2", link=target.encode())
        yield Attack(f"adapter -> {target}", spliced(link, "adapter"))
        link = header(b"README.md", 0, kind=b"2", link=target.encode())
        behind = header(b"README.md", 4) + padded(b"evil")
        yield Attack(f"README.md -> {target}, then README.md", spliced(link + behind, "README.md"))


@attack_class("devices")
def devices() -> Iterator[Attack]:
    for kind in (b"3", b"4"):
        for major, minor in ((1, 1), (1, 3), (1, 5), (8, 0), (5, 0)):
            for name in NAMES:
                fields = {329: b"%07o\0" % major, 337: b"%07o\0" % minor}
                record = header(name.encode(), 0, kind=kind, fields=fields)
                yield Attack(f"{name} {kind!r} {major}:{minor}", spliced(record, name))


@attack_class("FIFOs")
def fifos() -> Iterator[Attack]:
    for name in (*NAMES, "signature.sig", "manifest.json"):
        yield Attack(name, spliced(header(name.encode(), 0, kind=b"6"), name))


@attack_class("directories")
def directories() -> Iterator[Attack]:
    for name in (
        "adapter",
        "adapter/",
        "tests/",
        "soft_prompts/",
        "../",
        "/",
        ".",
        "manifest.json/",
    ):
        yield Attack(name, spliced(header(name.encode(), 0, kind=b"5"), name))


@attack_class("pax headers")
def pax_headers() -> Iterator[Attack]:
    """A second name, size or owner for the next member, which another reader would believe."""
    overrides = (
        ("path", "../../outside/secret"),
        ("path", "/etc/passwd"),
        ("path", "adapter/adapter_model.bin"),
        ("path", "manifest.json"),
        ("linkpath", "/etc/passwd"),
        ("size", "0"),
        ("size", "-1"),
        ("size", "99999999999999999999"),
        ("uid", "0"),
        ("mtime", "nan"),
        ("charset", "BINARY"),
        ("hdrcharset", "BINARY"),
        ("SCHILY.xattr.security.capability", "x"),
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.name", "../../outside/secret"),
        ("GNU.sparse.realsize", "99999999999"),
    )
    for kind in (b"x", b"g", b"X"):
        for keyword, value in overrides:
            body = _pax(keyword, value)
            record = header(b"README.md", len(body), kind=kind) + padded(body)
            yield Attack(f"{kind!r} {keyword}={value}", spliced(record, "README.md"))


def _pax(keyword: str, value: str) -> bytes:
    rest = f" {keyword}={value}\n".encode()
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


@attack_class("GNU long names and links")
def gnu_long_names() -> Iterator[Attack]:
    for kind in (b"L", b"K"):
        for name in (
            "../../outside/secret",
            "/etc/passwd",
            "x" * 5000,
            "manifest.json",
            "a/" * 300,
        ):
            body = name.encode() + b"\0"
            record = header(b"././@LongLink", len(body), kind=kind) + padded(body)
            yield Attack(f"{kind!r} {name[:40]}", spliced(record, "README.md"))


@attack_class("sparse members")
def sparse() -> Iterator[Attack]:
    for real in (0, 1, 2**20, 2**33 - 1):
        for name in NAMES:
            fields = {386: b"%011o\0" % 0, 398: b"%011o\0" % real, 483: b"%011o\0" % real}
            record = header(name.encode(), 0, kind=b"S", fields=fields)
            yield Attack(f"{name} of {real}", spliced(record, name))


@attack_class("unknown member kinds")
def unknown_kinds() -> Iterator[Attack]:
    for number in range(256):
        kind = bytes([number])
        if kind not in b"0123456xgXLKS":
            yield Attack(f"{kind!r}", spliced(header(b"README.md", 0, kind=kind), "README.md"))

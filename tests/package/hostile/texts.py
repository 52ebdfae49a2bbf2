"""Text members that are no text."""

from __future__ import annotations

from collections.abc import Iterator

from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import package
from tests.package.samples import manifest_document, sample_members


@attack_class("texts that are no UTF-8")
def no_utf8() -> Iterator[Attack]:
    for path in ("README.md", "LICENSE", "grammar.gbnf", "tests/test_cases.json"):
        for body in (
            b"\xff",
            b"good \x80",
            b"\xc3",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"\xf8\x88\x80\x80\x80",
            b"\xf4\x90\x80\x80",
            b"x" * (1 << 20) + b"\xff",
            b"MZ\x90\x00",
            b"\x7fELF\xff",
            b"\x89PNG",
        ):
            changes = {
                "grammar.gbnf": {"training": manifest_document()["training"]},
                "tests/test_cases.json": {"evaluation": {"test_cases": path}},
            }.get(path, {})
            data = package({**sample_members(), path: body}, **changes)
            yield Attack(f"{path}: {body[:10]!r} ({len(body)})", data)


@attack_class("texts that are too large")
def too_large() -> Iterator[Attack]:
    for path in ("README.md", "LICENSE"):
        for extra in (1, 1 << 20):
            body = bytes(range(32, 127)) * (((16 << 20) + extra) // 95 + 1)
            yield Attack(f"{path}, {len(body)} bytes", package({**sample_members(), path: body}))
    for size in (4097, 100_000, 5 << 20):
        data = sample_members() | {"signature.sig": b" " * size}
        yield Attack(f"a signature of {size}", package(data, signer=None))

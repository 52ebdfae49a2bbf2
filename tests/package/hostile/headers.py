"""Tar headers that two readers would read differently, and archives out of shape."""

from __future__ import annotations

from collections.abc import Iterator

from hive_expert.package.gzip_stream import deflated
from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import (
    BLOCK,
    header,
    padded,
    record,
    records,
    sealed,
    spliced,
    tar,
)
from tests.package.samples import sample_members


@attack_class("sizes that are negative, base-256 or lies")
def sizes() -> Iterator[Attack]:
    fields = [
        b"-0000000001\0",
        b"-1",
        b"\xff" * 12,
        b"\x80" + bytes(10) + b"\x04",
        b"\x80" + b"\xff" * 11,
        b"\xff" + bytes(11),
        b"77777777777\0",
        b"20000000001\0",
        b"00000000004 ",
        b"     000004\0",
        b"00000000 04\0",
        b"0x000000004\0",
        b"000000000000",
        b"0000000000a\0",
        b"00000000008\0",
        b"4" + bytes(11),
        bytes(12),
    ]
    fields += [b"%011o\0" % size for size in (0, 1, 3, 5, 511, 512, 513, 4096, 2**24 + 1, 2**31)]
    for path in ("LICENSE", "README.md", "grammar.gbnf"):
        for field in fields:
            row = header(path.encode(), 4, fields={124: field}) + padded(b"evil")
            yield Attack(f"{path} {field!r}", spliced(row, path))


@attack_class("modes, owners and times out of the ordinary")
def attributes() -> Iterator[Attack]:
    changes = {
        100: (b"0004755\0", b"0000777\0", b"0100644\0", b"644\0    ", b"0000000\0", b"\xff" * 8),
        108: (b"0001750\0", b"0000001\0", b"\x80" + bytes(7), b"       \0"),
        116: (b"0001750\0", b"0000001\0", b"-000001\0"),
        136: (b"\xff" * 12, b"-0000000001\0", b"           \0", bytes(12)),
        157: (b"LICENSE", b"../../outside/secret", b"x"),
        257: (b"ustar  \0", b"ustar\x0001", b"USTAR\x0000", bytes(8), b"tar\0\0\0\0\0"),
        265: (b"root", b"x"),
        297: (b"root", b"wheel"),
        329: (b"0000001\0", b"1"),
        337: (b"0000003\0",),
        500: (b"x", b"tar\0", b"\1" * 12),
    }
    for offset, values in changes.items():
        for value in values:
            row = header(b"README.md", 4, fields={offset: value}) + padded(b"evil")
            yield Attack(f"at {offset}: {value!r}", spliced(row, "README.md"))


@attack_class("wrong header checksums")
def checksums() -> Iterator[Attack]:
    for text in (b"000000\0 ", b"777777\0 ", b"       \0", bytes(8), b"\xff" * 8, b"00000000"):
        row = header(b"README.md", 4, fields={148: text}, fix=False) + padded(b"evil")
        yield Attack(f"{text!r}", spliced(row, "README.md"))
    whole = b"".join(row for _, row in records(sealed(sample_members())))
    for position in range(148, 156):
        changed = bytearray(whole)
        changed[position] ^= 1
        yield Attack(f"bit at {position}", tar([bytes(changed)]))


@attack_class("zeros inside names")
def zeros_in_names() -> Iterator[Attack]:
    """C readers stop at the first zero, Python's do not."""
    for hidden in (b"x", b".bin", b"/../../outside/secret", b"manifest.json", b"\0\0y"):
        for name in (b"README.md", b"LICENSE", b"grammar.gbnf"):
            row = header(name + b"\0" + hidden, 4) + padded(b"evil")
            yield Attack(f"{name!r} 0 {hidden!r}", spliced(row, name.decode()))


@attack_class("duplicate members")
def duplicates() -> Iterator[Attack]:
    everything = sealed({**sample_members(), "README.md": b"good", "LICENSE": b"free"})
    rows = records(everything)
    for position, (path, row) in enumerate(rows):
        for other in (b"evil", everything[path], b""):
            again = record(path, other)
            for at in {position, position + 1, 0, len(rows)}:
                mixed = [r for _, r in rows]
                mixed.insert(at, again)
                yield Attack(f"{path} again ({len(other)}) at {at}", tar(mixed))
        yield Attack(f"{path} twice", tar([r for _, r in rows] + [row]))


@attack_class("members out of order")
def disorder() -> Iterator[Attack]:
    rows = [row for _, row in records(sealed({**sample_members(), "README.md": b"good"}))]
    for first in range(len(rows)):
        for second in range(first + 1, len(rows)):
            swapped = list(rows)
            swapped[first], swapped[second] = swapped[second], swapped[first]
            yield Attack(f"{first} and {second} swapped", tar(swapped))


@attack_class("too many members")
def too_many() -> Iterator[Attack]:
    weights = sample_members()["adapter/adapter_model.safetensors"]
    for count in (61, 65, 100, 500):
        extra = {f"soft_prompts/p{i:04}.safetensors": weights for i in range(count)}
        rows = [r for _, r in records(sealed({**sample_members(), **extra}))]
        yield Attack(f"{count} soft prompts, declared", tar(rows))
        yield Attack(f"{count} soft prompts", tar(r for _, r in records(extra)))


@attack_class("data in the padding")
def padding() -> Iterator[Attack]:
    rows = records(sealed(sample_members()))
    for position, (path, row) in enumerate(rows):
        for offset in (1, 2, 8, 64):
            if row[-offset:] != bytes(offset):
                continue
            changed = row[:-offset] + b"\1" + row[len(row) - offset + 1 :]
            mixed = [r for _, r in rows]
            mixed[position] = changed
            yield Attack(f"{path}, {offset} from its end", tar(mixed))


@attack_class("archive ends out of shape")
def endings() -> Iterator[Attack]:
    body = b"".join(row for _, row in records(sealed(sample_members())))
    evil = record("x.py", b"import os")
    end = bytes(2 * BLOCK)
    for label, tail in {
        "none": b"",
        "one block": bytes(BLOCK),
        "half a block": bytes(BLOCK // 2),
        "two blocks and a byte": end + b"\0",
        "a member after it": end + evil + end,
        "a member between its blocks": bytes(BLOCK) + evil + bytes(BLOCK),
        "text after it": end + b"#!/bin/sh",
        "a second archive": end + body + end,
        "21 blocks": bytes(21 * BLOCK),
        "1000 blocks": bytes(1000 * BLOCK),
        "a last byte in the 20th block": bytes(20 * BLOCK - 1) + b"\1",
        "a member cut off": header(b"x", 4) + b"ev",
        "a header alone": header(b"x", 4),
        "half a header": header(b"x", 4)[:100],
    }.items():
        yield Attack(label, deflated(body + tail))
    yield Attack("empty archive", deflated(end))
    yield Attack("nothing in the gzip", deflated(b""))
    for count in range(1, len(records(sealed(sample_members())))):
        rows = [row for _, row in records(sealed(sample_members()))]
        yield Attack(f"only {count} members", tar(rows[:count]))
        yield Attack(f"without the first {count}", tar(rows[count:]))

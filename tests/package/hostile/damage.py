"""A small package cut off at every offset, and with every byte changed."""

from __future__ import annotations

from collections.abc import Iterator

from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import package


@attack_class("cut off at every offset")
def cut_off() -> Iterator[Attack]:
    whole = package()
    for length in range(len(whole)):
        yield Attack(f"after {length}", whole[:length])


@attack_class("every byte flipped")
def flipped() -> Iterator[Attack]:
    whole = package()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0xFF
        yield Attack(f"at {position}", bytes(changed))


@attack_class("bytes removed")
def removed() -> Iterator[Attack]:
    whole = package()
    for position in range(0, len(whole), 5):
        yield Attack(f"five at {position}", whole[:position] + whole[position + 5 :])

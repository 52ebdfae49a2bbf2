"""Sound inputs made slightly wrong: what a fuzzer that knows the format would try.

Everything is drawn from one `random.Random`, so a seed names an input for ever.
"""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from hive_expert.package.gzip_stream import deflated, stored

BLOCK = 512

STRANGE_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    2**64,
    10**40,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\0",
    "\n",
    "\ud800",
    "\u202e",
    "../../x",
    "/etc/passwd",
    "a" * 5000,
    "1.0",
    "2.0",
    "expert-x",
    [],
    {},
    [[]],
    [None],
    [1] * 300,
    {"": 0},
    {"_": {"_": []}},
    {"__metadata__": {}},
)
STRANGE_KEYS = (
    "",
    "_",
    "__metadata__",
    "r",
    "rank",
    "name",
    "base_model",
    "integrity",
    "\ud800",
    "k" * 1100,
)
STRANGE_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF)


def mutated_bytes(data: bytes, random: Random) -> bytes:
    """Bytes flipped, cut, doubled, moved or put in, a few times."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(changed) + 1)
        to = min(len(changed), at + random.choice((1, 2, 8, 64, BLOCK)))
        match random.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 1 if at < len(changed):
                changed[at] = random.choice(STRANGE_NUMBERS)
            case 2:
                del changed[at:to]
            case 3:
                changed[at:at] = changed[at:to]
            case 4:
                del changed[at:]
            case _:
                changed[at:at] = random.randbytes(random.randint(1, 16))
    return bytes(changed)


def mutated_json(document: Any, random: Random) -> bytes:
    """A document with values, keys or whole branches exchanged, perhaps no longer JSON."""
    document = copy.deepcopy(document)
    for _ in range(random.choice((0, 1, 1, 2, 3, 8))):
        _change_a_place(document, random)
    text = json.dumps(document, indent=random.choice((None, 2)))
    if random.random() < 0.1:
        text = _with_a_repeated_key(text, random)
    data = text.encode()
    return mutated_bytes(data, random) if random.random() < 0.25 else data


def _change_a_place(document: Any, random: Random) -> None:
    places = list(_places(document))
    if not places:
        return
    holder, key = random.choice(places)
    match random.randrange(6):
        case 0:
            holder[key] = copy.deepcopy(random.choice(STRANGE_VALUES))
        case 1:
            other, other_key = random.choice(places)
            holder[key] = copy.deepcopy(other[other_key])
        case 2:
            del holder[key]
        case 3 if isinstance(holder, dict):
            holder[random.choice(STRANGE_KEYS)] = copy.deepcopy(random.choice(STRANGE_VALUES))
        case 4 if isinstance(holder, dict):
            holder[random.choice(STRANGE_KEYS)] = holder.pop(key)
        case _ if isinstance(holder[key], str):
            holder[key] = _mutated_text(holder[key], random)
        case _ if isinstance(holder[key], int | float):
            holder[key] += random.choice((-1, 1, 0.5, 2**32))
        case _:
            holder[key] = [holder[key]]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) pair in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(inner):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def _mutated_text(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    piece = random.choice(("", "/", "..", "\0", "\n", "A", "é", "\ud83d", " ", '"', "\\u0000"))
    return text[:at] + piece + text[at + random.randrange(2) :]


def _with_a_repeated_key(text: str, random: Random) -> str:
    starts = [i for i, c in enumerate(text) if c == "{"]
    at = random.choice(starts) + 1 if starts else 0
    key = random.choice(("name", "version", "r", "dtype", "key_id"))
    return f'{text[:at]}"{key}": 1, "{key}": 2{", " if text[at : at + 1] != "}" else ""}{text[at:]}'


def mutated_archive(packed: bytes, random: Random) -> bytes:
    """A package whose tar is wrong, or its gzip, or the bytes of the file."""
    match random.randrange(4):
        case 0:
            return mutated_bytes(packed, random)
        case 1:
            return _other_gzip(gzip.decompress(packed), random)
        case _:
            return _other_gzip(_mutated_tar(gzip.decompress(packed), random), random)


def _mutated_tar(tar: bytes, random: Random) -> bytes:
    blocks = [tar[i : i + BLOCK] for i in range(0, len(tar), BLOCK)]
    for _ in range(random.randint(1, 3)):
        at, other = random.randrange(len(blocks)), random.randrange(len(blocks))
        match random.randrange(5):
            case 0:
                blocks[at], blocks[other] = blocks[other], blocks[at]
            case 1:
                blocks.insert(at, blocks[other])
            case 2 if len(blocks) > 1:
                del blocks[at]
            case 3:
                blocks[at] = mutated_bytes(blocks[at], random).ljust(BLOCK, b"\0")[:BLOCK]
            case _:
                headers = [i for i, b in enumerate(blocks) if b[257:262] == b"ustar"]
                if headers:
                    at = random.choice(headers)
                    blocks[at] = _mutated_header(blocks[at], random)
    return b"".join(blocks)


_FIELDS = ((0, 100), (100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (156, 1), (157, 100))
_FIELDS += ((257, 8), (265, 32), (297, 32), (329, 8), (337, 8), (345, 155), (500, 12))


def _mutated_header(block: bytes, random: Random) -> bytes:
    """A tar header with one field changed and, most often, the checksum made right again."""
    start, length = random.choice(_FIELDS)
    field = mutated_bytes(block[start : start + length], random).ljust(length, b"\0")[:length]
    if random.random() < 0.3:
        field = random.choice(_FIELD_VALUES)[:length].ljust(length, b"\0")
    changed = block[:start] + field + block[start + length :]
    if random.random() < 0.2:
        return changed
    total = sum(changed[:148]) + 8 * ord(" ") + sum(changed[156:])
    return changed[:148] + b"%06o\0 " % total + changed[156:]


_FIELD_VALUES = (
    b"",
    b"../../x",
    b"/etc/passwd",
    b"manifest.json",
    b"README.md\nx",
    b"77777777777\0",
    b"\x80" + b"\xff" * 11,
    b"\xff" * 12,
    b"-0000000001\0",
    b"1",
    b"x",
    b"L",
    b"S",
)


def _other_gzip(plain: bytes, random: Random) -> bytes:
    """The same or nearly the same content, in gzip written another way."""
    match random.randrange(5):
        case 0:
            return b"".join(stored([plain]))
        case 1:
            cut = random.randrange(len(plain) + 1)
            return deflated(plain[:cut]) + deflated(plain[cut:])
        case 2:
            return deflated(b"") * random.randint(1, 80) + deflated(plain)
        case 3:
            return mutated_bytes(deflated(plain), random)
        case _:
            return deflated(plain)


def mutated_safetensors(data: bytes, random: Random) -> bytes:
    """A file whose header says other things, whose length is wrong, or whose values are."""
    length = int.from_bytes(data[:8], "little")
    header, values = data[8 : 8 + length], data[8 + length :]
    if random.random() < 0.8:
        header = mutated_json(json.loads(header), random)
    if random.random() < 0.3:
        values = mutated_bytes(values, random)
    stated = len(header)
    if random.random() < 0.1:
        stated = random.choice((0, 1, stated - 1, stated + 1, 2**20, 2**32, 2**63, 2**64 - 1))
    changed = (stated % 2**64).to_bytes(8, "little") + header + values
    return mutated_bytes(changed, random) if random.random() < 0.1 else changed

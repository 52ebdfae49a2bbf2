"""JSON as written by an honest tool, and nothing else.

Python's reader keeps the last of two equal keys, accepts `NaN`, and recurses as deep as the
input likes. A signed document must mean the same to every reader, so all of that is refused
here, with the limits of SPEC section 3. Manifests, signatures, adapter configurations, safetensors
headers and trust files all come through this door.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import islice
from typing import Any, NoReturn, TypeAlias

from hive_expert.errors import HiveError, ManifestError, Problem

JsonObject: TypeAlias = dict[str, Any]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 200_000
MAX_KEY_CHARACTERS = 1024
MAX_INTEGER_DIGITS = 19  # what fits a signed 64-bit integer

MAX_PROBLEMS = 100
"""Problems of one document that are spelled out; a flood of them would take its reader's time."""

_BOM = b"\xef\xbb\xbf"
_ALL_BUT_MARKS = re.compile(r'(?:"(?:[^"\\]++|\\.)*+"?|[^\[\]{},"]++)++', re.DOTALL)
_HARMLESS = re.compile(r"[\t\n\r -\[\]-~]*")  # ASCII without controls, and without escapes
_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")
_ALLOWED_CONTROLS = frozenset("\t\n\r")


class _JsonValueError(ValueError):
    """Raised inside json's hooks; never leaves this module."""


def read_json(
    data: bytes,
    where: str,
    *,
    error: type[HiveError] = ManifestError,
    max_bytes: int = MAX_BYTES,
    max_values: int = MAX_VALUES,
) -> Any:
    """Parse one JSON document.

    Refused: more than ``max_bytes`` or ``max_values``, a byte order mark, bytes that are not
    UTF-8, nesting over 32, keys over 1024 characters, duplicate keys, NaN and infinities (also
    as `1e999`), integers past 64 bits, lone surrogates, control characters other than tab and
    line breaks.

    Raises ``error`` with every problem found, up to a hundred; each names ``where`` and, once
    the document has a structure, the JSON path.
    """
    if len(data) > max_bytes:
        raise error(Problem(where, f"{len(data)} bytes, more than the {max_bytes} allowed"))
    if data.startswith(_BOM):
        raise error(Problem(where, "starts with a byte order mark", "save it as plain UTF-8"))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise error(Problem(where, f"is not UTF-8 at byte {exc.start}")) from exc
    if reason := _too_much(text, max_values):
        raise error(Problem(where, reason))

    repeated: dict[int, list[str]] = {}
    harmless = _HARMLESS.fullmatch(text) is not None

    def collect(pairs: list[tuple[str, Any]]) -> JsonObject:
        nonlocal harmless
        record = dict(pairs)
        longest = max(map(len, record), default=0)
        harmless &= len(record) == len(pairs) and longest <= MAX_KEY_CHARACTERS
        if len(record) != len(pairs):
            seen: set[str] = set()
            repeated[id(record)] = [k for k, _ in pairs if k in seen or seen.add(k)]  # type: ignore[func-returns-value]  # set.add is called for its effect
        return record

    try:
        document = json.loads(
            text,
            object_pairs_hook=collect,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
        )
    except json.JSONDecodeError as exc:
        raise error(
            Problem(f"{where}: line {exc.lineno} column {exc.colno}", f"not JSON: {exc.msg}")
        ) from exc
    except _JsonValueError as exc:
        raise error(Problem(where, str(exc))) from exc

    if harmless:
        return document  # the walk takes longer than the parsing
    problems = (
        Problem(located(where, reduce(join, steps, "")), what, remedy)
        for steps, what, remedy in _content_problems(document, repeated, ())
    )
    if found := first_problems(problems, where):
        raise error(*found)
    return document


def first_problems(problems: Iterable[Problem], where: str) -> list[Problem]:
    """As many problems as are worth telling, and a last one that says there are more."""
    found = list(islice(problems, MAX_PROBLEMS + 1))
    if len(found) > MAX_PROBLEMS:
        found[MAX_PROBLEMS] = Problem(where, f"and more: only {MAX_PROBLEMS} problems are listed")
    return found


def located(where: str, path: str) -> str:
    """Name a place in a file: ``located("manifest.json", "a[0].b")``."""
    return f"{where}: {path}" if path else where


def join(path: str, key: str | int) -> str:
    """Extend a JSON path by one step: `a` and `b` give `a.b`, `a` and 0 give `a[0]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key


def _too_much(text: str, max_values: int) -> str | None:
    """What makes the document too deep or too large to be worth parsing."""
    values, depth = 1, 0
    for mark in _ALL_BUT_MARKS.sub("", text):
        if mark in "[{":
            depth += 1
            values += 1
            if depth > MAX_DEPTH:
                return f"is nested deeper than {MAX_DEPTH} levels"
        elif mark == ",":
            values += 1
        else:
            depth -= 1
        if values > max_values:
            return f"holds more than the {max_values} values allowed"
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise _JsonValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _JsonValueError(f"{text[:32]} is out of range")
    return value


def _bounded_int(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise _JsonValueError(f"the integer {text[:MAX_INTEGER_DIGITS]}… is out of range")
    return int(text)


def _content_problems(
    value: Any, repeated: dict[int, list[str]], steps: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    # Steps, not paths: joining the path of every value would cost its length each time.
    if isinstance(value, dict):
        for key in repeated.get(id(value), ()):
            yield (*steps, key), "the key appears more than once", "keep one of them"
        for key, item in value.items():
            if len(key) > MAX_KEY_CHARACTERS:
                yield steps, f"a key has more than {MAX_KEY_CHARACTERS} characters", ""
                continue
            for what in _text_problems(key):
                yield steps, f"a key {what}", ""
            yield from _content_problems(item, repeated, (*steps, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _content_problems(item, repeated, (*steps, position))
    elif isinstance(value, str):
        for what in _text_problems(value):
            yield steps, what, ""


def _text_problems(text: str) -> Iterator[str]:
    if text.isprintable():
        return
    bad = {
        c
        for c in text
        if "\ud800" <= c <= "\udfff"
        or (c not in _ALLOWED_CONTROLS and (c < " " or "\x7f" <= c <= "\x9f"))
    }
    for c in sorted(bad):
        kind = "lone surrogate" if c >= "\ud800" else "control character"
        yield f"holds the {kind} U+{ord(c):04X}"

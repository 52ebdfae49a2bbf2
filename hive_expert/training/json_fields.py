"""How much of a JSON object is right, field by field: what "equal as a whole" does not tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]


def equal_fields(expected: Any, actual: Any) -> float:
    """The share of fields that both have with equal values, of the fields that either has.

    A field is a path through objects to something that is not an object; a list is one field. So
    one that is invented counts against an answer as one that is missing does. An object without
    fields has one: itself.

    Law: between 0 and 1, the same either way around, and 1 exactly if the values are equal
    (:func:`same_json`).
    """
    left, right = dict(_fields(expected)), dict(_fields(actual))
    shared = sum(same_json(left[path], right[path]) for path in left.keys() & right.keys())
    return shared / len(left.keys() | right.keys())


def same_json(a: Any, b: Any) -> bool:
    """Equal JSON values: true is not 1, 1.0 is 1, the order of keys does not matter."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    return bool(a == b)


def _fields(value: Any, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _fields(inner, (*at, key))
    else:
        yield at, value

"""JSON Schemas in words that the compiler (xgrammar) enforces to the letter.

For some keywords it would let through what the schema, or JSON, forbids:

- between `minLength` and `maxLength` it takes raw control characters, which no JSON text has; a
  pattern does not, and costs as much once for each pair of bounds rather than once for each use;
- its dates have a 31 June, and its IPv4 addresses leading zeros;
- beside `properties`, other properties may repeat a declared name with any value, and the last one
  counts; so none are written, which every schema without `minProperties` allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hive_expert.decoding.schema_limits import (
    NAMED_SCHEMAS,
    ONE_SCHEMA,
    SCHEMA_LISTS,
)

NO_CONTROL = "[^\\u0000-\\u001f]"

_DAY = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_LEAP = "([1-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)-02-29"
_DATE = f"([1-9][0-9]{{3}}-{_DAY}|{_LEAP})"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?"
_ZONE = "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
FORMAT_PATTERNS = {
    "date": f"^{_DATE}$",
    "date-time": f"^{_DATE}T{_TIME}{_ZONE}$",
    "ipv4": f"^({_BYTE}\\.){{3}}{_BYTE}$",
}
"""In place of the compiler's own. Years have four digits and no leading zero."""


def enforceable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that allows a part of what ``schema`` allows, and that its grammar keeps to.

    ``schema`` has passed :func:`hive_expert.decoding.schema_limits.limit_problems`. The order of
    properties stays.
    """
    texts: dict[str, dict[str, Any]] = {}
    taken = schema.get("$defs", {})

    def shared(name: str, pattern: str) -> dict[str, Any]:
        while name in taken:
            name += "_"
        texts[name] = {"type": "string", "pattern": pattern}
        return {"$ref": f"#/$defs/{name}"}

    rewritten = _rewritten(schema, shared)
    if texts:
        rewritten["$defs"] = {**rewritten.get("$defs", {}), **texts}
    return rewritten


def _rewritten(
    schema: Mapping[str, Any], shared: Callable[[str, str], dict[str, Any]]
) -> dict[str, Any]:
    """Recursion is bounded by the limit on nesting. ``shared`` refers to a pattern by a name."""
    if "minLength" in schema or "maxLength" in schema:
        low, high = schema.get("minLength", 0), schema.get("maxLength", "")
        return shared(f"text_{low}_{high}", f"^{NO_CONTROL}{{{low},{high}}}$")
    if schema.get("format") in FORMAT_PATTERNS:
        return shared(schema["format"], FORMAT_PATTERNS[schema["format"]])
    found = dict(schema)
    if schema.get("properties") and "additionalProperties" in schema:
        found["additionalProperties"] = False

    def inner(value: Any) -> Any:
        return _rewritten(value, shared) if isinstance(value, Mapping) else value

    for keyword in NAMED_SCHEMAS:
        if keyword in found:
            found[keyword] = {name: inner(value) for name, value in found[keyword].items()}
    for keyword in SCHEMA_LISTS:
        if keyword in found:
            found[keyword] = [inner(value) for value in found[keyword]]
    for keyword in ONE_SCHEMA:
        if keyword in found:
            found[keyword] = inner(found[keyword])
    return found

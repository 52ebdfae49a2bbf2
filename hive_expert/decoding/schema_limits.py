"""Which JSON Schemas of a request constrain its answer. SPEC section 7 (`prompt_json_schema`).

A schema in a prompt is anybody's text. It is held to limits before a compiler sees it, and to the
keywords that the compiler (xgrammar) really enforces: with others an answer that follows the
grammar could still break the schema, and the promise is that it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from hive_expert.decoding.json_schema import is_followed, references, validator_of
from hive_expert.errors import Problem
from hive_expert.manifest.strict_json import join

MAX_NODES = 1000
"""Schemas inside one schema, itself included."""
MAX_DEPTH = 12
MAX_ENUM = 512
"""Values of all `enum`s together."""
MAX_LENGTH_BOUND = 1024
"""Of `maxLength`, `maxItems` and their like: a compiler unrolls them."""
LONGEST_COUNTED = 8192
"""Of the lengths in an author's schema: the most that patterns of texts count to."""

ENFORCED = frozenset(
    {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "enum",
        "const",
        "anyOf",
        "$ref",
        "$defs",
        "definitions",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "pattern",
        "format",
    }
)
"""Keywords that the compiler turns into grammar."""
ANNOTATIONS = frozenset(
    {
        "$schema",
        "$id",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
    }
)
"""Keywords that no answer can break."""
FORMATS = frozenset(
    {"email", "date", "time", "date-time", "duration", "ipv4", "ipv6", "hostname", "uuid", "uri"}
)
DEFINITIONS = ("$defs", "definitions")
NAMED_SCHEMAS = ("properties", *DEFINITIONS)
SCHEMA_LISTS = ("anyOf", "prefixItems")
ONE_SCHEMA = ("items", "additionalProperties")
OF_TEXTS = frozenset({"minLength", "maxLength", "pattern", "format"})
OF_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
MAX_PROBLEMS = 5
"""Reasons that are given."""
_BOUNDS = ("minLength", "maxLength", "minItems", "maxItems")


def limit_problems(schema: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Why this schema cannot constrain an answer, at most a handful of reasons.

    The schema is valid for its draft, so values are of the kinds that their keywords want.
    """
    return tuple(islice(_walk(schema), MAX_PROBLEMS))


def unenforced(schema: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Where an answer that follows a schema's grammar could break the schema; at most a handful.

    Of an author's own schema this is all that is asked: it may be as large as it compiles.
    """
    found: list[Problem] = []
    stack: list[tuple[str, Any]] = [("", schema)]
    while stack and len(found) < MAX_PROBLEMS:
        path, node = stack.pop()
        if isinstance(node, Mapping):
            found += [*_unenforced(path, node), *_beyond_rewriting(path, node)]
            stack += _inner(path, node)
    return tuple(found[:MAX_PROBLEMS])


def _walk(root: Mapping[str, Any]) -> Iterator[Problem]:
    nodes = values = 0
    stack: list[tuple[str, Any, int]] = [("", root, 1)]
    while stack:
        path, node, depth = stack.pop()
        nodes += 1
        if nodes > MAX_NODES:
            yield Problem(path, f"more than {MAX_NODES} schemas in one")
            return
        if depth > MAX_DEPTH:
            yield Problem(path, f"schemas nested more than {MAX_DEPTH} deep")
            return
        if not isinstance(node, Mapping):
            continue  # true or false
        values += len(node.get("enum", ()))
        if values > MAX_ENUM:
            yield Problem(path, f"more than {MAX_ENUM} values in enums")
            return
        yield from _own_problems(path, node, root)
        stack += [(*found, depth + 1) for found in _inner(path, node)]


def _own_problems(path: str, node: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _unenforced(path, node)
    for keyword in _BOUNDS:
        if node.get(keyword, 0) > MAX_LENGTH_BOUND:
            yield Problem(join(path, keyword), f"above {MAX_LENGTH_BOUND}")
    if "$ref" in node and _recurses(node["$ref"], root):
        yield Problem(join(path, "$ref"), "a schema that contains itself")


def _unenforced(path: str, node: Mapping[str, Any]) -> Iterator[Problem]:
    for keyword in sorted(node.keys() - ENFORCED - ANNOTATIONS):
        yield Problem(join(path, keyword), f"the compiler does not enforce {keyword[:40]}")
    if node.get("format", "email") not in FORMATS:
        yield Problem(join(path, "format"), "a format that the compiler does not know")
    bounded = "minLength" in node or "maxLength" in node
    if bounded and ("pattern" in node or "format" in node):
        yield Problem(path, "the compiler drops a length beside a pattern or format")
    kind = node.get("type")
    for keywords, kinds in ((OF_TEXTS, ("string",)), (OF_NUMBERS, ("integer", "number"))):
        if keywords & node.keys() and kind not in kinds:
            found = min(keywords & node.keys())
            yield Problem(join(path, found), f"beside no type of {' or '.join(kinds)} alone")
    if not is_followed(node.get("$ref", "#")):
        yield Problem(join(path, "$ref"), "the compiler does not follow it: point to #/$defs/NAME")
    yield from _odd_values(path, node)
    for name in node.get("required", ()):
        if name not in node.get("properties", {}):
            yield Problem(join(path, "required"), f"{name[:40]} is not among the properties")
    combined = [k for k in ("$ref", "anyOf", "enum", "const") if k in node]
    if combined and len(node.keys() - ANNOTATIONS - {*DEFINITIONS, "type"}) > 1:
        yield Problem(path, f"the compiler reads {combined[0]} alone, and drops what is beside it")


def _beyond_rewriting(path: str, node: Mapping[str, Any]) -> Iterator[Problem]:
    """What `enforceable` could only narrow: of a prompt's schema it does, an author is told."""
    if node.get("properties") and node.get("additionalProperties", False) is not False:
        what = "beside properties: a declared name could come again, written in escapes"
        yield Problem(join(path, "additionalProperties"), what)
    for keyword in ("minLength", "maxLength"):
        if node.get(keyword, 0) > LONGEST_COUNTED:
            yield Problem(join(path, keyword), f"above {LONGEST_COUNTED}: texts are not counted")


def _odd_values(path: str, node: Mapping[str, Any]) -> Iterator[Problem]:
    """Listed values of another type than is stated: the compiler would allow them."""
    values = [*node.get("enum", ()), *([node["const"]] if "const" in node else [])]
    if "type" in node and values:
        of_type = validator_of({"type": node["type"]})
        if not all(map(of_type.is_valid, values)):
            yield Problem(join(path, "type"), "a listed value is of another type")


def _inner(path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas that stand directly in one, and where."""
    for keyword in NAMED_SCHEMAS:
        for name, schema in node.get(keyword, {}).items():
            yield join(join(path, keyword), name), schema
    for keyword in SCHEMA_LISTS:
        for position, schema in enumerate(node.get(keyword, ())):
            yield join(join(path, keyword), position), schema
    for keyword in ONE_SCHEMA:
        if keyword in node:
            yield join(path, keyword), node[keyword]


def _recurses(reference: str, root: Mapping[str, Any]) -> bool:
    """Whether a reference leads to a schema that refers to itself, or to nothing at all."""
    stack = [(reference, frozenset[str]())]
    steps = 0
    while stack:
        steps += 1
        pointer, behind = stack.pop()
        target = _target(pointer, root)
        if pointer in behind or target is None or steps > MAX_NODES:
            return True
        stack += [(found, behind | {pointer}) for _, found in references(target)]
    return False


def _target(pointer: str, root: Mapping[str, Any]) -> Any:
    """What `#/$defs/name` points to; None where it is not of that form or not there."""
    parts = pointer.split("/")
    if len(parts) != 3 or parts[0] != "#" or parts[1] not in DEFINITIONS:
        return None
    holder = root.get(parts[1])
    name = parts[2].replace("~1", "/").replace("~0", "~")
    return holder.get(name) if isinstance(holder, Mapping) else None

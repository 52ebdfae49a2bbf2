"""JSON Schemas in words that the compiler (xgrammar) enforces to the letter, and that end.

For some keywords it would let through what the schema, or JSON, forbids:

- between `minLength` and `maxLength` it takes raw control characters, which no JSON text has; a
  pattern does not;
- its dates have a 31 June, and its IPv4 addresses leading zeros;
- beside `properties`, other properties may repeat a declared name with any value, and the last one
  counts; so none are written, which every schema without `minProperties` allows.

Where the schema says nothing of a length, `Bounds` do. Patterns and URIs are as long as they like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hive_expert.decoding.bounds import INTEGER_DIGITS, NUMBER_DIGITS, UNBOUNDED, Bounds
from hive_expert.decoding.schema_limits import (
    ANNOTATIONS,
    DEFINITIONS,
    NAMED_SCHEMAS,
    ONE_SCHEMA,
    SCHEMA_LISTS,
)
from hive_expert.decoding.text_patterns import FORMATS, NAMES, text_of

_WHOLE = ("$ref", "anyOf", "enum", "const")
"""Keywords that stand for all of a schema."""
_OF_OBJECTS = ("properties", "required", "additionalProperties")
_OF_ARRAYS = ("items", "prefixItems", "minItems", "maxItems")
_KIND = {"object": _OF_OBJECTS, "array": _OF_ARRAYS}


def enforceable(schema: Mapping[str, Any], bounds: Bounds = UNBOUNDED) -> dict[str, Any]:
    """A schema that allows a part of what ``schema`` allows, and that its grammar keeps to.

    ``schema`` has passed ``limit_problems`` of `schema_limits.py`, or ``unenforced`` and keeps its
    meaning but for texts that are counted, which have no quotes, backslashes or line breaks (nor
    would the compiler write any). The order of properties stays.
    """
    rewriting = _Rewriting(bounds, frozenset(schema.get("$defs", {})))
    rewritten = rewriting.schema(schema)
    definitions = {**rewritten.get("$defs", {}), **rewriting.shared}
    return {**rewritten, "$defs": definitions} if definitions else rewritten


@dataclass
class _Rewriting:
    """Of one schema. What occurs often stands among its definitions, compiled once."""

    bounds: Bounds
    taken: frozenset[str]
    shared: dict[str, dict[str, Any]] = field(default_factory=dict)

    def schema(self, schema: Any) -> Any:
        """Recursion is bounded by the limit on nesting."""
        if schema is True:
            return self._anything()
        if not isinstance(schema, Mapping):
            return schema
        found = self._inside(schema)
        if any(keyword in schema for keyword in _WHOLE):
            return found
        return self._of_kind(found)

    def _inside(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """With the schemas in it rewritten."""
        found = dict(schema)
        for keyword in NAMED_SCHEMAS:
            if keyword in found:
                found[keyword] = {n: self.schema(inner) for n, inner in found[keyword].items()}
        for keyword in SCHEMA_LISTS:
            if keyword in found:
                found[keyword] = [self.schema(inner) for inner in found[keyword]]
        for keyword in ONE_SCHEMA:
            # Beside properties there are no others.
            unused = keyword == "additionalProperties" and found.get("properties")
            if keyword in found and not unused:
                found[keyword] = self.schema(found[keyword])
        return found

    def _of_kind(self, schema: dict[str, Any]) -> dict[str, Any]:
        kind = schema.get("type")
        if isinstance(kind, list):
            return self._one_of(kind, schema)
        if kind == "string":
            return self._text(schema)
        if kind in ("integer", "number"):
            return self._number(schema)
        if kind == "object" or (kind is None and set(_OF_OBJECTS) & schema.keys()):
            return self._object(schema)
        if kind == "array" or (kind is None and set(_OF_ARRAYS) & schema.keys()):
            return self._array(schema)
        if kind is None and not schema.keys() - ANNOTATIONS - {*DEFINITIONS}:
            return self._anything() | schema
        return schema

    def _one_of(self, kinds: list[str], schema: dict[str, Any]) -> dict[str, Any]:
        """A list of types; each keeps the keywords that speak of it."""
        # The compiler reads `anyOf` alone, but an author's references may point beside it.
        pointed = (*NAMED_SCHEMAS, *SCHEMA_LISTS, *ONE_SCHEMA) if self.bounds.none else DEFINITIONS
        kept: dict[str, Any] = {k: schema[k] for k in pointed if k in schema}
        each = [
            self._of_kind({"type": k, **{w: schema[w] for w in _KIND.get(k, ()) if w in schema}})
            for k in kinds
        ]
        return {"anyOf": each, **kept}

    def _text(self, schema: dict[str, Any]) -> dict[str, Any]:
        form = schema.get("format")
        if form in FORMATS:
            return self._share(form, {"type": "string", "pattern": FORMATS[form]})
        if form in NAMES and self.bounds.names:
            return self._share(form, {"type": "string", "pattern": NAMES[form]})
        low, high = schema.get("minLength", 0), self._most_characters(schema)
        if form is not None or "pattern" in schema or (high is None and not low):
            return schema
        if high is not None and high < low:
            return schema  # the compiler refuses it
        name = f"text_{low}_{'' if high is None else high}"
        return self._share(name, {"type": "string", "pattern": text_of(low, high)})

    def _most_characters(self, schema: dict[str, Any]) -> int | None:
        stated, low = schema.get("maxLength"), schema.get("minLength", 0)
        if stated is not None:
            return int(min(stated, max(low, self.bounds.longest_text)))
        characters = self.bounds.characters
        return None if characters is None else max(low, characters)

    def _number(self, schema: dict[str, Any]) -> dict[str, Any]:
        whole = schema["type"] == "integer"
        if not (self.bounds.integers if whole else self.bounds.numbers):
            return schema
        most = 10 ** (INTEGER_DIGITS if whole else NUMBER_DIGITS) - 1
        below = [schema[k] for k in ("minimum", "exclusiveMinimum") if k in schema]
        above = [schema[k] for k in ("maximum", "exclusiveMaximum") if k in schema]
        if any(abs(stated) >= most for stated in (*below, *above)):
            return schema
        bounded = dict(schema)
        if not below:
            bounded["minimum"] = -most
        if not above:
            bounded["maximum"] = most
        return bounded if below or above else self._share(schema["type"], bounded)

    def _object(self, schema: dict[str, Any]) -> dict[str, Any]:
        if schema.get("properties"):
            closed = {"additionalProperties": False} if "additionalProperties" in schema else {}
            return {**schema, **closed}
        if schema.get("additionalProperties") is False or self.bounds.none:
            return schema
        # vLLM takes no names beside properties, not even beside none.
        free = {k: value for k, value in schema.items() if k != "properties"}
        if "additionalProperties" not in schema:
            free["additionalProperties"] = self._anything()
        if self.bounds.items is not None:
            free["maxProperties"] = self.bounds.items
        if self.bounds.characters is not None:
            free["propertyNames"] = self._text({"type": "string"})
        return free

    def _array(self, schema: dict[str, Any]) -> dict[str, Any]:
        first = len(schema.get("prefixItems", ()))
        if schema.get("items", not first) is False or self.bounds.none:
            return schema  # no other items
        bounded = dict(schema)
        if "items" not in schema:
            bounded["items"] = self._anything()
        if "maxItems" not in schema and self.bounds.items is not None:
            bounded["maxItems"] = first + max(schema.get("minItems", 0), self.bounds.items)
        return bounded

    def _anything(self) -> dict[str, Any]:
        """Any value, of which lists and objects hold no further ones."""
        if self.bounds.none:
            return {}
        plain = [self._of_kind({"type": t}) for t in ("string", "number", "boolean", "null")]
        single = self._share("value", {"anyOf": plain})
        holding = (
            {"type": "array", "items": single},
            {"type": "object", "additionalProperties": single},
        )
        return self._share("anything", {"anyOf": [single, *map(self._of_kind, holding)]})

    def _share(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        """A reference to a definition of that name; equal names have equal schemas."""
        while name in self.taken:
            name += "_"
        self.shared[name] = schema
        return {"$ref": f"#/$defs/{name}"}

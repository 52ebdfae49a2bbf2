"""Make many JSON Schemas out of one domain.

A schema asks for some of the domain's fields, in an order and under names of its own,
flat or nested, as a compact document in one of the styles that people paste. So no
schema can be answered by habit: the model has to read it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from text_to_json.domains import Domain, Field
from text_to_json.values import KINDS, Fact

COMPACT = (",", ":")


@dataclass(frozen=True, slots=True)
class Style:
    """How the schema's document is written."""

    case: str = "snake"
    spaced: bool = False
    closed: bool = True
    titled: bool = False
    described: bool = False
    dated: bool = False
    typed_enums: bool = True
    upper_enums: bool = False
    required_first: bool = False


@dataclass(frozen=True, slots=True)
class Property:
    """A property that holds one field, or a nested object of ``members``."""

    name: str
    required: bool
    field: Field | None = None
    members: tuple[Property, ...] = ()
    enum: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schema:
    """What one system message asks for.

    Law: ``answer(facts, mentioned)`` is valid under ``document`` whenever ``mentioned``
    holds at least ``required_fields``.
    """

    id: str
    domain: Domain
    properties: tuple[Property, ...]
    style: Style

    @cached_property
    def wanted(self) -> frozenset[str]:
        return frozenset(p.field.key for p in _leaves(self.properties) if p.field)

    @cached_property
    def required_fields(self) -> frozenset[str]:
        return frozenset(p.field.key for p in _leaves(self.properties) if p.field and p.required)

    @cached_property
    def document(self) -> dict[str, Any]:
        return _object(self.properties, self.style)

    @cached_property
    def text(self) -> str:
        separators = (", ", ": ") if self.style.spaced else COMPACT
        return json.dumps(self.document, ensure_ascii=False, separators=separators)

    def answer(self, facts: Mapping[str, Fact], mentioned: frozenset[str]) -> dict[str, Any]:
        """The facts that the text mentions and the schema asks for, in schema order."""
        return _answer(self.properties, self.style, facts, mentioned)


def make_schema(rng: random.Random, domain: Domain, number: int) -> Schema:
    """Draw the schema number ``number`` of a domain."""
    style = _draw_style(rng, domain.split)
    properties = _draw_properties(rng, domain, style)
    return Schema(f"{domain.name}-{number}", domain, properties, style)


def _draw_style(rng: random.Random, split: str) -> Style:
    return Style(
        case=rng.choices(("snake", "camel", "kebab", "title"), (75, 19, 3, 3))[0],
        spaced=rng.random() < 0.2,
        closed=split == "test" or rng.random() < 0.85,
        titled=split != "test" and rng.random() < 0.04,
        described=rng.random() < 0.05,
        dated=rng.random() < 0.25,
        typed_enums=rng.random() < 0.6,
        upper_enums=rng.random() < 0.1,
        required_first=rng.random() < 0.08,
    )


def _draw_properties(rng: random.Random, domain: Domain, style: Style) -> tuple[Property, ...]:
    nest = rng.choice(domain.nests) if domain.nests and rng.random() < 0.36 else None
    members = nest.members if nest else ()
    if nest and len(members) > 2 and rng.random() < 0.4:
        dropped = rng.choice(members)
        members = tuple(m for m in members if m != dropped)
    free = [f for key, f in domain.fields.items() if key not in members]
    count = rng.choices((3, 4, 5, 6), (22, 36, 30, 12))[0]
    chosen = rng.sample(free, min(len(free), max(1, count - len(members))))
    arrays = [f for f in free if KINDS[f.kind].json_type == "array" and f not in chosen]
    if arrays and rng.random() < 0.4:
        chosen[-1] = rng.choice(arrays)
    core = [f for f in free if f.key in domain.core]
    if core and not any(f.key in domain.core for f in chosen):
        chosen[0] = rng.choice(core)
    required_share = rng.choice((1.0, 1.0, 0.7, 0.0))

    def leaf(field: Field, name: str) -> Property:
        required = field.key in domain.core and rng.random() < required_share
        return Property(_cased(name, style.case), required, field, (), _enum(rng, field, style))

    properties = [leaf(f, _one_name(rng, f.names)) for f in chosen]
    if nest:
        inner = tuple(
            leaf(f, _one_name(rng, f.inner_names)) for f in map(domain.fields.__getitem__, members)
        )
        required = any(p.required for p in inner)
        name = _cased(_one_name(rng, nest.names), style.case)
        properties.append(Property(name, required, None, inner))
    rng.shuffle(properties)
    if not any(p.required for p in properties):
        properties = _require_one_core(rng, properties, domain)
    return tuple(properties)


def _require_one_core(
    rng: random.Random, properties: list[Property], domain: Domain
) -> list[Property]:
    """Most schemas that people write require something."""
    candidates = [i for i, p in enumerate(properties) if p.field and p.field.key in domain.core]
    if not candidates or rng.random() < 0.2:
        return properties
    i = rng.choice(candidates)
    p = properties[i]
    return [*properties[:i], Property(p.name, True, p.field, (), p.enum), *properties[i + 1 :]]


def _one_name(rng: random.Random, names: tuple[str, ...]) -> str:
    """The first name is the usual one, so it comes up more often."""
    return names[0] if rng.random() < 0.3 else rng.choice(names)


def _enum(rng: random.Random, field: Field, style: Style) -> tuple[str, ...]:
    if field.kind != "enum":
        return ()
    values = list(field.options["values"])
    if rng.random() < 0.4:
        rng.shuffle(values)
    return tuple(_enum_case(v, style) for v in values)


def _enum_case(value: str, style: Style) -> str:
    return value.upper() if style.upper_enums else value


def _cased(name: str, case: str) -> str:
    first, *rest = name.split("_")
    if case == "camel":
        return first + "".join(w.capitalize() for w in rest)
    if case == "kebab":
        return name.replace("_", "-")
    if case == "title":
        return " ".join(w.capitalize() for w in (first, *rest))
    return name


def _object(
    properties: tuple[Property, ...], style: Style, *, nested: bool = False
) -> dict[str, Any]:
    body = {p.name: _described(p, style) for p in properties}
    required = [p.name for p in properties if p.required]
    document: dict[str, Any] = {"type": "object"}
    if style.required_first and required:
        document["required"] = required
    document["properties"] = body
    if required and not style.required_first:
        document["required"] = required
    if style.closed and not nested:
        document["additionalProperties"] = False
    return document


def _described(p: Property, style: Style) -> dict[str, Any]:
    if p.field is None:
        return _object(p.members, style, nested=True)
    json_type = KINDS[p.field.kind].json_type
    described: dict[str, Any] = {"type": json_type}
    if style.titled:
        described = {"title": p.name.replace("_", " ").title(), **described}
    if p.enum:
        described["enum"] = list(p.enum)
        if not style.typed_enums:
            del described["type"]
    if json_type == "array":
        described["items"] = {"type": "string"}
    if p.field.kind == "date" and style.dated:
        described["format"] = "date"
    if style.described and p.field.names[-1] != p.name:
        described["description"] = p.field.names[-1].replace("_", " ")
    return described


def _answer(
    properties: tuple[Property, ...],
    style: Style,
    facts: Mapping[str, Fact],
    mentioned: frozenset[str],
) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for p in properties:
        if p.field is None:
            if nested := _answer(p.members, style, facts, mentioned):
                answer[p.name] = nested
        elif p.field.key in mentioned:
            data = facts[p.field.key].data
            answer[p.name] = _enum_case(data, style) if p.enum else data
    return answer


def _leaves(properties: tuple[Property, ...]) -> Iterator[Property]:
    for p in properties:
        if p.field is None:
            yield from _leaves(p.members)
        else:
            yield p

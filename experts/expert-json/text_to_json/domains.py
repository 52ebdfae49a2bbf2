"""The domains: what each kind of text talks about and how people write it.

A domain is read from ``domains/<split>*.toml``. Its texts hold slots: ``{field}``,
``{a field}`` (with "a" or "an") and ``[[…]]`` around what may be left out. A domain
has whole ``texts``, and ``leads`` that are continued by some of its ``parts``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hive_expert.errors import DatasetError, Problem
from text_to_json.values import KINDS

SPLITS = ("train", "validation", "test")
SLOT = re.compile(r"\{(a )?([a-z_]+)\}")
OPTIONAL = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)


def slots(text: str) -> frozenset[str]:
    """The names of the fields that a template mentions."""
    return frozenset(match[2] for match in SLOT.finditer(text))


@dataclass(frozen=True)
class Field:
    """One fact a text may state. ``names`` are the property names a schema may give it."""

    key: str
    kind: str
    names: tuple[str, ...]
    inner_names: tuple[str, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Nest:
    """Fields that a schema may gather in one nested object."""

    names: tuple[str, ...]
    members: tuple[str, ...]


@dataclass(frozen=True)
class Domain:
    """Fields, nestings and wordings of one kind of text.

    Law: every slot of every template is a field, every field is mentioned by some
    template, and ``core`` fields are mentioned by every text the domain can make.
    """

    name: str
    split: str
    fields: Mapping[str, Field]
    nests: tuple[Nest, ...]
    texts: tuple[str, ...]
    leads: tuple[str, ...]
    parts: tuple[str, ...]
    is_message: bool

    @cached_property
    def core(self) -> frozenset[str]:
        always = [slots(OPTIONAL.sub("", t)) for t in (*self.texts, *self.leads)]
        return frozenset.intersection(*always)


def load_domains(folder: Path) -> dict[str, tuple[Domain, ...]]:
    """All domains by split, in file and document order.

    Raises :class:`DatasetError` with every mistake found in the files.
    """
    found: dict[str, list[Domain]] = {split: [] for split in SPLITS}
    problems: list[Problem] = []
    for split in SPLITS:
        for path in sorted(folder.glob(f"{split}*.toml")):
            with path.open("rb") as file:
                tables = tomllib.load(file)
            for name, table in tables.items():
                problems += (Problem(f"{path.name}: {name}", what) for what in _mistakes(table))
                found[split].append(_domain(name, split, table))
    names = [d.name for domains in found.values() for d in domains]
    problems += (
        Problem(name, "domain defined twice") for name in set(names) if names.count(name) > 1
    )
    if problems:
        raise DatasetError(*problems)
    return {split: tuple(domains) for split, domains in found.items()}


def _domain(name: str, split: str, table: Mapping[str, Any]) -> Domain:
    return Domain(
        name=name,
        split=split,
        fields={key: _field(key, t) for key, t in table.get("fields", {}).items()},
        nests=tuple(
            Nest(tuple(t["names"].split()), tuple(t["members"].split()))
            for t in table.get("nests", [])
        ),
        texts=tuple(t.strip() for t in table.get("texts", [])),
        leads=tuple(table.get("leads", [])),
        parts=tuple(table.get("parts", [])),
        is_message=table.get("message", True),
    )


def _field(key: str, table: Mapping[str, Any]) -> Field:
    options = {k: v for k, v in table.items() if k not in ("kind", "names", "inner")}
    names = tuple(table.get("names", key).split())
    return Field(key, table.get("kind", ""), names, tuple(table.get("inner", key).split()), options)


REQUIRED_OPTIONS = {
    "pick": ("from",), "list": ("from",), "code": ("formats",), "venue": ("suffixes",),
    "integer": ("low", "high"), "number": ("low", "high"), "boolean": ("yes", "no"),
    "enum": ("values",), "pick_integer": ("from",), "member": ("of",),
}  # fmt: skip


def _mistakes(table: Mapping[str, Any]) -> Iterator[str]:
    for key in table.keys() - {"fields", "nests", "texts", "leads", "parts", "message"}:
        yield f"unknown key {key!r}"
    fields: Mapping[str, Mapping[str, Any]] = table.get("fields", {})
    templates = [*table.get("texts", []), *table.get("leads", []), *table.get("parts", [])]
    if not table.get("texts") and not table.get("leads"):
        yield "neither texts nor leads"
    for key, field in fields.items():
        if field.get("kind") not in KINDS:
            yield f"field {key!r} has unknown kind {field.get('kind')!r}"
        for option in REQUIRED_OPTIONS.get(field.get("kind", ""), ()):
            if option not in field:
                yield f"field {key!r} lacks {option!r}"
        if not any(key in slots(t) for t in templates):
            yield f"field {key!r} is in no template"
    for template in templates:
        for key in slots(template) - fields.keys():
            yield f"template mentions unknown field {key!r}: {template[:40]!r}"
        if re.search(r"[{}]|\[\[|\]\]", SLOT.sub("", OPTIONAL.sub(r"\1", template))):
            yield f"template has stray brackets: {template[:40]!r}"
    for nest in table.get("nests", []):
        for key in set(nest["members"].split()) - fields.keys():
            yield f"nest {nest['names']!r} has unknown member {key!r}"
    all_names = [n for f in fields.items() for n in f[1].get("names", f[0]).split()]
    for name in sorted({n for n in all_names if all_names.count(n) > 1}):
        yield f"two fields may be called {name!r}"

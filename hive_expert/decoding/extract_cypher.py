"""Labels, relationship types and properties of a graph schema written as patterns.

Read is `(:Person {name, age})-[:ACTED_IN {role}]->(:Movie {title, year})`, however many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NAME = r"(?:[^\W\d]\w{0,127}|`[^`\n]{1,128}`)"
_PROPERTIES = r"(?:\s{0,8}\{(?P<properties>[^{}]{0,8192})\})?"
_NODE = re.compile(
    rf"\(\s{{0,8}}\w{{0,64}}(?P<labels>(?:\s{{0,8}}:\s{{0,8}}{_NAME}){{1,8}}){_PROPERTIES}\s{{0,8}}\)"
)
_RELATIONSHIP = re.compile(
    rf"\[\s{{0,8}}\w{{0,64}}\s{{0,8}}:\s{{0,8}}(?P<types>{_NAME}(?:\s{{0,8}}\|\s{{0,8}}:?{_NAME}){{0,64}})"
    rf"{_PROPERTIES}\s{{0,8}}\]"
)
_PROPERTY = re.compile(rf"\s{{0,8}}(?P<name>{_NAME})\s{{0,8}}(?::|$)")


def labels_in(text: str) -> Sequence[str]:
    """Node labels, each once, in order."""
    found = (re.findall(_NAME, node["labels"]) for node in _NODE.finditer(text))
    return _distinct(label for labels in found for label in labels)


def relationship_types_in(text: str) -> Sequence[str]:
    """Relationship types, each once, in order."""
    found = (re.findall(_NAME, bracket["types"]) for bracket in _RELATIONSHIP.finditer(text))
    return _distinct(name for names in found for name in names)


def properties_in(text: str) -> Sequence[str]:
    """Properties of nodes and relationships, each once, in order; of some list that is not
    understood, none at all.
    """
    names: list[str] = []
    for pattern in (_NODE, _RELATIONSHIP):
        for found in pattern.finditer(text):
            for entry in (found["properties"] or "").split(","):
                name = _PROPERTY.match(entry)
                if entry.strip() and name is None:
                    return ()
                if name is not None:
                    names.append(name["name"])
    return _distinct(names)


def _distinct(names: Iterable[str]) -> Sequence[str]:
    return tuple(dict.fromkeys(names))

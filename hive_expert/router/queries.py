"""Labelled queries: messages, and the experts that should answer them. One JSON object a line.

::

    {"experts": ["expert-sql"], "slice": "plain", "messages": [{"role": "user", "content": "…"}]}

No experts: the base model. Several: any of them alone is right, and all together better. A row
with `long` has a placeholder `{long}` in a message: a passage, repeated up to so many bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hive_expert.errors import DatasetError, Problem
from hive_expert.router.turns import Turn, turns_of

PLACEHOLDER = "{long}"


@dataclass(frozen=True, slots=True)
class Query:
    """One labelled conversation."""

    turns: tuple[Turn, ...]
    experts: frozenset[str]
    kind: str
    """The slice it belongs to."""


def read_queries(path: Path) -> tuple[Query, ...]:
    """The labelled queries of a file.

    Raises:
        DatasetError: all rows that are malformed.
    """
    queries, problems = [], []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                queries.append(_query(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                what = f"is no labelled query: {error!r}"
                problems.append(Problem(f"{path.name}:{number}", what))
    if problems:
        raise DatasetError(*problems)
    return tuple(queries)


def _query(row: Mapping[str, Any]) -> Query:
    turns = turns_of(row["messages"])
    if long := row.get("long"):
        length, passage = int(long["bytes"]), str(long["text"])
        prose = (passage * (length // len(passage) + 1))[:length]
        turns = tuple(Turn(t.role, t.text.replace(PLACEHOLDER, prose)) for t in turns)
    experts = row["experts"]
    if not isinstance(experts, list) or not all(isinstance(name, str) for name in experts):
        raise TypeError("experts is no list of names")
    return Query(turns, frozenset(experts), str(row["slice"]))

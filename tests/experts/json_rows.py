"""Rows and cases of expert-json, for its tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from text_to_json import values
from text_to_json.composed import load_bank, with_composed
from text_to_json.domains import Domain, load_domains
from text_to_json.examples import Example, make_examples

EXPERT = Path(__file__).parents[2] / "experts" / "expert-json"
DATA = EXPERT / "text_to_json" / "data"

SAMPLE = 2200


@cache
def domains() -> dict[str, tuple[Domain, ...]]:
    return load_domains(DATA / "domains")


def examples(split: str, count: int, seed: int = 7) -> tuple[Example, ...]:
    pools = values.load_pools(DATA / "pools.toml", held_out=split != "train")
    return tuple(make_examples(seed, split, domains_of(split, seed), pools, count))


def domains_of(split: str, seed: int) -> Callable[[int], tuple[Domain, ...]]:
    written = domains()[split]
    if split == "train":
        return with_composed(written, load_bank(DATA / "attributes.toml"), seed)
    return lambda _: written


@cache
def sample(split: str) -> tuple[Example, ...]:
    return examples(split, {"train": SAMPLE, "validation": 150, "test": 264}[split])


@cache
def case_document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EXPERT / "tests/test_cases.json").read_bytes())
    return document


def prompt(case: dict[str, Any]) -> str:
    return "\n".join(m["content"] for m in case["messages"])


def leaves(value: object) -> Iterator[object]:
    """The values at the ends of an answer."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    else:
        yield value

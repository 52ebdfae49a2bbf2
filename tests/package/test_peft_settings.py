"""Patterns are matched as PEFT matches them, and a stranger's are bounded."""

from __future__ import annotations

import time
from typing import Any

import pytest
from peft.utils.other import get_pattern_key

from hive_expert.package.peft_settings import (
    MAX_PATTERN_CHARACTERS,
    MAX_PATTERNS,
    Patterns,
    unserved_settings,
)

MODULE = "model.layers.1.self_attn.q_proj"


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["q_proj"], 1),
        (["layers.1.self_attn.q_proj"], 1),
        ([MODULE], 1),
        ([f"^{MODULE}"], 1),
        (["self_attn.q_proj", "q_proj"], 1),
        (["k_proj", "q_proj"], 2),
        (["._proj"], 1),
        (["self.attn.q_proj"], 1),
        (["proj"], None),
        (["^q_proj"], None),
        (["layers.0.self_attn.q_proj"], None),
        (["x" + MODULE], None),
    ],
)
def test_a_layer_is_named_as_peft_names_it(keys: list[str], value: int | None) -> None:
    pattern = {key: position for position, key in enumerate(keys, start=1)}
    assert pattern.get(get_pattern_key(keys, MODULE)) == value
    assert Patterns(ranks=pattern).rank_of(MODULE, 99) == (99 if value is None else value)
    assert Patterns(alphas=pattern).alpha_of(MODULE, 99) == (99 if value is None else value)


def complaints(**settings: Any) -> list[tuple[str, str, str]]:
    return list(unserved_settings(settings))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rank_pattern": {"q_proj": 513}}, "513 is not allowed"),
        ({"rank_pattern": {"q_proj": True}}, "True is not allowed"),
        ({"rank_pattern": ["q_proj"]}, "not a table"),
        ({"rank_pattern": {"(a+)+$": 2}}, "more than a name"),
        ({"alpha_pattern": {"q_proj": 0}}, "0 is not allowed"),
        ({"alpha_pattern": {"q_proj": 10**400}}, "is not allowed"),
        ({"alpha_pattern": {"x" * (MAX_PATTERN_CHARACTERS + 1): 2}}, "more than 256 characters"),
        ({"alpha_pattern": {str(i): 2 for i in range(MAX_PATTERNS + 1)}}, "more than the 1024"),
    ],
)
def test_a_pattern_that_is_refused(settings: dict[str, Any], says: str) -> None:
    ((_, what, remedy),) = complaints(**settings)
    assert says in what
    assert remedy


def test_as_many_and_as_long_patterns_as_are_allowed() -> None:
    longest = {f"{i:0{MAX_PATTERN_CHARACTERS}}": 512 for i in range(MAX_PATTERNS)}
    assert complaints(rank_pattern=longest, alpha_pattern=longest) == []


def test_the_dearest_patterns_take_little_time() -> None:
    """All that a package can hold: names of one length that differ at their ends alone."""
    ranks = {f"{'.' * 40}{i:04}": 2 for i in range(MAX_PATTERNS)}
    begun = time.process_time()
    for layer in range(1000):
        assert Patterns(ranks).rank_of(f"{'a' * 40}x{layer:03}", 4) == 4
    assert time.process_time() - begun < 3


def test_an_initialization_that_is_no_name_is_refused() -> None:
    assert complaints(init_lora_weights=["pissa"])[0][0] == "init_lora_weights"

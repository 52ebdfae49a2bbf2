"""Ranges of the sampling fields and limits of stops."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from hive_expert.decoding.sampling_fields import (
    FIELDS,
    MAX_STOP_CHARACTERS,
    MAX_STOPS,
    check_flags,
    stop_problems,
)
from hive_expert.errors import UsageError
from hive_expert.manifest.training_model import Decoding

IN_RANGE = {
    "temperature": [0, 0.1, 2, 2.0],
    "top_p": [0.001, 1, 1.0],
    "top_k": [-1, 0, 50],
    "min_p": [0, 0.5, 1.0],
    "repetition_penalty": [0.001, 1, 1.3],
    "max_tokens": [1, 4096],
}
OUT_OF_RANGE = {
    "temperature": [-0.1, 2.1, math.nan, math.inf, True, "0.5"],
    "top_p": [0, 0.0, 1.1, math.nan, False],
    "top_k": [-2, 1.0, True],
    "min_p": [-0.1, 1.1, math.nan],
    "repetition_penalty": [0, -1, math.inf, math.nan],
    "max_tokens": [0, -1, 1.5, True],
}


def _cases(table: dict[str, list[object]]) -> list[tuple[str, object]]:
    return [(name, value) for name, values in table.items() for value in values]


def test_the_tables_know_every_field() -> None:
    assert [f.name for f in FIELDS] == list(IN_RANGE) == list(OUT_OF_RANGE)


@pytest.mark.parametrize(("name", "value"), _cases(IN_RANGE))
def test_manifest_and_flag_accept_the_same(name: str, value: float) -> None:
    assert check_flags({name: value}) == {name: value}
    assert getattr(Decoding(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), _cases(OUT_OF_RANGE))
def test_manifest_and_flag_refuse_the_same(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}: .* is out of range"):
        check_flags({name: value})
    with pytest.raises(ValidationError):
        Decoding(**{name: value})


@pytest.mark.parametrize("name", ["top_k", "max_tokens", "temperature", "repetition_penalty"])
def test_numbers_that_no_machine_word_holds_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_flags({name: 10**400})


def test_all_flags_are_checked_at_once_and_ranges_are_told() -> None:
    with pytest.raises(UsageError) as refused:
        check_flags({"temperature": 3, "top_p": 0, "temprature": 1, "max_tokens": 5})
    assert [str(p) for p in refused.value.problems] == [
        "--temperature: 3 is out of range (give a number from 0 to 2)",
        "--top-p: 0 is out of range (give a number above 0 to 1)",
        "--temprature: not a sampling flag",
    ]


def test_flags_that_were_not_given_are_left_out() -> None:
    assert check_flags({"temperature": None, "top_k": 5}) == {"top_k": 5}


def test_stops_within_the_limits() -> None:
    assert list(stop_problems(("x" * MAX_STOP_CHARACTERS,) * MAX_STOPS, "stop")) == []


@pytest.mark.parametrize(
    ("stops", "where", "what"),
    [
        (("a",) * (MAX_STOPS + 1), "stop", "65 stops"),
        (("a", ""), "stop[1]", "a stop of 0 characters"),
        (("a" * (MAX_STOP_CHARACTERS + 1),), "stop[0]", "a stop of 257 characters"),
    ],
)
def test_stops_beyond_the_limits(stops: tuple[str, ...], where: str, what: str) -> None:
    (problem,) = stop_problems(stops, "stop")
    assert (problem.where, problem.what) == (where, what)

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_expert.training.json_fields import equal_fields, same_json

EXPECTED = {"name": "Ada", "age": 36, "address": {"city": "London", "zip": "W1"}}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy"), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("actual", "share"),
    [
        (EXPECTED, 1.0),
        ({**EXPECTED, "age": 37}, 3 / 4),
        ({**EXPECTED, "address": {"city": "London"}}, 3 / 4),
        ({**EXPECTED, "email": "ada@example.org"}, 4 / 5),
        ({**EXPECTED, "address": "London"}, 2 / 5),
        ({}, 0.0),
        ([EXPECTED], 0.0),
    ],
    ids=["equal", "wrong", "missing", "invented", "not an object", "empty", "in a list"],
)
def test_share_of_equal_fields(actual: Any, share: float) -> None:
    assert equal_fields(EXPECTED, actual) == share


def test_a_list_is_one_field() -> None:
    assert equal_fields({"tags": ["a", "b"], "n": 1}, {"tags": ["a"], "n": 1}) == 1 / 2


@given(VALUES, VALUES)
def test_the_law_of_equal_fields(a: Any, b: Any) -> None:
    share = equal_fields(a, b)
    assert 0 <= share <= 1
    assert share == equal_fields(b, a)
    assert (share == 1) == same_json(a, b)

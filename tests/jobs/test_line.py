"""A line is a request, or all that is wrong with it is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hive_expert.jobs.limits import MOST_PROBLEMS
from hive_expert.jobs.line import ENDPOINTS, Line, _unique, read_line

URL = ENDPOINTS[0]
GOOD: dict[str, Any] = {"custom_id": "a", "method": "POST", "url": URL, "body": {"model": "x"}}


def test_a_good_line_is_a_request() -> None:
    assert read_line(json.dumps(GOOD).encode(), 1, URL) == Line("a", {"model": "x"})


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{", "invalid_json_line"),
        (b"[]", "invalid_json_line"),
        (b"null", "invalid_json_line"),
        (b"\xff\xfe", "invalid_json_line"),
        (b'{"custom_id": "a", "custom_id": "b"}', "invalid_json_line"),
        (b'{"custom_id": NaN}', "invalid_json_line"),
        (b'{"custom_id": "\\ud800"}', "invalid_json_line"),
        (b"[" * 100_000, "invalid_json_line"),
        (json.dumps({**GOOD, "custom_id": ""}).encode(), "invalid_custom_id"),
        (json.dumps({**GOOD, "custom_id": "x" * 129}).encode(), "invalid_custom_id"),
        (json.dumps({**GOOD, "custom_id": "a\0b"}).encode(), "invalid_custom_id"),
        (json.dumps({**GOOD, "method": "GET"}).encode(), "invalid_method"),
        (json.dumps({**GOOD, "url": "/v1/experts/rescan"}).encode(), "mismatched_endpoint"),
        (json.dumps({**GOOD, "body": "x"}).encode(), "invalid_body"),
        (json.dumps({**GOOD, "body": {"stream": True}}).encode(), "invalid_body"),
        (json.dumps({**GOOD, "priority": 1}).encode(), "unknown_parameter"),
        (json.dumps({"custom_id": "a"}).encode(), "missing_required_parameter"),
    ],
)
def test_a_broken_line_is_named(raw: bytes, code: str) -> None:
    found = read_line(raw, 7, URL)
    assert isinstance(found, list)
    assert code in {problem.code for problem in found}
    assert {problem.line for problem in found} == {7}


class Name(str):
    """A name that counts how often any is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return super().__eq__(other)


def test_a_name_that_stands_there_twice_is_found_in_one_pass() -> None:
    names = [Name(n) for n in range(1000)]
    with pytest.raises(ValueError, match="'999' stands there twice"):
        _unique([(name, 0) for name in [*names, Name(999)]])
    assert Name.compared < 1000


def test_no_more_problems_are_looked_for_than_are_reported() -> None:
    found = read_line(json.dumps({**GOOD, **{f"k{n}": 0 for n in range(1000)}}).encode(), 1, URL)
    assert isinstance(found, list) and len(found) == MOST_PROBLEMS

"""What `benchmarks/jobs_crash.py` and `jobs_fair.py` make of what a server says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jobs_crash import Result, judge, question
from jobs_fair import Share

EXPECTED = {question(n): f"word {n % 9}" for n in range(9)}


class Answered:
    """The files of a batch."""

    def __init__(self, good: list[dict[str, Any]], bad: list[dict[str, Any]]) -> None:
        self.files = {"good": good, "bad": bad}

    def lines(self, file_id: str) -> list[dict[str, Any]]:
        return self.files[file_id]


def good(number: int, text: str | None = None) -> dict[str, Any]:
    said = EXPECTED[question(number)] if text is None else text
    body = {"choices": [{"message": {"content": said}}]}
    return {"custom_id": f"r{number}", "response": {"status_code": 200, "body": body}}


def bad(number: int, status: int = 404) -> dict[str, Any]:
    return {"custom_id": f"r{number}", "response": {"status_code": status, "body": {}}}


def judged(answered: Answered) -> Result:
    files: Any = answered
    result = Result(requests=10)
    judge(files, {"output_file_id": "good", "error_file_id": "bad"}, EXPECTED, result)
    return result


ALL = [good(n) for n in range(9)]


def test_one_answer_for_each_request_is_fine() -> None:
    result = judged(Answered(ALL, [bad(9)]))
    assert result.ok
    assert (result.results, result.errors) == (9, 1)
    result.states["in_progress"] += 1
    assert json.loads(json.dumps(result.as_json()))["states"] == {"in_progress": 1}


@pytest.mark.parametrize(
    ("answered", "counts"),
    [
        (Answered(ALL[1:], [bad(9)]), (1, 0, 0)),
        (Answered([*ALL, ALL[0]], [bad(9)]), (0, 1, 0)),
        (Answered([good(0, "another"), *ALL[1:]], [bad(9)]), (0, 0, 1)),
        (Answered(ALL[1:], [bad(9), bad(0)]), (0, 0, 1)),
        (Answered(ALL, [bad(9, 500)]), (0, 0, 1)),
    ],
)
def test_what_is_lost_twice_or_wrong_is_counted(
    answered: Answered, counts: tuple[int, int, int]
) -> None:
    result = judged(answered)
    assert (result.lost, result.twice, result.wrong) == counts
    assert not result.ok


def test_a_share_is_off_by_a_part_of_what_it_should_be() -> None:
    assert Share(2, 10, 300, share=0.3, wanted=0.25).off == pytest.approx(0.2)

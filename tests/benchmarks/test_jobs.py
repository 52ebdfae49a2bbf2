"""What `benchmarks/jobs_crash.py` and `jobs_fair.py` make of what a server says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jobs_crash_subjects import FakeServer, fails
from jobs_deaths import Plan, Record, Verdict, judge
from jobs_fair import Share

SUBJECT = FakeServer(Path("/nowhere"))


class Answered:
    """The files of a batch."""

    def __init__(self, good: list[dict[str, Any]], bad: list[dict[str, Any]]) -> None:
        self.files = {"good": good, "bad": bad}

    def lines(self, file_id: str) -> list[dict[str, Any]]:
        return self.files[file_id]


def good(number: int, text: str | None = None) -> dict[str, Any]:
    asked = SUBJECT.body(number)["messages"][0]["content"]
    body = {"choices": [{"message": {"content": text or f"you said {asked}"}}]}
    return {"custom_id": f"r{number}", "response": {"status_code": 200, "body": body}}


def bad(number: int, status: int = 400) -> dict[str, Any]:
    body = {"error": {"message": SUBJECT.body(number)["messages"][0]["content"]}}
    return {"custom_id": f"r{number}", "response": {"status_code": status, "body": body}}


def judged(answered: Answered) -> Verdict:
    files: Any = answered
    return judge(files, {"output_file_id": "good", "error_file_id": "bad"}, 10, SUBJECT)


ALL = [good(n) for n in range(9)]


def test_one_answer_for_each_request_is_fine() -> None:
    assert [n for n in range(10) if fails(n)] == [9]
    assert judged(Answered(ALL, [bad(9)])) == Verdict(9, 1, lost=0, twice=0, wrong=0)
    assert judged(Answered(ALL, [bad(9)])).ok


@pytest.mark.parametrize(
    ("answered", "counts"),
    [
        (Answered(ALL[1:], [bad(9)]), (1, 0, 0)),
        (Answered([*ALL, ALL[0]], [bad(9)]), (0, 1, 0)),
        (Answered([good(0, "another"), *ALL[1:]], [bad(9)]), (0, 0, 1)),
        (Answered([*ALL[1:], bad(9)], [good(0)]), (0, 0, 2)),
        (Answered(ALL, [bad(9, 200)]), (0, 0, 1)),
    ],
)
def test_what_is_lost_twice_or_wrong_is_counted(
    answered: Answered, counts: tuple[int, int, int]
) -> None:
    verdict = judged(answered)
    assert (verdict.lost, verdict.twice, verdict.wrong) == counts
    assert not verdict.ok


def test_lives_are_as_long_as_lets_all_kills_find_the_batch_at_work() -> None:
    plan = Plan(requests=1000, kills=9, life_s=20)
    assert Record(1000).life_s(plan) == 20
    assert Record(1000, kills=4, done_at_kills=[400], lived_s=400).life_s(plan) == 20
    assert Record(1000, kills=4, done_at_kills=[400], lived_s=10).life_s(plan) == 5


def test_a_share_is_off_by_a_part_of_what_it_should_be() -> None:
    assert Share(2, 10, 300, share=0.3, wanted=0.25).off == pytest.approx(0.2)

"""A file is taken in whole, or its broken lines are named; it is never in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from hive_expert.jobs.intake import requests_in
from hive_expert.jobs.limits import REPORTED_PROBLEMS, JobLimits
from hive_expert.jobs.line import ENDPOINTS, LineProblem
from hive_expert.jobs.request_rows import Pending
from tests.jobs.conftest import jsonl, line

LIMITS = JobLimits(requests=100, line_bytes=1000)


def read(path: Path, content: bytes, limits: JobLimits = LIMITS) -> list[Pending | LineProblem]:
    path.write_bytes(content)
    return list(requests_in(path, ENDPOINTS[0], limits))


def test_each_request_is_where_its_line_stands(tmp_path: Path) -> None:
    content = b"\n" + jsonl([line("a", "x"), line("b", "y")]) + b"\r\n\n" + jsonl([line("c", "z")])
    found = read(tmp_path / "f", content)
    assert [(p.line, p.custom_id) for p in found if isinstance(p, Pending)] == [
        (2, "a"),
        (3, "b"),
        (6, "c"),
    ]
    for request, text in zip(found, "xyz", strict=True):
        assert isinstance(request, Pending)
        raw = content[request.start : request.start + request.length]
        assert f'"content": "{text}"'.encode() in raw


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    assert len(read(tmp_path / "f", jsonl([line("a", "x")]).rstrip())) == 1


def test_an_empty_file_is_a_problem(tmp_path: Path) -> None:
    (problem,) = read(tmp_path / "f", b"\n \n")
    assert isinstance(problem, LineProblem) and problem.code == "empty_file"


def test_an_id_that_stands_there_twice_names_both_lines(tmp_path: Path) -> None:
    _, problem = read(tmp_path / "f", jsonl([line("a", "x"), line("a", "y")]))
    assert isinstance(problem, LineProblem)
    assert (problem.line, problem.code) == (2, "duplicate_custom_id")
    assert "line 1" in problem.message


def test_a_line_that_is_too_long_ends_the_reading(tmp_path: Path) -> None:
    content = jsonl([line("a", "x" * 2000), line("b", "y")])
    (problem,) = read(tmp_path / "f", content)
    assert isinstance(problem, LineProblem)
    assert (problem.line, problem.code) == (1, "line_too_long")


def test_more_requests_than_allowed_are_refused(tmp_path: Path) -> None:
    found = read(tmp_path / "f", jsonl(line(f"r{n}", "x") for n in range(101)))
    problem = found[-1]
    assert isinstance(problem, LineProblem) and problem.code == "too_many_requests"
    assert problem.line == 101


def test_empty_lines_are_no_requests_but_there_may_be_only_so_many(tmp_path: Path) -> None:
    good = jsonl([line("a", "x")])
    assert [type(each) for each in read(tmp_path / "f", b"\n" * 100 + good)] == [Pending]
    (problem,) = read(tmp_path / "f", b" \n" * 10_000 + good)
    assert isinstance(problem, LineProblem)
    assert (problem.code, problem.line) == ("too_many_lines", 101)


def test_a_gigabyte_of_rubbish_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as out:
        out.truncate(2**30)  # one line of zeros, without a block on the disk
    tracemalloc.start()
    (problem,) = requests_in(path, ENDPOINTS[0], JobLimits())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(problem, LineProblem) and problem.code == "line_too_long"
    assert peak < 32 * 2**20


def test_reading_stops_after_so_many_problems(tmp_path: Path) -> None:
    from hive_expert.jobs.intake import take_in
    from hive_expert.jobs.store import Store
    from hive_expert.jobs.tables import open_database

    store = Store(open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}"))
    (tmp_path / "f").write_bytes(b"{\n" * 10_000)
    problems = take_in(store, "batch_x", tmp_path / "f", ENDPOINTS[0], JobLimits())
    assert len(problems) == REPORTED_PROBLEMS + 1
    assert problems[-1].code == "too_many_problems"


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (problem,) = requests_in(tmp_path / "gone", ENDPOINTS[0], LIMITS)
    assert isinstance(problem, LineProblem) and problem.code == "unreadable_file"

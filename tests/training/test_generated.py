"""Groups, cases in shares and files, as every data generator uses them."""

from __future__ import annotations

import json
import random
from pathlib import Path

from hive_expert.training.cases import parse_test_cases
from hive_expert.training.generated import (
    Asked,
    Case,
    Data,
    Example,
    Messages,
    ask_group,
    ask_new,
    cases_document,
    cases_in_shares,
    gather,
    write_data,
)


def rows(name: str, count: int) -> list[Example]:
    return [Example("s", f"{name} {i}", "a", name, "kind/x") for i in range(count)]


def test_asking_for_more_examples_keeps_the_first_ones() -> None:
    def group(at: int) -> tuple[str, list[Example]]:
        return f"{at}", rows(f"g{at}", 3)

    assert gather(30, group)[:10] == gather(10, group)
    assert len(gather(10, group)) == 10


def test_a_group_about_the_same_or_too_small_is_left_out() -> None:
    sizes = [3, 3, 1, 3]
    subjects = ["a", "a", "b", "c"]
    made = gather(4, lambda at: (subjects[at], rows(f"g{at}", sizes[at])), smallest=2)
    assert [row.group for row in made] == ["g0", "g0", "g0", "g3"]


def test_a_question_in_one_message_is_a_group_of_its_own() -> None:
    texts = iter(["one", "two", "three"])
    made = list(
        ask_group(
            "g", 3, "system", lambda: Asked(next(texts), "a", "k"),
            lambda text: f"all: {text}" if text == "two" else None,
        )
    )  # fmt: skip
    assert [(row.input, row.instruction, row.group) for row in made] == [
        ("system", "one", "g"),
        ("", "all: two", "g-1"),
        ("system", "three", "g"),
    ]


def test_nothing_is_asked_twice_and_asking_ends() -> None:
    used: set[str] = set()
    rng = random.Random(1)

    def ask() -> Asked:
        return Asked(rng.choice(["One?", "one?", "Two?"]), "same answer", "k")

    assert ask_new(ask, used) is not None
    assert ask_new(ask, used) is None


def test_shares_are_exact_where_there_are_questions() -> None:
    def case(identity: str, subject: str, asked: Asked) -> Case:
        return Case(identity, asked.category, Messages("", asked.text), asked.answer)

    made = cases_in_shares(
        20, {"easy": 75, "never": 5, "hard": 20}, ["p", "q"],
        lambda subject, family: None if family == "never" else Asked(subject, "a", f"{family}/x"),
        case,
    )  # fmt: skip
    assert [c.id for c in made] == [
        *(f"easy-x-{n:03}" for n in range(1, 16)),
        *(f"hard-x-{n:03}" for n in range(1, 5)),
    ]
    assert {c.messages.user for c in made} == {"p", "q"}


def test_what_is_written_is_what_evaluation_reads(tmp_path: Path) -> None:
    used, unused = "CREATE TABLE t (a);", "CREATE TABLE u (a);"
    case = Case("one", "k", Messages("Dialect: sql", "What?"), "SELECT 1;", {"fixture": "used"})
    data = Data(
        "sql_execution", rows("g", 2), rows("v", 1), [case], {"used": used, "unused": unused}
    )
    write_data(data, tmp_path / "rows", tmp_path / "tests" / "cases.json")
    written = (tmp_path / "rows" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["instruction"] for line in written] == ["g 0", "g 1"]
    test = json.loads((tmp_path / "rows" / "test.jsonl").read_text())
    assert test["group"] == "one"
    suite = parse_test_cases((tmp_path / "tests" / "cases.json").read_bytes())
    assert suite.cases[0].database == used
    assert "u (a)" not in cases_document(data.metric, data.cases, data.fixtures)

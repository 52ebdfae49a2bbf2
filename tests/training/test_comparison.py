from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hive_expert.cli.train import main
from hive_expert.errors import TrainingError, UsageError
from hive_expert.training.comparison import Side, choose_side, compare, parse_sides
from hive_expert.training.evaluation_report import as_json
from tests.training.test_evaluation_report import report


def side(marks: str, start: int = 0) -> Side:
    outcomes = {str(n + start): mark == "+" for n, mark in enumerate(marks)}
    return Side(
        "expert-tiny", "grammar", outcomes, {case: "ab"[int(case) % 2] for case in outcomes}
    )


def test_cases_are_counted_in_pairs() -> None:
    made = compare(side("++--"), side("+-+-"))
    assert (made.better, made.worse, made.same) == (("2",), ("1",), 2)
    assert len(made.better) + len(made.worse) + made.same == made.cases
    assert made.difference.value == 0
    assert not made.is_clear


def test_an_improvement_everywhere_is_clear() -> None:
    made = compare(side("-" * 30), side("+" * 30))
    assert made.is_clear
    assert (made.difference.low, made.difference.high) == (1, 1)


def test_only_common_cases_count() -> None:
    made = compare(side("+++"), side("---", start=1))
    assert (made.cases, made.only_a, made.only_b) == (2, 1, 1)
    assert made.difference.value == -1


def test_categories() -> None:
    made = compare(side("+-+-"), side("++--"))
    assert [(c.category, c.before, c.after, c.count) for c in made.categories] == [
        ("a", 2, 1, 2),
        ("b", 0, 1, 2),
    ]


def test_nothing_in_common_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no case in common"):
        compare(side("+"), side("+", start=5))


def test_a_report_is_read_as_it_is_written() -> None:
    document = json.dumps(as_json(report(expert="+-", base="--"))).encode()
    sides = parse_sides(document, "r.json")
    assert [s.model for s in sides] == ["expert-tiny", "tiny"]
    assert choose_side(sides, "tiny", None, "r.json").outcomes == {"0": False, "1": False}
    with pytest.raises(UsageError, match="has no other"):
        choose_side(sides, "other", None, "r.json")


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["base no-grammar", "expert-a no-grammar", "expert-a grammar"], "expert-a grammar"),
        (["base grammar", "expert-a no-grammar"], "expert-a no-grammar"),
        (["base grammar", "expert-a grammar", "expert-b grammar"], "base grammar"),
        (["base no-grammar", "base grammar"], "base no-grammar"),
    ],
)
def test_the_only_expert_is_meant_with_its_grammar_or_else_the_first(
    names: list[str], chosen: str
) -> None:
    sides = [Side(*name.split(), {"1": True}, {"1": ""}) for name in names]
    found = choose_side(sides, None, None, "r.json")
    assert f"{found.model} {found.variant}" == chosen


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"standings": [{"model": "m", "variant": "v"}]}', b'{"standings": []}'],
)
def test_what_is_no_report_is_named(data: bytes) -> None:
    with pytest.raises(TrainingError, match=r"r\.json"):
        parse_sides(data, "r.json")


def invoke(path: Path, a: Any, b: Any, *options: str) -> Result:
    for name, one in (("a", a), ("b", b)):
        (path / f"{name}.json").write_text(json.dumps(as_json(one)))
    files = [str(path / "a.json"), str(path / "b.json")]
    return CliRunner().invoke(main, ["compare", *files, *options])


def test_the_command_tells_what_changed(tmp_path: Path) -> None:
    result = invoke(tmp_path, report(expert="+-+-"), report(expert="++--"))
    assert result.exit_code == 0, result.output
    assert "1 better, 1 worse, 2 same" in result.output
    assert "worse: 2" in result.output


def test_the_command_fails_on_a_clear_regression_where_asked(tmp_path: Path) -> None:
    good, bad = report(expert="+" * 20), report(expert="-" * 20)
    assert invoke(tmp_path, good, bad).exit_code == 0
    assert invoke(tmp_path, good, bad, "--fail-on-regression").exit_code == 1
    assert invoke(tmp_path, bad, good, "--fail-on-regression").exit_code == 0


def test_a_regression_is_not_hidden_by_the_base_that_stands_first(tmp_path: Path) -> None:
    base = "-" * 20
    good, bad = (report(base=base, expert=mark * 20) for mark in "+-")
    assert invoke(tmp_path, good, bad, "--fail-on-regression").exit_code == 1


def test_the_command_prints_json(tmp_path: Path) -> None:
    result = invoke(tmp_path, report(expert="--"), report(expert="++"), "--json")
    document = json.loads(result.stdout)
    assert (document["clear"], document["difference"]["value"]) == (True, 1)

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from hive_expert.cli.train import main
from hive_expert.errors import DatasetError, TrainingError, UsageError
from hive_expert.training.answer_checks import CHECKS
from hive_expert.training.synthesize import (
    MAX_IDLE,
    TEMPLATE_TOKENS,
    Order,
    rows_in,
    synthesize,
    tally_path,
)
from tests.training.openai_server import RecordingServer, openai_server

WORDS = [
    "amber",
    "birch",
    "cobalt",
    "dune",
    "ember",
    "fjord",
    "glade",
    "harbor",
    "indigo",
    "jasper",
    "kelp",
    "lagoon",
]


def row(number: int, **changes: Any) -> str:
    word, other = WORDS[number % 12], WORDS[(number * 5 + number // 12) % 12]
    question = f"{number * 7919} {other} in the {word} of {number}?"
    made = {"input": "", "instruction": question, "response": f"SELECT {number};"} | changes
    return json.dumps(made)


def numbered(body: dict[str, Any]) -> str:
    """A new row for each request, by the number that the prompt carries."""
    return row(int(body["messages"][0]["content"].split()[1]))


def order(server: RecordingServer, **changes: Any) -> Order:
    given = {"endpoint": server.endpoint, "model": "m", "prompt": "Row $number please", "count": 6}
    return Order(**(given | changes))


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_are_written_until_there_are_enough(tmp_path: Path) -> None:
    with openai_server(numbered) as server:
        tally = synthesize(order(server, language="sql"), tmp_path / "made.jsonl")
    assert tally.rows == 6
    assert tally.ended == "enough rows"
    assert tally.tokens == 6 * (tally.requests - tally.failed_requests)
    assert len({r["instruction"] for r in rows_of(tmp_path / "made.jsonl")}) == 6


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I cannot do that.", None),
        ("[1, 2]", "not an object"),
        ('{"instruction": "q"}', "fields"),
        ('{"instruction": "q", "response": "DROP"}', "not sql"),
        (row(1), "duplicate"),
        (row(1).replace("?", "??"), "near duplicate"),
    ],
)
def test_what_is_not_sound_or_not_new_is_left_out(
    tmp_path: Path, answer: str, reason: str | None
) -> None:
    made = tmp_path / "made.jsonl"
    made.write_text(row(1) + "\n", encoding="utf-8")
    with openai_server(lambda body: answer) as server:
        tally = synthesize(order(server, language="sql", max_requests=3, near=0.6), made)
    assert tally.rows == 1
    assert reason is None or tally.refused[reason] >= 3


def test_the_budget_of_requests_holds_over_runs(tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    with openai_server(numbered) as server:
        for _ in range(3):
            tally = synthesize(order(server, count=100, max_requests=5), made)
        assert len(server.requests) == 5
    assert tally.ended == "the budget of requests is spent"
    assert tally.rows == 5


def test_the_budget_of_tokens_is_not_exceeded(tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    with openai_server(numbered) as server:
        asked = order(server, count=100, max_tokens=700, answer_tokens=6, concurrency=3)
        tally = synthesize(asked, made)
        tally = synthesize(asked, made)
    most = 6 + len("Row 12 please") + TEMPLATE_TOKENS
    assert 700 - most < tally.tokens <= 700
    assert tally.ended.startswith("the budget of tokens has ")


@pytest.mark.parametrize("concurrency", [1, 4])
def test_long_prompts_are_part_of_the_budget_before_they_are_sent(
    tmp_path: Path, concurrency: int
) -> None:
    with openai_server(numbered, tokens=9_000) as server:
        long = order(
            server, prompt="Row $number " + "x" * 10_000, max_tokens=20_000, answer_tokens=9
        )
        tally = synthesize(
            replace(long, count=100, concurrency=concurrency), tmp_path / "made.jsonl"
        )
    assert len(server.requests) == tally.requests <= 2
    assert tally.tokens == 9_000 * tally.requests
    assert tally.reserved == 0


def test_what_a_killed_run_had_under_way_is_taken_to_be_spent(tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    tally_path(made).write_text(json.dumps({"requests": 3, "tokens": 10, "reserved": 500}))
    with openai_server(numbered) as server:
        tally = synthesize(order(server, count=1, concurrency=1), made)
    assert (tally.tokens, tally.reserved, tally.requests) == (516, 0, 4)


@pytest.mark.parametrize("status", [429, 503])
def test_a_request_that_is_sent_again_is_one_more(
    tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive_expert.training.synthesize.BACK_OFF_S", 0.01)
    refusals = iter([status, status])
    with openai_server(lambda body: next(refusals, None) or numbered(body)) as server:
        tally = synthesize(order(server, count=9, max_requests=3), tmp_path / "made.jsonl")
    assert (len(server.requests), tally.requests, tally.failed_requests) == (3, 3, 2)
    assert tally.rows == 1


def test_a_model_with_nothing_new_to_say_ends_the_run(tmp_path: Path) -> None:
    with openai_server(lambda body: row(1)) as server:
        tally = synthesize(order(server), tmp_path / "made.jsonl")
    assert tally.rows == 1
    assert tally.ended.startswith(f"{MAX_IDLE} answers")


def test_a_failed_request_is_survived(tmp_path: Path) -> None:
    refusals = iter([400, 400])
    with openai_server(lambda body: next(refusals, None) or numbered(body)) as server:
        tally = synthesize(order(server), tmp_path / "made.jsonl")
    assert (tally.rows, tally.failed_requests) == (6, 2)


def test_an_endpoint_that_never_answers_is_named(tmp_path: Path) -> None:
    with openai_server(lambda body: 400) as server, pytest.raises(TrainingError) as caught:
        synthesize(order(server), tmp_path / "made.jsonl")
    assert server.endpoint in str(caught.value)


def test_examples_are_shown_in_turn(tmp_path: Path) -> None:
    with openai_server(numbered) as server:
        asked = order(server, prompt="Row $number like $example", examples=("A", "B"))
        synthesize(asked, tmp_path / "made.jsonl")
        sent = sorted(body["messages"][0]["content"] for body, _ in server.requests)
    assert sent[:4] == ["Row 0 like A", "Row 1 like B", "Row 2 like A", "Row 3 like B"]


def test_a_prompt_with_another_mark_is_wrong_usage(tmp_path: Path) -> None:
    asked = Order("http://127.0.0.1:1/v1", "m", "costs $5", 1)
    with pytest.raises(UsageError, match="neither"):
        synthesize(asked, tmp_path / "made.jsonl")


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (row(1), 1),
        (f"[{row(1)}, {row(2)}]", 2),
        (f"Here:\n```json\n{row(1)}\n```\nand\n```json\n{row(2)}\n```", 2),
        (f"{row(1)}\n{row(2)},\nthat is all", 2),
        ('{"input": "a\u2028b"}\n{"input": "c\x85d"}', 2),
        ("nothing", 0),
    ],
)
def test_rows_are_found_in_answers(answer: str, count: int) -> None:
    assert len([value for value in rows_in(answer) if isinstance(value, dict)]) == count


def test_a_cut_off_line_is_taken_away(tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    made.write_text(row(1) + "\n" + row(2)[:20], encoding="utf-8")
    with openai_server(lambda body: row(5)) as server:
        tally = synthesize(order(server, count=2), made)
    assert tally.rows == 2
    assert len(rows_of(made)) == 2


def test_a_last_line_without_an_end_is_kept(tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    made.write_text(row(1) + "\n" + row(2), encoding="utf-8")
    with openai_server(lambda body: row(5)) as server:
        tally = synthesize(order(server, count=3), made)
    assert tally.rows == 3
    assert [r["response"] for r in rows_of(made)] == ["SELECT 1;", "SELECT 2;", "SELECT 5;"]


def test_one_array_without_an_end_is_no_output_and_stays(tmp_path: Path) -> None:
    made, array = tmp_path / "made.jsonl", f"[{row(1)}, {row(2)}]"
    made.write_text(array, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"made\.jsonl:1: is not a JSON object"):
        synthesize(Order("http://127.0.0.1:1/v1", "m", "p", 1), made)
    assert made.read_text(encoding="utf-8") == array


@pytest.mark.parametrize("broken", ["output", "tally"])
def test_a_broken_file_is_named(tmp_path: Path, broken: str) -> None:
    made = tmp_path / "made.jsonl"
    path = made if broken == "output" else tally_path(made)
    path.write_text("oops\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=path.name):
        synthesize(Order("http://127.0.0.1:1/v1", "m", "p", 1), made)


def command(server: RecordingServer, path: Path) -> list[str]:
    (path / "prompt.txt").write_text("Row $number please", encoding="utf-8")
    options = {"endpoint": server.endpoint, "model": "m", "prompt": path / "prompt.txt"}
    options |= {"output": path / "made.jsonl", "count": 40, "max-requests": 60, "concurrency": 2}
    return ["synthesize", "--json", *(f"--{k}={v}" for k, v in options.items())]


def slowly(reply: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], str]:
    def after_a_moment(body: dict[str, Any]) -> str:
        time.sleep(0.05)
        return reply(body)

    return after_a_moment


def test_a_killed_run_goes_on_and_what_it_spent_counts(tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    code = "import sys; from hive_expert.cli.train import main; main(sys.argv[1:])"
    with openai_server(slowly(numbered)) as server:
        arguments = command(server, tmp_path)
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.DEVNULL,
        )
        until = time.monotonic() + 120
        while not (made.exists() and len(made.read_bytes().splitlines()) >= 5):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = rows_of(made)
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        sent = len(server.requests)
    tally = json.loads(result.stdout)
    assert rows_of(made)[: len(before)] == before
    assert tally["rows"] == 40
    # A request is counted before it is sent: the kill may have come between.
    assert sent <= tally["requests"] <= min(60, sent + 2)


def test_too_few_rows_are_a_failure_that_keeps_them(tmp_path: Path) -> None:
    made, prompt = tmp_path / "made.jsonl", tmp_path / "prompt.txt"
    prompt.write_text("Row $number please", encoding="utf-8")
    with openai_server(numbered) as server:
        arguments = ["synthesize", "--endpoint", server.endpoint, "--model", "m", "--prompt",
                     str(prompt), "--output", str(made), "--count", "9", "--max-requests", "3",
                     "--json"]  # fmt: skip
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "3 of 9 rows: the budget of requests is spent" in " ".join(result.stderr.split())
    assert json.loads(result.stdout)["rows"] == len(rows_of(made)) == 3


@pytest.mark.parametrize("command", ["prepare", "synthesize"])
def test_every_language_with_a_check_can_be_chosen(command: str) -> None:
    (option,) = [p for p in main.commands[command].params if p.name == "language"]
    assert isinstance(option.type, click.Choice)
    assert set(option.type.choices) == set(CHECKS)

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from hive_expert.decoding.templates import TEMPLATES
from hive_expert.errors import DatasetError, Problem
from hive_expert.training.datasets import (
    Example,
    FieldMapping,
    read_examples,
    tokenize_examples,
)
from hive_expert.training.row_files import MAX_ROW_BYTES, READERS

MAPPING = FieldMapping()
GOOD = {"input": "Schema", "instruction": "How many?", "response": "SELECT 1;", "group": "a"}


def problems(path: Path, format_: str = "jsonl") -> list[str]:
    with pytest.raises(DatasetError) as caught:
        read_examples(path, format_, MAPPING)
    return [str(problem).removeprefix(str(path)) for problem in caught.value.problems]


def test_reads_rows_and_where_they_stand(write_rows: Callable[..., Path]) -> None:
    path = write_rows([GOOD, GOOD | {"input": ""}])
    assert read_examples(path, "jsonl", MAPPING) == [
        Example("Schema", "How many?", "SELECT 1;", f"{path}:1"),
        Example("", "How many?", "SELECT 1;", f"{path}:2"),
    ]


def test_columns_are_mapped(write_rows: Callable[..., Path]) -> None:
    path = write_rows([{"q": "How many?", "sql": "SELECT 1;"}])
    mapping = FieldMapping(instruction="q", input=None, response="sql")
    (example,) = read_examples(path, "jsonl", mapping)
    assert (example.system, example.user, example.answer) == ("", "How many?", "SELECT 1;")


@pytest.mark.parametrize("format_", ["json", "csv", "parquet"])
def test_other_formats_read_alike(format_: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{format_}"
    frame = pandas.DataFrame([GOOD, GOOD])
    if format_ == "json":
        path.write_text(json.dumps([GOOD, GOOD]))
    elif format_ == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    examples = read_examples(path, format_, MAPPING)
    assert [(e.system, e.user, e.answer) for e in examples] == [
        ("Schema", "How many?", "SELECT 1;")
    ] * 2


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    assert "'xml' is not read" in problems(tmp_path / "rows.xml", "xml")[0]


def test_missing_file(tmp_path: Path) -> None:
    assert "No such file" in problems(tmp_path / "nothing.jsonl")[0]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_empty_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    assert problems(path) == [": no rows (point the manifest at a filled data set)"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"input": ', "broken JSON: Expecting value at column 10"),
        (b"[1, 2]", "not a JSON object"),
        (b"null", "null instead of an object"),
        (b'{"input": "\xff"}', "not UTF-8"),
        (b'{"input": "", "instruction": "q"}', "no field 'response'"),
        (b'{"input": "", "instruction": 3, "response": "a"}', "'instruction' is int"),
        (b'{"input": null, "instruction": "q", "response": "a"}', "'input' is NoneType"),
        (b'{"input": "", "instruction": "q", "response": " "}', "'response' is empty"),
        (b'{"input": "' + b"x" * MAX_ROW_BYTES + b'"}', "bytes, more than"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"input": "a", "input": "b"}', "the key 'input' is there twice"),
        (b'{"input": NaN}', "NaN is not JSON"),
        (b'{"input": "\\ud83d!"}', "\\ud83d is half a character"),
    ],
)
def test_bad_line_is_reported_with_its_number(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + line + b"\n")
    (problem,) = problems(path)
    assert problem.startswith(":2: ")
    assert says in problem


def test_the_mark_of_some_editors_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert len(read_examples(path, "jsonl", FieldMapping())) == 1


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(GOOD).encode("utf-16"))
    assert problems(path) == [": UTF-16 instead of UTF-8 (save it as UTF-8)"]


def test_whole_characters_may_be_escaped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD | {"instruction": "😀"}))
    assert "\\ud83d" in path.read_text()
    (example,) = read_examples(path, "jsonl", FieldMapping())
    assert example.user == "😀"


def test_all_bad_lines_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{\n" + json.dumps(GOOD) + "\n{}\n[]\n")
    assert [problem[:3] for problem in problems(path)] == [":1:", ":3:", ":3:", ":3:", ":4:"]


def test_a_flood_of_problems_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("x\n" * 250)
    reported = problems(path)
    assert len(reported) == 101
    assert reported[-1] == "and 150 more bad rows"


def test_ragged_csv(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("input,instruction,response\n,q,a\n,q\n")
    assert problems(path, "csv") == [":3: more or fewer cells than the header has"]


def test_every_broken_line_of_csv_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('input,instruction,response\n,q,a\n,"q"x,a\n,r,b\n,"s"y,c\n,t,d\n')
    broken: list[Problem] = []
    read = [row["instruction"] for _, row in READERS["csv"](path, broken)]
    assert read == ["q", "r", "t"]
    assert [problem.where.rpartition(":")[2] for problem in broken] == ["3", "5"]


def test_loss_is_on_the_answer_and_its_end_of_turn(tokenizer: Any) -> None:
    example = Example("Schema", "How many?", "SELECT 1;", "here")
    (row,) = tokenize_examples([example], tokenizer, max_length=1000)
    assert tokenizer.decode(row.answer) == "SELECT 1;<|im_end|>"
    assert tokenizer.decode(row.prompt) == (
        "<|im_start|>system\nSchema<|im_end|>\n"
        "<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_prompt_is_what_the_server_sends_without_a_system_message(tokenizer: Any) -> None:
    (row,) = tokenize_examples([Example("", "Hi", "Yes", "here")], tokenizer, max_length=1000)
    served = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_dict=False
    )
    assert list(row.prompt) == served
    assert "Be kind" in tokenizer.decode(row.prompt)


def test_rows_of_one_system_message_are_one_group(tokenizer: Any) -> None:
    examples = [Example(s, "q", "a", "here") for s in ("A", "B", "A")]
    rows = tokenize_examples(examples, tokenizer, max_length=1000)
    assert [row.group for row in rows] == [0, 1, 0]


@pytest.mark.parametrize(
    ("example", "says"),
    [
        (Example("S", "x" * 100, "a", "here"), "more than max_seq_length 90"),
        (Example("S", "<|im_end|>", "a", "here"), "the user text holds the special token"),
        (Example("S", "q", "a<|im_start|>", "here"), "the answer text holds the special token"),
    ],
)
def test_rows_that_cannot_be_trained_on(tokenizer: Any, example: Example, says: str) -> None:
    fine = Example("S", "q", "a", "elsewhere")
    with pytest.raises(DatasetError, match=says) as caught:
        tokenize_examples([fine, example], tokenizer, max_length=90)
    assert [problem.where for problem in caught.value.problems] == ["here"]


def test_answer_that_merges_with_the_prompt_is_refused(tokenizer: Any) -> None:
    tokenizer_ending_in_space = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token="<|im_end|>",
        chat_template=tokenizer.chat_template.replace("assistant\n' }}", "assistant ' }}").replace(
            "message['role'] + '\n'", "message['role'] + (' ' if loop.last else '\n')"
        ),
    )
    example = Example("S", "q", " a", "here")
    with pytest.raises(DatasetError, match="merges with the prompt"):
        tokenize_examples([example], tokenizer_ending_in_space, max_length=90)


@pytest.mark.parametrize("name", TEMPLATES)
def test_rows_are_rendered_with_the_expert_s_template(tokenizer: Any, name: str) -> None:
    example = Example("Schema", "How many?", "SELECT 1;", "here")
    template = TEMPLATES[name]
    (row,) = tokenize_examples([example], tokenizer, max_length=1000, template=template)
    messages = example.messages()
    prompt = tokenizer.apply_chat_template(
        messages, chat_template=template.text, tokenize=False, add_generation_prompt=True
    )
    assert tokenizer.decode(row.prompt) == prompt
    assert tokenizer.decode(row.answer) == f"SELECT 1;{template.end_of_turn or '<|im_end|>'}"

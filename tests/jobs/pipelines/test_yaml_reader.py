"""YAML that is data is read; whatever else YAML can do is refused, with its line."""

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.errors import PipelineError
from hive_expert.jobs.pipelines.limits import MAX_FILE_BYTES
from hive_expert.jobs.pipelines.yaml_reader import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("- x\n- [y, 2.5]\n- {z: true}", ["x", ["y", 2.5], {"z": True}]),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("a: \"1\"\nb: 'true'", {"a": "1", "b": "true"}),
        ("no: no\non: off\nt: 12:30", {"no": "no", "on": "off", "t": "12:30"}),
        ("a: ~\nb:\nc: null", {"a": None, "b": None, "c": None}),
        ("a: 010\nb: 1_000\nc: 0x10", {"a": 10, "b": "1_000", "c": "0x10"}),
        ('{"a": [1, "é"]}', {"a": [1, "é"]}),
        ("a: 2026-01-01", {"a": "2026-01-01"}),
    ],
)
def test_data_is_read(text: str, value: Any) -> None:
    assert read_yaml(text.encode(), "f.yaml").value == value


def test_every_value_has_its_line() -> None:
    lines = read_yaml(b"a: 1\nb:\n  - c: 2\n    d: 3\n", "f.yaml").lines
    assert lines == {"": 1, "a": 1, "b": 3, "b[0]": 3, "b[0].c": 3, "b[0].d": 4}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\na: 2", 2, "appears more than once"),
        ("a: 1\nb: {c: 1, c: 2}", 2, "appears more than once"),
        ("a: &x 1", 1, "anchors"),
        ("a: *x", 1, "aliases"),
        ("{*x : 1}", 1, "aliases"),
        ("a: 1\nb: !!python/object/apply:os.system ['id']", 2, "tags"),
        ("a: !env HOME", 1, "tags"),
        ("a: !!str 1", 1, "tags"),
        ("<<: {a: 1}", 1, "merge keys"),
        ("1: a", 1, "quote it"),
        ("? [a]\n: b", 1, "a key must be a text"),
        ("a: 1\n---\nb: 2", 2, "a second document"),
        ("a: .inf", 1, "no number"),
        ("a: 1e999", 1, "out of range"),
        ("a: 99999999999999999999", 1, "out of range"),
        ('a: "\\ud800"', 1, "surrogate"),
        ('a: "\\x07"', 1, "control character"),
        ("a: b: c", 1, "not YAML"),
        ("a: [1", 2, "not YAML"),
        ("[" * 40, 1, "nested deeper"),
    ],
)
def test_all_else_is_refused(text: str, line: int, what: str) -> None:
    with pytest.raises(PipelineError) as caught:
        read_yaml((text + "\n").encode(), "f.yaml")
    (problem,) = caught.value.problems
    assert problem.where == f"f.yaml: line {line}"
    assert what in problem.what


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"a: \x00", "not YAML"),
        (b"#" * (MAX_FILE_BYTES + 1), "bytes allowed"),
    ],
)
def test_bytes_that_are_no_text_are_refused(data: bytes, what: str) -> None:
    with pytest.raises(PipelineError, match=what):
        read_yaml(data, "f.yaml")


@pytest.mark.parametrize(
    "unit",
    ["[", "- ", "{", "? ", "a:\n", "{a: 1, ", "&a ", "%YAML 1.1\n", "'x ", "|\n", "a: >\n\n"],
)
def test_repetition_ends(unit: str) -> None:
    with pytest.raises(PipelineError):
        read_yaml((unit * (MAX_FILE_BYTES // len(unit))).encode(), "f.yaml")


def test_a_bomb_of_aliases_is_never_opened() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    with pytest.raises(PipelineError, match="aliases"):
        read_yaml("\n".join(levels).encode(), "f.yaml")


def test_all_refusals_are_told_at_once() -> None:
    with pytest.raises(PipelineError) as caught:
        read_yaml(b"a: &x 1\nb: *x\nc: !t 1\nc: 2\n", "f.yaml")
    assert len(caught.value.problems) == 4

"""JSON that two readers could read differently is refused."""

from __future__ import annotations

import json
import time

import pytest

from hive_expert.errors import ManifestError, PackageError
from hive_expert.manifest.strict_json import join, read_json


def problems(data: bytes) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_json(data, "f.json")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "value", [{}, [], "é\t\n", 0, -1.5, True, None, {"a": [{"b": "c"}]}, 2**63 - 1, 1e-300]
)
def test_plain_json_is_read(value: object) -> None:
    assert read_json(json.dumps(value).encode(), "f.json") == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\xff\xfe{\0}\0", "not UTF-8 at byte 0"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 01}', "not JSON"),
        (b'{"a": "\n"}', "not JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": Infinity}', "Infinity is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": 100000000000000000000}', "out of range"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "out of range"),
        (b'{"a": "\\ud800"}', "f.json: a: holds the lone surrogate U+D800"),
        (b'{"\\udc00": 1}', "f.json: a key holds the lone surrogate U+DC00"),
        (b'{"a": "\\u0000"}', "control character U+0000"),
        (b'{"a": "\\u001b[31m"}', "control character U+001B"),
        (b'{"a": "\\u009b"}', "control character U+009B"),
    ],
)
def test_anything_else_is_refused(data: bytes, reason: str) -> None:
    (problem,) = problems(data)
    assert reason in problem


def test_a_repeated_key_is_named_with_its_path() -> None:
    data = b'{"a": [0, {"b": 1, "c": 2, "b": 3}]}'
    (problem,) = problems(data)
    assert problem.startswith("f.json: a[1].b: the key appears more than once")


def test_keys_that_are_equal_after_unescaping_are_repeated() -> None:
    assert "more than once" in problems(b'{"ab": 1, "\\u0061b": 2}')[0]


def test_a_surrogate_pair_is_a_character() -> None:
    assert read_json(b'"\\ud83d\\ude00"', "f.json") == "\N{GRINNING FACE}"


def test_all_problems_of_the_content_come_at_once() -> None:
    assert len(problems(b'{"a": 1, "a": "\\u0000", "b": "\\ud800"}')) == 3


def test_nesting_of_32_is_read_and_33_refused() -> None:
    assert read_json(b"[" * 32 + b"]" * 32, "f.json")
    assert "deeper than 32" in problems(b"[" * 33 + b"]" * 33)[0]


def test_brackets_in_strings_are_not_nesting() -> None:
    assert read_json(json.dumps("[{" * 100 + '\\"').encode(), "f.json")


@pytest.mark.parametrize("data", [b"[" * 500_000, b'["' + b"\\" * 500_000, b'{"a":' * 100_000])
def test_deep_or_broken_input_is_refused_quickly(data: bytes) -> None:
    started = time.perf_counter()
    problems(data)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    "data",
    [
        b'{"%b":[%b1]}' % (b"k" * 500_000, b"1," * 190_000),
        json.dumps(["\x01"] * 100_000).encode(),
        b"[%b1]" % (b"1," * 500_000),
    ],
    ids=["a long key over many values", "a problem in every value", "many values"],
)
def test_a_document_made_to_be_slow_is_refused_quickly(data: bytes) -> None:
    started = time.process_time()
    found = problems(data)
    assert time.process_time() - started < 1
    assert len(found) <= 101
    assert sum(map(len, found)) < 100_000


def test_more_than_a_hundred_problems_are_not_spelled_out() -> None:
    found = problems(json.dumps(["\x01"] * 101).encode())
    assert len(found) == 101
    assert found[-1] == "f.json: and more: only 100 problems are listed"
    assert len(problems(json.dumps(["\x01"] * 100).encode())) == 100


def test_the_limit_on_values_counts_containers_and_what_is_in_them() -> None:
    document = [[1, 2], {"a": "x,y,[", "b": []}]  # 1 + 2 + 2 + 2 + 1 at least
    assert read_json(json.dumps(document).encode(), "f.json", max_values=8) == document
    with pytest.raises(ManifestError, match="more than the 6 values"):
        read_json(json.dumps(document).encode(), "f.json", max_values=6)


def test_a_key_of_1024_characters_is_the_longest() -> None:
    assert read_json(json.dumps({"k" * 1024: 1}).encode(), "f.json")
    assert "more than 1024 characters" in problems(json.dumps({"k" * 1025: 1}).encode())[0]


def test_a_megabyte_is_the_limit() -> None:
    assert read_json(b'"' + b"a" * ((1 << 20) - 2) + b'"', "f.json")
    assert "more than the 1048576" in problems(b'"' + b"a" * (1 << 20) + b'"')[0]


def test_the_caller_chooses_the_error() -> None:
    with pytest.raises(PackageError):
        read_json(b"{", "f.json", error=PackageError)


def test_paths_quote_keys_that_are_no_names() -> None:
    assert join(join("a", 0), "b") == "a[0].b"
    assert join("a", "b.c") == 'a["b.c"]'

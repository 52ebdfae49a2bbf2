"""Which regular expressions are compiled, and which are refused for what compiling would take."""

from __future__ import annotations

import time

import pytest

from hive_expert.manifest.patterns import MAX_CHARACTERS_IN_RANGES, flaw


@pytest.mark.parametrize(
    "pattern",
    ["a|b", r"\bjoin\b.{0,40}", "[a-zA-Z0-9_]+", "[^a-z]", "(?i)x", "", "[\u0400-\u04ff]{2,}"],
)
def test_ordinary_patterns_are_taken(pattern: str) -> None:
    assert flaw(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "[z-a]",
        "(?<=a+)b",
        "a{4294967296}",  # re raises OverflowError for it
        "(?:" * 100_000 + ")" * 100_000,  # and RecursionError for that
        "(?L)a",
    ],
)
def test_what_cannot_be_compiled_is_no_regular_expression(pattern: str) -> None:
    assert (flaw(pattern) or "").startswith("is no regular expression: ")


@pytest.mark.parametrize(
    "nested", ["{}", "({})", "(?:{})+", "x|{}", "(?={})", "(a)(?(1){}|b)", "(?>{})"]
)
def test_wide_ranges_are_refused_wherever_they_are(nested: str) -> None:
    most = chr(0x100 + MAX_CHARACTERS_IN_RANGES - 1)
    assert flaw(nested.format(f"[\u0100-{most}]")) is None
    assert flaw(nested.format(f"[a\u0100-{chr(ord(most) + 1)}]")) == (
        f"its ranges have more than {MAX_CHARACTERS_IN_RANGES} characters"
    )


def test_the_ranges_of_a_pattern_count_together() -> None:
    half = f"[\u0100-{chr(0x100 + MAX_CHARACTERS_IN_RANGES // 2)}]"
    assert flaw(half) is None
    assert flaw(half + half) is not None


def test_no_pattern_of_a_manifests_length_takes_long() -> None:
    hostile = ("(?i)" + "[\u0100-\U0010ffff]" * 200)[:512]
    started = time.process_time()
    for _ in range(100):
        assert flaw(hostile) is not None
    assert time.process_time() - started < 1.0

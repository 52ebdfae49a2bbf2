from __future__ import annotations

import re
import time

import pytest

from hive_expert.manifest.pattern_effort import MAX_LENGTH, unsafe
from hive_expert.router.limits import limitation_patterns
from hive_expert.router.turns import HEAD, TAIL
from tests.router.experts import four_manifests, manifest


@pytest.mark.parametrize(
    "pattern",
    [
        r"\b(insert|update|delete|drop|alter|truncate|grant)\b",
        r"window functions?",
        r"more than \d+ tables?",
        r"^(?:please )?drop\b",
        r"recursive|pivot|.*lateral",
        r"[a-f0-9]{32}",
        r"(?:ab){3}",
        "",
    ],
)
def test_usual_patterns_are_used(pattern: str) -> None:
    assert unsafe(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(a+)+b", "ways"),
        ("(a|a)*b", "ways"),
        ("(?:a|aa){0,60}b", "ways"),
        (".*.*x", "ways"),
        ("a?" * 30 + "a" * 30, "ways"),
        ("(?:a|a)" * 40 + "b", "ways"),
        ("a{0,60}" * 5 + "b", "ways"),
        (r"\w+\s+\w+", "ways"),
        ("(?:(?:(?:){60}){60}){60}", "steps"),
        (r"\w{0,31}\w{0,31}(?:\w{60}){16}!", "steps"),
        ("(?=a)b", "look-around"),
        ("(?<!a)b", "look-around"),
        (r"(a)\1", "back-reference"),
        ("(a)?(?(1)b|c)", "back-reference"),
        ("x" * (MAX_LENGTH + 1), "longer than"),
    ],
)
def test_what_may_take_long_is_not_used(pattern: str, says: str) -> None:
    assert says in str(unsafe(pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        "(?:a|aa|aaa)[^b]*c",
        ".*" + "x?" * 2 + "b",
        "(?:a|a){4}b",
        "a{0,63}b",
        r"\w{0,15}\w{0,15}\w{30}!",
        r"\w{0,3}\w{0,3}(?:\w{60}){16}!",
    ],
)
def test_what_is_used_takes_no_long_time_on_the_longest_text(pattern: str) -> None:
    assert unsafe(pattern) is None
    started = time.process_time()
    re.search(pattern, "a" * (HEAD + TAIL + 1))
    assert time.process_time() - started < 1


def test_only_what_is_flagged_is_read_as_a_pattern() -> None:
    expert = manifest(
        limitations=[
            {"pattern": "no joins over (five tables"},
            {"pattern": "drop|alter", "regex": True},
            {"pattern": "(a+)+b", "regex": True},
        ]
    )
    patterns, warnings = limitation_patterns(expert)
    assert [p.pattern for p in patterns] == ["drop|alter"]
    assert patterns[0].search("DROP it")
    assert warnings == ["expert-a: limitations[2].pattern can match in too many ways; not used"]


def test_every_flagged_limitation_of_the_experts_is_used() -> None:
    for expert in four_manifests():
        patterns, warnings = limitation_patterns(expert)
        assert not warnings
        assert len(patterns) == sum(bool(item.regex) for item in expert.limitations)

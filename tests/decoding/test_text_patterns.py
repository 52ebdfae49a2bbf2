"""Patterns match what they are for, to the character."""

from __future__ import annotations

import re

import pytest

from hive_expert.decoding.text_patterns import FORMATS, NAMES, text_of


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 0), (0, 1), (0, 63), (0, 64), (0, 65), (0, 128), (0, 200), (0, 512), (3, 3), (3, 70),
        (64, 64), (64, 128), (100, 300), (200, 200), (130, None), (0, None), (1, None),
    ],
)  # fmt: skip
def test_a_text_has_so_many_characters(low: int, high: int | None) -> None:
    pattern = re.compile(text_of(low, high).removesuffix("$") + r"\Z")
    allowed = [n for n in range(600) if pattern.search("\u00e9" * n)]
    assert allowed == [n for n in range(600) if low <= n and (high is None or n <= high)]
    assert not pattern.search("\n" * (low + 1))


def test_no_count_is_above_what_the_compiler_takes() -> None:
    for high in range(600):
        counts = [int(n) for n in re.findall(r"(\d+)\}", text_of(high // 3, high))]
        assert max(counts, default=0) <= 128


MATCHES = {
    "date": ["2024-02-29", "1999-12-31"],
    "time": ["10:00:00Z", "23:59:59.123456789+02:00"],
    "date-time": ["2024-02-29T10:00:00.5Z"],
    "duration": ["P3D", "P1Y2M3DT4H5M6S", "PT30M", "P2W", "P1YT1S"],
    "ipv4": ["127.0.0.1", "255.255.255.255"],
    "email": ["a@b", "anna.berg+news@mail.example.com", f"{'a.' * 31}a@{'b-' * 31}b"],
    "hostname": ["localhost", "www.Example.com", "xn-1.example"],
}
MISSES = {
    "date": ["2023-02-29", "2024-06-31", "0999-01-01"],
    "time": ["24:00:00Z", "10:00:00", "10:00:00.1234567890Z"],
    "date-time": ["2024-02-30T10:00:00Z"],
    "duration": ["P", "PT", "P1Y1D", "PT1H1S", "P1W1D", "P1234567890D"],
    "ipv4": ["256.0.0.1", "01.0.0.1", "1.2.3"],
    "email": ["a", "a@", "@b", "a..b@c", ".a@b", "a.@b", "a b@c", f"{'a' * 33}@b", "a@b..c"],
    "hostname": ["", ".a", "a.", "a..b", "-a", "a_b", "a" * 33],
}


@pytest.mark.parametrize("form", [*FORMATS, *NAMES])
def test_a_format_is_kept_to(form: str) -> None:
    pattern = re.compile({**FORMATS, **NAMES}[form])
    assert [t for t in MATCHES[form] if not pattern.search(t)] == []
    assert [t for t in MISSES[form] if pattern.search(t)] == []


def test_names_are_within_the_limits_of_their_standards() -> None:
    longest = f"{'a.' * 31}a@{'b.' * 31}b"
    assert re.search(NAMES["email"], longest)
    local, _, host = longest.partition("@")
    assert (len(local) <= 64, len(host) <= 253, len(longest) <= 254) == (True, True, True)

"""Semantic versions: their form and their order (https://semver.org)."""

from __future__ import annotations

_NUMBER = r"(0|[1-9][0-9]*)"
_LABEL = r"(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"

SEMANTIC_VERSION = (
    rf"^{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
    rf"(-{_LABEL}(\.{_LABEL})*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$"
)

Precedence = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def precedence(version: str) -> Precedence:
    """A sort key for valid semantic versions.

    Law: keys order as section 11 of the standard orders versions; build metadata doesn't count.

    >>> precedence("1.0.0-rc.2") < precedence("1.0.0-rc.11") < precedence("1.0.0")
    True
    """
    core, _, labels = version.partition("+")[0].partition("-")
    return (
        tuple(int(part) for part in core.split(".")),
        not labels,
        tuple(_label(label) for label in labels.split(".") if label),
    )


def _label(label: str) -> tuple[bool, int, str]:
    # Numbers sort before words, by value; words by character.
    return (False, int(label), "") if label.isdigit() else (True, 0, label)

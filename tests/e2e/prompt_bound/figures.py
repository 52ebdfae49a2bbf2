"""What the outcomes of single cases come to."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.e2e.tally import Outcome, Tally

JSON, SQL, HOSTILE = "json", "sql", "hostile schemas"
_COMPILED = re.compile(r"compiled in ([0-9.]+) ms")


def cost(headers: Sequence[str]) -> dict[str, Any]:
    """Of binding one case's requests, from the headers that tell of their grammar."""
    compiled = [float(found[1]) for header in headers if (found := _COMPILED.search(header))]
    return {"compile ms": compiled, "cache hits": sum("; known" in header for header in headers)}


def figures(tally: Tally) -> dict[str, Any]:
    """All of a run's figures, but those of its neighbours."""
    outcomes = Counter(str(outcome["outcome"]) for outcome in tally.of(HOSTILE))
    tried = {"tried": outcomes.total(), **dict(sorted(outcomes.items()))}
    return {
        JSON: _counted(tally.of(JSON)),
        SQL: _counted(tally.of(SQL)),
        "binding": _costs([*tally.of(JSON), *tally.of(SQL)]),
        HOSTILE: tried,
    }


def _counted(cases: Sequence[Outcome]) -> dict[str, int]:
    """How many there are, and of how many each thing is true."""
    found: Counter[str] = Counter()
    for case in cases:
        found.update({key: value for key, value in case.items() if isinstance(value, bool)})
    return {"schemas": len(cases), **found}


def _costs(cases: Sequence[Outcome]) -> dict[str, Any]:
    compiled = sorted(ms for case in cases for ms in case.get("compile ms", ()))
    at = compiled or [0.0]
    return {
        "grammars compiled": len(compiled),
        "cache hits": sum(case.get("cache hits", 0) for case in cases),
        "compile ms p50": round(statistics.median(at), 1),
        "compile ms p99": round(at[min(len(at) - 1, len(at) * 99 // 100)], 1),
    }

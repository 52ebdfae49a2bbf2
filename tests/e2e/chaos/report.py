"""Results of several runs in one file, and their sums."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SUMMED = (
    "minutes",
    "requests",
    "answers",
    "clients that left",
    "wrong expert",
    "stale",
    "lost",
    "hung",
    "operations that failed",
)


def add_runs(path: Path, runs: Sequence[Mapping[str, Any]]) -> None:
    """Write these runs behind those that the file holds, and the sums of all of them."""
    known = json.loads(path.read_text())["runs"] if path.exists() else []
    together = [*known, *runs]
    text = json.dumps({"sums": sums(together), "runs": together}, indent=2)
    path.write_text(text + "\n")


def sums(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all runs had together. The slope of memory is of each run without faults."""
    operations: Counter[str] = Counter()
    for run in runs:
        operations.update(run["operations"])
    return {
        "runs": len(runs),
        **{key: round(sum(run[key] for run in runs), 1) for key in SUMMED},
        "operations": dict(sorted(operations.items())),
        "seconds max": max(run["seconds max"] for run in runs),
        "memory slope MiB per hour": [
            run["memory slope MiB per hour"] for run in runs if run["fault"] == "none"
        ],
        "ok": all(run["ok"] for run in runs),
    }

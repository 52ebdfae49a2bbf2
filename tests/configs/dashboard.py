"""Which metrics the Grafana dashboard asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[2] / "configs" / "grafana.json"
_NAME = re.compile(r"\b(?:hive_|vllm:)[a-z_]+")
_OF_HISTOGRAM = ("_bucket", "_sum", "_count")


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(PATH.read_text())["panels"]
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def metrics() -> set[str]:
    """The names of all metrics that the panels ask for."""
    return {name for expression in expressions() for name in _NAME.findall(expression)}


def series_in(page: str) -> set[str]:
    """The names of series that a page of metrics announces, used or not."""
    found = set()
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:4]
            found.add(name)
            if kind == "histogram":
                found |= {name + part for part in _OF_HISTOGRAM}
    return found

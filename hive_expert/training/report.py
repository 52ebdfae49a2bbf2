"""The record of a training run: ``training_report.json`` and the loss plot beside it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

REPORT_FILE = "training_report.json"
PLOT_FILE = "training_loss.png"

Curve = list[tuple[int, float]]
"""(step, value) pairs in the order of the steps."""


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What was done, with what, and how it went.

    ``tokens`` counts the tokens of all rows as if each stood alone; ``tokens_computed`` what
    went through the model, shared beginnings once and padding included. ``tokens_per_second``
    is the first over the wall time, evaluations included; after a resume, of the last part.
    """

    expert: str
    version: str
    base: str
    plan: Mapping[str, Any]
    max_steps: int | None
    data: Mapping[str, Mapping[str, Any]]
    validation_rows_used: int
    steps: int
    epochs: float
    resumed_from: str | None
    duration_seconds: float
    tokens: int
    tokens_computed: int
    tokens_per_second: float
    loss: Curve
    eval_loss: Curve
    versions: Mapping[str, str]

    @property
    def final_loss(self) -> float | None:
        return self.loss[-1][1] if self.loss else None

    @property
    def final_eval_loss(self) -> float | None:
        return self.eval_loss[-1][1] if self.eval_loss else None


def versions() -> dict[str, str]:
    """Versions of everything whose change could change the result."""
    packages = ("hive-expert", "torch", "transformers", "trl", "peft", "datasets", "accelerate")
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_report(report: TrainingReport, directory: Path) -> None:
    """Write the report and its plot into ``directory``."""
    text = json.dumps(asdict(report), indent=2)
    (directory / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
    if report.loss:
        _plot(report, directory / PLOT_FILE)


def trained_steps(directory: Path) -> int | None:
    """Optimizer steps of the adapter in ``directory``; None where no report lies beside it."""
    try:
        steps = json.loads((directory / REPORT_FILE).read_bytes())["steps"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return steps if isinstance(steps, int) else None


def _plot(report: TrainingReport, path: Path) -> None:
    # Imported here: a second of start-up that only the end of a run needs.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for curve, label in ((report.loss, "training"), (report.eval_loss, "validation")):
        if curve:
            axes.plot(*zip(*curve, strict=True), label=label)
    axes.set(xlabel="step", ylabel="loss per answer token", title=report.expert, ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})

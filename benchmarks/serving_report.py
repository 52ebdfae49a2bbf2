"""The result of `serving.py` or `jobs.py` as a table and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

MEANING = {
    "P6": "first token, expert on disk ÷ in a slot",
    "P8": "throughput ÷ stock vLLM, same adapters",
    "P10": "tokens/s with a grammar ÷ without, same tokens",
    "P11": "p99 between tokens, installs beside ÷ quiet",
    "P12": "throughput, 10 experts on 3 slots ÷ on 10",
    "P14": "start with 1,000 packages ÷ with 10",
    "P15": "p99 of the first token, full batch beside ÷ quiet",
    "P16": "requests/s as a batch ÷ sent directly",
    "P17": "tokens/s of two replicas, a core each ÷ of one",
    "P18": "share of requests whose expert was resident",
}
SIGN = {"at least": "≥", "at most": "≤"}

Row = tuple[str, str, dict[str, Any]]
"""Name, meaning, figure."""


def rows(figures: dict[str, Any]) -> Iterator[Row]:
    """Every figure and the parts of its target, in the order of their names."""
    for name in sorted(figures, key=lambda name: int(name[1:])):
        figure = figures[name]
        meaning = MEANING[name]
        if "packages" in figure:
            meaning = meaning.replace("1,000", f"{figure['packages']:,}")
        yield name, meaning, figure
        if "reactivation_ms" in figure:
            yield "", "added by an expert in memory, ms", _in_ms(figure["reactivation_ms"])
        if "of_vllm_on_our_engine" in figure:
            yield "", "÷ vLLM's server on our engine", figure["of_vllm_on_our_engine"]
            yield "", "latency added by us, ms", _in_ms(figure["added_ms"])


def table(figures: dict[str, Any], title: str = "Serving") -> Table:
    shown = Table(title=title)
    for heading in ("", "figure", "ratio", "least", "greatest", "target", ""):
        shown.add_column(heading, no_wrap=True)
    for name, meaning, figure in rows(figures):
        numbers = [f"{figure[key]:.3f}" for key in ("ratio", "low", "high")]
        target = f"{SIGN[figure['bound']]} {figure['target']:g}"
        met = _met(figure)
        shown.add_row(name, meaning, *numbers, target, "ok" if met else "[red]no[/]")
    return shown


def plot(figures: dict[str, Any], file: Path) -> None:
    """Each ratio with its spread, beside its target."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = list(rows(figures))
    picture, panels = plt.subplots(len(shown), 1, figsize=(7, 0.2 + 0.8 * len(shown)))
    panels = [panels] if len(shown) == 1 else panels
    for panel, (name, meaning, figure) in zip(panels, shown, strict=True):
        color = "#369" if _met(figure) else "#c63"
        panel.plot([figure["low"], figure["high"]], [0, 0], color=color, linewidth=5, alpha=0.4)
        panel.plot(figure["ratio"], 0, "o", color=color)
        panel.axvline(figure["target"], color="#333", linestyle=":")
        panel.set_title(
            f"{name}  {meaning}: {figure['ratio']:.2f} "
            f"({SIGN[figure['bound']]} {figure['target']:g})".strip(),
            loc="left",
            fontsize=9,
        )
        panel.set_yticks([])
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right", "left"]].set_visible(False)
    picture.tight_layout()
    picture.savefig(file, dpi=120)
    plt.close(picture)


def _in_ms(figure: dict[str, Any]) -> dict[str, Any]:
    return {**figure, "ratio": figure["ms"], "bound": "at most"}


def _met(figure: dict[str, Any]) -> bool:
    """This number's own target; a figure's `ok` is about all of its numbers."""
    value, target = figure["ratio"], figure["target"]
    return bool(value >= target if figure["bound"] == "at least" else value <= target)

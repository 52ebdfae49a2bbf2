"""The result of `multi_lora.py` as a table and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

MEANING = {
    "P1": "prefill, 8 experts ÷ stock",
    "P2": "prefill, 8 experts ÷ base alone",
    "P3": "decode, 16 requests, 8 experts ÷ stock",
    "P4": "DoRA and IA3 ÷ plain LoRA",
    "P5": "10 experts ÷ 1",
    "P13": "composition of 3 ÷ one expert of the summed rank",
}


def table(result: dict[str, Any]) -> Table:
    """The figures and their A/A control."""
    shown = Table(title="Many adapters in one batch")
    for heading in ("", "figure", "ratio", "least", "greatest", "target", ""):
        shown.add_column(heading, no_wrap=True)

    def add(name: str, meaning: str, figure: dict[str, Any]) -> None:
        target = figure.get("target")
        verdict = "" if target is None else "ok" if figure["ratio"] >= target else "[red]no[/]"
        numbers = [f"{figure[key]:.3f}" for key in ("ratio", "low", "high")]
        shown.add_row(name, meaning, *numbers, "" if target is None else str(target), verdict)

    for name, figure in result["figures"].items():
        add(name, MEANING[name], figure)
        if "of_base" in figure:
            add("", "decode, 16 requests, 8 experts ÷ base alone", figure["of_base"])
    for phase, ratio in result["controls"].items():
        add("A/A", f"{phase}: the same twice", ratio)
    return shown


def plot(result: dict[str, Any], file: Path) -> None:
    """Tokens per second of the three engines, one panel for each phase."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = ("base", "stock", "ours")
    labels = ("base alone", "stock vLLM,\n8 experts", "hive-expert,\n8 experts")
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.5))
    for panel, phase in zip(panels, ("prefill", "decode"), strict=True):
        rates = [result["all_rates"][f"{phase} {name}"] for name in names]
        middle = [result["rates"][f"{phase} {name}"] for name in names]
        spread = [
            [m - min(r) for m, r in zip(middle, rates, strict=True)],
            [max(r) - m for m, r in zip(middle, rates, strict=True)],
        ]
        bars = panel.bar(labels, middle, yerr=spread, capsize=4, color=("#999", "#c66", "#369"))
        panel.bar_label(bars, [f"{m:.0f}" for m in middle], label_type="center", color="white")
        panel.set_title(f"{phase}, tokens/s")
        panel.spines[["top", "right"]].set_visible(False)
    machine = result["machine"]
    figure.suptitle(
        f"SmolLM2-135M bf16, rank {machine['rank']}, {machine['cpu']}, {machine['cores']} cores"
    )
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)

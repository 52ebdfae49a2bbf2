"""The shipped experts against their base model, through hive-serve, on held-out cases (SPEC §12).

One server serves all that are packed; `hive-train evaluate` asks it. Its reports, with the wrong
answers, are kept beside the figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import rich_click as click
from experts_claims import CLAIMS, figures_of
from rich.console import Console
from rich.table import Table

from hive_expert.serving.local_server import local_server

HERE = Path(__file__).parent
ROOT = HERE.parent
EXPERTS = ("sql", "json", "neo4j", "typescript")
BASE = "SmolLM2-135M-Instruct"
MAX_TOKENS = 128
progress = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="24 cases of each expert.")
@click.option("--only", type=click.Choice(EXPERTS), help="The stored reports of others are kept.")
@click.option(
    "--experts-dir", default=ROOT / ".hive" / "experts", show_default=".hive/experts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The packages; `make evaluate` packs them there.",
)  # fmt: skip
@click.option("--write-manifests", is_flag=True, help="Fill quality_metrics and perf.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "results")
def main(
    quick: bool,
    only: str | None,
    experts_dir: Path,
    write_manifests: bool,
    as_json: bool,
    output: Path,
) -> None:
    """Measure the experts; writes expert-NAME.json and .html, experts.json and experts.png.

    \b
    Examples:
      python benchmarks/experts.py --quick --only sql
      python benchmarks/experts.py --json | tail -n 1
    """
    if quick and write_manifests:
        raise click.UsageError("--quick measures too little for a manifest")
    asked = [name for name in ((only,) if only else EXPERTS) if _has_weights(name)]
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) if quick else output
        kept.mkdir(parents=True, exist_ok=True)
        with local_server(experts_dir, home=experts_dir.parent) as server:
            for name in asked:
                _evaluate(name, server.api, kept, quick=quick, write=write_manifests)
        reports = _reports(kept)
        figures = figures_of(reports)
    for claim in CLAIMS:
        if claim.expert in reports and str(claim) not in figures:
            progress.print(f"not in the stored report, evaluate it anew: {claim}")
    if not quick:
        (output / "experts.json").write_text(json.dumps(figures, indent=2) + "\n")
        _plot(figures, output / "experts.png")
    Console(stderr=True, width=120).print(_table(figures))
    if as_json:
        print(json.dumps(figures))


def _has_weights(name: str) -> bool:
    """An expert that nobody has trained yet has a folder and no adapter."""
    return (ROOT / "experts" / f"expert-{name}" / "weights" / "adapter_config.json").is_file()


def _evaluate(name: str, api: str, output: Path, *, quick: bool, write: bool) -> None:
    progress.print(f"expert-{name} …")
    command = command_of(name, api, output, quick=quick, write=write)
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise click.ClickException(f"expert-{name} was not evaluated: see above")


def command_of(name: str, api: str, output: Path, *, quick: bool, write: bool) -> list[str]:
    """The command that evaluates one expert; all of it beside the answers is left out of a quick
    look."""
    folder = ROOT / "experts" / f"expert-{name}"
    command = [str(Path(sys.executable).parent / "hive-train"), "evaluate", "--endpoint", api]
    command += ["--test-cases", str(folder / "tests" / "test_cases.json")]
    command += ["--models", f"expert-{name},{BASE}", "--max-tokens", str(MAX_TOKENS)]
    command += ["--output", str(output / f"expert-{name}.json")]
    if quick:
        return [*command, "--limit", "24"]
    command += ["--page", str(output / f"expert-{name}.html"), "--perf"]
    command += ["--write-manifest", str(folder / "manifest.json")] if write else []
    return command


def _reports(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_bytes()) for path in folder.glob("expert-*.json")}


def _table(figures: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="Experts on held-out cases: percent, 95 % interval")
    for heading in ("", "cases", "base", "expert", "from", "to", "target", ""):
        table.add_column(heading, no_wrap=True)
    for name, one in figures.items():
        base = "" if one["base"] is None else f"{one['base']:.1%}"
        numbers = [f"{one[key]:.1%}" for key in ("ratio", "low", "high")]
        met = "ok" if one["ok"] else "[red]no[/]"
        table.add_row(name, str(one["cases"]), base, *numbers, f"{one['target']:.0%}", met)
    return table


def _plot(figures: dict[str, dict[str, Any]], file: Path) -> None:
    from matplotlib.figure import Figure

    picture = Figure(figsize=(9, 0.8 + 0.38 * len(figures)), layout="constrained")
    axes = picture.subplots()
    for place, one in enumerate(figures.values()):
        color = "#336699" if one["ok"] else "#cc6633"
        axes.plot([100 * one["low"], 100 * one["high"]], [place] * 2, color=color, lw=5, alpha=0.4)
        axes.plot(100 * one["ratio"], place, "o", color=color)
        axes.plot(100 * one["target"], place, "|", color="#333333", markersize=14)
        if one["base"] is not None:
            axes.plot(100 * one["base"], place, "x", color="#888888")
    axes.set_yticks(range(len(figures)), figures)
    axes.invert_yaxis()
    axes.set(xlim=(-2, 102), xlabel="percent (dot: expert, cross: base, bar: target)")
    axes.grid(axis="x", alpha=0.3)
    picture.savefig(file, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()

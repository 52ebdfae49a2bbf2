"""What data and kinds of adapters bring: expert-sql trained anew with one thing changed each time.

Every variant gets the same number of steps on as many rows, from the same seed, and is asked the
same held-out cases, without a grammar, by one server that has them all. Takes hours on two cores;
the same command goes on where it was.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import rich_click as click
from ablations_variants import USUAL, VARIANTS, Variant, expert_name, manifest_of
from rich.console import Console
from rich.table import Table

from hive_expert.adapters.base_model import DEFAULT, resolve_base
from hive_expert.serving.local_server import local_server
from hive_expert.training.comparison import compare, parse_sides

HERE = Path(__file__).parent
EXPERT = HERE.parent / "experts" / "expert-sql"
COMMANDS = Path(sys.executable).parent
CASES = EXPERT / "tests" / "test_cases.json"
progress = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="Five steps, 16 cases: whether it all works.")
@click.option(
    "--state", required=True, type=click.Path(path_type=Path, file_okay=False),
    help="Where runs are kept, by their number of steps, to go on with.",
)  # fmt: skip
@click.option("--only", help="Train these alone, comma-separated, and ask nothing.")
@click.option("--steps", default=150, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, on the last line.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=HERE / "results" / "ablations.json",
    show_default="benchmarks/results/ablations.json",
)  # fmt: skip
def main(
    quick: bool, state: Path, only: str | None, steps: int, as_json: bool, output: Path
) -> None:
    """Train the variants and ask them; writes ablations.json.

    \b
    Examples:
      python benchmarks/ablations.py --state ~/ablations
      python benchmarks/ablations.py --state ~/ablations --only usual,dora
      python benchmarks/ablations.py --state /tmp/try --quick --output /tmp/try.json
    """
    steps, limit = (5, 16) if quick else (steps, 124)
    asked_for = only.split(",") if only else [variant.name for variant in VARIANTS]
    unknown = set(asked_for) - {variant.name for variant in VARIANTS}
    if unknown:
        raise click.UsageError(f"--only: there is no {', '.join(sorted(unknown))}")
    mixes = _mixes(state, rows=16 * steps)
    runs = state / f"steps-{steps}"  # variants compare only where all were trained as long
    for variant in VARIANTS:
        if variant.name in asked_for:
            _train(variant, runs, mixes, steps)
    if only:
        return
    figures = found(_ask(runs, limit), runs)
    output.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    Console(stderr=True, width=120).print(_table(figures))
    if as_json:
        print(json.dumps(figures))


def _mixes(state: Path, rows: int) -> Path:
    """The data of all mixes."""
    folder = state / f"mixes-{rows}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        _run(str(EXPERT / "mixes.py"), "--rows", str(rows), "--output", str(partial), python=True)
        _run(str(EXPERT / "generate.py"), "--train", "100", "--output", str(partial / "held-out"),
             "--test-cases", str(partial / "cases.json"), python=True)  # fmt: skip
        partial.rename(folder)
    return folder


def _train(variant: Variant, runs: Path, mixes: Path, steps: int) -> None:
    """A folder of an expert with its adapter, as `hive-build package` takes it."""
    folder = _folder(runs, variant)
    if (folder / "trained").exists():
        return
    progress.print(f"{variant.name}: training")
    processed = folder / "datasets" / "processed"
    processed.mkdir(parents=True, exist_ok=True)
    for name in ("README.md", "LICENSE", "grammar.gbnf"):
        shutil.copy(EXPERT / name, folder / name)
    shutil.copy(mixes / f"{variant.data}.jsonl", processed / "train.jsonl")
    shutil.copy(mixes / "held-out" / "validation.jsonl", processed / "validation.jsonl")
    manifest = folder / "manifest.json"
    shipped = json.loads((EXPERT / "manifest.json").read_bytes())
    manifest.write_text(json.dumps(manifest_of(shipped, variant), indent=2))
    words = ["run", "--manifest", str(manifest), "--base", DEFAULT, "--max-steps", str(steps)]
    begun = any(folder.rglob("checkpoints/checkpoint-*"))
    _run("hive-train", *words, *(["--resume"] if begun else []))
    (folder / "trained").touch()


def _ask(runs: Path, limit: int) -> Path:
    """The report on all variants."""
    report, packages = runs / f"report-{limit}.json", runs / "packages"
    for variant in VARIANTS:
        if not list(packages.glob(f"{expert_name(variant)}-smollm2*.expert")):
            folder = _folder(runs, variant)
            _run("hive-build", "package", str(folder), "--output", str(packages))
    names = ",".join(expert_name(variant) for variant in VARIANTS)
    base = str(resolve_base(DEFAULT).directory)
    options = ("--base", base, "--trust", "off", "--max-slots", str(len(VARIANTS)))
    with local_server(packages, *options, home=runs / "home") as server:
        _run("hive-train", "evaluate", "--endpoint", server.api, "--test-cases", str(CASES),
             "--models", names, "--variants", "no-grammar", "--limit", str(limit),
             "--max-tokens", "128", "--output", str(report))  # fmt: skip
    return report


def found(report: Path, runs: Path) -> dict[str, Any]:
    """Each variant's share of right answers, beside the usual one's case by case."""
    data = report.read_bytes()
    standings = {one["model"]: one for one in json.loads(data)["standings"]}
    sides = {side.model: side for side in parse_sides(data, str(report))}
    usual = sides[expert_name(VARIANTS[0])]
    figures: dict[str, Any] = {}
    for variant in VARIANTS:
        name = expert_name(variant)
        training = json.loads((_weights(runs, variant) / "training_report.json").read_bytes())
        figures[variant.name] = {
            "correct": standings[name]["correct"],
            "valid": standings[name]["valid"],
            "steps": training["steps"],
            "loss": training["loss"][-1][1] if training["loss"] else None,
            "held_out_loss": training["eval_loss"][-1][1] if training["eval_loss"] else None,
            "learning_rate": variant.learning_rate,
        }
        if variant.name != USUAL:
            pairs = compare(usual, sides[name])
            figures[variant.name]["less_the_usual"] = asdict(pairs.difference)
    return figures


def _folder(runs: Path, variant: Variant) -> Path:
    return runs / "experts" / expert_name(variant)


def _weights(runs: Path, variant: Variant) -> Path:
    """Where the report of a run is: beside the adapter, or the soft prompt that stands alone."""
    folder = _folder(runs, variant) / "weights"
    (report,) = folder.rglob("training_report.json")
    return report.parent


def _run(command: str, *words: str, python: bool = False) -> None:
    program = [sys.executable, command] if python else [str(COMMANDS / command)]
    subprocess.run([*program, *words], check=True, stdout=sys.stderr)


def _table(figures: dict[str, Any]) -> Table:
    table = Table(title="expert-sql with one thing changed: same rows, percent (95 % interval)")
    for heading in ("variant", "right", "runs", "less the usual", "held-out loss"):
        table.add_column(heading, no_wrap=True)
    for name, one in figures.items():
        correct, less = one["correct"], one.get("less_the_usual")
        table.add_row(
            name,
            f"{correct['value']:.1%} ({correct['low']:.1%} to {correct['high']:.1%})",
            f"{one['valid']['value']:.0%}",
            f"{less['value']:+.1%} ({less['low']:+.1%} to {less['high']:+.1%})" if less else "",
            "" if one["held_out_loss"] is None else f"{one['held_out_loss']:.3f}",
        )
    return table


if __name__ == "__main__":
    main()

"""`hive-train`: train an expert's adapter and measure it against its base."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.text import Text

from hive_expert import __version__
from hive_expert.cli.terminal import HiveCommand, HiveGroup, console, note, print_json
from hive_expert.cli.train_compare import compare
from hive_expert.cli.train_evaluate import evaluate
from hive_expert.cli.train_prepare import prepare
from hive_expert.cli.train_router import router
from hive_expert.cli.train_synthesize import synthesize
from hive_expert.errors import ManifestError, Problem, UsageError

if TYPE_CHECKING:
    from hive_expert.manifest.model import Manifest
    from hive_expert.training.config import Quantize


@click.group(cls=HiveGroup)
@click.version_option(__version__, prog_name="hive-train")
def main() -> None:
    """Train experts and measure them."""


main.add_command(compare)
main.add_command(evaluate)
main.add_command(prepare)
main.add_command(router)
main.add_command(synthesize)

RUN_EXAMPLES = """
\b
Examples:
  hive-train run --manifest experts/expert-sql/manifest.json
  hive-train run --manifest experts/expert-sql/manifest.json --max-steps 20 --output /tmp/trial
  hive-train run --manifest experts/expert-sql/manifest.json --resume
  hive-train run --manifest experts/expert-sql/manifest.json --quantize int4
"""


@main.command("run", cls=HiveCommand, epilog=RUN_EXAMPLES)
@click.option(
    "--manifest",
    "manifest_path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The expert's manifest.json; its paths are relative to its directory.",
)
@click.option(
    "--dataset",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Train on this file instead of training.dataset.path; its ending tells its format.",
)
@click.option(
    "--base", "--model", "base", help="Base model: a name in the manifest, or a directory with it."
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the adapter goes; by default the adapter's path in the manifest.",
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option(
    "--quantize", type=click.Choice(["int4", "int8"]),
    help="Hold the frozen base in so few bits while it trains (QLoRA, by bitsandbytes), for a "
    "base that would not fit. The adapter serves on the unquantized base.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the output.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Stop after so many steps.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def run(
    manifest_path: Path,
    dataset: Path | None,
    base: str | None,
    output: Path | None,
    device: str,
    quantize: Quantize | None,
    resume: bool,
    max_steps: int | None,
    as_json: bool,
) -> None:
    """Train what the manifest describes, an adapter, a soft prompt or both; write its report.

    The learning rate schedule spans --max-steps where it is given.
    """
    # Threads that spin while they wait take the core from those that work. Read by OpenMP when
    # torch is imported, hence before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from hive_expert.adapters.base_model import fingerprint, resolve_base
    from hive_expert.training.config import plan_training
    from hive_expert.training.trainer import RunFiles, choose_device, run_training

    manifest = _read_manifest(manifest_path)
    with console.status("finding the base model") as status:
        model = resolve_base(base, progress=status.update) if base else None
        entry = _entry_name(manifest, base, model.names) if base and model else None
        plan = plan_training(
            manifest, entry, device=choose_device(device), dataset=dataset, quantize=quantize
        )
        model = model or resolve_base(plan.base, progress=status.update)
        if plan.base_sha256 and fingerprint(model.directory) != plan.base_sha256:
            raise ManifestError(
                Problem(
                    f"base_models[{plan.base}].sha256",
                    f"{model.directory} holds other weights",
                    "give the pinned model with --base, or leave sha256 empty to unpin it",
                )
            )
    for text in plan.notes:
        note(f"note: {text}")
    home = manifest_path.parent
    data = {"train": dataset or home / plan.data.train}
    if plan.data.validation:
        data["validation"] = home / plan.data.validation
    soft_prompt = home / plan.soft_prompt.path if plan.soft_prompt and not output else None
    test = home / plan.data.test if plan.data.test else None
    files = RunFiles(
        model.directory, data, output or home / plan.output_path, soft_prompt, test,
        train_format=_format_of(dataset),
    )  # fmt: skip
    with _RunProgress.shown() as progress:
        report = run_training(plan, files, progress, resume=resume, max_steps=max_steps)
    if as_json:
        from dataclasses import asdict

        print_json(asdict(report))
        return
    loss = "" if report.final_loss is None else f", loss {report.final_loss:.3f}"
    held_out = "" if report.final_eval_loss is None else f" (held out {report.final_eval_loss:.3f})"
    note(
        Text.assemble(
            ("trained", "green"),
            f" {report.steps} steps in {report.duration_seconds / 60:.1f} min at "
            f"{report.tokens_per_second:.0f} tokens/s{loss}{held_out}\nwritten to {files.output}",
        )
    )


def _format_of(file: Path | None) -> str | None:
    """What its ending says; None where that says nothing."""
    from hive_expert.training.row_files import READERS

    ending = file.suffix.removeprefix(".").lower() if file else ""
    return ending if ending in READERS else None


def _read_manifest(path: Path) -> Manifest:
    from hive_expert.manifest.parse import parse_manifest

    return parse_manifest(path.read_bytes(), str(path))


def _entry_name(manifest: Manifest, base: str, names: Sequence[str]) -> str | None:
    """The manifest's name of the base that ``--base`` gave, which goes by ``names`` too.

    None for a directory of another name: then the manifest's only base is meant.
    """
    given = {name.rpartition("/")[2].lower() for name in (base, *names)}
    for entry in manifest.base_models:
        if entry.name.rpartition("/")[2].lower() in given:
            return entry.name
    if Path(base).is_dir():
        return None
    known = ", ".join(entry.name for entry in manifest.base_models)
    what = f"{base} is not a base model of {manifest.name}"
    raise UsageError(Problem("--base", what, f"the manifest names: {known}"))


class _RunProgress:
    """A bar for a terminal, a line every half minute for a log file; both on stderr."""

    LOG_SECONDS = 30.0

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=None, metrics="")
        self.logged_at = 0.0

    @classmethod
    @contextmanager
    def shown(cls) -> Iterator[_RunProgress]:
        progress = cls()
        with progress.bar:
            yield progress

    def stage(self, text: str) -> None:
        self.bar.update(self.task, description=text)
        if self.bar.disable:
            note(text)

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        from time import monotonic

        shown = "  ".join(
            f"{name} {metrics[name]:.3g}"
            for name in ("loss", "eval_loss", "mean_token_accuracy", "learning_rate")
            if name in metrics
        )
        self.bar.update(
            self.task, description="training", completed=step, total=total, metrics=shown
        )
        if self.bar.disable and (monotonic() - self.logged_at > self.LOG_SECONDS or step == total):
            self.logged_at = monotonic()
            note(f"step {step}/{total}  {shown}")


if __name__ == "__main__":
    main()

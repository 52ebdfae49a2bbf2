"""`hive-train`: train an expert's adapter and measure it against its base."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hive_expert import __version__
from hive_expert.cli.terminal import HiveCommand, HiveGroup, console, note, print_json
from hive_expert.cli.train_compare import compare
from hive_expert.cli.train_prepare import prepare
from hive_expert.cli.train_router import router
from hive_expert.cli.train_synthesize import synthesize
from hive_expert.errors import ManifestError, Problem, UsageError

if TYPE_CHECKING:
    from hive_expert.decoding.contract import Contract
    from hive_expert.manifest.model import Manifest
    from hive_expert.training.evaluate import Variant
    from hive_expert.training.evaluation_report import EvaluationReport


@click.group(cls=HiveGroup)
@click.version_option(__version__, prog_name="hive-train")
def main() -> None:
    """Train experts and measure them."""


main.add_command(compare)
main.add_command(prepare)
main.add_command(router)
main.add_command(synthesize)

RUN_EXAMPLES = """
\b
Examples:
  hive-train run --manifest experts/expert-sql/manifest.json
  hive-train run --manifest experts/expert-sql/manifest.json --max-steps 20 --output /tmp/trial
  hive-train run --manifest experts/expert-sql/manifest.json --resume
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
    help="Train on this file instead of training.dataset.path.",
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
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the output.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Stop after so many steps.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def run(
    manifest_path: Path,
    dataset: Path | None,
    base: str | None,
    output: Path | None,
    device: str,
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
        plan = plan_training(manifest, entry, device=choose_device(device))
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
    files = RunFiles(model.directory, data, output or home / plan.output_path, soft_prompt)
    with _RunProgress.shown() as progress:
        report = run_training(plan, files, progress, resume=resume, max_steps=max_steps)
    if as_json:
        from dataclasses import asdict

        print_json(asdict(report))
        return
    loss = "" if report.final_loss is None else f", loss {report.final_loss:.3f}"
    held_out = "" if report.final_eval_loss is None else f" (held out {report.final_eval_loss:.3f})"
    note(
        f"[green]trained[/] {report.steps} steps in {report.duration_seconds / 60:.1f} min at "
        f"{report.tokens_per_second:.0f} tokens/s{loss}{held_out}\nwritten to {files.output}"
    )


EVALUATE_EXAMPLES = """
\b
Examples:
  hive-train evaluate --test-cases experts/expert-sql/tests/test_cases.json \\
      --models expert-sql,SmolLM2-135M-Instruct --experts-dir experts.d
  hive-train evaluate --test-cases experts/expert-sql/tests/test_cases.json \\
      --models expert-sql,SmolLM2-135M-Instruct
  hive-train evaluate --test-cases experts/expert-sql/tests/test_cases.json \\
      --models expert-sql,SmolLM2-135M-Instruct --variants grammar,no-grammar \\
      --write-manifest experts/expert-sql/manifest.json --output report.json
"""


@main.command("evaluate", cls=HiveCommand, epilog=EVALUATE_EXAMPLES)
@click.option(
    "--test-cases",
    "test_cases",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The expert's tests/test_cases.json.",
)
@click.option(
    "--endpoint",
    default="http://127.0.0.1:8000/v1",
    show_default=True,
    help="An OpenAI-compatible server; its key is read from OPENAI_API_KEY.",
)
@click.option(
    "--experts-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Start hive-serve over this folder for the run, in place of --endpoint.",
)
@click.option(
    "--models",
    required=True,
    help="Names at the server, comma-separated: experts (expert-...) and base models.",
)
@click.option(
    "--variants",
    default="grammar,no-grammar",
    show_default=True,
    help="With the expert's grammar, without it, or both. Base models are sent the same.",
)
@click.option(
    "--grammar",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="GBNF for base models; by default what the expert's manifest says.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Ask only so many cases, spread evenly.")
@click.option("--concurrency", type=click.IntRange(1, 1024), default=16, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@click.option(
    "--max-failures",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="Wrong answers kept in the report, of each model and variant.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the report here."
)
@click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page for people here: .html, or .md with its plot beside it.",
)
@click.option(
    "--write-manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Fill quality_metrics of this manifest with the result.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def evaluate_command(
    test_cases: Path,
    endpoint: str,
    experts_dir: Path | None,
    models: str,
    variants: str,
    grammar: Path | None,
    limit: int | None,
    concurrency: int,
    max_tokens: int,
    max_failures: int,
    output: Path | None,
    page: Path | None,
    write_manifest: Path | None,
    as_json: bool,
) -> None:
    """Ask a server every test case and compare experts with their base.

    Answers are greedy. The score is the share of cases whose answer gives the expected result:
    the same rows from SQLite, or the same JSON value, valid under the schema.
    """
    import datetime
    import json

    from hive_expert.cli.evaluation_table import print_report
    from hive_expert.training.cases import every_nth, parse_test_cases
    from hive_expert.training.evaluate import Contestant, Settings, evaluate
    from hive_expert.training.evaluation_report import as_json as report_as_json
    from hive_expert.training.evaluation_report import make_report
    from hive_expert.training.report_pages import write_page
    from hive_expert.training.scoring import check_expected

    if page and page.suffix not in (".html", ".md"):
        # Before an hour of questions, not after it.
        raise UsageError(Problem("--page", f"{page} is neither .html nor .md"))

    suite = parse_test_cases(test_cases.read_bytes(), str(test_cases))
    check_expected(suite)
    suite = every_nth(suite, limit) if limit else suite
    contestants = [
        Contestant(model, variant) for variant in _variants(variants) for model in _names(models)
    ]
    with _server(endpoint, experts_dir) as api:
        settings = Settings(
            endpoint=api,
            contract=_contract(grammar, test_cases.parent.parent),
            concurrency=concurrency,
            max_tokens=max_tokens,
        )
        with _asking(len(contestants) * len(suite.cases)) as on_answer:
            results = evaluate(suite, contestants, settings, on_answer)
    report = make_report(
        results,
        suite.metric,
        today=datetime.datetime.now(datetime.UTC).date(),
        max_failures=max_failures,
    )
    document = report_as_json(report)
    if output:
        text = json.dumps(document, indent=2, ensure_ascii=False)
        output.write_text(text + "\n", encoding="utf-8")
    if page:
        write_page(report, page)
    if write_manifest:
        _write_quality(write_manifest, report)
    if as_json:
        print_json(document)
    else:
        print_report(report)


def _contract(grammar: Path | None, directory: Path) -> Contract | None:
    """What constrains answers: the grammar that is given, or the manifest in this directory."""
    from hive_expert.decoding.contract import Contract, contract_of
    from hive_expert.decoding.grammar import decode_grammar

    if grammar is not None:
        return Contract(grammar=decode_grammar(grammar.read_bytes(), str(grammar)).text)
    if not (directory / "manifest.json").is_file():
        return None
    training = _read_manifest(directory / "manifest.json").training
    decoding = training.decoding if training else None
    return contract_of(decoding, lambda name: (directory / name).read_bytes())


@contextmanager
def _server(endpoint: str, experts_dir: Path | None) -> Iterator[str]:
    """The endpoint to ask: the given one, or that of a server started for the run."""
    if experts_dir is None:
        yield endpoint
        return
    from hive_expert.serving.local_server import local_server

    with local_server(experts_dir) as server:
        yield server.api


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError(Problem("--models", "names no model", "for example expert-sql"))
    return names


def _variants(text: str) -> list[Variant]:
    from hive_expert.training.evaluate import VARIANTS

    names = _names(text)
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        remedy = f"use {', '.join(VARIANTS)}"
        raise UsageError(Problem("--variants", f"{', '.join(unknown)} is unknown", remedy))
    return [variant for variant in VARIANTS if variant in names]


def _write_quality(path: Path, report: EvaluationReport) -> None:
    from hive_expert.manifest.migrate import plan_migration, write_migration
    from hive_expert.manifest.parse import dump_manifest
    from hive_expert.training.evaluation_report import quality_metrics, with_quality_metrics
    from hive_expert.training.report import trained_steps

    manifest = _read_manifest(path)
    adapters = [adapter for base in manifest.base_models for adapter in base.adapters]
    steps = trained_steps(path.parent / adapters[0].path) if adapters else None
    metrics = quality_metrics(report, manifest.name, steps)
    if (migration := plan_migration(path)).needed:
        write_migration(migration)  # keeps the original
    path.write_bytes(dump_manifest(with_quality_metrics(manifest, metrics)))
    note(f"quality_metrics written to {path}")


@contextmanager
def _asking(total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr that counts answers."""
    from rich.progress import Progress

    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("asking", total=total)
        yield lambda: bar.advance(task)


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

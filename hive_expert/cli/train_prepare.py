"""`hive-train prepare`: raw files to training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.text import Text

from hive_expert.cli.terminal import HiveCommand, console, note, print_json
from hive_expert.errors import DatasetError, Problem, UsageError
from hive_expert.training.language import LANGUAGES

if TYPE_CHECKING:
    from hive_expert.manifest.model import Manifest
    from hive_expert.training.datasets import FieldMapping
    from hive_expert.training.prepare import Prepared, Recipe

FATAL = ("fields", "answer", "contradiction")
"""Kinds of rejected rows that are mistakes in the data; repetitions are not."""

PREPARE_EXAMPLES = """
\b
Examples:
  hive-train prepare raw.jsonl --output datasets/processed
  hive-train prepare a.csv b.parquet --manifest manifest.json --output datasets/processed
  hive-train prepare raw.jsonl --question prompt --answer completion --language sql \\
      --skip-bad --output datasets/processed
"""


@click.command("prepare", cls=HiveCommand, epilog=PREPARE_EXAMPLES)
@click.argument(
    "raw",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for train.jsonl, validation.jsonl, test.jsonl, the rejected rows and the report.",
)
@click.option(
    "--manifest",
    "manifest_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take columns, language and template from this manifest.json.",
)
@click.option("--question", help="Column of the user message; by default the manifest's.")
@click.option(
    "--system",
    help="Column of the system message; by default the manifest's, or `input` where rows have it.",
)
@click.option("--answer", help="Column of the answer; by default the manifest's.")
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    help="What answers must parse as; by default what the manifest's capabilities name.",
)
@click.option(
    "--group", default="group", show_default=True, help="Column whose rows must not be parted."
)
@click.option(
    "--split", default="80/10/10", show_default=True, help="Shares of train/validation/test."
)
@click.option(
    "--near",
    default=0.9,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Similarity from which a row repeats another; 1 keeps all but equal ones.",
)
@click.option("--reasoning", help="Column of thoughts, put before answers as <think>…</think>.")
@click.option(
    "--reasoning-share", default=0.75, show_default=True, type=click.FloatRange(0, 1),
    help="Share of the rows with thoughts that show them.",
)  # fmt: skip
@click.option("--text", is_flag=True, help="Add the whole conversation in the chat template.")
@click.option("--skip-bad", is_flag=True, help="Leave bad rows out instead of failing.")
@click.option("--seed", default=7, show_default=True, help="Decides which group goes where.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def prepare(
    raw: tuple[Path, ...],
    output: Path,
    manifest_path: Path | None,
    question: str | None,
    system: str | None,
    answer: str | None,
    language: str | None,
    group: str,
    split: str,
    near: float,
    reasoning: str | None,
    reasoning_share: float,
    text: bool,
    skip_bad: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Turn RAW files (.jsonl, .json, .csv, .parquet) into training data.

    Every bad row is named with its line. Rows of a group, by default of one schema or else system
    message, stay in one split. Whatever is left out is in rejected.jsonl with the reason.
    """
    from hive_expert.training.answer_checks import language_of
    from hive_expert.training.prepare import (
        Recipe,
        prepare_rows,
        read_raw,
        statistics_of,
        write_prepared,
    )

    manifest = _read(manifest_path)
    with console.status("reading"):
        rows, problems = read_raw(raw)
        if problems and not rows:
            raise DatasetError(*_shown(problems))
    with_input = any("input" in row for _, row in rows)
    recipe = Recipe(
        mapping=_mapping(manifest, question, system, answer, with_input=with_input),
        language=language or language_of(manifest),  # type: ignore[arg-type]  # click's choice
        shares=_shares(split),
        group=group,
        near=near,
        seed=seed,
        reasoning=reasoning,
        reasoning_share=reasoning_share,
    )
    with console.status("checking"):
        try:
            prepared = prepare_rows(rows, recipe)
        except DatasetError as error:
            raise DatasetError(*_shown(problems), *error.problems) from error
    mistakes = [Problem(r.where, r.reason) for r in prepared.rejected if r.kind in FATAL]
    if (problems or mistakes) and not skip_bad:
        raise DatasetError(
            *_shown(sorted([*problems, *mistakes], key=_place)),
            Problem("", "nothing was written", "mend them, or leave them out: --skip-bad"),
        )
    report = statistics_of(prepared, len(rows)) | {
        "unreadable": [str(problem) for problem in problems],
        "recipe": _described(recipe),
    }
    texts = _rendered(prepared, manifest) if text else {}
    write_prepared(prepared, output, report, texts, problems)
    for warning in prepared.warnings:
        note(f"[yellow]warning:[/] {warning}")
    if as_json:
        print_json(report)
        return
    for problem in _shown(problems):
        note(Text.assemble(("left out", "yellow"), f" {problem}"))
    _print(report)
    note(f"written to {output}")


def _read(path: Path | None) -> Manifest | None:
    from hive_expert.manifest.parse import parse_manifest

    return parse_manifest(path.read_bytes(), str(path)) if path else None


def _mapping(
    manifest: Manifest | None,
    question: str | None,
    system: str | None,
    answer: str | None,
    *,
    with_input: bool,
) -> FieldMapping:
    """The columns that are named by the command, else by the manifest, else as they usually are."""
    from hive_expert.training.datasets import FieldMapping

    dataset = manifest.training.dataset if manifest and manifest.training else None
    given = dataset.field_mapping if dataset else None
    usual = "input" if with_input else None
    return FieldMapping(
        instruction=question or (given and given.instruction) or "instruction",
        input=system or (given.input if given else usual),
        response=answer or (given and given.response) or "response",
    )


def _shares(text: str) -> tuple[float, float, float]:
    try:
        train, validation, test = (float(part) for part in text.split("/"))
    except ValueError as error:
        raise UsageError(Problem("--split", f"{text} is not three numbers", "80/10/10")) from error
    total = train + validation + test
    if min(train, validation, test) < 0 or total <= 0:
        raise UsageError(Problem("--split", "a share is negative, or all are 0", "80/10/10"))
    return train / total, validation / total, test / total


def _place(problem: Problem) -> tuple[str, int]:
    """File and line of a row, for their order."""
    file, _, line = problem.where.rpartition(":")
    return (file, int(line)) if line.isdigit() else (problem.where, 0)


def _shown(problems: list[Problem]) -> list[Problem]:
    from hive_expert.training.datasets import MAX_REPORTED_PROBLEMS

    rest = len(problems) - MAX_REPORTED_PROBLEMS
    more = [Problem("", f"and {rest} more bad rows")] if rest > 0 else []
    return problems[:MAX_REPORTED_PROBLEMS] + more


def _described(recipe: Recipe) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(recipe)


def _rendered(prepared: Prepared, manifest: Manifest | None) -> dict[int, str]:
    from hive_expert.decoding.templates import TEMPLATES
    from hive_expert.training.conversation_text import render_conversation

    names = {entry.prompt_template for entry in manifest.base_models} if manifest else set()
    if len(names) != 1 or None in names:
        what = "needs a manifest whose base models name one prompt_template"
        raise UsageError(Problem("--text", what, "give --manifest, or leave --text out"))
    template = TEMPLATES[str(names.pop())]
    return {
        id(row): render_conversation(template, row.input, row.instruction, row.response)
        for rows in prepared.splits.values()
        for row in rows
    }


def _print(report: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"{report['read']} rows read, {report['kept']} kept")
    for name in ("split", "rows", "groups", "longest question", "longest answer"):
        table.add_column(name, justify="left" if name == "split" else "right")
    for name, split in report["splits"].items():
        longest = [split["characters"][c].get("most", 0) for c in ("instruction", "response")]
        table.add_row(name, *(str(n) for n in (split["rows"], split["groups"], *longest)))
    console.print(table)
    for kind, count in report["rejected"].items():
        note(f"{count} left out: {kind}")
    if report["repaired"]:
        note(f"{report['repaired']} answers repaired")

"""`hive-train evaluate`: experts and their base on the same cases, through a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hive_expert.cli.terminal import HiveCommand, console, note, print_json
from hive_expert.cli.trust_policy import CHOICES
from hive_expert.errors import Problem, UsageError

if TYPE_CHECKING:
    from hive_expert.cli.evaluation_questions import Questions
    from hive_expert.decoding.contract import Contract
    from hive_expert.training.cases import TestSuite
    from hive_expert.training.evaluate import Contestant, Variant
    from hive_expert.training.latency import Overhead


EVALUATE_EXAMPLES = """
\b
Examples:
  hive-train evaluate --test-cases experts/expert-sql/tests/test_cases.json \\
      --models expert-sql,SmolLM2-135M-Instruct --experts-dir experts.d
  hive-train evaluate --manifest experts/expert-sql/manifest.json \\
      --dataset test.jsonl --models expert-sql,SmolLM2-135M-Instruct
  hive-train evaluate --test-cases experts/expert-sql/tests/test_cases.json \\
      --models expert-sql,SmolLM2-135M-Instruct --variants grammar,no-grammar \\
      --write-manifest experts/expert-sql/manifest.json --output report.json
"""


@click.command("evaluate", cls=HiveCommand, epilog=EVALUATE_EXAMPLES)
@click.option(
    "--test-cases",
    "test_cases",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The expert's tests/test_cases.json; by default what --manifest names.",
)
@click.option(
    "--dataset",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Ask the rows of this file instead, a test split (.jsonl, .json, .csv, .parquet).",
)
@click.option(
    "--manifest",
    "manifest_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The expert's manifest.json: its cases, else its test split; its grammar, metrics and "
    "thresholds. By default the one of the folder that has tests/test_cases.json.",
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
    "--trust",
    type=click.Choice(CHOICES),
    help="Trust policy of the server of --experts-dir; by default its own.",
)
@click.option("--base", help="Base model of the server of --experts-dir; by default its own.")
@click.option(
    "--models",
    required=True,
    help="Names at the server, comma-separated: experts (expert-...) and base models.",
)
@click.option(
    "--variants",
    default="grammar,no-grammar",
    show_default=True,
    help="With the expert's grammar (grammar), unbound to the prompt (plain-grammar), without "
    "(no-grammar). Base models are sent the same.",
)
@click.option(
    "--grammar",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="GBNF for base models; by default what the expert's manifest says.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Ask only so many cases, spread evenly.")
@click.option(
    "--candidates",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Ask again where an answer is not valid, up to so many times, and take the first that is.",
)
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
@click.option(
    "--perf",
    is_flag=True,
    help="Also measure added time to the first token; with --write-manifest, fill perf.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def evaluate(
    test_cases: Path | None,
    dataset: Path | None,
    manifest_path: Path | None,
    endpoint: str,
    experts_dir: Path | None,
    trust: str | None,
    base: str | None,
    models: str,
    variants: str,
    grammar: Path | None,
    limit: int | None,
    candidates: int,
    concurrency: int,
    max_tokens: int,
    max_failures: int,
    output: Path | None,
    page: Path | None,
    write_manifest: Path | None,
    perf: bool,
    as_json: bool,
) -> None:
    """Ask a server every test case and compare experts with their base.

    Answers are greedy (the first of several --candidates is). The score is the share of cases
    whose answer gives the expected result: the same rows from SQLite, the same JSON value, valid
    under the schema, the expected Cypher in other words, or TypeScript that passes its tests; of
    a test split's SQL and TypeScript, the same text. Exit 1 where the expert is below a threshold
    of its manifest.
    """
    import datetime
    import json

    from hive_expert.cli.evaluation_figures import write_perf, write_quality
    from hive_expert.cli.evaluation_questions import find_questions
    from hive_expert.cli.evaluation_table import print_report
    from hive_expert.training.cases import every_nth
    from hive_expert.training.evaluate import Contestant, Settings
    from hive_expert.training.evaluate import evaluate as ask_all
    from hive_expert.training.evaluation_report import as_json as report_as_json
    from hive_expert.training.evaluation_report import make_report
    from hive_expert.training.report_pages import write_page
    from hive_expert.training.scoring import check_expected
    from hive_expert.training.thresholds import held_to, require_measured

    if page and page.suffix not in (".html", ".md"):
        # Before an hour of questions, not after it.
        raise UsageError(Problem("--page", f"{page} is neither .html nor .md"))
    if write_manifest and candidates > 1:
        what = "the manifest's figures are of answers as they are served, one to a question"
        raise UsageError(Problem("--candidates", what, "leave it out, or --write-manifest"))

    asked = _names(models)
    if write_manifest:
        _require_both("--write-manifest", asked, _name_in(write_manifest))
    if perf:
        _require_both("--perf", asked)

    questions = find_questions(test_cases, dataset, manifest_path, write_manifest)
    suite, manifest = questions.suite, questions.manifest
    evaluation = manifest.evaluation if manifest else None
    if evaluation:
        require_measured(evaluation, suite)
    with console.status("checking the cases by their own answers"):
        check_expected(suite)
    suite = every_nth(suite, limit) if limit else suite
    contestants = [Contestant(model, variant) for variant in _variants(variants) for model in asked]
    with _server(endpoint, experts_dir, {"--trust": trust, "--base": base}) as api:
        settings = Settings(
            endpoint=api,
            contract=_contract(grammar, questions),
            concurrency=concurrency,
            max_tokens=max_tokens,
            candidates=candidates,
        )
        with _asking(len(contestants) * len(suite.cases)) as on_answer:
            results = ask_all(suite, contestants, settings, lambda *_: on_answer())
        # What was answered is safe before anything else is tried.
        report = make_report(
            results,
            suite.metric,
            today=datetime.datetime.now(datetime.UTC).date(),
            max_failures=max_failures,
            candidates=candidates,
            max_tokens=max_tokens,
        )
        if manifest and evaluation:
            report = held_to(evaluation, report, manifest.name)
        document = report_as_json(report)
        if output:
            output.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(document, indent=2, ensure_ascii=False)
            output.write_text(text + "\n", encoding="utf-8")
        if page:
            write_page(report, page)
        if as_json:
            print_json(document)
        else:
            print_report(report)
        if write_manifest:
            write_quality(write_manifest, report)
        if perf:
            overhead = _overhead(suite, contestants, api)
            if write_manifest:
                write_perf(write_manifest, overhead)
    if not all(threshold.met for threshold in report.thresholds):
        raise SystemExit(1)


def _contract(grammar: Path | None, questions: Questions) -> Contract | None:
    """What constrains answers: the grammar that is given, or the manifest's."""
    from hive_expert.decoding.contract import Contract, contract_of
    from hive_expert.decoding.grammar import decode_grammar

    if grammar is not None:
        return Contract(grammar=decode_grammar(grammar.read_bytes(), str(grammar)).text)
    if questions.manifest is None:
        return None
    training = questions.manifest.training
    decoding = training.decoding if training else None
    return contract_of(decoding, lambda name: (questions.home / name).read_bytes())


@contextmanager
def _server(
    endpoint: str, experts_dir: Path | None, options: Mapping[str, str | None]
) -> Iterator[str]:
    """The endpoint to ask: the given one, or that of a server started for the run."""
    given = {name: value for name, value in options.items() if value is not None}
    if experts_dir is None:
        if given:
            what = "is for a server that is started, and none is"
            remedy = "give --experts-dir, or leave it out"
            raise UsageError(*(Problem(name, what, remedy) for name in given))
        yield endpoint
        return
    from hive_expert.serving.local_server import local_server

    words = [word for option in given.items() for word in option]
    with local_server(experts_dir, *words) as server:
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


def _name_in(path: Path) -> str:
    from hive_expert.package.pack import read_any_manifest

    return read_any_manifest(path).name


def _require_both(option: str, models: Sequence[str], expert: str | None = None) -> None:
    """Raise UsageError unless an expert (this one) and a base model are asked: before an hour of
    questions, not after it."""
    from hive_expert.training.evaluate import EXPERT_PREFIX

    experts = [name for name in models if name.startswith(EXPERT_PREFIX)]
    there = expert in experts if expert else bool(experts)
    if not there or len(experts) == len(models):
        what = f"needs {expert or 'an expert'} and a base model to be asked"
        raise UsageError(Problem(option, what, "add them to --models"))


def _overhead(suite: TestSuite, contestants: Sequence[Contestant], endpoint: str) -> Overhead:
    from hive_expert.training.latency import measure_overhead

    experts = [c.model for c in contestants if c.is_expert]
    bases = [c.model for c in contestants if not c.is_expert]
    made = measure_overhead(suite.cases, experts[0], bases[0], endpoint)
    added = made.added_ms
    note(
        f"{experts[0]} adds {added.value:.1f} ms ({added.low:.1f} to {added.high:.1f}) to the "
        f"first token of a request, over {added.count} pairs with {bases[0]}"
    )
    return made


@contextmanager
def _asking(total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr that counts answers."""
    from rich.progress import Progress

    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("asking", total=total)
        yield lambda: bar.advance(task)

"""What `hive check` and `hive install --check` do: find packages, ask a server, tell the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.text import Text

from hive_expert import __version__, locations
from hive_expert.cli.terminal import console, note
from hive_expert.errors import ConflictError, HiveError, InstallError, Problem, UnfinishedError

if TYPE_CHECKING:
    from hive_expert.package.open import VerifiedPackage
    from hive_expert.training.check import Finding, Questions
    from hive_expert.training.evaluate import Contestant
    from hive_expert.training.kept_answers import KeptAnswers
    from hive_expert.training.scoring import Score

OWN = ""
"""In place of a URL: a server of our own."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How to check. Without ``url`` a hive-serve of our own is started, and stopped after."""

    experts_dir: Path
    base: str
    trust: str
    url: str | None = None
    api_key: str | None = None
    limit: int | None = None
    expert_only: bool = False
    max_tokens: int = 128
    concurrency: int = 16
    seconds: float = 3600.0
    afresh: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A server that is being asked, until when, by monotonic time."""

    url: str
    deadline: float
    base: str

    @property
    def left(self) -> float:
        return max(1.0, self.deadline - time.monotonic())


def check_packages(
    names: Sequence[str], options: CheckOptions
) -> Iterator[tuple[str, Finding | HiveError]]:
    """Check the packages of these names, one after another on one server.

    What is wrong with one of them is yielded in its place, and the others go on. Raises
    EngineError if no server can be started, and UnfinishedError when the time is up.
    """
    from hive_expert.training.scoring_apart import ScoringApart

    deadline = time.monotonic() + options.seconds
    ready: list[tuple[str, VerifiedPackage, Questions]] = []
    for name in names:
        try:
            ready.append((name, *_prepare(name, options, ScoringApart(deadline))))
        except HiveError as error:
            yield name, error
    if not ready:
        return
    with _server(options, [package for _, package, _ in ready], deadline) as server:
        for name, _, questions in ready:
            try:
                yield name, _check(questions, server, options)
            except UnfinishedError:
                raise
            except HiveError as error:
                yield name, error


def _prepare(name: str, options: CheckOptions, score: Score) -> tuple[VerifiedPackage, Questions]:
    from hive_expert.training.check import questions_of

    package = _find(name, options)
    with console.status(Text(f"trying the cases of {name}")):
        return package, questions_of(package, options.limit, score)


def _check(questions: Questions, server: Asked, options: CheckOptions) -> Finding:
    """Ask, compare, and remember the result."""
    from hive_expert.catalog.checks import remember_check
    from hive_expert.training.check import finding_of, measure, so_far
    from hive_expert.training.evaluate import Settings
    from hive_expert.training.scoring_apart import LIMIT_S, ScoringApart

    _require_the_same(server.url, options.api_key, questions)
    contestants = questions.contestants(None if options.expert_only else server.base)
    settings = Settings(
        endpoint=f"{server.url}/v1",
        contract=questions.contract,
        concurrency=options.concurrency,
        max_tokens=options.max_tokens,
        total_seconds=server.left,
        api_key=options.api_key,
    )
    kept = _kept(questions, server, options)
    score = ScoringApart(server.deadline + LIMIT_S)  # what was answered in time is worth its score
    try:
        with _asking(questions, contestants, kept) as on_answer:
            report = measure(
                questions, contestants, settings, kept, on_answer, score,
                today=datetime.now(UTC).date(),
            )  # fmt: skip
    except UnfinishedError as error:
        told = str(so_far(questions, contestants, kept, score))
        remedy = "hive check goes on from there; --timeout and --limit say how far"
        raise UnfinishedError(*error.problems, Problem(questions.model, told, remedy)) from error
    except KeyboardInterrupt:
        note(
            f"{questions.model}: {so_far(questions, contestants, kept, score)};"
            " run it again to go on"
        )
        raise
    finding = finding_of(report, questions, server.base)
    if finding.verdicts:
        remember_check(questions.digest, finding.check)
    return finding


def _kept(questions: Questions, server: Asked, options: CheckOptions) -> KeptAnswers:
    """Answers to the same questions, of the same model on the same kind of server."""
    from hive_expert.training.kept_answers import KeptAnswers

    kept = KeptAnswers.of(
        locations.kept_answers_dir(), questions.digest, server.base, options.url or OWN,
        str(options.max_tokens), __version__,
    )  # fmt: skip
    if options.afresh:
        kept.forget()
    return kept


def _find(name: str, options: CheckOptions) -> VerifiedPackage:
    """The package of that name in the directory, verified and unpacked; the newest version."""
    from hive_expert.cli.install_options import target
    from hive_expert.manifest.versions import precedence
    from hive_expert.package.open import open_package
    from hive_expert.package.skim import skim
    from hive_expert.package.store import PackageStore
    from hive_expert.package.trust import Policy, TrustStore
    from hive_expert.sharing.source import NamedSource, parse_source

    wanted = parse_source(name)
    if not isinstance(wanted, NamedSource):
        raise InstallError(Problem(name, "is no name of an expert"))
    found = []
    for path in sorted(options.experts_dir.glob("*.expert")):
        try:
            facts = skim(path).facts
        except HiveError:
            continue  # listed by hive list, with its reason
        if facts.name == wanted.name and wanted.version in (None, facts.version):
            found.append((precedence(facts.version), path, facts.model))
    if not found:
        raise InstallError(
            Problem(name, f"is not in {options.experts_dir}", "hive install it first")
        )
    slugs = target(options.base, 512).slugs
    fitting = [one for one in found if one[2] in slugs] or found
    return open_package(
        max(fitting)[1],
        store=PackageStore(locations.package_store()),
        trust=TrustStore.load(locations.trust_store()),
        policy=Policy(options.trust),
        now=datetime.now(UTC),
    )


@contextmanager
def _server(
    options: CheckOptions, packages: Sequence[VerifiedPackage], deadline: float
) -> Iterator[Asked]:
    from hive_expert.client.plain_http import checked_url

    if options.url is not None:
        url = checked_url(options.url)
        yield Asked(url, deadline, _base_name(url, options.api_key))
        return
    from hive_expert.serving.local_server import START_LIMIT_S, local_server

    log = locations.data_dir() / "check.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    rank = max(16, *(package.rank for package in packages))
    words = ("--base", options.base, "--trust", options.trust, "--max-rank", str(rank))
    limit = min(START_LIMIT_S, options.seconds)
    with (
        console.status("starting hive-serve (about half a minute)") as status,
        local_server(options.experts_dir, *words, log=log, start_limit_s=limit) as server,
    ):
        status.stop()
        yield Asked(server.url, deadline, _base_name(server.url, options.api_key))
        status.update("stopping hive-serve")
        status.start()


def _require_the_same(url: str, api_key: str | None, questions: Questions) -> None:
    """The server serves the very package that was verified here. Raises ConflictError."""
    from urllib.parse import quote

    from hive_expert.client.plain_http import ask_server

    served = ask_server(url, f"/v1/experts/{quote(questions.model)}", api_key=api_key)
    if served.get("digest") != f"sha256:{questions.digest}":
        raise ConflictError(
            Problem(questions.model, f"the server at {url} serves another package of this name")
        )


def _base_name(url: str, api_key: str | None) -> str:
    from hive_expert.client.plain_http import ask_server

    return str(ask_server(url, "/v1/models", api_key=api_key)["data"][0]["id"])


@contextmanager
def _asking(
    questions: Questions, contestants: Sequence[Contestant], kept: KeptAnswers
) -> Iterator[Callable[[], None]]:
    """A bar on stderr that counts answers; those of an earlier run count at once."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from hive_expert.training.check import answered

    before = answered(questions, contestants, kept)
    if before:
        note(f"going on with {before} answers of an earlier check (--afresh asks again)")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(
            f"asking {questions.model}", total=len(contestants) * len(questions.suite.cases)
        )
        bar.advance(task, before)
        yield lambda: bar.advance(task)


def document_of(finding: Finding) -> dict[str, Any]:
    """A finding for scripts; ``reproduced`` is null where nothing is claimed."""
    return {
        "model": finding.model,
        "claims": [
            {
                "claim": v.claim, "claimed": v.claimed, "measured": v.measured.value,
                "low": v.measured.low, "high": v.measured.high, "holds": v.holds,
            }
            for v in finding.verdicts
        ],
        **finding.check.model_dump(mode="json"),
        "reproduced": finding.check.reproduced if finding.verdicts else None,
    }  # fmt: skip


def show_finding(finding: Finding) -> None:
    """A finding for people."""
    check, model = finding.check, finding.model
    for verdict in finding.verdicts:
        click.echo(f"{'reproduced' if verdict.holds else 'not reproduced'}\t{verdict}")
    for claim in check.unjudged:
        click.echo(f"not looked at\t{claim}")
    of = f"{check.cases} of {check.total} cases" if check.is_sample else f"{check.cases} cases"
    if not finding.verdicts:
        click.echo(f"{model} claims nothing; measured {check.score:.4g} in {of}")
    elif check.reproduced:
        note(Text.assemble((f"{model}: its claims are reproduced", "green"), f" ({of})"))
    else:
        note(Text.assemble((f"{model}: claim not reproduced", "red"), f" ({of})"))

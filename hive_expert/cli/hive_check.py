"""`hive check`: a package's claims, measured on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from hive_expert import locations
from hive_expert.cli.install_options import directory_option
from hive_expert.cli.terminal import HiveCommand, console, note, print_json
from hive_expert.cli.trust_policy import trust_option
from hive_expert.errors import ConflictError, HiveError, InstallError, Problem

if TYPE_CHECKING:
    from hive_expert.catalog.checks import Check
    from hive_expert.package.open import VerifiedPackage
    from hive_expert.training.claims import Verdict

EXAMPLES = """
\b
Examples:
  hive check expert-sql
  hive check expert-sql --expert-only --limit 100
  hive check expert-sql --url http://127.0.0.1:8000 --json
"""
DEFAULTS: Mapping[str, Any] = {
    "url": None, "api_key": None, "limit": None, "expert_only": False, "max_tokens": 128,
    "concurrency": 16,
}  # fmt: skip


@click.command("check", cls=HiveCommand, epilog=EXAMPLES)
@click.argument("name", metavar="NAME[@VERSION]")
@directory_option
@click.option("--base", default="smollm2-135m", show_default=True,
              help="The base model to run on, where no server is named.")  # fmt: skip
@click.option("--url", help="Ask this running server. Default: one is started for the check.")
@click.option("--api-key", envvar="HIVE_API_KEY", show_envvar=True, help="Key for that server.")
@click.option("--limit", type=click.IntRange(min=1), help="Ask so many cases, spread over all.")
@click.option("--expert-only", is_flag=True,
              help="Leave the base model out, and the claims that compare with it.")  # fmt: skip
@click.option("--max-tokens", default=128, show_default=True, type=click.IntRange(min=1),
              help="Longest answer.")  # fmt: skip
@click.option("--concurrency", default=16, show_default=True, type=click.IntRange(min=1),
              help="Questions asked at once.")  # fmt: skip
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def check_command(name: str, as_json: bool, **options: Any) -> None:
    """Run the tests inside an expert's package and compare with what its manifest claims.

    The answers come from the engine that serves users. A claim is *not reproduced* when it lies
    outside the 95 % interval of what is measured here, to its own advantage. The result is shown
    by `hive list`, and listed by `hive index add`.
    """
    held = _check(name, as_json=as_json, **options)
    if not held:
        sys.exit(1)


def check_installed(names: Sequence[str], options: Mapping[str, Any]) -> None:
    """Check several, one after another; exits 1 if a claim of any does not hold."""
    chosen = {key: options[key] for key in ("experts_dir", "base", "trust")}
    results = [_check(name, as_json=False, **DEFAULTS, **chosen) for name in names]
    if not all(results):
        sys.exit(1)


def _check(
    name: str, *, experts_dir: Path, base: str, trust: str, url: str | None, api_key: str | None,
    limit: int | None, expert_only: bool, max_tokens: int, concurrency: int, as_json: bool,
) -> bool:  # fmt: skip
    from hive_expert.catalog.checks import remember_check
    from hive_expert.decoding.contract import contract_of
    from hive_expert.manifest.model import QualityMetrics
    from hive_expert.package.layout import TEST_CASES
    from hive_expert.training.cases import every_nth, parse_test_cases
    from hive_expert.training.claims import standing, verdicts
    from hive_expert.training.evaluate import Contestant, Settings, evaluate
    from hive_expert.training.evaluation_report import make_report
    from hive_expert.training.scoring import check_expected

    package = _find(name, experts_dir, trust)
    manifest = package.manifest
    cases = package.directory / TEST_CASES
    if not cases.is_file():
        raise InstallError(Problem(manifest.name, f"has no {TEST_CASES}: nothing can be checked"))
    suite = parse_test_cases(cases.read_bytes(), f"{manifest.name}: {TEST_CASES}")
    check_expected(suite)
    suite = every_nth(suite, limit) if limit else suite
    model = f"{manifest.name}@{manifest.version}"
    decoding = manifest.training.decoding if manifest.training else None
    contract = contract_of(decoding, lambda member: (package.directory / member).read_bytes())
    contestants = [Contestant(model, "grammar")]
    with _server(url, experts_dir, base, trust) as root:
        _require_the_same(root, api_key, model, package.digest)
        if not expert_only:
            served = _base_name(root, api_key)
            contestants += [Contestant(served, "no-grammar")]
            contestants += [Contestant(served, "grammar")] if contract.constrains else []
        settings = Settings(
            endpoint=f"{root}/v1",
            contract=contract,
            concurrency=concurrency,
            max_tokens=max_tokens,
        )
        with _asking(len(contestants) * len(suite.cases)) as on_answer:
            results = evaluate(suite, contestants, settings, on_answer)
    today = datetime.now(UTC).date()
    report = make_report(results, suite.metric, today=today, max_failures=0)
    claims = manifest.quality_metrics or QualityMetrics()
    found = verdicts(claims, report, model)
    check = _record(
        found, standing(report, model).correct, base if url is None else url, str(today)
    )
    if found:
        remember_check(package.digest, check)
    _show(model, found, check, as_json)
    return check.reproduced


def _find(name: str, experts_dir: Path, trust: str) -> VerifiedPackage:
    """The package of that name in the directory, verified and unpacked; the newest version."""
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
    for path in sorted(experts_dir.glob("*.expert")):
        try:
            facts = skim(path).facts
        except HiveError:
            continue  # listed by hive list, with its reason
        if facts.name == wanted.name and wanted.version in (None, facts.version):
            found.append((precedence(facts.version), path))
    if not found:
        raise InstallError(Problem(name, f"is not in {experts_dir}", "hive install it first"))
    return open_package(
        max(found)[1],
        store=PackageStore(locations.package_store()),
        trust=TrustStore.load(locations.trust_store()),
        policy=Policy(trust),
        now=datetime.now(UTC),
    )


@contextmanager
def _server(url: str | None, experts_dir: Path, base: str, trust: str) -> Iterator[str]:
    if url is not None:
        yield url.rstrip("/")
        return
    from hive_expert.serving.local_server import local_server

    log = locations.data_dir() / "check.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    options = ("--base", base, "--trust", trust)
    with (
        console.status("starting hive-serve") as status,
        local_server(experts_dir, *options, log=log) as server,
    ):
        status.stop()
        yield server.url


def _require_the_same(url: str, api_key: str | None, model: str, digest: str) -> None:
    """The server serves the very package that was verified here. Raises ConflictError."""
    from urllib.parse import quote

    from hive_expert.client.plain_http import ask_server

    served = ask_server(url, f"/v1/experts/{quote(model)}", api_key=api_key)
    if served.get("digest") != f"sha256:{digest}":
        raise ConflictError(
            Problem(model, f"the server at {url} serves another package of this name")
        )


def _base_name(url: str, api_key: str | None) -> str:
    from hive_expert.client.plain_http import ask_server

    return str(ask_server(url, "/v1/models", api_key=api_key)["data"][0]["id"])


@contextmanager
def _asking(total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr that counts answers."""
    from rich.progress import Progress

    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("asking", total=total)
        yield lambda: bar.advance(task)


def _record(found: Sequence[Verdict], score: Any, base: str, today: str) -> Check:
    from hive_expert.catalog.checks import Check
    from hive_expert.training.claims import interval

    measured = interval(score)
    return Check(
        reproduced=all(verdict.holds for verdict in found),
        score=measured.value,
        low=measured.low,
        high=measured.high,
        cases=measured.count,
        base=base,
        date=today,
        broken=tuple(str(verdict) for verdict in found if not verdict.holds),
    )


def _show(model: str, found: Sequence[Verdict], check: Check, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "model": model,
                "claims": [
                    {
                        "claim": v.claim, "claimed": v.claimed, "measured": v.measured.value,
                        "low": v.measured.low, "high": v.measured.high, "holds": v.holds,
                    }
                    for v in found
                ],
                **check.model_dump(mode="json"),
            }
        )  # fmt: skip
        return
    for verdict in found:
        click.echo(f"{'reproduced' if verdict.holds else 'not reproduced'}\t{verdict}")
    if not found:
        click.echo(f"{model} claims nothing; measured {check.score:.4g} of {check.cases} cases")
    elif check.reproduced:
        note(f"[green]{model}: its claims are reproduced[/] ({check.cases} cases)")
    else:
        note(f"[red]{model}: claim not reproduced[/] ({check.cases} cases)")

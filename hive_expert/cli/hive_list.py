"""`hive list`: the experts of a running server, or of a folder where none runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import rich_click as click
from rich.text import Text

from hive_expert import locations
from hive_expert.cli.server_options import one_line, server_options
from hive_expert.cli.terminal import HiveCommand, note, print_json
from hive_expert.cli.trust_policy import trust_option
from hive_expert.errors import HiveError, Problem, ServerError, UnreachableError

EXAMPLES = """
\b
Examples:
  hive list
  hive list --url http://127.0.0.1:8000 --json
  hive list --experts-dir experts.d
"""

Entry = Mapping[str, Any]


@click.command("list", cls=HiveCommand, epilog=EXAMPLES)
@click.option(
    "--experts-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="List this folder and ask no server. Default: the server; experts.d if none runs.",
)
@server_options
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def list_command(
    experts_dir: Path | None, url: str | None, api_key: str | None, trust: str, as_json: bool
) -> None:
    """List experts: version, state, where their weights are, publisher, measured quality.

    What is not served, or would not be, is listed with its reason.
    """
    entries, source = _entries(experts_dir, url, api_key, trust)
    if as_json:
        print_json(entries)
        return
    note(Text(source, "dim"))
    if not entries:
        note("no experts")
        return
    _show(entries)


def _entries(
    experts_dir: Path | None, url: str | None, api_key: str | None, trust: str
) -> tuple[list[Entry], str]:
    """What there is, and who says so."""
    from hive_expert.client.plain_http import DEFAULT_URL, ask_server

    asked = "no server was asked"
    if experts_dir is None:
        try:
            # One that nobody named must not keep a user waiting for the folder.
            listed = ask_server(
                url or DEFAULT_URL, "/v1/experts", api_key=api_key, timeout=30 if url else 2
            )
            return listed["data"], f"served at {url or DEFAULT_URL}"
        except UnreachableError:
            if url is not None:
                raise
        experts_dir, asked = Path("experts.d"), f"no server answers at {DEFAULT_URL}"
        if not experts_dir.is_dir():
            raise ServerError(
                Problem(
                    DEFAULT_URL,
                    "no server answers there, and there is no folder experts.d",
                    "give --url or --experts-dir",
                )
            )
    return list(read_folder(experts_dir, trust)), f"in {experts_dir}; {asked}"


def read_folder(directory: Path, trust: str) -> Iterator[Entry]:
    """The experts of a folder as a server would list them, as far as that can be told without a
    base model: adapters are not compared with its layers here."""
    from hive_expert.catalog.checks import known_checks
    from hive_expert.package.trust_store import TrustStore
    from hive_expert.sharing.lock import read_lock
    from hive_expert.sharing.transaction import settle

    settle(directory, TrustStore.load(locations.trust_store()))
    checks = known_checks()
    origins = {
        entry.file: entry.source.model_dump(exclude_none=True)
        for entry in read_lock(directory).experts.values()
    }
    for entry in _folder(directory, trust):
        check = checks.get(str(entry.get("digest", "")).removeprefix("sha256:"))
        yield {
            **entry,
            **({"check": check.model_dump(mode="json")} if check else {}),
            **({"origin": origins[entry["source"]]} if entry.get("source") in origins else {}),
        }


def _folder(directory: Path, trust: str) -> Iterator[Entry]:
    from hive_expert.package.signed_folder import is_signed

    for path in sorted(directory.iterdir()):
        if path.suffix == ".expert" and path.is_file():
            yield _package(path, trust)
        elif (path / "manifest.json").is_file():
            yield _signed_folder(path, trust) if is_signed(path) else _unpacked(path, trust)


def _package(path: Path, trust: str) -> Entry:
    from datetime import UTC, datetime

    from hive_expert.package.open import verify_package
    from hive_expert.package.trust import Policy, TrustStore

    store = TrustStore.load(locations.trust_store())
    try:
        report = verify_package(path, trust=store, policy=Policy(trust), now=datetime.now(UTC))
    except HiveError as error:
        return _unavailable(None, path, error.problems)
    manifest = report.package.manifest
    if not report.decision.accepted:
        return _unavailable(manifest.name, path, report.decision.reasons)
    return {
        **_described(manifest),
        "source": path.name,
        "digest": f"sha256:{report.package.facts.digest}",
        "publisher": report.decision.signer,
        "warnings": list(report.decision.warnings),
    }


def _signed_folder(path: Path, trust: str) -> Entry:
    from hive_expert.package.signed_folder import packed

    try:
        with packed(path) as package:
            return _package(package, trust)
    except HiveError as error:
        return _unavailable(None, path, error.problems)


def _unpacked(path: Path, trust: str) -> Entry:
    from hive_expert.manifest.parse import parse_manifest

    file = path / "manifest.json"
    try:
        manifest = parse_manifest(file.read_bytes(), str(file))
    except HiveError as error:
        return _unavailable(None, path, error.problems)
    if trust != "off":
        problem = Problem(path.name, "is not signed", "served with --trust off only")
        return _unavailable(manifest.name, path, (problem,))
    return _described(manifest)


def _described(manifest: Any) -> dict[str, Any]:
    quality = manifest.quality_metrics
    return {
        "id": manifest.name,
        "object": "expert",
        "version": manifest.version,
        "state": "available",
        "residency": "disk",
        "description": manifest.description,
        "publisher": None,
        "quality": quality.model_dump(exclude_none=True, mode="json") if quality else None,
        "warnings": [],
    }


def _unavailable(name: str | None, path: Path, problems: tuple[Problem, ...]) -> Entry:
    return {
        "id": name,
        "object": "expert",
        "state": "unavailable",
        "source": path.name,
        "problems": [{"where": p.where, "what": p.what, "remedy": p.remedy} for p in problems],
    }


def publisher_in_words(entry: Entry) -> str:
    """Who signed it; before its weights are read it is only what the signature says."""
    told = one_line(entry.get("publisher") or "")
    if entry.get("state") == "announced":
        return f"{told} (not verified yet)" if told else "not verified yet"
    return told or "unsigned"


def _show(entries: list[Entry]) -> None:
    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
    table = Table("expert", "version", "weights", "publisher", "quality", "what it does")
    table.columns[0].no_wrap = True
    for entry in entries:
        if entry.get("state") == "unavailable":
            continue
        table.add_row(
            Text(one_line(str(entry["id"]))),
            Text(one_line(str(entry.get("version") or ""))),
            Text(one_line(str(entry.get("residency") or ""))),
            Text(publisher_in_words(entry)),
            Text(quality_in_words(entry.get("quality"), entry.get("check"))),
            Text(one_line(entry.get("description") or "", 100)),
        )
    if table.row_count:
        out.print(table)
    for entry in entries:
        if entry.get("state") == "unavailable":
            out.print(Text(f"not served: {one_line(str(entry.get('source') or entry.get('id')))}"))
            for problem in entry.get("problems", ()):
                told = one_line(f"{problem.get('where')}: {problem.get('what')}", 200)
                out.print(Text(f"  {told}"), soft_wrap=True)


def quality_in_words(
    quality: Mapping[str, Any] | None, check: Mapping[str, Any] | None = None
) -> str:
    """`0.61 (base 0.02, 200 cases), reproduced here`: what the publisher claims, and what
    `hive check` found of it."""
    score = (quality or {}).get("benchmark_score")
    if quality is None or score is None:
        return "not measured"
    told = []
    if quality.get("base_model_score") is not None:
        told.append(f"base {quality['base_model_score']:g}")
    if quality.get("test_queries") is not None:
        told.append(f"{quality['test_queries']} cases")
    words = f"{score:g} ({', '.join(told)})" if told else f"{score:g}"
    if check is None:
        return words
    total = check.get("total")
    sample = f" in {check['cases']} of {total} cases" if total and check["cases"] < total else ""
    if check.get("reproduced"):
        unjudged = ", ".join(check.get("unjudged") or ())
        return f"{words}, reproduced here{sample}" + (f" but for {unjudged}" if unjudged else "")
    return f"{words}, NOT reproduced: {check.get('score', 0):.3g} here{sample}"

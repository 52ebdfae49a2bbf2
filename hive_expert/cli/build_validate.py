"""`hive-build validate`: what becomes of every field of a manifest, here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.text import Text

from hive_expert.cli.terminal import HiveCommand, note, print_error, print_json
from hive_expert.errors import HiveError

if TYPE_CHECKING:
    from hive_expert.engine.at_hand import AtHand
    from hive_expert.manifest.model import Manifest

EXAMPLES = """
\b
Examples:
  hive-build validate experts/expert-sql
  hive-build validate experts/expert-sql/manifest.json --base smollm2-135m
  hive-build validate experts/expert-sql --base models/Qwen3-0.6B --max-rank 32
  hive-build validate expert-sql-smollm2-135m.v0.1.0.expert --json
"""


@click.command("validate", cls=HiveCommand, epilog=EXAMPLES)
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--base",
    help="Judge for this base model alone: a folder, a hub name or a slug; one that is not on "
    "this machine is judged by its name. Default: the embedded one, where the manifest is for it.",
)
@click.option(
    "--max-rank",
    type=click.IntRange(1, 512),
    default=16,
    show_default=True,
    help="Largest adapter rank that your server takes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def validate(path: Path, base: str | None, max_rank: int, as_json: bool) -> None:
    """Say what becomes of every field of a manifest; fail if one is refused.

    PATH is an expert's folder, a manifest.json or a package. Fields are judged against the base
    model's weights and the engine as they are on this machine.
    """
    from hive_expert.cli.build_views import show_advice, show_fields
    from hive_expert.decoding.judged import decoding_refusals, grammar_advice
    from hive_expert.engine.at_hand import judged_fields
    from hive_expert.manifest.fields import field_status, with_verdicts
    from hive_expert.manifest.guidance import advice
    from hive_expert.package.gather import missing_files
    from hive_expert.package.pack import laid_out

    with laid_out(path) as (manifest, directory):
        here = _at_hand(manifest, base, max_rank)
        if here is not None:
            rows = judged_fields(manifest, here, directory)
        else:
            rows = field_status(manifest, base=base)
        rows = with_verdicts(rows, decoding_refusals(manifest, directory))
        missing = missing_files(directory, manifest) if directory else ()
        advised = (*advice(manifest), *grammar_advice(manifest, directory))
    refused = [row for row in rows if row.status == "refused"]
    if as_json:
        print_json(
            {
                "name": manifest.name,
                "version": manifest.version,
                "valid": not refused and not missing,
                "judged_for": here
                and {
                    "base": here.base.name,
                    "fingerprint": here.fingerprint,
                    "engine": here.platform,
                    "max_rank": here.max_rank,
                },
                "fields": [
                    {"path": row.path, "status": row.status, "detail": row.detail} for row in rows
                ],
                "missing": [str(problem) for problem in missing],
                "advice": [{"path": one.path, "text": one.text} for one in advised],
            }
        )
    else:
        show_fields(manifest, rows)
        show_advice(advised)
        note(_judged_by(here, base))
    if missing:
        print_error(HiveError(*missing))
    if refused or missing:
        told = f"{len(refused)} of {len(rows)} fields refused, {len(missing)} files missing"
        note(Text(told, "red"))
        sys.exit(1)


def _at_hand(manifest: Manifest, base: str | None, max_rank: int) -> AtHand | None:
    """The base that is named; else the default one, if the expert is for it. None: not here."""
    from hive_expert.adapters.base_model import DEFAULT, find_base
    from hive_expert.engine.at_hand import at_hand, entries_for

    found = find_base(base or DEFAULT)
    if found is None:
        return None
    here = at_hand(found, max_rank)
    return here if base is not None or entries_for(manifest, here) else None


def _judged_by(here: AtHand | None, base: str | None) -> str:
    if here is not None:
        engine = f"vLLM on {here.platform}" if here.platform else "no engine"
        return (
            f"judged against {here.base.name} ({here.fingerprint[:12]}…), {engine}, slots of rank "
            f"{here.max_rank}"
        )
    if base is not None:
        return f"{base} is not on this machine: judged by its name alone"
    return "judged without a base model: none that it is for is here (see --base)"

"""`hive-train router`: fit the mini-policy of `model=auto` to labelled queries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.text import Text

from hive_expert.cli.terminal import HiveCommand, console, note, print_json

if TYPE_CHECKING:
    from hive_expert.manifest.model import Manifest

EXAMPLES = """
\b
Examples:
  hive-train router --queries train.jsonl --held-out dev.jsonl --experts-dir experts
  hive-train router --queries train.jsonl --held-out dev.jsonl --experts-dir a \\
    --experts-dir b --output policy.json --json
"""

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("router", cls=HiveCommand, epilog=EXAMPLES)
@click.option(
    "--queries", required=True, type=_file, help="Labelled queries to learn from (JSONL)."
)
@click.option(
    "--held-out", required=True, type=_file, help="Labelled queries to choose the threshold by."
)
@click.option(
    "--experts-dir",
    "folders",
    required=True,
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the experts the labels name. Repeatable; of one name, the first counts.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the policy goes; by default it replaces the one that ships.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def router(
    queries: Path, held_out: Path, folders: tuple[Path, ...], output: Path | None, as_json: bool
) -> None:
    """Learn which expert, or the base model, should answer which request.

    The same queries and manifests give the same policy. The threshold is chosen by the held-out
    queries, and then the policy is fitted to these as well. Takes some minutes.
    """
    from hive_expert.cli.hive_route import newest, read_manifests
    from hive_expert.router.embeddings import load_embeddings
    from hive_expert.router.policy import SHIPPED, dump_policy
    from hive_expert.router.queries import read_queries
    from hive_expert.training.router_policy import digest_of, fit_policy, routed_by

    known: dict[str, Manifest] = {}
    for folder in folders:
        for manifest in newest(read_manifests(folder)):
            known.setdefault(manifest.name, manifest)
    train, choosing = read_queries(queries), read_queries(held_out)
    with console.status(f"fitting {len(train)} queries"):
        fitted = fit_policy(list(known.values()), train, choosing, load_embeddings())
    notes = {
        "experts": {name: routed_by(known[name]) for name in sorted(known)},
        "queries": len(train),
        "held_out": len(choosing),
        "sha256": digest_of(queries, held_out),
        "held_out_accuracy": round(fitted.accuracy, 4),
        "held_out_base_kept": round(fitted.base_kept, 4),
    }
    target = output or SHIPPED
    target.write_bytes(dump_policy(fitted.policy, notes))
    result = {"policy": str(target), "threshold": fitted.policy.threshold, **notes}
    if as_json:
        print_json(result)
    else:
        note(Text.assemble((str(target), "green"), f": threshold {fitted.policy.threshold}"))
        note(f"held-out accuracy {fitted.accuracy:.3f}, base queries kept {fitted.base_kept:.3f}")

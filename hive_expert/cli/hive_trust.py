"""`hive trust`: whose packages are used, and which versions are held."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hive_expert import locations
from hive_expert.cli.terminal import HiveCommand, HiveGroup, note, print_json
from hive_expert.errors import Problem, UsageError

if TYPE_CHECKING:
    from hive_expert.package.trust_store import TrustStore

MIN_KEY_PREFIX = 8

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group(cls=HiveGroup)
def trust() -> None:
    """Publishers whose experts you use, and versions you hold on to."""


ADD_EXAMPLES = """
\b
Examples:
  hive trust add ann.pub.json
  hive trust add acme.pub.json --names 'acme-*' --names expert-sql
"""


@trust.command(cls=HiveCommand, epilog=ADD_EXAMPLES)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--names",
    multiple=True,
    default=("*",),
    show_default=True,
    help="Experts the key may sign; * stands for anything. Repeatable.",
)
@json_option
def add(file: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Trust a publisher's public key (a .pub.json file).

    Compare the key's id with what the publisher tells you by another way.
    """
    from hive_expert.package.keys import load_public_key

    key = load_public_key(file)
    bad = [name for name in names if not _is_pattern(name)]
    if bad:
        raise UsageError(
            *(Problem("--names", f"{n!r} has more than a-z, 0-9, - and *") for n in bad)
        )

    def change(store: TrustStore) -> TrustStore:
        known = store.keys.get(key.key_id)
        if known is not None and known.revoked is not None:
            raise UsageError(
                Problem(
                    key.key_id[:16],
                    f"you revoked this key at {known.revoked}",
                    f"if that was wrong: hive trust remove --forget {key.key_id[:16]}",
                )
            )
        return store.with_key(key, names, datetime.now(UTC))

    _store().edited(change)
    if as_json:
        print_json({"key_id": key.key_id, "publisher": key.name, "names": list(names)})
    else:
        click.echo(f"trusted  {key.name}\nkey      {key.key_id}\nfor      {', '.join(names)}")


LIST_EXAMPLES = """
\b
Examples:
  hive trust list
  hive trust list --json
"""


@trust.command("list", cls=HiveCommand, epilog=LIST_EXAMPLES)
@json_option
def list_trust(as_json: bool) -> None:
    """List trusted keys, pins, and the highest versions seen."""
    store = _store()
    if as_json:
        print_json(
            {
                "keys": [
                    {
                        "key_id": key_id,
                        "publisher": key.publisher,
                        "names": list(key.names),
                        "added": key.added,
                        "revoked": key.revoked,
                    }
                    for key_id, key in store.keys.items()
                ],
                "pins": {
                    name: pin.model_dump(mode="json", exclude_unset=True)
                    for name, pin in store.pins.items()
                },
                "seen": dict(store.seen),
            }
        )
        return
    for key_id, key in store.keys.items():
        state = f"revoked {key.revoked}" if key.revoked else f"since {key.added}"
        click.echo(f"key\t{key_id[:16]}\t{key.publisher}\t{', '.join(key.names)}\t{state}")
    for name, pin in store.pins.items():
        click.echo(f"pin\t{name}\t{pin}")
    for line, version in store.seen.items():
        click.echo(f"seen\t{line}\t{version}")
    if not store.keys:
        note("no key is trusted yet: hive trust add FILE.pub.json")


REMOVE_EXAMPLES = """
\b
Examples:
  hive trust remove 3f9a1c77d0b2e845
  hive trust remove "Ann's experts"
  hive trust remove --forget 3f9a1c77d0b2e845
"""


@trust.command(cls=HiveCommand, epilog=REMOVE_EXAMPLES)
@click.argument("key")
@click.option("--forget", is_flag=True, help="Drop the record too, as if it had never been there.")
@json_option
def remove(key: str, forget: bool, as_json: bool) -> None:
    """Stop trusting a key (its id, the start of it, or the publisher's name).

    It stays on record as revoked, so that packages signed with it are refused by that reason,
    under the policy warn as well.
    """
    removed: list[str] = []

    def change(store: TrustStore) -> TrustStore:
        key_id = _find_key(store, key)
        removed.append(key_id)
        return store.without_key(key_id) if forget else store.revoking(key_id, datetime.now(UTC))

    _store().edited(change)
    if as_json:
        print_json({"key_id": removed[0], "forgotten": forget})
    else:
        click.echo(f"{'forgotten' if forget else 'revoked'}  {removed[0]}")


PIN_EXAMPLES = """
\b
Examples:
  hive trust pin expert-sql 0.2.0
  hive trust pin expert-sql 0c51e44d4a1a6f1f9e5ab2b6a6de8f4ab1b6d1a0f35c2e7a94d0b8c7e6f5a493
  hive trust pin expert-sql --remove
"""


@trust.command(cls=HiveCommand, epilog=PIN_EXAMPLES)
@click.argument("name")
@click.argument("target", required=False)
@click.option("--remove", "unpin", is_flag=True, help="Take the pin off.")
@json_option
def pin(name: str, target: str | None, unpin: bool, as_json: bool) -> None:
    """Hold an expert to one version, or to one package by its digest; also the way back.

    A pinned version is used even if a higher one was seen; every other is refused. Of a digest all
    64 digits are given, as hive-build inspect shows them.
    """
    from hive_expert.manifest.validation import build
    from hive_expert.package.trust_store import Pin, TrustStore

    if unpin == (target is not None):
        raise UsageError(Problem("TARGET", "give a version or a digest, or --remove"))
    if target is None:
        _store().edited(lambda store: store.without_pin(name))
    else:
        kind = "digest" if len(target) == 64 and "." not in target else "version"
        held = build(Pin, {kind: target}, "TARGET", error=UsageError)
        build(TrustStore, {"pins": {name: {kind: target}}}, "NAME", error=UsageError)
        _store().edited(lambda store: store.with_pin(name, held))
    if as_json:
        print_json({"name": name, "pin": target})
    else:
        click.echo(f"{name} is {f'pinned to {target}' if target else 'not pinned'}")


def _store() -> TrustStore:
    from hive_expert.package.trust_store import TrustStore

    return TrustStore.load(locations.trust_store())


def _is_pattern(text: str) -> bool:
    return 0 < len(text) <= 64 and all(c in "abcdefghijklmnopqrstuvwxyz0123456789-*" for c in text)


def _find_key(store: TrustStore, wanted: str) -> str:
    """The id of the one key that is meant. Raises UsageError if there is none, or several."""
    found = [
        key_id
        for key_id, entry in store.keys.items()
        if entry.publisher == wanted
        or (len(wanted) >= MIN_KEY_PREFIX and key_id.startswith(wanted.lower()))
    ]
    if len(found) != 1:
        what = "is no trusted key" if not found else f"fits {len(found)} keys"
        raise UsageError(Problem(wanted, what, "hive trust list shows them"))
    return found[0]

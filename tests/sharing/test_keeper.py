"""Keeping an index over the years: what is renewed, and what refused changes leave behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from hive_expert.cli.hive import main
from hive_expert.errors import IndexRefusedError, UsageError
from hive_expert.package.keys import SigningKey, save_key
from hive_expert.sharing.entries import Entries
from hive_expert.sharing.index_signing import tuf_key_id
from hive_expert.sharing.keeper import Keeping
from hive_expert.sharing.metadata import verified_entries
from tests.package.samples import key

NOW = datetime.now(UTC)
ANN, BO, CY, DEE = (key(name) for name in ("ann", "bo", "cy", "dee"))


def begun(
    folder: Path, *, days_ago: int = 0, root: Sequence[SigningKey] = (ANN,),
    targets: Sequence[SigningKey] = (BO,), threshold: int = 1,
) -> Keeping:  # fmt: skip
    """An empty index, signed by all; Cy's is the online key."""
    roles = {"root": root, "targets": targets, "online": [CY]}
    Keeping(folder).init(
        {role: [one.public for one in keys] for role, keys in roles.items()},
        {"root": threshold}, [*root, *targets, CY], now=NOW - timedelta(days=days_ago),
    )  # fmt: skip
    return Keeping(folder)


def read(keeping: Keeping, state: Path) -> Entries:
    """The index as a user reads it who began with its first root."""
    first = (keeping.directory / "metadata" / "1.root.json").read_bytes()
    return verified_entries(keeping.files.read, state, first, "index")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def days_left(keeping: Keeping) -> dict[str, int]:
    return {role: (when - NOW).days + 1 for role, when in keeping.expiries().items()}


def test_an_index_that_was_forgotten_for_longer_than_a_year(tmp_path: Path) -> None:
    keeping = begun(tmp_path / "index", days_ago=400)
    keeping.sign([CY], now=NOW)
    with pytest.raises(IndexRefusedError, match=r"root expired on .* with a root key"):
        read(keeping, tmp_path / "state")
    keeping.sign([ANN], now=NOW)
    with pytest.raises(IndexRefusedError, match=r"targets expired on .* with a targets key and"):
        read(keeping, tmp_path / "state")
    assert keeping.sign([BO, CY], now=NOW) == (
        "2.targets.json", "3.snapshot.json", "timestamp.json",
    )  # fmt: skip
    assert read(keeping, tmp_path / "state") == Entries(format=1)
    assert days_left(keeping) == {"root": 365, "targets": 365, "snapshot": 30, "timestamp": 30}


@pytest.mark.parametrize(("days_ago", "root"), [(274, 365 - 274), (276, 365)])
def test_root_is_renewed_in_its_last_90_days(days_ago: int, root: int, tmp_path: Path) -> None:
    keeping = begun(tmp_path / "index", days_ago=days_ago)
    keeping.sign([ANN, CY], now=NOW)
    assert days_left(keeping)["root"] == root


@pytest.mark.parametrize(("days_ago", "targets"), [(274, 365 - 274), (276, 365)])
def test_targets_are_renewed_in_their_last_90_days(
    days_ago: int, targets: int, tmp_path: Path
) -> None:
    keeping = begun(tmp_path / "index", days_ago=days_ago)
    keeping.sign([BO, CY], now=NOW)
    assert days_left(keeping)["targets"] == targets


def test_a_renewed_root_waits_for_its_second_signature(tmp_path: Path) -> None:
    """And who gives it renews nothing more: that would lack the first one again."""
    keeping = begun(tmp_path / "index", days_ago=300, root=[ANN, DEE], threshold=2)
    assert keeping.sign([ANN], now=NOW) == ("2.root.json",)
    assert keeping.lacking() == {"2.root.json": 1}
    assert keeping.sign([DEE], now=NOW) == ("2.root.json",)
    assert keeping.lacking() == {}


def test_a_root_that_lacks_signatures_has_no_next_one(tmp_path: Path) -> None:
    """Users could never come past it."""
    keeping = begun(tmp_path / "index", days_ago=800, root=[ANN, DEE], threshold=2)
    keeping.sign([ANN], now=NOW - timedelta(days=400))
    assert keeping.sign([DEE], now=NOW) == ("2.root.json",)


def test_check_says_what_is_to_be_renewed_and_until_when(tmp_path: Path) -> None:
    keeping = begun(tmp_path / "index", days_ago=300)
    keeping.sign([CY], now=NOW)
    day = f"{NOW + timedelta(days=65):%Y-%m-%d}"
    command = ["index", "check", str(keeping.directory)]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 0, told.output
    assert f"root\tuntil {day}" in told.stdout
    assert f"root expires on {day}: hive index sign with a root key" in told.stderr
    assert f"targets expires on {day}: hive index sign with a targets key" in told.stderr
    keeping.sign([ANN, BO, CY], now=NOW)
    assert "hive index sign" not in CliRunner().invoke(main, command).output


def test_a_key_that_leaves_signs_the_root_that_it_leaves(tmp_path: Path) -> None:
    keeping = begun(tmp_path / "index", root=[ANN, BO], threshold=2)
    ann = tuf_key_id(ANN.public)
    keeping.rotate("root", add=[DEE.public], remove=[ann], threshold=None, signers=[BO, DEE],
                   now=NOW)  # fmt: skip
    with pytest.raises(IndexRefusedError, match="is not signed by enough"):
        read(keeping, tmp_path / "state")
    assert keeping.sign([ANN], now=NOW) == ("2.root.json",)
    assert keeping.lacking() == {}
    read(keeping, tmp_path / "state")


def test_a_refused_listing_leaves_the_index_as_it_is(tmp_path: Path) -> None:
    keeping = begun(tmp_path / "index")
    before = contents(keeping.directory)
    with pytest.raises(UsageError, match="give the online key too"):
        keeping.publish(keeping.files.entries(), [BO], now=NOW)
    assert contents(keeping.directory) == before


@pytest.mark.parametrize(("role", "signers"), [("online", [ANN]), ("targets", [ANN, DEE])])
def test_a_refused_rotation_leaves_the_index_as_it_is(
    role: str, signers: list[SigningKey], tmp_path: Path
) -> None:
    keeping = begun(tmp_path / "index")
    before = contents(keeping.directory)
    with pytest.raises(UsageError, match="none of the keys may sign"):
        keeping.rotate(role, add=[DEE.public], remove=[], threshold=None, signers=signers, now=NOW)
    assert contents(keeping.directory) == before


def test_a_refused_beginning_leaves_nothing(tmp_path: Path) -> None:
    ann = tmp_path / "ann.pem"
    bo = tmp_path / "bo.pem"
    save_key(ANN, ann)
    save_key(BO, bo)
    command = ["index", "init", str(tmp_path / "index"), "--key", str(ann), "--json"]
    refused = CliRunner().invoke(main, [*command, "--targets", str(bo.with_suffix(".pub.json"))])
    assert refused.exit_code == 2, refused.output
    assert "fingerprint" in json.loads(CliRunner().invoke(main, command).stdout)

"""An index cannot take back what it once showed, unless its keys are changed for it."""

from __future__ import annotations

import pytest

from tests.sharing.tuf.repository import Client, TufRepository


def test_simple_snapshot_rollback(client: Client, repo: TufRepository) -> None:
    repo.publish_snapshot()
    client.refresh()
    repo.snapshot.version = 1
    repo.write("snapshot", "2.snapshot.json", repo.snapshot)
    client.refresh()
    assert client.version("snapshot") == 2


def test_new_timestamp_version_rollback(client: Client, repo: TufRepository) -> None:
    old = repo.files["metadata/timestamp.json"]
    repo.publish_timestamp()
    client.refresh()
    repo.files["metadata/timestamp.json"] = old
    client.refuses("goes back", timestamp=2)


@pytest.mark.parametrize("hashes", [False, True])
def test_snapshot_rollback(client: Client, repo: TufRepository, hashes: bool) -> None:
    repo.hashes_in_meta = hashes
    repo.publish_snapshot()
    client.refresh()
    repo.snapshot.version = 0
    repo.publish_snapshot()
    client.refuses("goes back", timestamp=2, snapshot=2)


@pytest.mark.parametrize("hashes", [False, True])
def test_targets_rollback(client: Client, repo: TufRepository, hashes: bool) -> None:
    repo.hashes_in_meta = hashes
    repo.publish_all()
    client.refresh()
    repo.targets.version = 0
    repo.publish_all()
    client.refuses("goes back", targets=2)


def test_new_snapshot_version_mismatch(client: Client, repo: TufRepository) -> None:
    repo.snapshot.version = 2
    repo.write("snapshot", "1.snapshot.json", repo.snapshot)
    client.refuses("goes back", snapshot=None, targets=None)


def test_new_timestamp_fast_forward_recovery(client: Client, repo: TufRepository) -> None:
    repo.timestamp.version = 99
    repo.publish_timestamp()
    client.refresh()
    repo.rotate("timestamp", 20)
    repo.publish_root()
    repo.timestamp.version = 0
    repo.publish_timestamp()
    client.refresh()
    assert client.version("timestamp") == 1


def test_new_snapshot_fast_forward_recovery(client: Client, repo: TufRepository) -> None:
    repo.snapshot.version = 99_998
    repo.publish_snapshot()
    client.refresh()
    assert client.version("snapshot") == 99_999
    repo.rotate("snapshot", 21)
    repo.rotate("timestamp", 20)
    repo.publish_root()
    repo.snapshot.version = 0
    repo.publish_snapshot()
    client.refresh()
    assert client.version("snapshot") == 1


def test_new_targets_fast_forward_recovery(client: Client, repo: TufRepository) -> None:
    repo.targets.version = 99
    repo.publish_all()
    client.refresh()
    assert client.version("targets") == 100
    repo.rotate("snapshot", 21)
    repo.publish_root()
    repo.targets.version = 0
    repo.publish_all()
    client.refresh()
    assert client.version("targets") == 1

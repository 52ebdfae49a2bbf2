"""Metadata is good until it expires, and no longer."""

from __future__ import annotations

from tests.sharing.tuf.repository import Client, TufRepository, in_days


def test_root_expired(seen: Client, repo: TufRepository) -> None:
    repo.root.expires = in_days(-1)
    repo.publish_root()
    repo.publish_all()
    seen.refuses("too old (root expired on", root=2)


def test_snapshot_expired(seen: Client, repo: TufRepository) -> None:
    repo.snapshot.expires = in_days(-5)
    repo.publish_snapshot()
    seen.refuses("too old (snapshot expired on", snapshot=1)


def test_targets_expired(seen: Client, repo: TufRepository) -> None:
    repo.targets.expires = in_days(-5)
    repo.publish_all()
    seen.refuses("too old (targets expired on", targets=1)


def test_timestamp_expired(seen: Client, repo: TufRepository) -> None:
    repo.timestamp.expires = in_days(-5)
    repo.publish_timestamp()
    seen.refuses("too old (timestamp expired on", timestamp=1)


def test_the_first_root_expired(client: Client, repo: TufRepository) -> None:
    repo.root.expires = in_days(-1)
    repo.write("root", "1.root.json", repo.root)
    client.root = repo.files["metadata/1.root.json"]
    client.refuses("hive index sign with a root key", root=1)


def test_freeze(seen: Client, repo: TufRepository) -> None:
    """The same files for ever: good until they expire, and no longer."""
    repo.timestamp.expires = in_days(-0.1)
    repo.publish_timestamp(bump=False)
    # What the client has seen is the same file: time has gone by, that is all.
    kept = seen.state / "metadata" / "timestamp.json"
    kept.write_bytes(repo.files["metadata/timestamp.json"])
    seen.refuses("too old (timestamp expired on")


def test_expired_metadata(seen: Client, repo: TufRepository) -> None:
    """What the client has may be expired: it is what the new metadata must not go back behind."""
    state = seen.state / "metadata" / "timestamp.json"
    kept, repo.timestamp.expires = repo.timestamp.expires, in_days(-1)
    repo.publish_timestamp(bump=False)
    state.write_bytes(repo.files["metadata/timestamp.json"])
    repo.timestamp.expires = kept
    repo.publish_all()
    seen.refresh()
    assert seen.version("timestamp") == 2

"""What a client makes of an index that changes as it should, and of a first root that is none."""

from __future__ import annotations

import json

from tests.sharing.tuf.repository import FIRST, Client, TufRepository


def test_basic_init_and_refresh(seen: Client, repo: TufRepository) -> None:
    assert seen.versions() == FIRST
    asked = [path for path in repo.asked if path.startswith("metadata/")]
    assert asked == [
        f"metadata/{n}.json" for n in ("2.root", "timestamp", "1.snapshot", "1.targets")
    ]


def test_timestamp_eq_versions_check(seen: Client, repo: TufRepository) -> None:
    repo.timestamp.snapshot_meta.version = 100
    repo.publish_timestamp(bump=False)
    seen.refresh()
    assert seen.versions() == FIRST


def test_new_targets_hash_mismatch(client: Client, repo: TufRepository) -> None:
    repo.hashes_in_meta = True
    client.refresh()
    repo.publish_all()
    repo.files["metadata/2.targets.json"] = repo.files["metadata/1.targets.json"]
    client.refuses("not the one that was signed", targets=1)


def test_new_targets_version_mismatch(seen: Client, repo: TufRepository) -> None:
    repo.publish_all()
    repo.targets.version = 3
    repo.write("targets", "2.targets.json", repo.targets)
    seen.refuses("goes back", targets=1)


def test_invalid_initial_root(client: Client, repo: TufRepository) -> None:
    document = json.loads(repo.first_root)
    del document["signed"]["version"]
    client.root = json.dumps(document).encode()
    client.refuses("not valid")
    assert repo.asked == []


def test_unsigned_initial_root(client: Client, repo: TufRepository) -> None:
    document = json.loads(repo.first_root)
    document["signatures"][0]["sig"] = "ab" * 64
    client.root = json.dumps(document).encode()
    client.refuses("not signed by enough")
    assert repo.asked == []


def test_custom_fields(seen: Client, repo: TufRepository) -> None:
    repo.root.unrecognized_fields["custom-field"] = "value"
    keyid = repo.root.roles["root"].keyids[0]
    repo.root.keys[keyid].unrecognized_fields["extra-field"] = {"a": 1, "b": 2}
    repo.publish_root()
    seen.refresh()
    assert seen.version("root") == 2

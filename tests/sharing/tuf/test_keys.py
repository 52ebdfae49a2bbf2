"""Who may sign, and how many must."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tuf.api.metadata import Root

from tests.sharing.tuf.repository import Client, TufRepository, signer


def test_snapshot_threshold(seen: Client, repo: TufRepository) -> None:
    repo.set_keys("snapshot", [30, 31, 32, 33, 34], 6, [30, 31, 32, 33, 34])
    repo.publish_root()
    repo.publish_snapshot()
    seen.refuses("not signed by enough", snapshot=1)


def test_root_has_keys_but_not_snapshot(seen: Client, repo: TufRepository) -> None:
    repo.set_keys("snapshot", [30, 31, 32], 3, [30])
    repo.publish_root()
    repo.publish_snapshot()
    seen.refuses("not signed by enough")
    repo.set_keys("snapshot", [30, 31, 32], 3, [30, 31, 32])
    repo.publish_snapshot()
    seen.refresh()
    assert seen.version("snapshot") == 3


@pytest.mark.parametrize("spelled", [str, str.upper, " ".join])
def test_duplicate_keys_root(
    seen: Client, repo: TufRepository, spelled: Callable[[str], str]
) -> None:
    """One key under several ids is one key, however it is written."""
    repo.set_keys("snapshot", [30], 2, [30])
    repo.publish_root()
    document = json.loads(repo.files["metadata/2.root.json"])
    keyid = signer(30).public_key.keyid
    document["signed"]["keys"]["f" * 64] = dict(document["signed"]["keys"][keyid])
    written = spelled(signer(30).public_key.keyval["public"])
    document["signed"]["keys"]["f" * 64]["keyval"] = {"public": written}
    document["signed"]["roles"]["snapshot"]["keyids"].append("f" * 64)
    repo.root = Root.from_dict(document["signed"])
    repo.root.version = 1
    repo.publish_root()
    repo.publish_snapshot()
    seen.refuses("one key has several ids", snapshot=1)


def test_wrong_hashing_algorithm(seen: Client, repo: TufRepository) -> None:
    keyid = repo.root.roles["snapshot"].keyids[0]
    repo.root.keys[keyid].unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    repo.publish_root()
    repo.publish_all()
    seen.refresh()
    assert seen.version("root") == 2


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_below_one(seen: Client, repo: TufRepository, threshold: int) -> None:
    repo.publish_root()
    document = json.loads(repo.files["metadata/2.root.json"])
    document["signed"]["roles"]["targets"]["threshold"] = threshold
    repo.files["metadata/2.root.json"] = json.dumps(document).encode()
    seen.refuses("not valid")

"""What a client makes of an index whose keeper, or server, is not honest or makes mistakes.

Each test is a case of the TUF conformance suite's list, under its name there, and a few of ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from tuf.api.metadata import Root

from hive_expert.errors import IndexRefusedError
from tests.sharing.tuf_repository import ROLES, Client, TufRepository, in_days, signer

EVERYTHING = {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}


@pytest.fixture
def repo() -> TufRepository:
    return TufRepository()


@pytest.fixture
def client(repo: TufRepository, tmp_path: Path) -> Client:
    return Client(tmp_path / "state", repo)


def versions(client: Client) -> dict[str, int | None]:
    return {role: client.version(role) for role in ROLES}


# test_basic


def test_basic_init_and_refresh(client: Client, repo: TufRepository) -> None:
    client.refresh()
    assert versions(client) == EVERYTHING
    asked = [path for path in repo.asked if path.startswith("metadata/")]
    assert asked == [
        f"metadata/{n}.json" for n in ("2.root", "timestamp", "1.snapshot", "1.targets")
    ]


def test_timestamp_eq_versions_check(client: Client, repo: TufRepository) -> None:
    client.refresh()
    repo.timestamp.snapshot_meta.version = 100
    repo.publish_timestamp(bump=False)
    client.refresh()
    assert versions(client) == EVERYTHING


def test_new_targets_hash_mismatch(client: Client, repo: TufRepository) -> None:
    repo.hashes_in_meta = True
    client.refresh()
    repo.publish_all()
    repo.files["metadata/2.targets.json"] = repo.files["metadata/1.targets.json"]
    assert "not the one that was signed" in client.refused()
    assert client.version("targets") == 1


def test_new_targets_version_mismatch(client: Client, repo: TufRepository) -> None:
    client.refresh()
    repo.publish_all()
    repo.targets.version = 3
    repo.write("targets", "2.targets.json", repo.targets)
    assert "goes back" in client.refused()
    assert client.version("targets") == 1


def test_invalid_initial_root(client: Client, repo: TufRepository) -> None:
    document = json.loads(repo.first_root)
    del document["signed"]["version"]
    client.root = json.dumps(document).encode()
    assert "not valid" in client.refused()
    assert repo.asked == []


def test_unsigned_initial_root(client: Client, repo: TufRepository) -> None:
    document = json.loads(repo.first_root)
    document["signatures"][0]["sig"] = "ab" * 64
    client.root = json.dumps(document).encode()
    assert "not signed by enough" in client.refused()
    assert repo.asked == []


def test_custom_fields(client: Client, repo: TufRepository) -> None:
    client.refresh()
    repo.root.unrecognized_fields["custom-field"] = "value"
    keyid = repo.root.roles["root"].keyids[0]
    repo.root.keys[keyid].unrecognized_fields["extra-field"] = {"a": 1, "b": 2}
    repo.publish_root()
    client.refresh()
    assert client.version("root") == 2


# test_expiration


def test_root_expired(client: Client, repo: TufRepository) -> None:
    client.refresh()
    repo.root.expires = in_days(-1)
    repo.publish_root()
    repo.publish_all()
    assert "too old" in client.refused()
    assert versions(client) == {**EVERYTHING, "root": 2}


def test_snapshot_expired(client: Client, repo: TufRepository) -> None:
    client.refresh()
    repo.snapshot.expires = in_days(-5)
    repo.publish_snapshot()
    assert "too old" in client.refused()
    assert client.version("snapshot") == 1


def test_targets_expired(client: Client, repo: TufRepository) -> None:
    client.refresh()
    repo.targets.expires = in_days(-5)
    repo.publish_all()
    assert "too old" in client.refused()
    assert client.version("targets") == 1


def test_timestamp_expired(client: Client, repo: TufRepository) -> None:
    client.refresh()
    repo.timestamp.expires = in_days(-5)
    repo.publish_timestamp()
    assert "too old" in client.refused()
    assert client.version("timestamp") == 1


def test_freeze(client: Client, repo: TufRepository) -> None:
    """The same files for ever: good until they expire, and no longer."""
    client.refresh()
    repo.timestamp.expires = in_days(-0.1)
    repo.publish_timestamp(bump=False)
    # What the client has seen is the same file: time has gone by, that is all.
    seen = client.state / "metadata" / "timestamp.json"
    seen.write_bytes(repo.files["metadata/timestamp.json"])
    assert "too old" in client.refused()


def test_expired_metadata(client: Client, repo: TufRepository) -> None:
    """What the client has may be expired: it is what the new metadata must not go back behind."""
    client.refresh()
    state = client.state / "metadata" / "timestamp.json"
    kept, repo.timestamp.expires = repo.timestamp.expires, in_days(-1)
    repo.publish_timestamp(bump=False)
    state.write_bytes(repo.files["metadata/timestamp.json"])
    repo.timestamp.expires = kept
    repo.publish_all()
    client.refresh()
    assert client.version("timestamp") == 2


# test_rollback


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
    assert "goes back" in client.refused()
    assert client.version("timestamp") == 2


@pytest.mark.parametrize("hashes", [False, True])
def test_snapshot_rollback(client: Client, repo: TufRepository, hashes: bool) -> None:
    repo.hashes_in_meta = hashes
    repo.publish_snapshot()
    client.refresh()
    repo.snapshot.version = 0
    repo.publish_snapshot()
    assert "goes back" in client.refused()
    assert (client.version("timestamp"), client.version("snapshot")) == (2, 2)


@pytest.mark.parametrize("hashes", [False, True])
def test_targets_rollback(client: Client, repo: TufRepository, hashes: bool) -> None:
    repo.hashes_in_meta = hashes
    repo.publish_all()
    client.refresh()
    repo.targets.version = 0
    repo.publish_all()
    assert "goes back" in client.refused()
    assert client.version("targets") == 2


def test_new_snapshot_version_mismatch(client: Client, repo: TufRepository) -> None:
    repo.snapshot.version = 2
    repo.write("snapshot", "1.snapshot.json", repo.snapshot)
    assert "goes back" in client.refused()
    assert versions(client) == {**EVERYTHING, "snapshot": None, "targets": None}


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


# test_keys


def test_snapshot_threshold(client: Client, repo: TufRepository) -> None:
    client.refresh()
    repo.set_keys("snapshot", [30, 31, 32, 33, 34], 6, [30, 31, 32, 33, 34])
    repo.publish_root()
    repo.publish_snapshot()
    assert "not signed by enough" in client.refused()
    assert client.version("snapshot") == 1


def test_root_has_keys_but_not_snapshot(client: Client, repo: TufRepository) -> None:
    client.refresh()
    repo.set_keys("snapshot", [30, 31, 32], 3, [30])
    repo.publish_root()
    repo.publish_snapshot()
    assert "not signed by enough" in client.refused()
    repo.set_keys("snapshot", [30, 31, 32], 3, [30, 31, 32])
    repo.publish_snapshot()
    client.refresh()
    assert client.version("snapshot") == 3


def test_duplicate_keys_root(client: Client, repo: TufRepository) -> None:
    """One key under several ids is one key."""
    client.refresh()
    repo.set_keys("snapshot", [30], 2, [30])
    repo.publish_root()
    document = json.loads(repo.files["metadata/2.root.json"])
    keyid = signer(30).public_key.keyid
    document["signed"]["keys"]["f" * 64] = dict(document["signed"]["keys"][keyid])
    document["signed"]["keys"]["f" * 64]["keyval"] = dict(signer(30).public_key.keyval)
    document["signed"]["roles"]["snapshot"]["keyids"].append("f" * 64)
    repo.root = Root.from_dict(document["signed"])
    repo.root.version = 1
    repo.publish_root()
    repo.publish_snapshot()
    assert "one key has several ids" in client.refused()
    assert client.version("snapshot") == 1


def test_wrong_hashing_algorithm(client: Client, repo: TufRepository) -> None:
    client.refresh()
    keyid = repo.root.roles["snapshot"].keyids[0]
    repo.root.keys[keyid].unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    repo.publish_root()
    repo.publish_all()
    client.refresh()
    assert client.version("root") == 2


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_below_one(client: Client, repo: TufRepository, threshold: int) -> None:
    client.refresh()
    repo.publish_root()
    document = json.loads(repo.files["metadata/2.root.json"])
    document["signed"]["roles"]["targets"]["threshold"] = threshold
    repo.files["metadata/2.root.json"] = json.dumps(document).encode()
    assert "not valid" in client.refused()


# test_updater_key_rotations


@dataclass
class Step:
    """A root: its keys, how many must sign, who does, and whether users take it."""

    keys: list[int]
    threshold: int
    signing: list[int]
    taken: bool = True


FIVE = [10, 11, 12, 13, 14]
ROTATIONS = {
    "1-of-1-key-rotation": [Step([11], 1, [11]), Step([12], 1, [12, 11]), Step([12], 1, [12])],
    "1-of-1-key-rotation-unused-signatures": [
        Step([11], 1, [13, 11, 14]), Step([12], 1, [13, 12, 11, 14]), Step([12], 1, [13, 12, 14]),
    ],
    "3-of-5-sign-with-different-keycombos": [
        Step(FIVE, 3, [10, 12, 14]), Step(FIVE, 3, [10, 14, 11]), Step(FIVE, 3, [10, 11, 13]),
        Step(FIVE, 3, [10, 11, 13]),
    ],
    "3-of-5-one-key-rotated": [
        Step(FIVE, 3, [10, 12, 14]), Step([10, 11, 13, 14, 15], 3, [10, 14, 11]),
    ],
    "3-of-5-one-key-rotated-with-intermediate-step": [
        Step(FIVE, 3, [10, 12, 14]), Step([10, 11, 13, 14, 15], 3, [10, 12, 14, 15]),
        Step([10, 11, 13, 14, 15], 3, [10, 14, 15]),
    ],
    "3-of-5-all-keys-rotated-with-intermediate-step": [
        Step(FIVE, 3, [10, 12, 14]), Step([15, 16, 17, 18, 19], 3, [10, 12, 14, 15, 16, 17]),
        Step([15, 16, 17, 18, 19], 3, [15, 16, 17]),
    ],
    "1-of-3-threshold-increase-to-2-of-3": [
        Step([11, 12, 13], 1, [11]), Step([11, 12, 13], 2, [11, 12]),
    ],
    "2-of-3-threshold-decrease-to-1-of-3": [
        Step([11, 12, 13], 2, [11, 12]), Step([11, 12, 13], 1, [11, 12]),
        Step([11, 12, 13], 1, [11]),
    ],
    "1-of-2-threshold-increase-to-2-of-2": [Step([11], 1, [11]), Step([11, 12], 2, [11, 12])],
    "1-of-1-key-rotation-fail-not-signed-with-old-key": [
        Step([11], 1, [11]), Step([12], 1, [12, 13, 14], taken=False),
    ],
    "1-of-1-key-rotation-fail-not-signed-with-new-key": [
        Step([11], 1, [11]), Step([12], 1, [11, 13, 14], taken=False),
    ],
    "3-of-5-one-key-rotate-fails-not-signed-with-3-new-keys": [
        Step(FIVE, 3, [10, 12, 14]), Step([10, 11, 13, 14, 15], 3, [10, 12, 14], taken=False),
    ],
    "3-of-5-one-key-rotate-fails-not-signed-with-3-old-keys": [
        Step(FIVE, 3, [10, 12, 14]), Step([10, 11, 13, 14, 15], 3, [10, 14, 15], taken=False),
    ],
    "1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached": [
        Step([11, 12, 13], 1, [11]), Step([11, 12, 13], 2, [12], taken=False),
    ],
    "2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-reached": [
        Step([11, 12, 13], 2, [11, 12]), Step([11, 12, 13], 1, [11], taken=False),
    ],
}  # fmt: skip


@pytest.mark.parametrize("steps", ROTATIONS.values(), ids=ROTATIONS.keys())
def test_root_rotation(client: Client, repo: TufRepository, steps: list[Step]) -> None:
    repo.root.version = 0
    for step in steps:
        repo.set_keys("root", step.keys, step.threshold, step.signing)
        repo.publish_root()
    client.root = repo.files["metadata/1.root.json"]
    if steps[-1].taken:
        client.refresh()
        assert client.version("root") == len(steps)
    else:
        assert "not signed by enough" in client.refused()
        assert client.version("root") == len(steps) - 1


OTHERS = {
    "1-of-1-key-rotation": Step([12], 1, [12]),
    "1-of-1-key-rotation-unused-signatures": Step([11], 1, [13, 11, 14]),
    "1-of-1-key-rotation-fail-not-signed-with-new-key": Step([12], 1, [11, 13, 14], taken=False),
    "3-of-5-not-signed-with-3-expected-keys": Step([10, 11, 13, 14, 15], 3, [10, 12, 14], False),
    "2-of-5-threshold-not-reached": Step([10, 11, 13, 14, 15], 3, [10, 14], taken=False),
    "3-of-5-sign-first-combo": Step(FIVE, 3, [10, 12, 14]),
    "3-of-5-sign-second-combo": Step(FIVE, 3, [10, 14, 11]),
    "3-of-5-sign-third-combo": Step(FIVE, 3, [10, 11, 13]),
    "3-of-5-sign-fourth-combo": Step(FIVE, 3, [11, 12, 13]),
    "3-of-5-sign-fifth-combo": Step(FIVE, 3, [12, 13, 14]),
}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("step", OTHERS.values(), ids=OTHERS.keys())
def test_non_root_rotations(client: Client, repo: TufRepository, role: str, step: Step) -> None:
    client.refresh()
    repo.set_keys(role, step.keys, step.threshold, step.signing)
    repo.publish_root()
    repo.publish_all()
    if step.taken:
        client.refresh()
        assert client.version(role) == 2
    else:
        assert "not signed by enough" in client.refused()
        assert client.version(role) == 1


# test_file_download


def test_repository_substitutes_target_file(client: Client, repo: TufRepository) -> None:
    (name,) = [path for path in repo.files if path.startswith("targets/")]
    data = repo.files[name]
    repo.files[name] = data.replace(b"1", b"2")
    assert "not the one that was signed" in client.refused()
    repo.files[name] = data + b" "
    assert "is not complete" in client.refused()
    repo.files[name] = data
    client.refresh()


def test_multiple_changes_to_target(client: Client, repo: TufRepository) -> None:
    for number in range(5):
        repo.entries = json.dumps({"format": 1, "entries": [], "_note": number}).encode()
        repo.publish_all()
        assert client.refresh().comments == {"_note": number}


# Ours: what python-tuf leaves to those who use it


def test_mix_and_match(client: Client, repo: TufRepository) -> None:
    """Each file is signed, and they never belonged together."""
    first = dict(repo.files)
    repo.entries = b'{"format": 1, "entries": [], "_note": "second"}'
    repo.publish_all()
    second = dict(repo.files)
    for name in ("snapshot", "targets"):
        repo.files = {**second, f"metadata/2.{name}.json": first[f"metadata/1.{name}.json"]}
        assert "goes back" in client.refused()
    repo.files = {**second, "metadata/timestamp.json": first["metadata/timestamp.json"]}
    assert "goes back" in client.refused()
    repo.files = second
    client.refresh()


@pytest.mark.parametrize(
    "name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
)
def test_duplicate_keys_in_json(client: Client, repo: TufRepository, name: str) -> None:
    repo.publish_root()
    data = repo.files[f"metadata/{name}"]
    repo.files[f"metadata/{name}"] = data.replace(b'"signed"', b'"signed": {}, "signed"', 1)
    assert "appears more than once" in client.refused()


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"{}", b"{", b"\xff", b'{"signed": {}, "signatures": []}']
)
def test_no_metadata_at_all(client: Client, repo: TufRepository, name: str, content: bytes) -> None:
    repo.files[f"metadata/{name}"] = content
    assert client.refused()
    assert client.version(name.removesuffix(".json").partition(".")[2] or "timestamp") is None


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_a_missing_file(client: Client, repo: TufRepository, name: str) -> None:
    del repo.files[f"metadata/{name}"]
    assert "is not complete" in client.refused()


def test_a_role_in_place_of_another(client: Client, repo: TufRepository) -> None:
    repo.files["metadata/timestamp.json"] = repo.files["metadata/1.snapshot.json"]
    assert "not valid" in client.refused()


def test_delegations_are_not_followed(client: Client, repo: TufRepository) -> None:
    repo.targets.targets = {}
    repo.write("targets", "1.targets.json", repo.targets)
    assert "names no experts.json" in client.refused()


def test_entries_that_are_not_valid_are_refused_though_signed(
    client: Client, repo: TufRepository
) -> None:
    repo.entries = b'{"format": 1, "entries": [{"name": "../../x"}]}'
    repo.publish_all()
    with pytest.raises(IndexRefusedError, match="expert-<slug>"):
        client.refresh()

"""What python-tuf leaves to those who use it, and what every client must hold against."""

from __future__ import annotations

import pytest

from hive_expert.errors import IndexRefusedError
from tests.sharing.tuf.repository import Client, TufRepository


def test_mix_and_match(client: Client, repo: TufRepository) -> None:
    """Each file is signed, and they never belonged together."""
    first = dict(repo.files)
    repo.entries = b'{"format": 1, "entries": [], "_note": "second"}'
    repo.publish_all()
    second = dict(repo.files)
    for name in ("snapshot", "targets"):
        repo.files = {**second, f"metadata/2.{name}.json": first[f"metadata/1.{name}.json"]}
        client.refuses("goes back")
    repo.files = {**second, "metadata/timestamp.json": first["metadata/timestamp.json"]}
    client.refuses("goes back")
    repo.files = second
    client.refresh()


@pytest.mark.parametrize(
    "name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
)
def test_duplicate_keys_in_json(client: Client, repo: TufRepository, name: str) -> None:
    repo.publish_root()
    data = repo.files[f"metadata/{name}"]
    repo.files[f"metadata/{name}"] = data.replace(b'"signed"', b'"signed": {}, "signed"', 1)
    client.refuses("appears more than once")


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
    client.refuses("is not complete")


def test_a_role_in_place_of_another(client: Client, repo: TufRepository) -> None:
    repo.files["metadata/timestamp.json"] = repo.files["metadata/1.snapshot.json"]
    client.refuses("not valid")


def test_an_index_that_lists_nothing_of_ours(client: Client, repo: TufRepository) -> None:
    repo.targets.targets = {}
    repo.write("targets", "1.targets.json", repo.targets)
    client.refuses("names no experts.json")


def test_entries_that_are_not_valid_are_refused_though_signed(
    client: Client, repo: TufRepository
) -> None:
    repo.entries = b'{"format": 1, "entries": [{"name": "../../x"}]}'
    repo.publish_all()
    with pytest.raises(IndexRefusedError, match="expert-<slug>"):
        client.refresh()

"""The list itself is the one that was signed."""

from __future__ import annotations

import json

from tests.sharing.tuf.repository import Client, TufRepository


def test_repository_substitutes_target_file(client: Client, repo: TufRepository) -> None:
    (name,) = [path for path in repo.files if path.startswith("targets/")]
    data = repo.files[name]
    repo.files[name] = data.replace(b"1", b"2")
    client.refuses("not the one that was signed")
    repo.files[name] = data + b" "
    client.refuses("is not complete")
    repo.files[name] = data
    client.refresh()


def test_multiple_changes_to_target(client: Client, repo: TufRepository) -> None:
    for number in range(5):
        repo.entries = json.dumps({"format": 1, "entries": [], "_note": number}).encode()
        repo.publish_all()
        assert client.refresh().comments == {"_note": number}

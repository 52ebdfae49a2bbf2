"""Experts come, change and go on a running server, and requests never notice."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from hive_expert.package.keys import SigningKey, load_signing_key
from tests.e2e.chaos.experts import Answer, Reference, parts_of, write_package
from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e

NAME = "expert-lifecycle"
WITHIN_S = 20.0
_serials = itertools.count(1)


@pytest.fixture(scope="module")
def reference(base_model: Path) -> Reference:
    return Reference(base_model)


class Folder:
    """The experts directory of the shared server, as its user has it."""

    def __init__(self, server: Server, directory: Path, signer: SigningKey) -> None:
        self.server, self.directory, self.signer = server, directory, signer
        self.written: set[Path] = set()

    def put(self, kind: int, *, file: str = NAME, signed: bool = True) -> str:
        """The next version of the expert, by one rename; returns how a header names it."""
        place = self.directory / f"{file}.expert"
        staged = self.directory / f".{file}.partial"
        signer = self.signer if signed else None
        # Versions only rise: going back is refused.
        version = write_package(staged, NAME, next(_serials), kind, signer)
        staged.replace(place)
        self.written.add(place)
        return f"{NAME}@{version}"

    def listed(self) -> list[dict[str, Any]]:
        data = httpx.get(f"{self.server.url}/v1/experts").json()["data"]
        return [e for e in data if NAME in (e["id"] or e["source"])]

    def post(self, what: str, expected: int = 200) -> dict[str, Any]:
        answer = httpx.post(f"{self.server.url}/v1/experts/{quote(what)}", timeout=60)
        assert answer.status_code == expected, answer.text
        return dict(answer.json())


@pytest.fixture
def folder(server: Server, publisher: Path) -> Iterator[Folder]:
    found = Folder(server, publisher / "dir", load_signing_key(publisher / "test.pem"))
    yield found
    httpx.post(f"{server.url}/v1/experts/{NAME}/unpin")
    for path in found.written:
        path.unlink(missing_ok=True)
    found.post("rescan")
    assert found.listed() == []


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.1)


def ask(server: Server, reference: Reference, model: str = NAME, prompt: int = 0) -> str:
    """Who answered, and rightly so."""
    body = {"model": model, "prompt": reference.prompts[prompt], "max_tokens": 8, "temperature": 0}
    body |= {"ignore_eos": True, "return_token_ids": True, "logprobs": 1}
    answer = httpx.post(f"{server.url}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    header = answer.headers["x-hive-experts"]
    choice = answer.json()["choices"][0]
    found = Answer(parts_of(header), prompt, tuple(choice["token_ids"]))
    assert reference.is_right(found, choice["logprobs"]["token_logprobs"])
    return header


def status(server: Server, model: str) -> tuple[int, str]:
    body = {"model": model, "prompt": "Hello", "max_tokens": 1}
    answer = httpx.post(f"{server.url}/v1/completions", json=body, timeout=60)
    return answer.status_code, answer.text


def test_a_package_that_is_put_there_is_served_and_gone_when_removed(
    server: Server, folder: Folder, reference: Reference
) -> None:
    assert status(server, NAME)[0] == 404
    version = folder.put(3)
    eventually(lambda: bool(folder.listed()))
    assert ask(server, reference) == version
    assert NAME in {m.id for m in server.client.models.list()}
    for path in folder.written:
        path.unlink()
    eventually(lambda: status(server, NAME)[0] == 404)


def test_a_stream_ends_on_the_version_it_began_with(
    server: Server, folder: Folder, reference: Reference
) -> None:
    old = folder.put(1)
    folder.post("rescan")
    body = {"model": NAME, "prompt": reference.prompts[0], "max_tokens": 60, "temperature": 0}
    body |= {"ignore_eos": True, "return_token_ids": True, "stream": True, "logprobs": 1}
    tokens: list[int] = []
    logprobs: list[float] = []
    with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=120) as answer:
        header = answer.headers["x-hive-experts"]
        replaced = False
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            piece = json.loads(line.removeprefix("data: "))["choices"][0]
            tokens += piece["token_ids"] or []
            logprobs += (piece["logprobs"] or {}).get("token_logprobs") or []
            if tokens and not replaced:
                replaced = True
                new = folder.put(2)
                folder.post("rescan")
                # Its prompt is cached under the old version; the new one must not use that.
                assert ask(server, reference) == new
    assert header == old
    assert len(tokens) == 60
    assert reference.is_right(Answer(parts_of(header), 0, tuple(tokens)), tuple(logprobs))


def test_two_versions_and_their_composition_are_served_at_once(
    server: Server, folder: Folder, reference: Reference
) -> None:
    old = folder.put(4)
    new = folder.put(5, file=f"{NAME}-2")
    folder.post("rescan")
    assert ask(server, reference) == new
    assert ask(server, reference, old) == old
    older = next(e for e in folder.listed() if old.endswith(e["version"]))
    prefix = older["digest"].removeprefix("sha256:")[:8]
    assert ask(server, reference, f"{NAME}#{prefix}") == old
    assert (older["current"], older["state"]) == (False, "available")
    code, text = status(server, f"{NAME}@9.9.9")
    assert code == 404
    assert f"did you mean {old}, {new}?" in text


@pytest.mark.parametrize("how", ["damaged", "unsigned", "cut short"])
def test_a_bad_replacement_is_listed_and_the_old_version_serves(
    server: Server, folder: Folder, reference: Reference, how: str
) -> None:
    old = folder.put(6)
    folder.post("rescan")
    assert ask(server, reference) == old
    folder.put(7, signed=how != "unsigned")
    (path,) = folder.written
    if how != "unsigned":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data if how == "damaged" else data[:-2000])
    eventually(lambda: any(e["state"] == "unavailable" for e in folder.listed()))
    assert ask(server, reference) == old


def test_a_file_that_arrives_in_pieces_is_served_when_it_is_whole(
    server: Server, folder: Folder, reference: Reference
) -> None:
    version = folder.put(8)
    (path,) = folder.written
    whole = path.read_bytes()
    with path.open("wb") as file:
        for start in range(0, len(whole), len(whole) // 4 + 1):
            file.write(whole[start : start + len(whole) // 4 + 1])
            file.flush()
            os.fsync(file.fileno())
            time.sleep(0.6)
            assert not [e for e in folder.listed() if e["state"] == "unavailable"]
    eventually(lambda: status(server, NAME)[0] == 200)
    assert ask(server, reference) == version


def test_loading_unloading_and_pinning_by_hand(
    server: Server, folder: Folder, reference: Reference
) -> None:
    version = folder.put(9)
    folder.post("rescan")
    assert folder.post(f"{NAME}/load")["residency"] == "slot"
    assert folder.post(f"{NAME}/unload")["unloaded"] is True
    (entry,) = folder.listed()
    assert (entry["residency"], entry["loads"]) == ("disk", 1)
    assert ask(server, reference) == version
    assert folder.post(f"{version}/pin")["pinned"] is True
    assert "pinned" in folder.post(f"{NAME}/unload", 409)["error"]["message"]
    assert folder.post(f"{NAME}#{entry['digest'][7:15]}/unpin")["pinned"] is False
    assert folder.post(f"{NAME}/unload")["residency"] == "disk"
    folder.post("expert-nobody/load", 404)

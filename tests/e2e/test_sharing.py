"""Experts come from git repositories to a running server, and their claims are measured on it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import ROOT, Server, command
from tests.sharing.world import Repository, served

pytestmark = pytest.mark.e2e

NAME = "expert-shared"
WITHIN_S = 120.0


@pytest.fixture(scope="module")
def experts(publisher: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Packages of expert-sql's weights under another name, signed by the trusted publisher."""
    folder = tmp_path_factory.mktemp("shared")

    def pack(version: str, **quality: Any) -> Path:
        source = folder / f"source-{version}"
        original = ROOT / "experts" / "expert-sql"
        shutil.copytree(original, source, ignore=shutil.ignore_patterns("datasets", "__pycache__"))
        manifest = json.loads((source / "manifest.json").read_text())
        manifest |= {"name": NAME, "version": version}
        manifest["quality_metrics"] |= quality
        manifest["quality_metrics"].pop("improvement_percent", None)
        (source / "manifest.json").write_text(json.dumps(manifest))
        packed = command(
            "hive-build", "package", source, "--model", "smollm2-135m",
            "--key", publisher / "test.pem", "--output", folder / "out", "--json", home=publisher,
        )  # fmt: skip
        return Path(json.loads(packed)["path"])

    return pack


@pytest.fixture
def hive(publisher: Path) -> Iterator[Callable[..., Any]]:
    """`hive` on the directory of the running server, which has its own trust store."""
    directory = publisher / "dir"

    def run(*words: str | Path) -> Any:
        where = ("--experts-dir", directory, "--json")
        return json.loads(command("hive", *words, *where, home=publisher))

    yield run
    lock = json.loads((directory / "experts.lock.json").read_text())
    if NAME in lock["experts"]:
        run("uninstall", NAME)


def answering(server: Server) -> str | None:
    """The version that answers by the shared name; None where nobody does."""
    body = {"model": NAME, "prompt": "Hello", "max_tokens": 1}
    answer = httpx.post(f"{server.url}/v1/completions", json=body, timeout=120)
    return answer.headers["x-hive-experts"] if answer.status_code == 200 else None


def eventually(server: Server, version: str | None) -> None:
    expected = None if version is None else f"{NAME}@{version}"
    deadline = time.monotonic() + WITHIN_S
    while (found := answering(server)) != expected:
        assert time.monotonic() < deadline, f"{found} answers, not {expected}"
        time.sleep(0.3)


def test_a_running_server_follows_every_change(
    server: Server, hive: Callable[..., Any], experts: Callable[..., Path], tmp_path: Path
) -> None:
    repository = Repository.at(tmp_path / "repositories" / "experts")
    repository.put(experts("0.1.0"))
    with served(repository.path.parent) as http:
        hive("install", f"{http}/experts/.git")
        eventually(server, "0.1.0")
        repository.put(experts("0.2.0"))
        hive("update", NAME)
        eventually(server, "0.2.0")
    hive("install", f"{repository.url}@0.1.0", "--pin")
    eventually(server, "0.1.0")
    hive("uninstall", NAME)
    eventually(server, None)


def unpin(publisher: Path) -> None:
    """What an earlier test pinned may move on."""
    if NAME in json.loads((publisher / "config" / "trust.json").read_text()).get("pins", {}):
        command("hive", "trust", "pin", NAME, "--remove", home=publisher)


def test_a_running_server_follows_an_index(
    server: Server, hive: Callable[..., Any], experts: Callable[..., Path], publisher: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    unpin(publisher)
    repository = Repository.at(tmp_path / "repositories" / "experts")
    index = Repository.at(tmp_path / "repositories" / "index")
    keeper = ("--key", publisher / "test.pem")

    def keep(verb: str, *words: str | Path) -> str:
        done = command("hive", "index", verb, index.path, *words, *keeper, home=publisher)
        index.commit()
        return done

    repository.put(experts("0.2.1"))
    fingerprint = json.loads(keep("init", "--json"))["fingerprint"]
    keep("add", repository.url)
    where = ("--name", "team", "--fingerprint", fingerprint)
    command("hive", "index", "use", index.url, *where, home=publisher)
    hive("install", NAME)
    eventually(server, "0.2.1")
    repository.put(experts("0.2.2"))
    keep("add", repository.url)
    hive("update", NAME)
    eventually(server, "0.2.2")
    hive("uninstall", NAME)
    eventually(server, None)


def test_true_claims_are_reproduced_and_inflated_ones_are_not(
    server: Server, hive: Callable[..., Any], experts: Callable[..., Path], publisher: Path
) -> None:
    unpin(publisher)
    for version, score, held in (("0.3.0", None, True), ("0.4.0", 0.99, False)):
        claims = {} if score is None else {"benchmark_score": score}
        hive("install", experts(version, **claims))
        eventually(server, version)
        found = check(publisher, server)
        assert found["reproduced"] is held, found
        listed = httpx.get(f"{server.url}/v1/experts").json()["data"]
        (entry,) = [e for e in listed if e["id"] == NAME and e.get("version") == version]
        assert entry["check"]["reproduced"] is held
        assert bool(entry["check"]["broken"]) is not held


def test_without_a_server_one_is_started_for_the_check_and_nothing_of_it_is_left(
    publisher: Path, base_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARTED_BY", str(os.getpid()))  # what is started from here inherits it
    words = ("--experts-dir", publisher / "dir", "--base", base_model, "--expert-only")
    printed = command(
        "hive", "check", "expert-json", *words, "--limit", "8", "--json", home=publisher
    )
    found = json.loads(printed)
    assert found["reproduced"] is True
    assert found["cases"] == 8 < found["total"]
    assert processes(f"STARTED_BY={os.getpid()}") == set()


def processes(variable: str) -> set[str]:
    """Those that have this in their environment."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.add(process.name)
    return found


def options(publisher: Path, server: Server) -> tuple[str | Path, ...]:
    """Enough cases to tell a true claim from an inflated one, and no more."""
    where: tuple[str | Path, ...] = ("--experts-dir", publisher / "dir", "--url", server.url)
    return (*where, "--expert-only", "--limit", "40", "--json")


def check(publisher: Path, server: Server) -> Any:
    """What `hive check` prints; it exits with 1 where a claim does not hold."""
    import subprocess
    import sys

    done = subprocess.run(
        [Path(sys.executable).parent / "hive", "check", NAME, *options(publisher, server)],
        env=os.environ | {"HIVE_HOME": str(publisher)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["reproduced"] else 1)
    return found

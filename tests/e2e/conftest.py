"""One real server for all end-to-end tests: real weights, real vLLM, shipped experts and others.

It serves in fp32, so that greedy answers can be compared to the token.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from hive_expert.package.keys import load_signing_key
from hive_expert.serving.local_server import local_server
from tests.e2e import soft_prompts
from tests.e2e.operators import share_operators
from tests.e2e.synthetic import write_experts, write_overflowing, write_refused

ROOT = Path(__file__).parents[2]
EXPERTS = ("expert-sql", "expert-json")


@dataclass(frozen=True)
class Server:
    """A running hive-serve and how a client talks to it."""

    url: str
    log: Path

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    @property
    def async_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)


def command(name: str, *arguments: str | Path, home: Path) -> str:
    """Run one of our commands as a user would; its standard output."""
    done = subprocess.run(
        [Path(sys.executable).parent / name, *arguments],
        env=os.environ | {"HIVE_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{name} {arguments}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The embedded base, imported once into the user's own data folder."""
    from hive_expert.adapters.base_model import resolve_base

    return resolve_base().directory


@pytest.fixture(scope="session")
def publisher(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a trusted key `test.pem`, and experts packed and signed in `dir`: the shipped
    ones, one that is a soft prompt, those of `synthetic` (unpacked in `synthetic`), broken ones."""
    home = tmp_path_factory.mktemp("home")
    share_operators(home)
    key = home / "test.pem"
    command("hive-build", "keygen", "--name", "Test publisher", "--output", key, home=home)
    command("hive", "trust", "add", home / "test.pub.json", home=home)
    directory = home / "dir"
    directory.mkdir()
    experts = [ROOT / "experts" / name for name in EXPERTS]
    experts.append(soft_prompts.write_expert(base_model, home))
    experts += write_experts(base_model, home / "synthetic")
    for expert in experts:
        command(
            "hive-build", "package", expert, "--model", "smollm2-135m",
            "--key", key, "--output", directory, home=home,
        )  # fmt: skip
    write_refused(directory, load_signing_key(key))
    write_overflowing(base_model, directory, load_signing_key(key))
    add_broken_packages(home, directory)
    return home


def add_broken_packages(home: Path, directory: Path) -> None:
    """Beside the sound packages: one flipped byte, one unsigned, one of a stranger's key."""
    sound = next(directory.glob("expert-sql-*.expert"))
    damaged = bytearray(sound.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (directory / "broken-flipped.expert").write_bytes(damaged)
    stranger = home / "stranger.pem"
    command("hive-build", "keygen", "--name", "Stranger", "--output", stranger, home=home)
    for name, arguments in {"unsigned": (), "stranger": ("--key", stranger)}.items():
        folder = home / name
        folder.mkdir()
        command(
            "hive-build", "package", ROOT / "experts" / "expert-json", "--model", "smollm2-135m",
            "--output", folder, *arguments, home=home,
        )  # fmt: skip
        shutil.move(next(folder.glob("*.expert")), directory / f"broken-{name}.expert")


@pytest.fixture(scope="session")
def server(
    base_model: Path, publisher: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "serve.log"
    options = ["--base", str(base_model), "--dtype", "float32", "--max-slots", "2"]
    options += ["--cut-ranks", "--probe-effect"]
    with local_server(publisher / "dir", *options, home=publisher, log=log, jobs=True) as running:
        yield Server(running.url, log)


@pytest.fixture(scope="module")
def replicated(
    base_model: Path, publisher: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The same on two replicas, with jobs of its own: those of `publisher` are the one server's."""
    folder = tmp_path_factory.mktemp("replicated")
    options = ["--base", str(base_model), "--dtype", "float32", "--max-slots", "2"]
    options += ["--cut-ranks", "--probe-effect", "--replicas", "2", "--replica-cpus", "1"]
    options += ["--jobs-dir", str(folder / "jobs")]
    log = folder / "serve.log"
    with local_server(
        publisher / "dir", *options, home=publisher, log=log, start_limit_s=600, jobs=True
    ) as running:
        yield Server(running.url, log)


@pytest.fixture(params=["one process", "two replicas"])
def either(request: pytest.FixtureRequest) -> Server:
    """Whichever way it runs, the same must hold."""
    name = "server" if request.param == "one process" else "replicated"
    served: Server = request.getfixturevalue(name)
    return served

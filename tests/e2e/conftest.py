"""One real server for all end-to-end tests: real weights, real vLLM, shipped experts.

It serves in fp32, so that greedy answers can be compared to the token.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

ROOT = Path(__file__).parents[2]
EXPERTS = ("expert-sql", "expert-json")
START_LIMIT_S = 240
STOP_LIMIT_S = 60


@dataclass(frozen=True)
class Server:
    """A running hive-serve and what a client needs to talk to it."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]
    experts_dir: Path

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
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a trusted key `test.pem`, and the shipped experts packed and signed in `dir`."""
    home = tmp_path_factory.mktemp("home")
    key = home / "test.pem"
    command("hive-build", "keygen", "--name", "Test publisher", "--output", key, home=home)
    command("hive", "trust", "add", home / "test.pub.json", home=home)
    directory = home / "dir"
    directory.mkdir()
    for expert in EXPERTS:
        command(
            "hive-build", "package", ROOT / "experts" / expert, "--model", "smollm2-135m",
            "--key", key, "--output", directory, home=home,
        )  # fmt: skip
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def server(
    base_model: Path, publisher: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "serve.log"
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                Path(sys.executable).parent / "hive-serve",
                *("--experts-dir", publisher / "dir", "--base", base_model),
                *("--port", str(port), "--dtype", "float32", "--max-slots", "2"),
            ],
            env=os.environ | {"HIVE_HOME": str(publisher)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Server(f"http://127.0.0.1:{port}", log, process, publisher / "dir")
    try:
        wait_until_healthy(running)
        yield running
        assert process.poll() is None, f"the server died:\n{log.read_text()[-4000:]}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_LIMIT_S) == 0, log.read_text()[-4000:]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_healthy(server: Server) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            if httpx.get(f"{server.url}/health", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail(f"hive-serve did not start:\n{server.log.read_text()[-6000:]}")

"""A hive-serve of one's own for as long as a block runs: evaluation, the demo, tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hive_expert.errors import EngineError, Problem

START_LIMIT_S = 300
STOP_LIMIT_S = 60
_LOG_TAIL = 4000
_KEYS = ("HIVE_API_KEY", "HIVE_ADMIN_KEY")


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A running server. `url` is its root; clients want `api`."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path | None

    @property
    def api(self) -> str:
        return f"{self.url}/v1"


@contextmanager
def local_server(
    experts_dir: Path,
    *options: str,
    home: Path | None = None,
    log: Path | None = None,
    start_limit_s: float = START_LIMIT_S,
    jobs: bool = False,
    variables: Mapping[str, str] | None = None,
    keeping: Sequence[int] = (),
) -> Iterator[LocalServer]:
    """Start hive-serve on a free port of the loopback, wait until it answers, stop it after.

    Keys in this process's environment are for other servers: this one asks for none, unless
    ``options`` or ``variables`` say so.

    Args:
        options: more of hive-serve's own options, such as ``"--dtype", "float32"``.
        home: HIVE_HOME of the server; by default that of this process.
        log: file for what the server prints; by default it goes where this process prints.
        jobs: work on the batches of that home; a server for a moment should leave them alone.
        variables: more of its environment.
        keeping: open files that it gets too.

    Raises:
        EngineError: it did not start, or ended with an error.
    """
    url = f"http://127.0.0.1:{free_port()}"
    program = Path(sys.executable).parent / "hive-serve"
    line = [str(program), "--experts-dir", str(experts_dir), "--port", url.rpartition(":")[2]]
    inherited = {name: value for name, value in os.environ.items() if name not in _KEYS}
    environment = inherited | ({"HIVE_HOME": str(home)} if home else {}) | dict(variables or {})
    with _lifeline() as end:
        command = [*line, "--lifeline", str(end), *(() if jobs else ("--no-jobs",)), *options]
        with running_server(
            command,
            url,
            environment=environment,
            log=log,
            keeping=(end, *keeping),
            start_limit_s=start_limit_s,
        ) as server:
            yield server


@contextmanager
def _lifeline() -> Iterator[int]:
    """The end of a pipe whose other end this process holds: when it dies, however it does, the
    server that waits at that end is told (`hive-serve --lifeline`)."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def running_server(
    command: Sequence[str],
    url: str,
    *,
    environment: Mapping[str, str],
    log: Path | None = None,
    keeping: Sequence[int] = (),
    start_limit_s: float = START_LIMIT_S,
) -> Iterator[LocalServer]:
    """Start a server by its own command, wait until its `/health` answers, stop it after.

    It is in a session of its own: Ctrl-C in a terminal reaches this process alone, which then
    stops it in good order. ``keeping`` are open files that it gets too.

    Raises:
        EngineError: as `local_server`.
    """
    with log.open("wb") if log else _inherited() as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=keeping,
            start_new_session=True,
        )
    server = LocalServer(url, process, log)
    try:
        _wait_until_healthy(server, start_limit_s)
        yield server
        _stop(server)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what still runs because something else has failed, then whatever is left of its group.

    A server that is up ends its engine by itself; one that is still starting, or is killed, leaves
    it behind with all of its memory.
    """
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _inherited() -> Iterator[None]:
    yield None


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(server: LocalServer, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            status = server.process.returncode
            raise EngineError(Problem("hive-serve", f"ended with status {status}", _tail(server)))
        try:
            # The URL is our own, so its scheme is known.
            with urllib.request.urlopen(f"{server.url}/health", timeout=2):  # noqa: S310
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.3)
    raise EngineError(Problem("hive-serve", f"not up after {limit_s:.0f} s", _tail(server)))


def _stop(server: LocalServer) -> None:
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    try:
        status = server.process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            Problem("hive-serve", f"did not stop within {STOP_LIMIT_S} s", _tail(server))
        ) from error
    if status != 0:
        raise EngineError(Problem("hive-serve", f"ended with status {status}", _tail(server)))


def _tail(server: LocalServer) -> str:
    return server.log.read_text(errors="replace")[-_LOG_TAIL:] if server.log else "see above"

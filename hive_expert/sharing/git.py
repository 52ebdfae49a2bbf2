"""git as a program that reads what strangers wrote: no configuration, hooks, helpers or prompts.

There is never a working copy. Files are read from git's objects, so nothing of a repository is
ever written under a name of its choice, and attributes, filters, links and submodules have nothing
to act on. SPEC section 13.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hive_expert.errors import Problem, RepositoryError
from hive_expert.sharing.limits import MAX_OUTPUT_BYTES, Limits

Progress = Callable[[str], None]
"""Called with what is being done, in a few words."""

_LOOK_EVERY_S = 0.2
_PIECE = 1 << 16
_KEPT_OF_STDERR = 4000

_INHERITED = (
    "PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO",
    "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY",
)  # fmt: skip

_SETTINGS = {
    "protocol.allow": "never",
    "protocol.version": "2",
    "core.hooksPath": "/dev/null",
    "core.symlinks": "false",
    "core.fsmonitor": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.attributesFile": "/dev/null",
    "core.askPass": "/bin/false",
    "core.bigFileThreshold": "16m",  # larger ones pass through index-pack without being in memory
    "credential.helper": "",
    "fetch.fsckObjects": "true",
    "fetch.recurseSubmodules": "false",
    "fetch.negotiationAlgorithm": "noop",
    "fetch.writeCommitGraph": "false",
    "submodule.recurse": "false",
    "transfer.bundleURI": "false",
    "transfer.credentialsInUrl": "die",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "http.lowSpeedLimit": "1024",
    "http.sslVerify": "true",
    "safe.bareRepository": "explicit",
}


@dataclass(frozen=True, slots=True)
class Git:
    """git on one bare repository of ours, which talks to one kind of remote only.

    Laws: no command of it reads a configuration but ours, writes outside ``directory`` or outlives
    the call; none uses another protocol than ``scheme``, however often it is redirected.
    """

    directory: Path
    scheme: str
    limits: Limits = field(default_factory=Limits)
    progress: Progress = lambda _: None
    keeping: tuple[int, ...] = ()
    """Open files that commands get too: a lock among them is held until the last of them ends,
    even if this process was killed."""

    def run(self, *arguments: str, most: int = MAX_OUTPUT_BYTES) -> bytes:
        """What a command answers on its standard output, at most ``most`` bytes of it.

        Raises RepositoryError if it fails, answers more, or exceeds a limit.
        """
        pieces: list[bytes] = []
        room = most
        for piece in self.stream(*arguments):
            room -= len(piece)
            if room < 0:
                raise RepositoryError(
                    Problem("git", f"git {arguments[0]} answers more than the {most} bytes allowed")
                )
            pieces.append(piece)
        return b"".join(pieces)

    def stream(self, *arguments: str) -> Iterator[bytes]:
        """The same, piece by piece; the command is stopped when nobody reads on."""
        with self._started(arguments) as process:
            watch = _Watch(self, arguments[0], process)
            yield from watch.pieces()
            watch.require_success()

    @contextmanager
    def _started(self, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        if shutil.which("git") is None:
            raise RepositoryError(Problem("git", "is not installed", "install git 2.36 or newer"))
        process = subprocess.Popen(
            self._line(arguments),
            env=_environment(self.directory, self.scheme),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=self.keeping,
            start_new_session=True,  # so that it dies with all that it started
        )
        try:
            with process:
                try:
                    yield process
                finally:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        finally:
            self.progress("")

    def _line(self, arguments: Sequence[str]) -> list[str]:
        settings = _SETTINGS | {
            f"protocol.{self.scheme}.allow": "always",
            # A server may send us on, over https alone; one on this machine may not.
            "http.followRedirects": "initial" if self.scheme == "https" else "false",
            "http.lowSpeedTime": str(self.limits.stalled_seconds),
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return ["git", f"--git-dir={self.directory}", "--no-pager", *options, *arguments]


def _environment(home: Path, scheme: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return kept | {
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": scheme,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_SSH_COMMAND": "/bin/false",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }


class _Watch:
    """Reads what a process says, and ends it when it takes too much."""

    def __init__(self, git: Git, command: str, process: subprocess.Popen[bytes]) -> None:
        self._git, self._command, self._process = git, command, process
        self._deadline = time.monotonic() + git.limits.seconds
        self._stderr = b""

    def pieces(self) -> Iterator[bytes]:
        assert self._process.stdout is not None and self._process.stderr is not None
        looked = time.monotonic()
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            waiting.register(self._process.stderr, selectors.EVENT_READ)
            while waiting.get_map():
                for key, _ in waiting.select(_LOOK_EVERY_S):
                    file: IO[bytes] = key.fileobj  # type: ignore[assignment]  # the two pipes
                    piece = os.read(file.fileno(), _PIECE)
                    if not piece:
                        waiting.unregister(file)
                    elif file is self._process.stdout:
                        yield piece
                    else:
                        self._hear(piece)
                if time.monotonic() - looked > _LOOK_EVERY_S:
                    looked = time.monotonic()
                    self._require_within_limits()

    def require_success(self) -> None:
        left = max(self._deadline - time.monotonic(), 1.0)
        try:
            status = self._process.wait(left)
        except subprocess.TimeoutExpired:
            self._require_within_limits()
            raise
        self._require_within_limits()
        if status != 0:
            raise RepositoryError(
                Problem(f"git {self._command}", _reason(self._stderr) or f"ended with {status}")
            )

    def _hear(self, piece: bytes) -> None:
        self._stderr = (self._stderr + piece)[-_KEPT_OF_STDERR:]
        lines = self._stderr.replace(b"\r", b"\n").strip(b"\n").split(b"\n")
        self._git.progress(_printable(lines[-1]))

    def _require_within_limits(self) -> None:
        limits = self._git.limits
        if time.monotonic() > self._deadline:
            raise RepositoryError(
                Problem(
                    f"git {self._command}",
                    f"takes longer than the {limits.seconds:g} seconds allowed",
                    "try again: what has arrived is kept; --timeout allows more",
                )
            )
        if size_of(self._git.directory) > limits.bytes:
            raise RepositoryError(
                Problem(
                    f"git {self._command}",
                    f"brings more than the {limits.bytes >> 20} MiB allowed",
                    "--max-mib allows more, if you believe the publisher",
                )
            )


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder, while others write there."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total


def _reason(stderr: bytes) -> str:
    """What git complained of: the lines that say so, without what it had to tell meanwhile."""
    lines = [_printable(line) for line in stderr.replace(b"\r", b"\n").split(b"\n")]
    told = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))]
    return "; ".join(dict.fromkeys(told))[-500:]


def _printable(line: bytes) -> str:
    text = line.decode("ascii", "replace")
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:300]

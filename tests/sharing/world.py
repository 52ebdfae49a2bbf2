"""Publishers, repositories, servers and users to try sharing with; all on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from hive_expert.manifest.slug import model_slug
from hive_expert.package.trust import Policy
from hive_expert.package.trust_store import TrustStore
from hive_expert.sharing.compatibility import Target
from hive_expert.sharing.install import Outcome, Site
from hive_expert.sharing.lock import read_lock
from tests.package import samples

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
TARGET = Target((BASE, model_slug(BASE)), None)
NAME = "expert-sample"


def git(*arguments: str | Path, cwd: Path) -> str:
    """git as a publisher runs it."""
    identity = {"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org",
                "GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@example.org",
                "GIT_CONFIG_GLOBAL": "/dev/null"}  # fmt: skip
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *map(str, arguments)],
        cwd=cwd, env=os.environ | identity, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


_packed: dict[str, bytes] = {}


def package(scratch: Path, signer: str | None = "Ann", **changes: Any) -> Path:
    """A signed sample package; the same arguments give the same bytes."""
    folder = scratch / "packing"
    shutil.rmtree(folder, ignore_errors=True)
    key = repr((signer, changes))
    if key not in _packed:
        made = samples.package(folder, samples.key(signer) if signer else None, **changes)
        _packed[key] = made.name.encode() + b"\0" + made.read_bytes()
    name, _, content = _packed[key].partition(b"\0")
    out = scratch / "packed"
    out.mkdir(exist_ok=True)
    (out / name.decode()).write_bytes(content)
    return out / name.decode()


@dataclass
class Repository:
    """A publisher's git repository."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> Repository:
        path.mkdir(parents=True)
        git("init", "-q", "-b", "main", cwd=path)
        return cls(path)

    @property
    def url(self) -> str:
        return self.path.absolute().as_uri()

    def put(self, *files: Path, folder: str = ".") -> str:
        """Commit files; returns the commit."""
        place = self.path / folder
        place.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, place / file.name)
        return self.commit()

    def commit(self) -> str:
        git("add", "-A", cwd=self.path)
        git("commit", "-q", "--allow-empty", "-m", "packages", cwd=self.path)
        return git("rev-parse", "HEAD", cwd=self.path)


@dataclass
class User:
    """Somebody who installs: a home, an experts directory, and who is trusted."""

    home: Path
    trusted: tuple[str, ...] = ("Ann",)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.trust_file.parent.mkdir(parents=True, exist_ok=True)
        if not self.trust_file.exists():
            samples.trusting(*self.trusted).save(self.trust_file)

    @property
    def trust_file(self) -> Path:
        return self.home / "config" / "trust.json"

    @property
    def directory(self) -> Path:
        return self.home / "experts.d"

    def site(self, **changes: Any) -> Site:
        rules: dict[str, Any] = {
            "directory": self.directory,
            "target": TARGET,
            "trust": TrustStore.load(self.trust_file),
            "policy": Policy.ENFORCE,
            "clock": lambda: samples.NOW,
        }
        return Site(**(rules | self.settings | changes))

    def installed(self) -> dict[str, str]:
        """Version by name, as the lock file has it; the files must be there, and no others."""
        lock = read_lock(self.directory)
        files = {p.name for p in self.directory.glob("*.expert")}
        assert files == {entry.file for entry in lock.experts.values()}
        return {name: entry.version for name, entry in lock.experts.items()}


def actions(outcome: Outcome) -> dict[str, str]:
    """What was done to each expert."""
    return {step.name: step.action for step in outcome.steps}


def base_entry(**changes: Any) -> list[dict[str, Any]]:
    """The sample's only entry of `base_models`, changed."""
    return [{**samples.manifest_document()["base_models"][0], **changes}]


@contextmanager
def served(root: Path, answer: Callable[[Any], bool] = lambda _: False) -> Iterator[str]:
    """The repositories below a folder over HTTP, by `git http-backend`; yields the URL's start.

    ``answer`` may take a request over and return True.
    """
    backend = subprocess.run(
        ["git", "--exec-path"], capture_output=True, text=True, check=True
    ).stdout.strip() + "/git-http-backend"  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"
        seen: ClassVar[list[str]] = []

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            if answer(self):
                return
            path, _, query = self.path.partition("?")
            length = int(self.headers.get("Content-Length") or 0)
            environment = {
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
                "REQUEST_METHOD": self.command, "CONTENT_LENGTH": str(length),
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "uploadpack.allowFilter",
                "GIT_CONFIG_VALUE_0": "true", "GIT_CONFIG_KEY_1": "safe.directory",
                "GIT_CONFIG_VALUE_1": "*",
            }  # fmt: skip
            done = subprocess.run(
                [backend], env=environment, input=self.rfile.read(length), capture_output=True
            )
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            headers = [line.decode().split(": ", 1) for line in head.split(b"\r\n") if line]
            status = next((int(v.split()[0]) for k, v in headers if k == "Status"), 200)
            self.send_response(status)
            for name, value in headers:
                if name != "Status":
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""A hive-serve that may be killed, and is started again on the same port."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from hive_expert.serving.local_server import free_port

START_S = 600.0


@dataclass
class KillableServer:
    """One server, and all the processes that belong to it."""

    folder: Path
    home: Path
    base: Path
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """(seconds since the start, MiB) of the front end, the engine, its workers, and all of them."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "start it first"
        return self._process

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = Path(sys.executable).parent / "hive-serve"
        line = [program, "--experts-dir", self.folder, "--port", str(self.port)]
        line += ["--base", self.base, "--dtype", "float32", "--max-slots", "3"]
        # A small cache is soon filled; pages of it that nobody has used take no memory yet.
        line += ["--max-cpu-experts", "6", "--kv-cache-gib", "1", *self.options]
        environment = os.environ | {"HIVE_HOME": str(self.home)} | self.environment
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                line, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/health", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.3)
        raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-4000:]}")

    def engine(self) -> psutil.Process:
        """The engine's own process."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(c for c in children if "EngineCore" in " ".join(c.cmdline()) + c.name())

    def stop(self) -> int:
        """Stop it as a user does; its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End whatever is left of it."""
        if self._process is None or self._process.poll() is not None:
            return
        for child in psutil.Process(self.process.pid).children(recursive=True):
            child.kill()
        self.process.kill()
        self.process.wait()

    def watch_memory(self, stop: threading.Event, every_s: float = 5.0) -> None:
        """Note its memory until told to stop. For a thread."""
        started = time.monotonic()
        while not stop.wait(every_s):
            try:
                used = memory_by_process(psutil.Process(self.process.pid))
            except psutil.NoSuchProcess:
                continue
            for name, mebibytes in used.items():
                points = self.memory.setdefault(name, [])
                points.append((time.monotonic() - started, mebibytes))


def memory_by_process(server: psutil.Process) -> dict[str, float]:
    """MiB of the front end, the engine, its workers, and all of them and their helpers together."""
    names = {"EngineCore": "engine", "Worker": "worker"}
    used = {"server": server.memory_info().rss}
    used["all"] = used["server"]
    for child in server.children(recursive=True):
        resident = child.memory_info().rss
        used["all"] += resident
        title = " ".join(child.cmdline())
        for part, name in names.items():
            if part in title:
                used[name] = used.get(name, 0) + resident
    return {name: size / 2**20 for name, size in used.items()}


def slope(points: list[tuple[float, float]]) -> float:
    """MiB per hour, by least squares over the later half."""
    later = points[len(points) // 2 :]
    if len(later) < 3:
        return 0.0
    mean_x = sum(x for x, _ in later) / len(later)
    mean_y = sum(y for _, y in later) / len(later)
    spread = sum((x - mean_x) ** 2 for x, _ in later)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in later) / spread

"""Killing installations, updates and the way back, at random moments and in the middle of each.

`python -m tests.sharing.crash [--random N]` prints what was done as JSON. Each trial is a process
of its own that gets SIGKILL on its way. What a server would serve then is looked at as it is; then
the next process starts, and must find the old state or the new one, and leave no trace of the
first.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from hive_expert.catalog.catalog import Announced
from hive_expert.catalog.scan import look
from hive_expert.catalog.standing import refusals
from hive_expert.cli.hive_list import read_folder
from hive_expert.manifest.versions import precedence
from hive_expert.package.skim import skim
from hive_expert.package.trust import Policy
from hive_expert.package.trust_store import TrustStore
from hive_expert.sharing import transaction
from hive_expert.sharing.install import install, update
from hive_expert.sharing.lock import read_lock
from hive_expert.sharing.source import GitSource
from hive_expert.sharing.transaction import settle
from tests.package.crash import _duration, _in_child, _is_system_call, _killed_after
from tests.package.samples import NOW
from tests.sharing.world import NAME, Repository, User, package

OTHER = "expert-other"
OPERATIONS = ("install", "update", "go-back")


@dataclass(frozen=True)
class Machine:
    """A home and the repositories it installs from."""

    root: Path
    operation: str

    @property
    def user(self) -> User:
        return User(self.root / "home")

    def work(self) -> None:
        """What is killed: two new experts, an upgrade of one, or the way back to its version 1."""
        os.environ["HIVE_HOME"] = str(self.root / "home")
        url = (self.root / "experts").as_uri()
        if self.operation == "update":
            update([], self.user.site())
        else:
            version = "0.1.0" if self.operation == "go-back" else None
            install([GitSource(url, version)], self.user.site(), pin=version is not None)

    def state(self) -> dict[str, Any]:
        """All that is to change as one: the files, the lock file, and what trust remembers."""
        folder = self.user.directory
        return {
            "files": {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()},
            "trust": json.loads(self.user.trust_file.read_text()),
        }

    def served(self) -> dict[str, str]:
        """What a server makes of the directory as it lies there: version by name."""
        trust = TrustStore.load(self.user.trust_file)
        entries = []
        for name in look(self.user.directory):
            seen = skim(self.user.directory / name)
            entries.append(Announced(seen.manifest, name, seen.facts))
        refused = refusals(entries, trust, Policy.ENFORCE, NOW)
        fit = [entry for entry in entries if entry.source not in refused]
        fit.sort(key=lambda entry: precedence(entry.version))
        return {entry.name: entry.version for entry in fit}

    def leftovers(self) -> list[str]:
        ours = self.user.directory / ".hive"
        found = [p for p in ours.iterdir() if p.name != "lock"] if ours.exists() else []
        found += [p for p in self.user.directory.iterdir() if p.name.startswith(".experts")]
        return [str(path) for path in found]


def _prepare(root: Path, operation: str) -> Machine:
    """A repository and a home in the state before the operation."""
    machine = Machine(root, operation)
    repository = Repository.at(root / "experts")
    scratch = root / "scratch"
    scratch.mkdir()
    machine.user.directory.mkdir()
    repository.put(package(scratch), package(scratch, name=OTHER))
    if operation != "install":
        first = Machine(root, "install")
        assert _in_child(first.work) == 0
        repository.put(package(scratch, version="0.2.0"))
    if operation == "go-back":
        assert _in_child(Machine(root, "update").work) == 0
    return machine


class Campaign:
    """Trials of one operation."""

    def __init__(self, folder: Path, operation: str) -> None:
        self._folder = folder
        self._operation = operation
        self._home = _prepare(folder / operation, operation)
        self._kept = folder / f"{operation}-kept"
        shutil.copytree(self._home.root / "home", self._kept)
        self._old = (self._home.state(), self._home.served())
        assert _in_child(self._home.work) == 0
        self._new = (self._home.state(), self._home.served())
        assert self._old != self._new
        self.outcomes = {"old": 0, "new": 0}
        self.recovered = 0
        self.with_leftovers = 0

    def measured(self) -> float:
        return sorted(_duration(self._fresh().work) for _ in range(5))[2]

    def steps(self) -> int:
        machine, reading, writing = self._fresh(), *os.pipe()

        def count() -> None:
            os.write(writing, str(_counting(machine.work, None)).encode())

        assert _in_child(count) == 0
        return int(os.read(reading, 20))

    def kill_after(self, delay: float) -> None:
        machine = self._fresh()
        _killed_after(machine.work, delay)
        self._judge(machine)

    def kill_before_step(self, step: int) -> None:
        machine = self._fresh()
        status = _in_child(partial(_counting, machine.work, step))
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        self._judge(machine)

    def _fresh(self) -> Machine:
        home = self._home.root / "home"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self._kept, home)
        return self._home

    def _judge(self, machine: Machine) -> None:
        _wait_for_orphans(machine)
        served = machine.served()
        for name in (NAME, OTHER):
            possible = {before.get(name) for _, before in (self._old, self._new)}
            assert served.get(name) in possible, f"{name} {served} of {possible}"
        self.with_leftovers += bool(machine.leftovers())
        self.recovered += (machine.user.directory / ".hive" / "change.json").exists()
        found = machine.state()
        assert _in_child(partial(_next_start, machine)) == 0
        after = machine.state()
        assert after in (self._old[0], self._new[0]), f"neither old nor new: {after['trust']}"
        assert found == after or found not in (self._new[0],), "the next start went back"
        self.outcomes["new" if after == self._new[0] else "old"] += 1
        if sum(self.outcomes.values()) % 5 == 0:
            assert _in_child(machine.work) == 0
            assert (machine.state(), machine.served()) == self._new
        assert machine.leftovers() == []


def _wait_for_orphans(machine: Machine) -> None:
    """A git that outlives the process that started it goes on for a moment, with its locks."""
    repositories = machine.root / "home" / "data" / "repositories"
    for lock in (machine.user.directory / ".hive" / "lock", *repositories.glob("*.lock")):
        if lock.exists():
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX)


def _next_start(machine: Machine) -> None:
    """`hive list` after the crash: what it shows is what the lock file says."""
    os.environ["HIVE_HOME"] = str(machine.root / "home")
    directory = machine.user.directory
    settle(directory, TrustStore.load(machine.user.trust_file))
    shown = {e["id"]: e.get("version") for e in read_folder(directory, "enforce")}
    locked = {name: entry.version for name, entry in read_lock(directory).experts.items()}
    assert shown == locked == machine.served()


def _counting(work: Callable[[], object], stop_at: int | None) -> int:
    """Do the work, and die before the ``stop_at``-th call into the system of its commit."""
    steps, commit = 0, transaction.ExpertsFolder.commit.__code__
    inside = False

    def profile(frame: FrameType, event: str, called: Any) -> None:
        nonlocal steps, inside
        if frame.f_code is commit and event in ("call", "return"):
            inside = event == "call"
        if inside and event == "c_call" and _is_system_call(called):
            steps += 1
            if steps == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return steps


def run(random_kills: int, every: int, folder: Path) -> dict[str, Any]:
    """All trials; their numbers, and how many of them ended in which state."""
    result: dict[str, Any] = {}
    for operation in OPERATIONS:
        campaign = Campaign(folder, operation)
        seconds = campaign.measured()
        chance = random.Random(operation)
        for _ in range(random_kills):
            campaign.kill_after(chance.uniform(0, 1.05 * seconds))
        at_random = dict(campaign.outcomes)
        steps = campaign.steps()
        for step in range(1, steps + 1, every):
            campaign.kill_before_step(step)
        result[operation] = {
            "random_kills": random_kills,
            "system_calls_of_the_commit": steps,
            "kills_before_one_of_them": len(range(1, steps + 1, every)),
            "milliseconds_undisturbed": round(seconds * 1000),
            "random_outcomes": at_random,
            "outcomes": campaign.outcomes,
            "finished_by_the_next_start": campaign.recovered,
            "with_leftovers": campaign.with_leftovers,
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=100, help="random kills of each operation")
    parser.add_argument("--every", type=int, default=1, help="of the commit's system calls, kill "
                        "before every one (1), every second (2) …")  # fmt: skip
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hive-crash-") as folder:
        print(json.dumps(run(options.random, options.every, Path(folder))))


if __name__ == "__main__":
    main()

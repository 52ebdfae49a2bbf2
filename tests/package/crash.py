"""Killing the installation of a package, at random moments and before every system call.

`python -m tests.package.crash [--random N]` prints what was done as JSON. Each trial is a process
of its own that opens a package into a store in use and gets SIGKILL on the way; then another
process starts and must find the old state or the new one, and leave no trace of the first.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy  # noqa: F401  # loaded before the processes fork, not in each of them

from hive_expert.package.open import open_package
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy
from hive_expert.package.trust_store import TrustStore
from tests.package.hostile.forge import package
from tests.package.samples import NOW, TARGETS, key, lora_name, safetensors, sample_members

SYSTEM_MODULES = ("posix", "fcntl", "_io", "io")


def _large(version: str) -> bytes:
    """A package with half a megabyte of weights, so that it is written in more than one piece."""
    width, one = 16_384, b"\x80\x3f"
    tensors = {}
    for module in TARGETS:
        tensors[lora_name(module, "A")] = ("BF16", (2, width), one * 2 * width)
        tensors[lora_name(module, "B")] = ("BF16", (width, 2), one * 2 * width)
    members = {
        **sample_members(),
        "adapter/adapter_model.safetensors": safetensors(tensors),
        "README.md": b"# A sample\n" * 1000,
    }
    return package(members, version=version)


@dataclass(frozen=True)
class Machine:
    """A user's files: a store, a trust store, and the two packages he opens one after another."""

    home: Path

    @property
    def store(self) -> PackageStore:
        return PackageStore(self.home / "store")

    def open(self, name: str) -> None:
        trust = TrustStore.load(self.home / "config" / "trust.json")
        path = self.home / name
        open_package(path, store=self.store, trust=trust, policy=Policy.ENFORCE, now=NOW)

    def state(self) -> dict[str, Any]:
        """What has been made of the two packages, and what trust remembers."""
        return {
            "packages": {
                place.name: _contents(place)
                for place in sorted((self.home / "store").iterdir())
                if len(place.name) == 64
            },
            "trust": (self.home / "config" / "trust.json").read_text(),
        }

    def leftovers(self) -> list[str]:
        """Files of a process that is gone: half-unpacked folders, notes, temporary files."""
        staging = list((self.home / "store" / "staging").iterdir())
        notes = [n for n in (self.home / "store" / ".shared" / "holders").iterdir() if _free(n)]
        known = {"trust.json", ".trust.json.lock"}
        config = [f for f in (self.home / "config").iterdir() if f.name not in known]
        return [str(path) for path in (*staging, *notes, *config)]


def _contents(place: Path) -> dict[str, str]:
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def _free(note: Path) -> bool:
    with note.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _prepared(home: Path) -> Machine:
    """A machine with the old package in its store, and the new one beside it."""
    machine = Machine(home)
    (home / "config").mkdir(parents=True)
    trust = TrustStore.load(home / "config" / "trust.json")
    trust.edited(lambda store: store.with_key(key("Ann").public, ("*",), NOW))
    (home / "old").write_bytes(_large("0.1.0"))
    (home / "new").write_bytes(_large("0.2.0"))
    assert _in_child(lambda: machine.open("old")) == 0
    machine.store.collect(unused_for=timedelta(days=7))
    assert machine.leftovers() == []
    return machine


def _in_child(work: Callable[[], object], ready: int | None = None) -> int:
    """Run something in a forked process; the status it ends with."""
    return os.waitpid(_forked(work, ready), 0)[1]


def _forked(work: Callable[[], object], ready: int | None = None) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        if ready is not None:
            os.write(ready, b".")
        work()
        status = 0
    except BaseException:  # noqa: BLE001  # a forked child reports and ends, whatever happens
        traceback.print_exc()
    finally:
        os._exit(status)


def _killed_after(work: Callable[[], object], delay: float) -> int:
    reading, writing = os.pipe()
    pid = _forked(work, writing)
    os.read(reading, 1)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    os.close(reading)
    os.close(writing)
    return os.waitpid(pid, 0)[1]


def _duration(work: Callable[[], object]) -> float:
    reading, writing = os.pipe()
    pid = _forked(work, writing)
    os.read(reading, 1)
    started = time.perf_counter()
    assert os.waitpid(pid, 0)[1] == 0
    os.close(reading)
    os.close(writing)
    return time.perf_counter() - started


def _counting_steps(work: Callable[[], object], stop_at: int | None) -> int:
    """Do the work, and die before its ``stop_at``-th call into the system; their number."""
    steps = 0

    def profile(frame: FrameType, event: str, called: Any) -> None:
        nonlocal steps
        if event == "c_call" and _is_system_call(called):
            steps += 1
            if steps == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return steps


def _is_system_call(called: Any) -> bool:
    owner = getattr(called, "__self__", None)
    return called.__module__ in SYSTEM_MODULES or type(owner).__module__ in SYSTEM_MODULES


class Campaign:
    """Trials from one prepared machine, with what each may have left behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prepared = _prepared(folder / "prepared")
        self._old = self._prepared.state()
        machine = self._fresh()
        assert _in_child(lambda: machine.open("new")) == 0
        self._new = machine.state()
        self._trials = 0
        self.outcomes = {"old": 0, "unpacked": 0, "new": 0}
        self.with_leftovers = 0

    def measured(self) -> float:
        """How long an undisturbed opening takes, in seconds."""
        return sorted(_duration(partial(self._fresh().open, "new")) for _ in range(9))[4]

    def steps(self) -> int:
        """How many calls into the system an undisturbed opening makes."""
        machine, reading, writing = self._fresh(), *os.pipe()

        def count() -> None:
            number = _counting_steps(lambda: machine.open("new"), None)
            os.write(writing, str(number).encode())

        assert _in_child(count) == 0
        return int(os.read(reading, 20))

    def kill_after(self, delay: float) -> None:
        machine = self._fresh()
        _killed_after(lambda: machine.open("new"), delay)
        self._judge(machine)

    def kill_before_step(self, step: int) -> None:
        machine = self._fresh()
        status = _in_child(lambda: _counting_steps(lambda: machine.open("new"), step))
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        self._judge(machine)

    def _fresh(self) -> Machine:
        home = self._folder / "trial"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self._prepared.home, home)
        return Machine(home)

    def _judge(self, machine: Machine) -> None:
        """The state is old or new; the next process finds it so, cleans up, and goes on."""
        found = machine.state()
        half = {**self._new, "trust": self._old["trust"]}
        # Unpacked and not yet remembered is the old state with a spare copy: no half state.
        for name, state in (("old", self._old), ("unpacked", half), ("new", self._new)):
            if found == state:
                self.outcomes[name] += 1
                break
        else:
            raise AssertionError(f"neither old nor new: {found}")
        self.with_leftovers += bool(machine.leftovers())
        assert _in_child(lambda: self._next_start(machine, found)) == 0
        assert machine.state() == self._new

    def _next_start(self, machine: Machine, found: dict[str, Any]) -> None:
        machine.store.collect(unused_for=timedelta(days=7))
        assert machine.state() == found
        machine.open("new")
        assert machine.leftovers() == []


def run(random_kills: int, folder: Path) -> dict[str, Any]:
    """All trials; their numbers, and how many of them ended in which state."""
    campaign = Campaign(folder)
    seconds = campaign.measured()
    chance = random.Random(0)
    for _ in range(random_kills):
        campaign.kill_after(chance.uniform(0, 1.1 * seconds))
    at_random = dict(campaign.outcomes)
    steps = campaign.steps()
    for step in range(1, steps + 1):
        campaign.kill_before_step(step)
    return {
        "random_kills": random_kills,
        "kills_before_a_system_call": steps,
        "milliseconds_undisturbed": round(seconds * 1000, 1),
        "random_outcomes": at_random,
        "outcomes": campaign.outcomes,
        "with_leftovers": campaign.with_leftovers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=240, help="kills at random moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hive-crash-") as folder:
        print(json.dumps(run(options.random, Path(folder))))


if __name__ == "__main__":
    main()

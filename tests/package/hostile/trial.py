"""Trying the attacks: what each may not do, and what it cost. Linux only: it reads /proc."""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import resource
import stat
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from hive_expert.errors import HiveError
from hive_expert.package.open import open_package
from hive_expert.package.skim import skim
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy
from tests.package.hostile.attack import Attack, AttackClass
from tests.package.hostile.forge import package
from tests.package.samples import NOW, trusting

SECONDS_FOR_A_CLASS = 300
MEMORY_LIMIT = 1 << 30
OUTSIDE = Path("/tmp/hive-expert-was-here")
"""A file that some of the attacks name; nothing of ours makes it."""


@dataclass
class Outcome:
    """A class of attacks after its trial; what must not have happened names its packages."""

    name: str
    digests: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)
    without_reason: list[str] = field(default_factory=list)
    left_traces: list[str] = field(default_factory=list)
    worst_ms: float = 0.0
    """Wall-clock time of the slowest refusal."""
    worst_cpu_ms: float = 0.0
    """Processor time of the slowest refusal."""
    worst_mib: float = 0.0
    """Largest rise of the process's peak memory over what it held before."""

    @property
    def held(self) -> bool:
        """Every attack was refused with a reason and left nothing behind."""
        return not (self.accepted or self.crashed or self.without_reason or self.left_traces)


def try_class(attacks: AttackClass) -> Outcome:
    """Try a class in a process of its own, with limits; one that hangs or dies is a crash."""
    gc.freeze()  # the child shares this memory; collecting there would copy it
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(attacks, sender))
    child.start()
    sender.close()
    try:
        if receiver.poll(SECONDS_FOR_A_CLASS):
            return Outcome(**json.loads(receiver.recv_bytes()))
        return Outcome(attacks.name, crashed=[f"no result after {SECONDS_FOR_A_CLASS} s"])
    except EOFError:
        return Outcome(attacks.name, crashed=["the process died"])
    finally:
        child.kill()
        child.join()


def _child(attacks: AttackClass, sender: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_FOR_A_CLASS, SECONDS_FOR_A_CLASS))
    limit = _status("VmSize") + MEMORY_LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    with tempfile.TemporaryDirectory(prefix="hive-hostile-") as folder:
        outcome = _try_all(attacks, Path(folder))
    sender.send_bytes(json.dumps(asdict(outcome)).encode())


def _try_all(attacks: AttackClass, folder: Path) -> Outcome:
    store, victim = _surroundings(folder)
    outcome = Outcome(attacks.name)
    before = _snapshot(folder)
    for attack in attacks.make():
        victim.write_bytes(attack.data)
        before[str(victim)] = _state(victim)
        _try(attack, victim, store, outcome)
        after = _snapshot(folder)
        if after != before or OUTSIDE.exists():
            outcome.left_traces.append(attack.label)
            before = after
        outcome.digests.append(hashlib.sha256(attack.data).hexdigest())
    return outcome


def _surroundings(folder: Path) -> tuple[PackageStore, Path]:
    """A store in use, deep in a tree with files where attacks aim; and the file to be opened."""
    deep = folder / "a" / "b" / "c" / "d"
    for place in (deep, *deep.parents[:4]):
        (place / "outside").mkdir(parents=True)
        (place / "outside" / "secret").write_bytes(b"secret")
    for name in ("README.md", "manifest.json", "x", "config"):
        (deep / name).write_bytes(b"mine")
    (deep / "tmp").mkdir()
    os.chdir(deep)
    os.environ["TMPDIR"] = tempfile.tempdir = str(deep / "tmp")
    store, victim = PackageStore(deep / "store"), deep / "incoming.expert"
    # One good package is there already; opening it also shows that what is refused is the attack.
    victim.write_bytes(package())
    open_package(victim, store=store, trust=trusting("Ann"), policy=Policy.ENFORCE, now=NOW)
    return store, victim


def _try(attack: Attack, victim: Path, store: PackageStore, outcome: Outcome) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    held = _status("VmRSS")
    started, cpu = time.perf_counter(), time.process_time()
    try:
        with suppress(HiveError):  # it may take what opening refuses: it does not read weights
            skim(victim)
        open_package(victim, store=store, trust=attack.trust, policy=Policy.ENFORCE, now=NOW)
        outcome.accepted.append(attack.label)
    except HiveError as error:
        if not error.problems or not all(problem.what for problem in error.problems):
            outcome.without_reason.append(attack.label)
    except Exception as error:  # noqa: BLE001  # any other exception is what is looked for
        outcome.crashed.append(f"{attack.label}: {error!r}"[:200])
    outcome.worst_ms = max(outcome.worst_ms, (time.perf_counter() - started) * 1000)
    outcome.worst_cpu_ms = max(outcome.worst_cpu_ms, (time.process_time() - cpu) * 1000)
    outcome.worst_mib = max(outcome.worst_mib, (_status("VmHWM") - held) / (1 << 20))


def _status(field_name: str) -> int:
    """A size of this process in bytes, as the kernel states it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field_name}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"/proc/self/status has no {field_name}")


def _snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder: kind, mode, owner and content."""
    found: dict[str, tuple[object, ...]] = {}
    pending: list[Path] = [folder]
    while pending:
        for entry in os.scandir(pending.pop()):
            path = Path(entry.path)
            found[entry.path] = _state(path)
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
    return found


def _state(path: Path) -> tuple[object, ...]:
    state = path.lstat()
    content = hashlib.sha256(path.read_bytes()).digest() if stat.S_ISREG(state.st_mode) else None
    return state.st_mode, state.st_uid, state.st_nlink, content


def distinct(outcomes: Iterable[Outcome]) -> int:
    """How many of the packages differ in their bytes."""
    return len({digest for outcome in outcomes for digest in outcome.digests})

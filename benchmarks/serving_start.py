"""P14: whether a server over a thousand packages starts as fast as one over ten.

From the start of the process until `/health` answers; nothing was deleted from the store between
starts, as when a server is started again. The first start of each is measured beside it, when no
package was unpacked yet, and how soon an expert answers that nobody has verified ahead.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random

from rounds import Ratio, interleave
from serving_bench import Bench, progress
from serving_client import Ask, Client, random_ids
from serving_experts import names, weights, write_expert
from serving_figures import Finding, figure

from hive_expert.package.pack import build_package

TARGET = 1.2
FEW = 10
RANK = 1
"""The weights are read of few, so that they may be small."""


def measure(bench: Bench) -> Finding:
    many, rounds = (100, 1) if bench.quick else (1000, 3)
    folders = {"few": _packages(bench, FEW), "many": _packages(bench, many)}
    last = {"few": names(FEW)[-1], "many": names(many)[-1]}
    first: dict[str, float] = {}
    asked: dict[str, float] = {}
    for name, folder in folders.items():
        progress.print(f"P14: first start over {name}")
        first[name], asked[name] = _start(bench, folder, last[name])
    subjects: dict[str, Callable[[], float]] = {
        "few": partial(_started, bench, folders["few"]),
        "few again": partial(_started, bench, folders["few"]),
        "many": partial(_started, bench, folders["many"]),
    }
    raw = interleave(subjects, rounds, tell=_tell)
    return found(raw, first, asked, many)


def _packages(bench: Bench, count: int) -> Path:
    """Packages of so many experts, all with the same small weights."""
    progress.print(f"P14: packing {count} experts")
    folder = bench.made(f"start-{count}")
    tensors = weights(bench.base, 0, RANK)
    for name in names(count):
        directory = write_expert(bench.folder / "one", name, tensors, rank=RANK)
        build_package(directory, model=None, output=folder, signer=bench.signer)
        shutil.rmtree(directory)
    return folder


def _start(bench: Bench, folder: Path, ask: str | None = None) -> tuple[float, float]:
    """Seconds until a server answers, and then until an expert does, if one is asked."""
    began = time.perf_counter()
    with bench.hive(folder) as server:
        up = time.perf_counter()
        if ask is not None:
            with Client(server.api) as client:
                client.ask(Ask(ask, random_ids(Random(0), 32), tokens=1), stream=True)
        return up - began, time.perf_counter() - up


def _started(bench: Bench, folder: Path) -> float:
    return _start(bench, folder)[0]


def found(
    raw: dict[str, list[float]], first: dict[str, float], asked: dict[str, float], many: int
) -> Finding:
    """The figures, from seconds by subject and round."""
    return Finding(
        {"P14": figure(Ratio.of(raw["many"], raw["few"]), TARGET, "at most") | {"packages": many}},
        {
            "A/A": asdict(Ratio.of(raw["few again"], raw["few"])),
            "first_start_s": first,
            "then_the_last_expert_answers_after_s": asked,
        },
        raw,
    )


def _tell(line: str) -> None:
    progress.print(f"P14: {line}")

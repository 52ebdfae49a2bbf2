"""Speed and memory of verifying a package: P7 of benchmarks/README.md."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table
from rounds import Ratio, interleave
from verify_package import make_package

from hive_expert.package.keys import generate_key
from hive_expert.package.open import open_package, verify_package
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy, TrustStore

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TARGET = 0.8
MB = 1_000_000
SIZE = 50 * MB
CALLS = 5
"""Calls of one measurement: one alone takes some 40 ms."""

progress = Console(stderr=True)

MEANING = {
    "sha256": "hashlib.file_digest of the file",
    "verify": "read and verify, write nothing",
    "open, new": "verify, write to the store, fsync",
    "open, known": "verify, and hash what is stored",
}


class Subjects:
    """What is measured on one package, each as a method that gives MB/s."""

    def __init__(self, scratch: Path) -> None:
        signer = generate_key("Ann")
        self._now = datetime.now(UTC)
        self._package = make_package(scratch, SIZE, signer)
        self._size = self._package.stat().st_size
        self._trust = TrustStore().with_key(signer.public, ("*",), self._now)
        self._new = PackageStore(scratch / "new")
        self._known = PackageStore(scratch / "known")
        self._open(self._known)

    def all(self) -> dict[str, Callable[[], float]]:
        """By name; `sha256` and `sha256 again` are the A/A control."""
        return {
            "sha256": self.sha256,
            "sha256 again": self.sha256,
            "verify": self.verify,
            "open, new": self.open_new,
            "open, known": lambda: self._rate(lambda: self._open(self._known)),
        }

    def sha256(self) -> float:
        def digest() -> None:
            with self._package.open("rb") as file:
                hashlib.file_digest(file, "sha256")

        return self._rate(digest)

    def verify(self) -> float:
        def verify() -> None:
            report = verify_package(
                self._package, trust=self._trust, policy=Policy.ENFORCE, now=self._now
            )
            assert report.decision.accepted

        return self._rate(verify)

    def open_new(self) -> float:
        shutil.rmtree(self._new.root, ignore_errors=True)
        return self._rate(lambda: self._open(self._new), calls=1)

    def _open(self, store: PackageStore) -> None:
        open_package(
            self._package, store=store, trust=self._trust, policy=Policy.ENFORCE, now=self._now
        )

    def _rate(self, call: Callable[[], None], calls: int = CALLS) -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        return calls * self._size / MB / (time.perf_counter() - begin)


def memory(scratch: Path, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """How far verifying and opening packages of those sizes raise a process's peak memory."""
    signer = generate_key("Ann")
    rows = []
    small = make_package(scratch / "small", MB, signer)
    for size in sizes:
        folder = scratch / str(size)
        package = make_package(folder, size, signer)
        row: dict[str, Any] = {"package_mb": package.stat().st_size / MB}
        for name, store in (("verify_mib", ""), ("open_mib", str(folder / "store"))):
            command = [sys.executable, HERE / "verify_memory.py", small, package, store]
            grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            row[name] = int(grown) / 1024
        rows.append(row)
        shutil.rmtree(folder)
    return rows


def summary(rates: dict[str, list[float]]) -> dict[str, Any]:
    """The ratios of one run."""
    verified = Ratio.of(rates["verify"], rates["sha256"])
    figure = {"target": TARGET, "ok": verified.ratio >= TARGET}
    return {
        "figures": {"P7": asdict(verified) | figure},
        "beside": {
            name: asdict(Ratio.of(rates[name], rates["sha256"]))
            for name in ("open, new", "open, known")
        },
        "control": asdict(Ratio.of(rates["sha256 again"], rates["sha256"])),
        "rates": {name: median(values) for name, values in rates.items()},
        "all_rates": rates,
    }


def table(result: dict[str, Any]) -> Table:
    shown = Table(title=f"A signed package of {SIZE // MB} MB")
    for heading in ("", "what", "MB/s", "÷ sha256", "least", "greatest"):
        shown.add_column(heading)
    ratios = {
        "sha256 again": result["control"],
        "verify": result["figures"]["P7"],
        **result["beside"],
    }
    for name, rate in result["rates"].items():
        numbers = (f"{ratios[name][key]:.2f}" for key in ("ratio", "low", "high"))
        cells = numbers if name in ratios else ("", "", "")
        shown.add_row(name, MEANING.get(name, "the same, as a control"), f"{rate:.0f}", *cells)
    return shown


def plot(result: dict[str, Any], file: Path) -> None:
    """MB/s of each subject beside the memory that a large package takes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (speed, space) = plt.subplots(1, 2, figsize=(9, 3.5))
    names = list(MEANING)
    middle = [result["rates"][name] for name in names]
    bars = speed.bar(names, middle, color=("#999", "#369", "#69c", "#69c"))
    speed.bar_label(bars, [f"{rate:.0f}" for rate in middle])
    speed.axhline(TARGET * result["rates"]["sha256"], color="#c33", linestyle=":", label="target")
    speed.set_title(f"MB/s, {SIZE // MB} MB")
    speed.legend()
    sizes = [f"{row['package_mb']:.0f} MB" for row in result["memory"]]
    places = range(len(sizes))
    for shift, name in ((-0.2, "verify_mib"), (0.2, "open_mib")):
        heights = [row[name] for row in result["memory"]]
        bars = space.bar([p + shift for p in places], heights, 0.4, label=name.split("_")[0])
        space.bar_label(bars, [f"{height:.1f}" for height in heights])
    space.set_xticks(list(places), sizes)
    space.set_title("rise of peak memory, MiB")
    space.legend()
    for panel in (speed, space):
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds; memory at 200 MB instead of 1 GB.")
@click.option("--rounds", type=click.IntRange(min=1), help="Instead of 5 (quick) or 25.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(quick: bool, rounds: int | None, as_json: bool, output: Path) -> None:
    """Measure; writes verify.json and verify.png (quick: verify-quick)."""
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="hive-benchmark-") as folder:
        subjects = Subjects(Path(folder, "speed"))
        with progress.status("measuring") as status:
            rates = interleave(subjects.all(), rounds or (5 if quick else 25), tell=status.update)
            status.update("measuring memory")
            peaks = memory(Path(folder, "memory"), (SIZE, 200 * MB if quick else 1000 * MB))
    load.append(os.getloadavg()[0])
    result = summary(rates) | {
        "memory": peaks,
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_before_and_after": load,
    }
    name = "verify-quick" if quick else "verify"
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    plot(result, output / f"{name}.png")
    progress.print(table(result))
    for row in peaks:
        progress.print(
            f"{row['package_mb']:.0f} MB: peak memory rises by {row['verify_mib']:.1f} MiB to"
            f" verify, {row['open_mib']:.1f} MiB to open"
        )
    progress.print(f"load {load[0]:.1f} before, {load[1]:.1f} after")
    if as_json:
        print(json.dumps(result["figures"]))


if __name__ == "__main__":
    main()

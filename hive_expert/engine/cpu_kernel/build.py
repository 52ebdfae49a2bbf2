"""Compiles the CPU operators for this machine, once.

Calls of the compiler rather than `torch.utils.cpp_extension`: that one would link a second
OpenMP runtime if the wheel's own has another name, and its threads would fight over the cores with
those of torch. Here they are linked to none and take the one torch has loaded.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from hive_expert import locations
from hive_expert.errors import EngineError, Problem

FOLDER = Path(__file__).parent
SOURCES = ("lora_apply.cpp", "gains_apply.cpp")
HEADERS = ("vectors.h",)
LIBRARY = "hive_operators.so"
COMPILERS = ("g++", "clang++", "c++")
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fPIC", "-fopenmp")
TIMEOUT_SECONDS = 600

log = logging.getLogger("hive_expert.engine")


def default_folder() -> Path:
    """Where compiled operators are kept, one folder for each kind of CPU, torch and source."""
    return locations.data_dir() / "cpu-kernel"


def library(folder: Path | None = None) -> Path:
    """The compiled operators, made if it is not there yet.

    Processes that need it at once wait for the one that compiles. The file appears by one rename.

    Raises:
        EngineError: no compiler, or it fails.
    """
    folder = folder or default_folder()
    target = folder / _key() / LIBRARY
    if target.is_file():
        return target
    command = _compiler()
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder / ".lock"):
            if not target.is_file():
                log.info("compiling the CPU operators with %s (once, ~25 s)", command[0])
                _compile(command, target)
    except OSError as error:
        raise _failed(f"{folder} cannot be written ({error.strerror})") from error
    return target


def _compile(command: list[str], target: Path) -> None:
    root = Path(torch.__file__).parent
    includes = [f"-I{root / 'include'}", f"-I{root / 'include/torch/csrc/api/include'}"]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".compiling-") as folder:
        linked = Path(folder) / LIBRARY
        objects = [str(Path(folder) / f"{source}.o") for source in SOURCES]
        for source, compiled in zip(SOURCES, objects, strict=True):
            _run([*command, *FLAGS, *includes, "-c", str(FOLDER / source), "-o", compiled])
        # Without -fopenmp: see the top of this file.
        torch_libraries = [f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10"]
        _run([*command, "-shared", *objects, "-o", str(linked), *torch_libraries])
        linked.replace(target)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(f"{command[0]} did not run ({error})") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr]
        raise _failed(f"{command[0]} failed: {errors[0][:300]}")


def _compiler() -> list[str]:
    chosen = os.environ.get("CXX")
    if chosen:
        return shlex.split(chosen)
    for name in COMPILERS:
        if shutil.which(name):
            return [name]
    raise _failed("there is no C++ compiler")


def _failed(what: str) -> EngineError:
    remedy = "install g++ 11 or later; without it decoding with adapters is slower"
    return EngineError(Problem("CPU operators", what, remedy))


def _key() -> str:
    """All that the compiled file depends on."""
    sources = [(FOLDER / name).read_text(encoding="utf-8") for name in (*SOURCES, *HEADERS)]
    parts = (*sources, " ".join(FLAGS), torch.__version__, _cpu_features())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _cpu_features() -> str:
    """What `-march=native` goes by: a home directory may be shared by different machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    names = ("flags", "Features")
    found = [line.partition(":")[2] for line in lines if line.partition(":")[0].strip() in names]
    return f"{platform.machine()} {' '.join(sorted((found or [''])[0].split()))}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

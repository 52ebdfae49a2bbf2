"""Type-checks TypeScript and runs it on tests, in Node, as the hostile code that it may be.

The compiler reads answers and never runs them; it is kept, since it takes a second to start, and
replaced when an answer makes it hang or grow. What it made of an answer runs in a process of its
own with its tests.

Both processes are confined (`confined.py`: no sockets, no signals, bounded memory and processor
time) and under Node's permission model: they read the script that they are and, the compiler, its
own library; they write no file and start no program. The answer itself runs in an empty context
without `require`, `process`, timers, `eval` and WebAssembly.

What is not guarded: an answer that breaks its context can forge its own result, as it can by
replacing what its tests call; a hole in Node, V8 or the kernel is a hole here; and where the
kernel takes no seccomp filter nothing is run at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hive_expert.errors import Problem, TrainingError
from hive_expert.locations import data_dir

COMPILE_SECONDS = 60.0
RUN_SECONDS = 120.0
PROGRAM_SECONDS = 30.0
"""On the clock, long: the machine may have other work. Processor time is bounded apart."""
COMPILER_CPU_SECONDS = 120
RUN_CPU_SECONDS = 3
"""Of a process, and one second more for each program in it."""
COMPILER_HEAP_MB = 512
PROGRAM_HEAP_MB = 128
RENEW_AFTER = 200
"""Programs after which the compiler is replaced: its processor time counts from its start."""
MAX_OUTPUT = 8 << 20
MAX_CODE = 64 * 1024
"""Characters of an answer that is looked at."""

TYPESCRIPT = "typescript@5.9.3"
_HERE = Path(__file__).parent
_CHECK = re.compile(r"\bexpect(?:Equal|Throws|Resolves)\(")


@dataclass(frozen=True, slots=True)
class Program:
    """An answer with the TypeScript that tests it, by `expectEqual(actual, expected)`,
    `expectThrows(act)` and `expectResolves(promise, expected)`, and by types alone, where
    `Equal<A, B>` is the type `true` exactly for the same types."""

    code: str
    tests: str

    @property
    def checks(self) -> int:
        """How many checks must have run when the tests are through."""
        return len(_CHECK.findall(self.tests))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a program. Law: it is right when both are empty."""

    type_errors: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    """Checks that failed, or why the program did not run to its end."""

    @property
    def reason(self) -> str:
        """Empty for a program that is right."""
        if self.type_errors:
            return f"type error at line {self.type_errors[0]}"
        return f"test failed: {self.failed[0]}" if self.failed else ""


TOO_LONG = Verdict((f"1: more than {MAX_CODE} characters",))


@dataclass(frozen=True, slots=True)
class Tools:
    """Where Node and the compiler are, and the flag of Node's permission model."""

    node: str
    typescript: Path
    permission: str


def tools_folder() -> Path:
    """Where the compiler is looked for first."""
    return data_dir() / "node"


@cache
def find_tools() -> Tools:
    """Node and TypeScript on this machine.

    Raises TrainingError that says how to get what is missing.
    """
    node = shutil.which("node")
    if node is None:
        raise TrainingError(Problem("node", "not on the PATH", "install Node 20 or newer"))
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    major, minor = (int(n) for n in version.stdout.strip().lstrip("v").split(".")[:2])
    if major < 20:
        raise TrainingError(Problem("node", version.stdout.strip(), "install Node 20 or newer"))
    stable = major >= 24 or (major, minor) in ((22, 13), (23, 5)) or (major == 22 and minor > 13)
    permission = "--permission" if stable else "--experimental-permission"
    folders = [
        tools_folder() / "node_modules",
        Path(node).resolve().parents[1] / "lib/node_modules",
    ]
    folders += [Path(f) for f in os.environ.get("NODE_PATH", "").split(os.pathsep) if f]
    for folder in folders:
        package = folder / "typescript"
        if (package / "lib" / "typescript.js").is_file():
            return Tools(node, package.resolve(), permission)
    remedy = f"npm install --prefix {tools_folder()} {TYPESCRIPT}"
    raise TrainingError(Problem("typescript", "the compiler is not there", remedy))


@dataclass
class Checker:
    """Checks programs, one call at a time. Close it, or let it end with this process."""

    tools: Tools = field(default_factory=find_tools)
    _compiler: subprocess.Popen[bytes] | None = None
    _compiled: int = 0

    def check(self, programs: Sequence[Program]) -> list[Verdict]:
        """A verdict for each. Programs of one call share a compilation and a process: hand over
        one that you don't trust alone.

        Raises TrainingError where this machine cannot confine a program.
        """
        verdicts: list[Verdict | str | None] = [
            TOO_LONG if len(program.code) > MAX_CODE else None for program in programs
        ]
        open_ = [at for at, verdict in enumerate(verdicts) if verdict is None]
        for at, compiled in zip(open_, self._compile([programs[at] for at in open_]), strict=True):
            verdicts[at] = compiled
        scripts = {at: text for at, text in enumerate(verdicts) if isinstance(text, str)}
        outcomes = self._run([programs[at] for at in scripts], list(scripts.values()))
        for at, outcome in zip(scripts, outcomes, strict=True):
            verdicts[at] = outcome
        return [verdict for verdict in verdicts if isinstance(verdict, Verdict)]

    def close(self) -> None:
        """End the compiler."""
        if self._compiler is not None:
            self._compiler.kill()
            self._compiler.communicate()
            self._compiler = None
            self._compiled = 0

    def _compile(self, programs: Sequence[Program]) -> list[Verdict | str]:
        """JavaScript, or a verdict on its types, for each."""
        if not programs:
            return []
        if self._compiled >= RENEW_AFTER:
            self.close()
        process = self._compiler or self._start_compiler()
        self._compiler = process
        self._compiled += len(programs)
        assert process.stdin is not None
        assert process.stdout is not None
        message = json.dumps({"programs": [asdict(p) for p in programs]}) + "\n"
        with _killed_after(process, COMPILE_SECONDS):
            try:
                process.stdin.write(message.encode())
                process.stdin.flush()
                line = process.stdout.readline(MAX_OUTPUT)
            except BrokenPipeError:
                line = b""
        if not line.endswith(b"\n"):
            why = self._why_ended(process)
            self.close()
            return [Verdict((f"1: the compiler came to no end: {why}",))] * len(programs)
        return [
            Verdict(type_errors=tuple(one["errors"])) if one["errors"] else str(one["js"])
            for one in json.loads(line)["results"]
        ]

    def _run(self, programs: Sequence[Program], scripts: Sequence[str]) -> list[Verdict]:
        if not programs:
            return []
        script = _HERE / "typescript_run.cjs"
        seconds = RUN_CPU_SECONDS + len(programs)
        command = self._confined(seconds, PROGRAM_HEAP_MB, script, script)
        limit = int(1000 * PROGRAM_SECONDS)
        job = json.dumps({"programs": scripts, "limit_ms": limit}).encode()
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={}, cwd="/",
        ) as process, _killed_after(process, RUN_SECONDS):  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(job)
                process.stdin.close()
            output = process.stdout.read(MAX_OUTPUT)
            process.kill()  # it has said all that counts
        results = _results(output, len(programs))
        if results is None:
            return [Verdict(failed=("it did not run to its end",))] * len(programs)
        return [
            _outcome(program, result) for program, result in zip(programs, results, strict=True)
        ]

    def _start_compiler(self) -> subprocess.Popen[bytes]:
        script, package = _HERE / "typescript_compile.cjs", self.tools.typescript
        command = self._confined(COMPILER_CPU_SECONDS, COMPILER_HEAP_MB, script, script, package)
        return subprocess.Popen(
            [*command, str(package)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env={}, cwd="/",
        )  # fmt: skip

    def _confined(self, cpu_seconds: int, heap_mb: int, script: Path, *readable: Path) -> list[str]:
        return [
            sys.executable, "-I", "-S", str(_HERE / "confined.py"), str(cpu_seconds),
            self.tools.node, self.tools.permission, "--no-warnings",
            *(f"--allow-fs-read={path}{'/*' if path.is_dir() else ''}" for path in readable),
            "--disallow-code-generation-from-strings", f"--max-old-space-size={heap_mb}",
            str(script),
        ]  # fmt: skip

    def _why_ended(self, process: subprocess.Popen[bytes]) -> str:
        process.kill()
        code = process.wait()
        if code == 1:
            raise TrainingError(
                Problem("node", "cannot be confined here", "the kernel must take seccomp filters")
            )
        return f"signal {-code}" if code < 0 else f"status {code}"


def _outcome(program: Program, result: dict[str, Any]) -> Verdict:
    failed = tuple(str(text) for text in result["failed"])
    if not failed and result["checks"] != program.checks:
        failed = (f"{result['checks']} of {program.checks} checks ran",)
    return Verdict(failed=failed)


def _results(output: bytes, count: int) -> list[dict[str, Any]] | None:
    """What a process reports; it runs hostile code, so its report may be anything."""
    try:
        results = json.loads(output)["results"]
        fine = len(results) == count and all(
            isinstance(r["checks"], int) and isinstance(r["failed"], list) for r in results
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return results if fine else None


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()

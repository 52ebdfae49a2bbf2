"""Every answer of the data is type-checked and run on its tests, in batches.

What was proven once is remembered by its digest, so a second run takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from hive_expert.errors import DatasetError, Problem
from hive_expert.training.typescript_checks import TYPESCRIPT, Checker, Program

BATCH = 100
"""Programs of one compilation. They are the generator's own, so they may share a process."""


def prove(programs: Sequence[tuple[str, Program]], memory: Path) -> None:
    """Check each program, known by a name, unless ``memory`` lists it as proven; add it there.

    Raises:
        DatasetError: with every program that is wrong.
        TrainingError: where Node or the compiler is missing.
    """
    known = set(memory.read_text(encoding="ascii").split()) if memory.exists() else set()
    new = {digest(p): (name, p) for name, p in programs if digest(p) not in known}
    checker = Checker()
    problems: list[Problem] = []
    try:
        for batch in _batches(sorted(new)):
            verdicts = checker.check([new[key][1] for key in batch])
            for key, verdict in zip(batch, verdicts, strict=True):
                if verdict.reason:
                    name, program = new[key]
                    problems.append(Problem(name, f"{verdict.reason}\n{program.code}"))
                else:
                    known.add(key)
    finally:
        checker.close()
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text("".join(f"{key}\n" for key in sorted(known)), encoding="ascii")
    if problems:
        raise DatasetError(*problems)


def digest(program: Program) -> str:
    """Of the code, its tests and the compiler."""
    text = "\0".join((TYPESCRIPT, program.code, program.tests))
    return sha256(text.encode()).hexdigest()


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), BATCH):
        yield keys[start : start + BATCH]

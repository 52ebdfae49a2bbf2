"""Answers of a check, kept as they come, so that one that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from hive_expert.errors import HiveError, Problem
from hive_expert.training.cases import TestCase
from hive_expert.training.evaluate import Answer, Contestant, Known

KEPT_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class KeptAnswers:
    """A file with a line for each answer.

    Laws: an answer that was added is there after a `kill -9`; a line that was torn by one is no
    answer; what is lost of a server (`Answer.lost`) is never kept.
    """

    path: Path

    @classmethod
    def of(cls, folder: Path, *identity: str) -> KeptAnswers:
        """The file for questions that are the same in every part of ``identity``."""
        name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        return cls(folder / f"{name}.jsonl")

    def load(self) -> Known:
        """What there is by now; nothing where it is older than :data:`KEPT_FOR`."""
        with suppress(FileNotFoundError):
            if time.time() - self.path.stat().st_mtime < KEPT_FOR.total_seconds():
                return dict(_read(self.path.read_bytes()))
            self.forget()
        return {}

    def add(self, contestant: Contestant, case: TestCase, answer: Answer) -> None:
        """Keep an answer. Raises HiveError where the file cannot be written."""
        if answer.lost:
            return
        line = json.dumps(
            [contestant.model, contestant.variant, case.id,
             answer.text, answer.error, answer.seconds, answer.tokens]
        )  # fmt: skip
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        except OSError as exc:
            raise HiveError(Problem(str(self.path), f"cannot be written: {exc.strerror}")) from exc

    def forget(self) -> None:
        """Remove them all."""
        self.path.unlink(missing_ok=True)


def _read(data: bytes) -> Iterator[tuple[tuple[Contestant, str], Answer]]:
    for line in data.split(b"\n"):
        with suppress(ValueError, TypeError):
            model, variant, case, text, error, seconds, tokens = json.loads(line)
            yield (Contestant(model, variant), case), Answer(text, error, seconds, tokens)

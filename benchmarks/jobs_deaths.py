"""One batch through many deaths of its server: the loop, what is noted of it, and the verdict.

Which server it is, what the batch asks and which answers are right is a `Subject`'s business
(`jobs_crash_subjects`). All that is noted lies in a file, beside the server's own state: who is
stopped goes on later where he was.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from jobs_batches import LIMIT_S, LOOK_S, Batches

from hive_expert.client.jobs import FINAL
from hive_expert.errors import EngineError
from hive_expert.serving.local_server import LocalServer

Tell = Callable[[str, int, int], None]
"""Told what is done now, how many requests have an answer, and of how many."""


class Subject(Protocol):
    """A server that can be started again and again over the same state."""

    endpoint: str

    def server(self) -> AbstractContextManager[LocalServer]: ...

    def body(self, number: int) -> dict[str, Any]:
        """What a request asks."""

    def right(self, number: int, response: dict[str, Any]) -> bool:
        """Whether a response is the one to this request, a result or an error."""


@dataclass(frozen=True)
class Plan:
    """What is to be done. Lives are drawn anew from the number of kills, so that a run that is
    stopped in between goes on as it would have gone on."""

    requests: int
    kills: int
    life_s: float
    """Seconds that a server lives at most, from its first answer on."""
    seed: int = 0


@dataclass
class Record:
    """What has come of a plan so far."""

    requests: int
    batch: str = ""
    kills: int = 0
    states: dict[str, int] = field(default_factory=dict)
    """State of the batch → kills in it."""
    done_at_kills: list[int] = field(default_factory=list)
    """Requests with an answer when the server was killed."""
    repeated: int = 0
    """Finished work that was done again."""
    lived_s: float = 0.0
    """By all servers that were killed, from their first answer on."""
    seconds: float = 0.0
    """All in all, with all starts."""

    @property
    def done(self) -> int:
        return self.done_at_kills[-1] if self.done_at_kills else 0

    def life_s(self, plan: Plan) -> float:
        """Seconds that the next server lives at most: less than planned if, at the rate seen, the
        batch would be done before all kills are."""
        if not self.done:
            return plan.life_s
        rate = self.done / self.lived_s
        spread = 2 * (plan.requests - self.done) / rate / (plan.kills - self.kills + 1)
        return min(plan.life_s, spread)


@dataclass(frozen=True)
class Verdict:
    """What stood in the output and the error file in the end."""

    results: int
    errors: int
    lost: int
    twice: int
    wrong: int
    """Answers to another question, or in the wrong file."""

    @property
    def ok(self) -> bool:
        return not (self.lost or self.twice or self.wrong)


class Diary:
    """The record of a run, in a file."""

    def __init__(self, path: Path, requests: int) -> None:
        self._path = path
        self._since = time.monotonic()
        held = json.loads(path.read_text()) if path.exists() else {"requests": requests}
        self.record = Record(**held)
        assert self.record.requests == requests, "another run was begun here"

    def save(self) -> None:
        now = time.monotonic()
        self.record.seconds += now - self._since
        self._since = now
        self._path.write_text(json.dumps(asdict(self.record)))


def run(
    subject: Subject,
    folder: Path,
    plan: Plan,
    tell: Tell,
    until: float,
    look: Callable[[], int] = int,
) -> tuple[Record, Verdict | None]:
    """Kill servers of one batch until the plan is done, then judge what came of the batch.

    Args:
        folder: where a run lies; an earlier call's is gone on with.
        until: the moment (`time.monotonic`) from which on nothing new is begun.
        look: called while no server runs; how much was done again that had been finished.

    Returns:
        No verdict: the time was over before.
    """
    diary = Diary(folder / "diary.json", plan.requests)
    over = False
    while diary.record.kills < plan.kills and not over:
        if time.monotonic() > until:
            return diary.record, None
        over = _one_life(subject, folder, plan, diary, tell)
        diary.record.repeated += look()
        diary.save()
    with doomed(subject.server()) as server:
        batches = Batches(server.url)
        _order(subject, folder, diary, batches)
        batch = _ended(batches, diary.record.batch, tell, until)
        verdict = None if batch is None else judge(batches, batch, plan.requests, subject)
    diary.record.repeated += look()
    diary.save()
    return diary.record, verdict


def _one_life(subject: Subject, folder: Path, plan: Plan, diary: Diary, tell: Tell) -> bool:
    """Start a server and kill it at a random moment; whether the batch was done before."""
    record = diary.record
    dice = random.Random(f"{plan.seed}.{record.kills}")
    tell(f"starting, {record.kills} of {plan.kills} killed", record.done, plan.requests)
    with doomed(subject.server()) as server:
        began = time.monotonic()
        batches = Batches(server.url)
        _order(subject, folder, diary, batches)
        tell(f"answering, {record.kills} of {plan.kills} killed", record.done, plan.requests)
        time.sleep(dice.uniform(0, record.life_s(plan)))
        batch = batches.client.batch(record.batch)
        if batch["status"] in FINAL:
            return True
        record.states[batch["status"]] = record.states.get(batch["status"], 0) + 1
        record.done_at_kills.append(_answered(batch))
        record.lived_s += time.monotonic() - began
    record.kills += 1
    return False


@contextmanager
def doomed(server: AbstractContextManager[LocalServer]) -> Iterator[LocalServer]:
    """A server that gets SIGKILL at the end of the block, and all of its processes with it.

    Raises:
        EngineError: it did not start.
    """
    up = None
    try:
        with server as up:
            try:
                yield up
            finally:
                os.killpg(up.process.pid, signal.SIGKILL)
                up.process.wait(LIMIT_S)
    except EngineError:
        # Of a server that was up, this is that it was killed.
        if up is None:
            raise


def _order(subject: Subject, folder: Path, diary: Diary, batches: Batches) -> None:
    """Have the batch made, if it is not."""
    if diary.record.batch:
        return
    path = folder / "in.jsonl"
    with path.open("w") as out:
        for number in range(diary.record.requests):
            line = {"custom_id": f"r{number}", "method": "POST", "url": subject.endpoint}
            out.write(json.dumps({**line, "body": subject.body(number)}) + "\n")
    diary.record.batch = batches.make(batches.upload(path), subject.endpoint)
    diary.save()


def _ended(batches: Batches, batch_id: str, tell: Tell, until: float) -> dict[str, Any] | None:
    """The batch, once it is done; None if that takes too long."""
    while time.monotonic() < until:
        batch = batches.client.batch(batch_id)
        if batch["status"] in FINAL:
            return batch
        tell("answering the rest", _answered(batch), batch["request_counts"]["total"])
        time.sleep(LOOK_S)
    return None


def _answered(batch: dict[str, Any]) -> int:
    counts = batch["request_counts"]
    return int(counts["completed"] + counts["failed"])


def judge(batches: Batches, batch: dict[str, Any], requests: int, subject: Subject) -> Verdict:
    """Count what is in the output and error file."""
    seen: Counter[str] = Counter()
    wrong, kinds = 0, Counter[bool]()
    for good, file_id in ((True, batch["output_file_id"]), (False, batch["error_file_id"])):
        for line in batches.lines(file_id):
            seen[line["custom_id"]] += 1
            kinds[good] += 1
            response = line["response"] or {"status_code": 0, "body": {}}
            misplaced = good != (200 <= response["status_code"] < 300)
            wrong += misplaced or not subject.right(int(line["custom_id"][1:]), response)
    return Verdict(
        results=kinds[True],
        errors=kinds[False],
        lost=requests - len(seen),
        twice=sum(count - 1 for count in seen.values()),
        wrong=wrong,
    )

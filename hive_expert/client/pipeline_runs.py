"""Runs of pipelines on a server: which of their batches are there, what has come of them.

A run's batches carry its id and their part in their metadata. So whoever gives the same command
again finds what is there already, and nothing is asked twice.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from hive_expert.client.conversation import AUTO, bare_name
from hive_expert.client.jobs import FINAL, JobsClient
from hive_expert.client.plain_http import ask_server
from hive_expert.errors import Problem

ENDPOINT = "/v1/pipelines"
RUN, PART, RETRY_OF = "run", "part", "retry_of"
BASE = "base"
"""As a step's model: the base, whatever it is called."""

Batch = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PartBatches:
    """The batches of one part of a run, each but the first of what the one before has no result of.

    Law: each document of the part has its result in at most one of them, and its error, if it has
    no result, in the last.
    """

    batches: tuple[Batch, ...]

    @property
    def last(self) -> Batch:
        return self.batches[-1]

    @property
    def completed(self) -> int:
        return sum(batch["request_counts"]["completed"] for batch in self.batches)

    @property
    def failed(self) -> int:
        return int(self.last["request_counts"]["failed"])

    @property
    def broken_off(self) -> bool:
        """Whether documents of it were not answered, though nothing was wrong with them."""
        return self.last["status"] in ("cancelled", "expired") and self.failed > 0

    @property
    def of_no_use(self) -> bool:
        """Whether it is as if there were none: its file was refused, or never read."""
        total = self.last["request_counts"]["total"]
        return self.last["status"] == "failed" or (self.last["status"] in FINAL and not total)


@dataclass
class Run:
    """One pipeline over one file of documents, on one server."""

    client: JobsClient
    id: str
    metadata: Mapping[str, str]
    window: str = "24h"
    parts: dict[int, PartBatches] = field(default_factory=dict)

    def find(self) -> None:
        """Look which of its batches the server has."""
        own = [b for b in self.client.batches() if (b["metadata"] or {}).get(RUN) == self.id]
        by_part: dict[int, list[Batch]] = {}
        for batch in own:
            by_part.setdefault(int(batch["metadata"][PART]), []).append(batch)
        self.parts = {part: newest_chain(batches) for part, batches in by_part.items()}

    def uploaded(self, name: str, size: int) -> str | None:
        """The file of this name, which has the run's id in it, if it was uploaded before.

        Whoever is killed between the upload of a part and its batch leaves one.
        """
        same = (f for f in self.client.files() if (f["filename"], f["bytes"]) == (name, size))
        return next((str(file["id"]) for file in same), None)

    def submit(self, part: int, file_id: str) -> None:
        """Have a part worked through, whose requests are in an uploaded file."""
        order = {
            "input_file_id": file_id,
            "endpoint": ENDPOINT,
            "completion_window": self.window,
            "metadata": {**self.metadata, RUN: self.id, PART: str(part)},
        }
        self.parts[part] = PartBatches((self.client.make(order),))

    def retry(self, part: int) -> None:
        """Have all of a part asked again that has no result."""
        before = self.parts[part]
        self.parts[part] = PartBatches((*before.batches, self.client.retry(before.last["id"])))

    def watch(self, part: int) -> Iterator[PartBatches]:
        """A part each time it has changed, until it is done."""
        while self.parts[part].last["status"] not in FINAL:
            for batch in self.client.watch(self.parts[part].last["id"]):
                self.parts[part] = PartBatches((*self.parts[part].batches[:-1], batch))
                yield self.parts[part]
            last = self.client.batch(self.parts[part].last["id"])
            self.parts[part] = PartBatches((*self.parts[part].batches[:-1], last))

    def await_cancelled(self, part: int) -> None:
        """If a part is being cancelled, wait until it is."""
        if self.parts[part].last["status"] == "cancelling":
            for _ in self.watch(part):
                pass

    def results(self) -> Iterator[dict[str, Any]]:
        """What came of each document that has a result, in the order of the input."""
        for _, found in sorted(self.parts.items()):
            lines = (self._lines(batch["output_file_id"]) for batch in found.batches)
            yield from heapq.merge(*lines, key=lambda line: int(line["line"]))

    def errors(self) -> Iterator[dict[str, Any]]:
        """Why each other document has none, in the order of the input."""
        for _, found in sorted(self.parts.items()):
            yield from self._lines(found.last["error_file_id"])

    def summary(self) -> dict[str, Any]:
        """Counts of all of it."""
        parts = [found for _, found in sorted(self.parts.items())]
        batches = [*chain.from_iterable(found.batches for found in parts)]
        return {
            "run": self.id,
            "completed": sum(found.completed for found in parts),
            "failed": sum(found.failed for found in parts),
            "batches": [batch["id"] for batch in batches],
            "usage": {
                name: sum(batch["usage"][name] for batch in batches)
                for name in ("input_tokens", "output_tokens", "total_tokens")
            },
        }

    def _lines(self, file_id: str | None) -> Iterator[dict[str, Any]]:
        rest = b""
        for piece in self.client.content(file_id) if file_id else ():
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield told(json.loads(line))


def newest_chain(batches: Iterable[Batch]) -> PartBatches:
    """Of all batches of a part, those that follow from its newest beginning."""
    known = {batch["id"]: batch for batch in batches}
    following = {(b["metadata"] or {}).get(RETRY_OF): b for b in known.values()}
    # A batch whose forerunner was deleted begins anew.
    first = [b for b in known.values() if (b["metadata"] or {}).get(RETRY_OF) not in known]
    found = [max(first, key=lambda batch: int(batch["created_at"]))]
    while found[-1]["id"] in following:
        found.append(following[found[-1]["id"]])
    return PartBatches(tuple(found))


def told(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of an output or error file, as a pipeline's user is told it."""
    number = int(str(line["custom_id"]).removeprefix("line-"))
    if line["response"] is None:
        return {"line": number, "error": line["error"]}
    body = line["response"]["body"]
    kept = ("id", "output", "error", "steps", "usage")
    return {"line": number, **{name: body[name] for name in kept if name in body}}


def served_models(client: JobsClient) -> tuple[set[str], list[dict[str, Any]]]:
    """All names that `model` may be, and all experts with their state. Raises ServerError."""
    models = ask_server(client.url, "/v1/models", api_key=client.api_key)["data"]
    experts = ask_server(client.url, "/v1/experts", api_key=client.api_key)["data"]
    return {model["id"] for model in models}, experts


def model_problems(
    steps: Sequence[tuple[str, int]], served: set[str], experts: Iterable[Mapping[str, Any]]
) -> list[Problem]:
    """What is wrong with the models of a pipeline's steps on this server.

    Args:
        steps: the model of each, and the length of the longest chain it stands in.
    """
    known = {str(expert["id"]): expert for expert in experts}
    problems = []
    for place, (model, length) in enumerate(steps):
        where = f"steps[{place}].model"
        if model in served or model in (AUTO, BASE):
            names: list[str] = [model] if model in known else []
        else:
            names = [bare_name(part) for part in model.replace("+expert-", "\n expert-").split()]
        for name in names:
            expert = known.get(name)
            if expert is None and name not in served:
                what = f"{name} is not served here"
                problems.append(Problem(where, what, f"served: {', '.join(sorted(served))}"))
            elif expert is not None and expert.get("state") == "unavailable" and name not in served:
                reasons = expert.get("problems") or ["it is unavailable"]
                problems.append(Problem(where, f"{name} is not served: {reasons[0]}"))
            else:
                limit = ((expert or {}).get("constraints") or {}).get("max_chain")
                if limit is not None and length > limit:
                    what = f"{name} goes into chains of at most {limit} steps, not {length}"
                    problems.append(Problem(where, what))
    return problems

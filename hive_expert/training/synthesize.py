"""Examples written by a model at any OpenAI-compatible endpoint (SPEC §12).

Each request sends the prompt file's text; the model answers with JSON objects, one a line, in an
array or in a code fence. Every object is checked as a row of training data and compared with those
before; what passes is appended at once, so that a killed run loses no paid answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Any

import openai

from hive_expert.errors import DatasetError, Problem, TrainingError, UsageError
from hive_expert.training.answer_checks import CHECKS
from hive_expert.training.datasets import FieldMapping, parse_row
from hive_expert.training.language import Language
from hive_expert.training.near_duplicates import shingles, similarity

MAX_FAILURES = 8
"""Requests that may fail one after the other; then the endpoint is taken to be away."""
BACK_OFF_S = 0.5
"""After a failure that may pass; twice as long after each further one, up to ``MAX_BACK_OFF_S``."""
MAX_BACK_OFF_S = 30.0
TEMPLATE_TOKENS = 256
"""What a chat template may add to a prompt. A prompt has a token for each of its bytes at most."""
MAX_IDLE = 25
"""Answers that may bring nothing new one after the other; then the model has no more to say."""

_FENCE = re.compile(r"```\w*\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for. ``prompt`` may hold ``$number`` (of the request) and ``$example``.

    ``examples`` are texts of rows that ``$example`` takes in turn. ``count`` is of rows in the
    output, those of earlier runs included. The budget is of all runs together: ``max_requests``
    and ``max_tokens`` (prompt and answer, as the endpoint counts them); None is no limit. Nothing
    is asked that could cost more than is left beside the requests under way.
    """

    endpoint: str
    model: str
    prompt: str
    count: int
    examples: tuple[str, ...] = ()
    language: Language = "none"
    concurrency: int = 4
    max_requests: int | None = None
    max_tokens: int | None = None
    temperature: float = 1.0
    answer_tokens: int = 1024
    near: float = 0.85
    timeout_seconds: float = 300.0


@dataclass(slots=True)
class Tally:
    """What was spent and what came of it; kept beside the output for the next run.

    ``reserved`` is what requests under way may cost in tokens; of a run that was killed they are
    taken to have cost it.

    Law: ``rows`` is the number of rows in the output.
    """

    requests: int = 0
    tokens: int = 0
    reserved: int = 0
    failed_requests: int = 0
    rows: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    ended: str = ""


def synthesize(
    order: Order, output: Path, on_row: Callable[[Tally], None] = lambda _: None
) -> Tally:
    """Append new rows to ``output`` until there are enough, or the budget is spent.

    A run goes on from what is in ``output`` and in its tally, whatever ended the last one.
    Raises TrainingError when the endpoint does not answer, DatasetError when the output is
    broken, UsageError for a prompt that cannot be filled.
    """
    _fill(order, 0)
    ledger = _Ledger.open(output, order)
    try:
        asyncio.run(_run(order, ledger, on_row))
    finally:
        ledger.close()
    return ledger.tally


def tally_path(output: Path) -> Path:
    """Where the tally of an output is kept."""
    return output.with_name(f"{output.name}.tally.json")


def rows_in(answer: str) -> Iterator[Any]:
    """The JSON values in an answer: the whole of it, a fence, or line by line."""
    texts = _FENCE.findall(answer) or [answer]
    for text in texts:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            yield from _line_values(text)
            continue
        yield from value if isinstance(value, list) else [value]


def _line_values(text: str) -> Iterator[Any]:
    for line in text.split("\n"):  # JSON may hold other ends of lines as they are
        if line.strip().startswith("{"):
            try:
                yield json.loads(line.strip().rstrip(","))
            except (ValueError, RecursionError):
                yield None


class _Ledger:
    """The output and its tally: rows in memory for comparison, files for the next run."""

    def __init__(self, output: Path, order: Order, tally: Tally) -> None:
        self.order = order
        self.tally = tally
        self.path = output
        self.asked: set[str] = set()
        self.by_system: dict[str, list[frozenset[str]]] = {}
        self.file = output.open("a", encoding="utf-8")

    @classmethod
    def open(cls, output: Path, order: Order) -> _Ledger:
        output.parent.mkdir(parents=True, exist_ok=True)
        kept = _read_rows(output)
        ledger = cls(output, order, _read_tally(output))
        for row in kept:
            ledger._remember(row)
        ledger.tally.rows = len(kept)
        return ledger

    def close(self) -> None:
        self.file.close()
        self.save()

    def save(self) -> None:
        path = tally_path(self.path)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text(json.dumps(asdict(self.tally), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)

    def take(self, value: Any) -> bool:
        """Append a row if it is sound and new; count why not otherwise."""
        row, reason = self._checked(value)
        if row is None:
            self.tally.refused[reason] = self.tally.refused.get(reason, 0) + 1
            return False
        self.file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        self._remember(row)
        self.tally.rows += 1
        return True

    def _checked(self, value: Any) -> tuple[dict[str, str] | None, str]:
        if not isinstance(value, dict):
            return None, "not an object"
        problems: list[Problem] = []
        mapping = FieldMapping(input="input" if "input" in value else None)
        example = parse_row("answer", value, mapping, problems)
        if example is None:
            return None, "fields"
        try:
            answer = CHECKS[self.order.language](example)
        except ValueError:
            return None, f"not {self.order.language}"
        row = {"input": example.system, "instruction": example.user, "response": answer}
        row |= {k: value[k] for k in ("group", "category") if isinstance(value.get(k), str)}
        if _asked(row) in self.asked:
            return None, "duplicate"
        own = _cut(row)
        others = self.by_system.get(row["input"], [])
        if any(similarity(own, other) >= self.order.near for other in others):
            return None, "near duplicate"
        return row, ""

    def _remember(self, row: Mapping[str, str]) -> None:
        self.asked.add(_asked(row))
        self.by_system.setdefault(row.get("input", ""), []).append(_cut(row))


async def _run(order: Order, ledger: _Ledger, on_row: Callable[[Tally], None]) -> None:
    """Workers that ask until there is a reason to end."""
    tally = ledger.tally
    tally.ended = ""
    # The client insists on a key; a server without keys does not look at it.
    key = os.environ.get("OPENAI_API_KEY") or "none"
    streaks = Counter[str]()

    # The client's own retries would be requests that nobody counts.
    async with openai.AsyncOpenAI(
        base_url=order.endpoint, api_key=key, timeout=order.timeout_seconds, max_retries=0
    ) as client:

        async def work() -> None:
            while True:
                prompt = _fill(order, tally.requests)
                most = order.answer_tokens + len(prompt.encode()) + TEMPLATE_TOKENS
                if reason := _reason_to_end(order, tally, streaks, most):
                    break
                number = tally.requests
                tally.requests += 1
                tally.reserved += most
                ledger.save()
                failure: openai.OpenAIError | None = None
                cost = most  # where nobody tells: it may have been answered
                try:
                    text, cost = await _ask(client, order, prompt, number, most)
                except openai.APIStatusError as error:
                    cost, failure = 0, error
                except openai.OpenAIError as error:
                    failure = error
                finally:
                    tally.reserved -= most
                    tally.tokens += cost
                if failure is not None:
                    tally.failed_requests += 1
                    streaks["failed"] += 1
                    _give_up_after_many(order, failure, streaks["failed"])
                    await asyncio.sleep(_pause(failure, streaks["failed"]))
                    continue
                streaks["failed"] = 0
                new = sum(ledger.take(v) for v in rows_in(text) if tally.rows < order.count)
                streaks["idle"] = 0 if new else streaks["idle"] + 1
                ledger.save()
                on_row(tally)
            tally.ended = tally.ended or reason

        # The first error ends the run; what others have under way is then given up.
        await asyncio.gather(*(work() for _ in range(order.concurrency)))


def _reason_to_end(order: Order, tally: Tally, streaks: Counter[str], most: int) -> str:
    """Why no further request is sent, which may cost ``most`` tokens, or an empty text."""
    if tally.rows >= order.count:
        return "enough rows"
    if order.max_requests is not None and tally.requests >= order.max_requests:
        return "the budget of requests is spent"
    if order.max_tokens is not None:
        left = order.max_tokens - tally.tokens
        if tally.reserved + most > left:
            return f"the budget of tokens has {left} left, and a request may cost {most}"
    if streaks["idle"] >= MAX_IDLE:
        return f"{MAX_IDLE} answers brought nothing new"
    return ""


def _pause(error: openai.OpenAIError, failures: int) -> float:
    """Seconds to wait after a failure: none where asking later would change nothing."""
    if isinstance(error, openai.APIStatusError):
        if error.status_code < 500 and error.status_code not in (408, 409, 429):
            return 0.0
        asked = error.response.headers.get("retry-after", "")
        if asked.isdecimal():
            return min(float(asked), MAX_BACK_OFF_S)
    return min(BACK_OFF_S * 2.0 ** (failures - 1), MAX_BACK_OFF_S)


def _give_up_after_many(order: Order, error: openai.OpenAIError, failures: int) -> None:
    if failures >= MAX_FAILURES:
        what = f"{MAX_FAILURES} requests failed: {type(error).__name__}: {error}"
        raise TrainingError(Problem(order.endpoint, what)) from error


async def _ask(
    client: openai.AsyncOpenAI, order: Order, prompt: str, number: int, most: int
) -> tuple[str, int]:
    """The answer and what it cost: ``most``, where the endpoint does not tell."""
    completion = await client.chat.completions.create(
        model=order.model,
        messages=[{"role": "user", "content": prompt}],
        temperature=order.temperature,
        max_tokens=order.answer_tokens,
        seed=number,
    )
    used = completion.usage.total_tokens if completion.usage else most
    return completion.choices[0].message.content or "", used


def _fill(order: Order, number: int) -> str:
    example = order.examples[number % len(order.examples)] if order.examples else ""
    try:
        return Template(order.prompt).substitute(number=number, example=example)
    except (KeyError, ValueError) as error:
        what = f"has a mark that is neither $number nor $example: {error}"
        raise UsageError(Problem("the prompt", what, "write $$ for a dollar sign")) from error


def _read_rows(output: Path) -> list[dict[str, str]]:
    """Rows of earlier runs; a last line that a kill cut off is taken away."""
    if not output.exists():
        return []
    data = output.read_bytes()
    whole, newline, rest = data.rpartition(b"\n")
    if rest and _is_whole(rest):  # written by somebody who ends files without a line's end
        whole, newline = data, b"\n"
    rows = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = json.loads(line)
            rows.append({str(k): str(v) for k, v in row.items()})
        except (ValueError, AttributeError) as error:
            where, what = f"{output}:{number}", "is not a JSON object"
            raise DatasetError(Problem(where, what, "remove the line")) from error
    if rest:
        partial = output.with_name(f"{output.name}.partial")
        partial.write_bytes(whole + newline)
        partial.replace(output)
    return rows


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _read_tally(output: Path) -> Tally:
    path = tally_path(output)
    if not path.exists():
        return Tally()
    try:
        tally = Tally(**json.loads(path.read_bytes()))
        return replace(tally, tokens=tally.tokens + tally.reserved, reserved=0)
    except (ValueError, TypeError) as error:
        # Without it the budget would start anew, and be spent twice.
        raise DatasetError(Problem(str(path), "is broken", "restore or remove it")) from error


def _asked(row: Mapping[str, str]) -> str:
    return " ".join(f"{row.get('input', '')}\n{row['instruction']}".lower().split())


def _cut(row: Mapping[str, str]) -> frozenset[str]:
    return shingles(f"{row['instruction']}\n{row['response']}")

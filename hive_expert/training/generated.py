"""What the generators of experts' data have in common: rows, test cases, and their asking.

An expert's `generate.py` invents what its questions are about (a schema, a graph) and asks. Here
is the rest: groups of questions about one thing, the share that comes in one message, test cases
in exact shares, and the files that training and evaluation read. Nothing here draws on its own
account but from the generator that it is handed, so the same seed writes the same bytes.
"""

from __future__ import annotations

import json
import random
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hive_expert.training.cases import Metric

ATTEMPTS = 40
"""Draws of one question before its subject counts as exhausted."""
STRIDE = 5
"""From one subject of the test cases to the next: odd, so that all come up."""


@dataclass(frozen=True, slots=True)
class Messages:
    """The system message (empty in the one-message form) and the user message."""

    system: str
    user: str

    def as_json(self) -> list[dict[str, str]]:
        """As a chat request holds them."""
        roles = [("system", self.system), ("user", self.user)]
        return [{"role": role, "content": text} for role, text in roles if text]


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data set, in the words of the manifest's field mapping."""

    input: str
    instruction: str
    response: str
    group: str
    category: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, its answer and what kind of question it is."""

    text: str
    answer: str
    category: str


@dataclass(frozen=True, slots=True)
class Case:
    """One test case. ``extra`` is what its metric needs beside it: a fixture, a schema, tests."""

    id: str
    category: str
    messages: Messages
    expected: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    """Of its row among the test rows; the id where it has none."""

    def as_json(self) -> dict[str, Any]:
        """An entry of ``tests/test_cases.json``."""
        return {
            "id": self.id,
            "category": self.category,
            "messages": self.messages.as_json(),
            "expected": self.expected,
            **self.extra,
        }

    def as_example(self) -> Example:
        """The case as a row of ``test.jsonl``."""
        asked = self.messages
        group = self.group or self.id
        return Example(asked.system, asked.user, self.expected, group, self.category)


@dataclass(frozen=True, slots=True)
class Data:
    """All that one run of a generator makes. ``fixtures`` are what cases name, if any do."""

    metric: Metric
    train: Sequence[Example]
    validation: Sequence[Example]
    cases: Sequence[Case]
    fixtures: Mapping[str, str] | None = None

    def splits(self) -> dict[str, Sequence[Example]]:
        """Rows by the name of their file."""
        test = [case.as_example() for case in self.cases]
        return {"train": self.train, "validation": self.validation, "test": test}


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The data files beside a generator's code: vocabulary, schemas, cases written by hand."""

    path: Path

    def text(self, name: str) -> str:
        """A file as it stands."""
        return (self.path / name).read_text(encoding="utf-8")

    def toml(self, name: str) -> dict[str, Any]:
        """A TOML file's tables."""
        return tomllib.loads(self.text(name))


def gather(
    number: int, make_group: Callable[[int], tuple[str, list[Example]]], smallest: int = 1
) -> list[Example]:
    """``number`` examples from groups made one after another, or fewer if there are no more.

    ``make_group`` gets the group's number and returns what it is about, as a text, and its rows.
    A group is left out that is about the same as an earlier one or smaller than ``smallest``.
    Law: asking for more examples does not change the first ones.
    """
    examples: list[Example] = []
    seen: set[str] = set()
    for at in range(number):  # more groups than are ever needed
        if len(examples) >= number:
            break
        about, group = make_group(at)
        if about not in seen and len(group) >= smallest:
            seen.add(about)
            examples += group
    return examples[:number]


def ask_group(
    name: str,
    size: int,
    system: str,
    ask: Callable[[], Asked | None],
    in_one_message: Callable[[str], str | None],
) -> Iterator[Example]:
    """Up to ``size`` questions that share a system message, which the trainer encodes once.

    ``in_one_message`` gives the user message that says everything, or None to leave a question
    as it is; such a row shares nothing, so it is a group of its own.
    """
    for at in range(size):
        asked = ask()
        if asked is None:
            continue
        alone = in_one_message(asked.text)
        if alone is None:
            yield Example(system, asked.text, asked.answer, name, asked.category)
        else:
            yield Example("", alone, asked.answer, f"{name}-{at}", asked.category)


def ask_new(ask: Callable[[], Asked | None], used: set[str]) -> Asked | None:
    """A question whose text and answer are both not in ``used``, which remembers it.

    None where ``ask`` yields none in bounded tries.
    """
    for _ in range(ATTEMPTS):
        asked = ask()
        if asked is None or asked.text.lower() in used or asked.answer in used:
            continue
        used |= {asked.text.lower(), asked.answer}
        return asked
    return None


def weighted(rng: random.Random, weights: Mapping[str, float]) -> str:
    """One of the keys, by weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def cases_in_shares(
    number: int,
    shares: Mapping[str, int],
    subjects: Sequence[str],
    ask: Callable[[str, str], Asked | None],
    make_case: Callable[[str, str, Asked], Case],
) -> list[Case]:
    """Test cases in exact shares (percent) of the families, each of a subject in turn.

    ``ask`` gets a subject and a family; ``make_case`` the case's id, the subject and what was
    asked. A family that too few subjects have a question for gets fewer cases.
    """
    cases: list[Case] = []
    for family, share in shares.items():
        wanted, made = number * share // 100, 0
        for turn in range(wanted * 3):  # some subjects have no such questions
            if made == wanted:
                break
            subject = subjects[(turn * STRIDE + len(family)) % len(subjects)]
            asked = ask(subject, family)
            if asked is None:
                continue
            made += 1
            identity = f"{asked.category.replace('/', '-')}-{made:03}"
            cases.append(make_case(identity, subject, asked))
    return cases


def write_data(data: Data, rows: Path, test_cases: Path) -> None:
    """``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` under ``rows``, and the cases."""
    rows.mkdir(parents=True, exist_ok=True)
    for name, examples in data.splits().items():
        text = "".join(map(row_line, examples))
        (rows / f"{name}.jsonl").write_text(text, encoding="utf-8")
    test_cases.parent.mkdir(parents=True, exist_ok=True)
    document = cases_document(data.metric, data.cases, data.fixtures)
    test_cases.write_text(document, encoding="utf-8")


def row_line(example: Example) -> str:
    """An example as a line of a data set."""
    return _json(asdict(example)) + "\n"


def cases_document(
    metric: Metric, cases: Sequence[Case], fixtures: Mapping[str, str] | None = None
) -> str:
    """The text of ``test_cases.json``: a fixture a line, if there are any, and a case a line."""
    head = f'{{\n"format": 1,\n"metric": "{metric}",\n'
    if fixtures is not None:
        used = {case.extra.get("fixture") for case in cases}
        lines = [f"{_json(n)}: {_json(text)}" for n, text in fixtures.items() if n in used]
        head += '"fixtures": {\n' + ",\n".join(lines) + "\n},\n"
    body = ",\n".join(_json(case.as_json()) for case in cases)
    return f'{head}"cases": [\n{body}\n]\n}}\n'


def family_counts(examples: Sequence[Example]) -> dict[str, int]:
    """How many examples each family of questions has, the part of the category before ``/``."""
    return dict(Counter(e.category.split("/")[0] for e in examples).most_common())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

"""Training data: a file becomes checked examples, examples become token ids.

``read_examples`` does the reading and reports every bad row at once. ``tokenize_examples``
renders each example with the expert's chat template, or the base model's own: the one the server
applies, so that training and serving see the same tokens (SPEC §8, §12).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hive_expert.decoding.templates import Template
from hive_expert.errors import DatasetError, Problem
from hive_expert.training.row_files import READERS, Row

MAX_REPORTED_PROBLEMS = 100
"""After so many, the rest is counted: nobody reads ten thousand equal lines."""


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """Which column is the user message, which the system message, which the answer.

    ``input`` is None when the data has no system messages.
    """

    instruction: str = "instruction"
    input: str | None = "input"
    response: str = "response"


@dataclass(frozen=True, slots=True)
class Example:
    """One question and its answer. An empty ``system`` means no system message is sent."""

    system: str
    user: str
    answer: str
    where: str

    def messages(self) -> list[dict[str, str]]:
        """The messages a client sends for this example."""
        user = {"role": "user", "content": self.user}
        return [{"role": "system", "content": self.system}, user] if self.system else [user]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """An example as token ids; the loss is taken on ``answer``, which ends with end-of-turn.

    Rows of one ``group`` have the same system message, so their prompts begin alike.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    group: int

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


class ChatTokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    eos_token: str
    all_special_tokens: list[str]

    def apply_chat_template(
        self,
        conversation: list[dict[str, str]],
        *,
        chat_template: str | None,
        tokenize: bool,
        add_generation_prompt: bool,
    ) -> str: ...

    def __call__(
        self, text: list[str], *, add_special_tokens: bool
    ) -> Mapping[str, list[list[int]]]: ...


def read_examples(path: Path, format_: str, mapping: FieldMapping) -> list[Example]:
    """Read a whole data file, or raise DatasetError with every bad row of it.

    ``format_`` is ``jsonl``, ``json`` (an array of objects), ``csv`` or ``parquet``. Columns
    that the mapping does not name are allowed: they describe the row.
    """
    reader = READERS.get(format_)
    if reader is None:
        raise DatasetError(
            Problem(str(path), f"format {format_!r} is not read", f"use {', '.join(READERS)}")
        )
    problems: list[Problem] = []
    examples = []
    for where, row in reader(path, problems):
        example = parse_row(where, row, mapping, problems)
        if example is not None:
            examples.append(example)
    if not examples and not problems:
        problems.append(Problem(str(path), "no rows", "point the manifest at a filled data set"))
    _raise_if_any(problems)
    return examples


def require_unseen(test: Sequence[Example], train: Sequence[Example]) -> None:
    """Raise DatasetError with every test row whose question, system message and all, is trained on:
    what is known by heart tells nothing of others."""
    trained = {(example.system, example.user): example.where for example in train}
    _raise_if_any(
        [
            Problem(one.where, f"its question is in training too: {trained[asked]}", "remove one")
            for one in test
            if (asked := (one.system, one.user)) in trained
        ]
    )


def tokenize_examples(
    examples: Sequence[Example],
    tokenizer: ChatTokenizer,
    *,
    max_length: int,
    template: Template | None = None,
) -> list[TokenRow]:
    """Render and tokenize; raise DatasetError naming every row that cannot be trained on as is.

    Nothing is cut: a row longer than ``max_length`` is a problem, not a shorter row. Without a
    ``template`` the tokenizer's own is used.
    """
    end = template.end_of_turn if template and template.end_of_turn else tokenizer.eos_token
    end_ids = tokenizer([end], add_special_tokens=False)["input_ids"][0]
    source = template.text if template else None
    problems: list[Problem] = []
    prompts, wholes = [], []
    for example in examples:
        problems.extend(_special_token_problems(example, tokenizer))
        messages = example.messages()
        prompts.append(
            tokenizer.apply_chat_template(
                messages, chat_template=source, tokenize=False, add_generation_prompt=True
            )
        )
        answered = [*messages, {"role": "assistant", "content": example.answer}]
        wholes.append(
            tokenizer.apply_chat_template(
                answered, chat_template=source, tokenize=False, add_generation_prompt=False
            )
        )
    # The template has written the special tokens; adding them again would double the first.
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    whole_ids = tokenizer(wholes, add_special_tokens=False)["input_ids"]

    groups: dict[str, int] = {}
    rows = []
    for example, prompt, whole in zip(examples, prompt_ids, whole_ids, strict=True):
        answer = _answer_ids(prompt, whole, end_ids)
        if answer is None:
            problems.append(_unsplittable(example, end))
            continue
        row = TokenRow(tuple(prompt), answer, groups.setdefault(example.system, len(groups)))
        if len(row) > max_length:
            remedy = "shorten it or raise training.config.max_seq_length"
            what = f"{len(row)} tokens, more than max_seq_length {max_length}"
            problems.append(Problem(example.where, what, remedy))
        rows.append(row)
    _raise_if_any(problems)
    return rows


def file_digest(path: Path) -> str:
    """sha256 hex of a data file, for the training report."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _answer_ids(
    prompt: Sequence[int], whole: Sequence[int], end_of_turn: Sequence[int]
) -> tuple[int, ...] | None:
    """What follows the prompt, up to and including the last end of a turn.

    None when the text of prompt and answer does not split into the tokens of the prompt and
    the rest: the server, which sees the prompt alone, would then see other tokens.
    """
    if list(whole[: len(prompt)]) != list(prompt):
        return None
    rest = list(whole[len(prompt) :])
    # ChatML ends a turn with `<|im_end|>` and a newline; generation stops at the first.
    for stop in range(len(rest), len(end_of_turn) - 1, -1):
        if rest[stop - len(end_of_turn) : stop] == list(end_of_turn):
            return tuple(rest[:stop])
    return None


def _unsplittable(example: Example, end_of_turn: str) -> Problem:
    return Problem(
        example.where,
        "the answer's first token merges with the prompt's last, or the template does not end "
        f"the answer with {end_of_turn}",
        "remove white space at the start of the answer",
    )


def _special_token_problems(example: Example, tokenizer: ChatTokenizer) -> Iterator[Problem]:
    for field in ("system", "user", "answer"):
        text = getattr(example, field)
        for token in tokenizer.all_special_tokens:
            if token in text:
                yield Problem(
                    example.where,
                    f"the {field} text holds the special token {token}",
                    "remove it: the template writes these",
                )


def parse_row(
    where: str, row: Row, mapping: FieldMapping, problems: list[Problem]
) -> Example | None:
    """The row as an example; None, and why in ``problems``, when it is none."""
    found: dict[str, str] = {}
    before = len(problems)
    for role, column in (
        ("instruction", mapping.instruction),
        ("input", mapping.input),
        ("response", mapping.response),
    ):
        if column is None:
            continue
        if column not in row:
            remedy = f"columns are: {', '.join(sorted(row)) or 'none'}; see training.dataset"
            problems.append(Problem(where, f"no field {column!r} ({role})", remedy))
            continue
        value = row[column]
        if not isinstance(value, str):
            problems.append(
                Problem(where, f"{column!r} is {type(value).__name__}", "give it as text")
            )
        elif role != "input" and not value.strip():
            problems.append(Problem(where, f"{column!r} is empty", "fill or remove the row"))
        else:
            found[role] = value
    if len(problems) > before:
        return None
    return Example(found.get("input", ""), found["instruction"], found["response"], where)


def _raise_if_any(problems: Sequence[Problem]) -> None:
    if not problems:
        return
    shown = list(problems[:MAX_REPORTED_PROBLEMS])
    if len(problems) > len(shown):
        shown.append(Problem("", f"and {len(problems) - len(shown)} more bad rows"))
    raise DatasetError(*shown)

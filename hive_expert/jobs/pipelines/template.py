"""Texts with places for values: `Question: {{document.text}} Facts: {{steps.facts.name}}`.

A template is taken apart once, and its places are filled. There is no expression, no call and no
loop, and what fills a place is never looked at again: a document that says `{{steps.facts}}` is a
document with these characters in it.

- `{{document}}`, `{{document.a.b}}`: the document, or a value in it; `{{document.list.0}}`.
- `{{steps.NAME}}`: the answer of a step. `{{steps.NAME.a.b}}`: a value in its answer, of a step
  that answers with JSON.
- A `?` at the end, `{{document.title?}}`: nothing, where there is no such value.
- Two braces themselves are written `\\{{`.

A text stands there as it is, any other value as compact JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hive_expert.errors import PipelineError, Problem
from hive_expert.jobs.pipelines.limits import (
    MAX_FILLED_CHARACTERS,
    MAX_REFERENCE_CHARACTERS,
    MAX_REFERENCES,
)

DOCUMENT = "document"
STEPS = "steps"

_PLACE = re.compile(r"[a-z]+(\.[A-Za-z0-9_-]{1,64}){0,16}\??")
_OPENING, _CLOSING, _ESCAPED = "{{", "}}", "\\{{"
_FORM = "write {{document.field}}, {{steps.name}} or {{steps.name.field}}"

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A place of a template, and what is to stand there."""

    step: str | None
    """Whose answer; None: the document."""
    path: Path
    optional: bool = False

    def __str__(self) -> str:
        start = (DOCUMENT,) if self.step is None else (STEPS, self.step)
        return ".".join((*start, *self.path))


@dataclass(frozen=True, slots=True)
class Template:
    """A text taken apart.

    Law: filled, it is its parts one after the other, each reference replaced by its value; no value
    is read as a template.
    """

    parts: tuple[str | Reference, ...]

    @property
    def references(self) -> Iterator[Reference]:
        return (part for part in self.parts if isinstance(part, Reference))

    def fill(self, values: Values) -> str:
        """The text with its values.

        Raises:
            PipelineError: a value that is not there, or a text beyond all limits.
        """
        filled, length = [], 0
        for part in self.parts:
            text = part if isinstance(part, str) else values.text(part)
            length += len(text)
            if length > MAX_FILLED_CHARACTERS:
                what = f"with its values more than {MAX_FILLED_CHARACTERS:,} characters"
                raise PipelineError(Problem("", what))
            filled.append(text)
        return "".join(filled)


@dataclass(frozen=True, slots=True)
class Values:
    """What places are filled with."""

    document: Any
    answers: Mapping[str, str]
    """Step → its answer."""

    def text(self, reference: Reference) -> str:
        """What stands in a place. Raises PipelineError: there is no such value."""
        if reference.step is None:
            whole = self.document
        elif not reference.path:
            return self.answers[reference.step]
        else:
            whole = _parsed(self.answers[reference.step])
        found, missing = value_at(whole, reference.path)
        if missing is not None:
            if reference.optional:
                return ""
            raise PipelineError(Problem(str(reference), f"there is no {missing!r}"))
        if isinstance(found, str):
            return found
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def value_at(whole: Any, path: Path) -> tuple[Any, str | None]:
    """The value that a path leads to; if it leads nowhere, the first part that is not there."""
    found = whole
    for step in path:
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None, step
    return found, None


@lru_cache(maxsize=1024)
def parse_template(text: str) -> Template:
    """Take a template apart.

    Raises:
        PipelineError: everything in it that is no place for a value.
    """
    parts: list[str | Reference] = []
    problems: list[Problem] = []
    position = 0
    while (start := text.find(_OPENING, position)) >= 0:
        if text[:start].endswith("\\"):
            parts.append(f"{text[position : start - 1]}{_OPENING}")
            position = start + len(_OPENING)
            continue
        parts.append(text[position:start])
        end = text.find(_CLOSING, start, start + MAX_REFERENCE_CHARACTERS)
        if end < 0:
            shown = text[start : start + 20]
            problems.append(Problem("", f"{shown!r} has no end", f"{_FORM}; or {_ESCAPED}"))
            position = start + len(_OPENING)
            continue
        position = end + len(_CLOSING)
        found = _reference(text[start + len(_OPENING) : end].strip())
        if isinstance(found, Problem):
            problems.append(found)
        else:
            parts.append(found)
        if len(parts) > 2 * MAX_REFERENCES:
            problems.append(Problem("", f"has more than {MAX_REFERENCES} places"))
            break
    if problems:
        raise PipelineError(*problems)
    parts.append(text[position:])
    return Template(tuple(part for part in parts if part != ""))


def _reference(text: str) -> Reference | Problem:
    if not _PLACE.fullmatch(text):
        return Problem("", f"{{{{{text[:40]}}}}} is no place for a value", _FORM)
    optional = text.endswith("?")
    start, *path = text.removesuffix("?").split(".")
    if start == DOCUMENT:
        return Reference(None, tuple(path), optional)
    if start == STEPS and path:
        return Reference(path[0], tuple(path[1:]), optional)
    return Problem("", f"{{{{{text[:40]}}}}} is neither of the document nor of a step", _FORM)


def _parsed(answer: str) -> Any:
    """An answer as JSON; nothing has a field in one that is none."""
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None

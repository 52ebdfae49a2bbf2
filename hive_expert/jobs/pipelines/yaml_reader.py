"""The part of YAML that is data, and nothing else of it.

PyYAML takes the text apart into events; no object of its own is ever made. Refused are tags,
anchors and aliases (a few lines of which are gigabytes), merge keys, more than one document,
duplicate keys, deep nesting. Words are what YAML 1.2 says: `no`, `on` and `12:30` are texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from hive_expert.errors import PipelineError, Problem
from hive_expert.jobs.pipelines.limits import MAX_FILE_BYTES, MAX_VALUES
from hive_expert.manifest.strict_json import MAX_DEPTH, MAX_INTEGER_DIGITS, first_problems, join

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE, _FALSE = re.compile(r"true|True|TRUE"), re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """A file's value, and where in the file its parts stand."""

    value: Any
    lines: Mapping[str, int]
    """Path as in `steps[1].model` → line, counted from 1."""


def read_yaml(data: bytes, where: str) -> Document:
    """Read one YAML document.

    Raises:
        PipelineError: everything that is refused, with its line.
    """
    if len(data) > MAX_FILE_BYTES:
        raise PipelineError(Problem(where, f"more than the {MAX_FILE_BYTES:,} bytes allowed"))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PipelineError(Problem(where, f"is not UTF-8 at byte {error.start}")) from error
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise PipelineError(Problem(f"{where}:{line}", f"not YAML: {error.problem}")) from error
    except yaml.YAMLError as error:
        # A character that YAML has no place for.
        raise PipelineError(Problem(where, f"not YAML: {str(error).splitlines()[0]}")) from error
    except _TooMuchError as error:
        raise PipelineError(Problem(f"{where}: line {error.line}", error.what)) from error
    problems = [Problem(f"{where}: line {line}", what) for line, what in builder.problems]
    if problems:
        raise PipelineError(*first_problems(problems, where))
    return Document(builder.value, builder.lines)


class _TooMuchError(Exception):
    """What is not worth reading on; never leaves this module."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


@dataclass
class _Open:
    """A list or mapping that is not at its end."""

    path: str
    value: Any
    key: str | None = None
    """Of a mapping: the key whose value comes next."""


@dataclass
class _Builder:
    """Makes plain values of events, and notes what is refused."""

    value: Any = None
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    _open: list[_Open] = field(default_factory=list)
    _documents: int = 0
    _values: int = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1
        self.problems += [(line, what) for what in _refused(event)]
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _TooMuchError(line, "a second document begins")
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.AliasEvent() if self._is_key():
                self._open[-1].key = f"*{event.anchor}"
            case yaml.AliasEvent():
                self._place(None, line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin({} if isinstance(event, yaml.MappingStartEvent) else [], line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._open.pop()

    def _begin(self, value: Any, line: int) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise _TooMuchError(line, f"nested deeper than {MAX_DEPTH} levels")
        if self._is_key():
            raise _TooMuchError(line, "a key must be a text")
        self._open.append(_Open(self._place(value, line), value))

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        try:
            value = _resolved(event.value) if event.implicit[0] else event.value
        except ValueError as error:
            self.problems.append((line, str(error)))
            value = None
        if _UNPRINTABLE.search(event.value):
            self.problems.append((line, "holds a control character or half of a surrogate pair"))
        if not self._is_key():
            self._place(value, line)
            return
        mapping = self._open[-1]
        if not isinstance(value, str):
            self.problems.append((line, f"the key {event.value[:40]!r} is no text: quote it"))
        elif value == "<<" and event.implicit[0]:
            self.problems.append((line, "merge keys (<<) are not read: write it out"))
        elif value in mapping.value:
            self.problems.append((line, f"the key {value[:40]!r} appears more than once"))
        mapping.key = str(value)

    def _is_key(self) -> bool:
        return (
            bool(self._open)
            and isinstance(self._open[-1].value, dict)
            and (self._open[-1].key is None)
        )

    def _place(self, value: Any, line: int) -> str:
        """Put a value where it belongs; its path."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise _TooMuchError(line, f"holds more than the {MAX_VALUES} values allowed")
        if not self._open:
            self.value, path = value, ""
        elif isinstance(self._open[-1].value, list):
            path = join(self._open[-1].path, len(self._open[-1].value))
            self._open[-1].value.append(value)
        else:
            mapping = self._open[-1]
            assert mapping.key is not None
            path = join(mapping.path, mapping.key)
            mapping.value[mapping.key] = value
            mapping.key = None
        self.lines[path] = line
        return path


def _refused(event: yaml.Event) -> Iterator[str]:
    if isinstance(event, yaml.AliasEvent):
        yield f"aliases (*{event.anchor[:40]}) are not read: write it out"
    elif isinstance(event, yaml.NodeEvent) and event.anchor is not None:
        yield f"anchors (&{event.anchor[:40]}) are not read"
    tag = getattr(event, "tag", None)
    if tag is not None:
        yield f"tags ({tag[:40]}) are not read"


def _resolved(text: str) -> Any:
    """What a plain word means. Raises ValueError: a number that JSON could not say."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_INTEGER_DIGITS:
            raise ValueError(f"the integer {text[:40]} is out of range")
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError(f"{text[:40]} is out of range")
        return number
    if _NO_NUMBER.fullmatch(text):
        raise ValueError(f"{text} is no number that is read")
    return text

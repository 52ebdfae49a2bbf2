"""Reads data files row by row, noting every row that cannot be read and where it stands."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from hive_expert.errors import DatasetError, Problem

MAX_ROW_BYTES = 1 << 20
"""Longest accepted JSONL line; a longer one is a broken file, not an example."""

MAX_FILE_BYTES = 4 << 30

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Row = Mapping[str, object]
Located = tuple[str, Row]
"""``("train.jsonl:17", {...})``: a row and where it stands."""


def _read_jsonl(path: Path, problems: list[Problem]) -> Iterator[Located]:
    for number, line in enumerate(io.BytesIO(_read_bytes(path)), start=1):
        where = f"{path}:{number}"
        if len(line) > MAX_ROW_BYTES:
            what = f"line of {len(line)} bytes, more than {MAX_ROW_BYTES}"
            problems.append(Problem(where, what, "one JSON object per line"))
            continue
        if not line.strip():
            continue
        row = _decode_json(where, line, problems)
        if isinstance(row, dict):
            yield where, row
        elif row is not None:
            problems.append(Problem(where, "not a JSON object", "one JSON object per line"))


def _read_json(path: Path, problems: list[Problem]) -> Iterator[Located]:
    rows = _decode_json(str(path), _read_bytes(path), problems)
    if rows is None:
        return
    if not isinstance(rows, list):
        problems.append(Problem(str(path), "not a JSON array of objects"))
        return
    for index, row in enumerate(rows):
        where = f"{path}[{index}]"
        if isinstance(row, dict):
            yield where, row
        else:
            problems.append(Problem(where, "not a JSON object"))


def _read_csv(path: Path, problems: list[Problem]) -> Iterator[Located]:
    text = _decode_text(str(path), _read_bytes(path), problems)
    if text is None:
        return
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:  # it goes on with the line after
            where = f"{path}:{reader.reader.line_num}"
            problems.append(Problem(where, f"broken CSV: {error}"))
            continue
        if row is None:
            return
        where = f"{path}:{reader.line_num}"
        if None in row or None in row.values():
            problems.append(Problem(where, "more or fewer cells than the header has"))
        else:
            yield where, row


def _read_parquet(path: Path, problems: list[Problem]) -> Iterator[Located]:
    # Imported here: only this format needs it, and it takes a while.
    import pyarrow  # type: ignore[import-untyped]  # ships no types
    import pyarrow.parquet  # type: ignore[import-untyped]  # ships no types

    try:
        table = pyarrow.parquet.read_table(io.BytesIO(_read_bytes(path)))
    except pyarrow.ArrowInvalid as error:
        problems.append(Problem(str(path), f"not a Parquet file: {error}"))
        return
    for index, row in enumerate(table.to_pylist()):
        yield f"{path}[{index}]", row


Reader = Callable[[Path, list[Problem]], Iterable[Located]]
READERS: dict[str, Reader] = {
    "jsonl": _read_jsonl,
    "json": _read_json,
    "csv": _read_csv,
    "parquet": _read_parquet,
}


def _read_bytes(path: Path) -> bytes:
    """The file, without the mark that some editors put before UTF-8."""
    data = _read_whole(path)
    if data.startswith(_UTF16_MARKS):
        raise DatasetError(Problem(str(path), "UTF-16 instead of UTF-8", "save it as UTF-8"))
    return data.removeprefix(codecs.BOM_UTF8)


def _read_whole(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise DatasetError(Problem(str(path), f"{size} bytes, more than {MAX_FILE_BYTES}"))
        return path.read_bytes()
    except OSError as error:
        remedy = "check training.dataset in the manifest, or make the data set"
        raise DatasetError(Problem(str(path), f"cannot be read: {error.strerror}", remedy)) from (
            error
        )


def _decode_text(where: str, data: bytes, problems: list[Problem]) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        problems.append(Problem(where, f"not UTF-8 at byte {error.start}", "save it as UTF-8"))
        return None


def _decode_json(where: str, data: bytes, problems: list[Problem]) -> object | None:
    text = _decode_text(where, data.rstrip(), problems)
    if text is None:
        return None
    try:
        value: object = json.loads(text, object_pairs_hook=_unrepeated, parse_constant=_not_json)
        _require_whole_characters(text, value)
    except json.JSONDecodeError as error:
        at = "" if error.msg.endswith(" at") else " at"
        line = f" line {error.lineno}" if error.lineno > 1 else ""
        what = f"broken JSON: {error.msg}{at}{line} column {error.colno}"
        problems.append(Problem(where, what))
        return None
    except _AmbiguousError as error:
        problems.append(Problem(where, str(error)))
        return None
    except RecursionError:
        problems.append(Problem(where, "JSON nested too deeply"))
        return None
    if value is None:
        problems.append(Problem(where, "null instead of an object"))
    return value


class _AmbiguousError(ValueError):
    """JSON that readers understand differently; never leaves this module."""


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object's members. Python's reader would keep the last of two with the same key."""
    record = dict(pairs)
    if len(record) < len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise _AmbiguousError(f"the key {key!r} is there twice")
    return record


def _not_json(name: str) -> NoReturn:
    raise _AmbiguousError(f"{name} is not JSON")


def _require_whole_characters(text: str, value: object) -> None:
    """Half of a pair, as `\\ud83d` alone, can be read but neither tokenized nor written."""
    if "\\u" not in text:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise _AmbiguousError(f"{half} is half a character") from error

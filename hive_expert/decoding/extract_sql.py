"""Tables and columns of a schema that is written in a message.

Read are `table(col, col TYPE, …)`, one a line or separated by commas or semicolons, and
`CREATE TABLE table (…);`. A schema that is not understood to its end gives nothing: names left
out by mistake would be names that a filled grammar forbids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_PLAIN = r"[^\W\d]\w{0,127}"
_QUOTED = r'"[^"\n]{1,128}"|`[^`\n]{1,128}`|\[[^\]\n]{1,128}\]'
_NAME = rf"(?:{_PLAIN}|{_QUOTED})"
_TABLE = re.compile(
    rf"[ \t]*(?:CREATE\s{{1,8}}TABLE\s{{1,8}}(?:IF\s{{1,8}}NOT\s{{1,8}}EXISTS\s{{1,8}})?)?"
    rf"(?P<table>{_NAME}(?:\.{_NAME})?)\s{{0,8}}\(",
    re.IGNORECASE,
)
_COLUMN = re.compile(rf"\s{{0,64}}(?P<column>{_NAME})")
_CONSTRAINT = re.compile(
    r"\s{0,64}(PRIMARY\s|FOREIGN\s|UNIQUE\s{0,8}\(|UNIQUE\s|CHECK\s{0,8}\(|CONSTRAINT\s|KEY\s|INDEX\s|EXCLUDE\s)",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"[ \t]*[,;]?\s{0,256}")
_ANOTHER = re.compile(rf"^[ \t]*{_NAME}[ \t]*\(|\bCREATE\s+TABLE\b", re.IGNORECASE | re.MULTILINE)
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def tables_in(text: str) -> Mapping[str, Sequence[str]]:
    """Columns by table, as SQL spells them (in double quotes where a name needs them).

    ``text`` is what follows `Schema:`. It is read from its start as far as there are tables; what
    comes after the last one, such as a question, may be anything unless it looks like another.
    """
    tables: dict[str, list[str]] = {}
    at = 0
    while (start := _TABLE.match(text, at)) is not None:
        end = _closing(text, start.end())
        if end is None:
            return {}
        columns = _columns(text[start.end() : end])
        if columns is None:
            return {}
        tables.setdefault(_spelled(start["table"]), []).extend(columns)
        separator = _SEPARATORS.match(text, end + 1)
        at = separator.end() if separator else end + 1
    if not tables or _ANOTHER.search(text, at):
        return {}
    return {table: list(dict.fromkeys(columns)) for table, columns in tables.items()}


def _closing(text: str, at: int) -> int | None:
    """Where the parenthesis before ``at`` is closed, names in quotes passed over."""
    depth = 1
    for found in re.compile(r"""[()]|'[^'\n]*'|"[^"\n]*"|`[^`\n]*`""").finditer(text, at):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return found.start()
    return None


def _columns(body: str) -> list[str] | None:
    """The names in a table's list, or None where an entry has none."""
    names = []
    for entry in _entries(body):
        if _CONSTRAINT.match(entry):
            continue
        found = _COLUMN.match(entry)
        if found is None:
            return None
        names.append(_spelled(found["column"]))
    return names


def _entries(body: str) -> list[str]:
    """Split at the commas that stand outside of parentheses and quotes."""
    entries, start, depth = [], 0, 0
    for found in re.compile(r"""[(),]|'[^'\n]*'|"[^"\n]*"|`[^`\n]*`""").finditer(body):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if found[0] == "," and depth == 0:
            entries.append(body[start : found.start()])
            start = found.end()
    last = body[start:]
    return [*entries, last] if last.strip() or entries else []


def _spelled(name: str) -> str:
    """The name as a statement has it, each part in quotes only if it needs them."""
    parts = re.findall(rf"{_QUOTED}|{_PLAIN}", name)
    return ".".join(_part(part) for part in parts)


def _part(part: str) -> str:
    bare = part[1:-1] if part[0] in '"`[' else part
    return bare if _BARE.match(bare) else f'"{bare}"'

"""Raw files to training data: mapped, checked, without duplicates, split by group (SPEC §12).

The core is pure: :func:`prepare_rows` takes rows and gives splits, what was left out and why.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hive_expert.errors import DatasetError, Problem
from hive_expert.training.answer_checks import CHECKS
from hive_expert.training.datasets import Example, FieldMapping, parse_row
from hive_expert.training.language import Language
from hive_expert.training.near_duplicates import near_duplicates
from hive_expert.training.row_files import READERS
from hive_expert.training.row_groups import group_of
from hive_expert.training.row_splits import SPLITS, Split, chosen_splits, split_warnings

REPORT_FILE = "prepare_report.json"
REJECTED_FILE = "rejected.jsonl"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How rows are prepared.

    ``shares`` are of train, validation and test. Rows of one group (the column ``group``, or
    else `group_of`) do not part, so that no schema leaks into the test, unless there are fewer
    groups than shares to fill. ``reasoning`` names a column of thoughts, which
    ``reasoning_share`` of the rows get before their answer as `<think>…</think>`. Law: the shares
    are not negative and add up to 1.
    """

    mapping: FieldMapping = field(default_factory=FieldMapping)
    language: Language = "none"
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    group: str = "group"
    near: float = 0.9
    seed: int = 7
    reasoning: str | None = None
    reasoning_share: float = 0.75


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """One row as `hive-train run` reads it, with the group and kind that it belongs to."""

    input: str
    instruction: str
    response: str
    group: str
    category: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was left out: where it stood, why, and what it was, so that nothing is lost."""

    where: str
    reason: str
    kind: str
    row: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """``warnings`` says in words what the splits are not.

    Laws: every row that was read is in a split or rejected, once. No split whose share is above
    0 is empty while there are as many rows as such shares, and no group is parted while there are
    as many groups.
    """

    splits: Mapping[Split, tuple[PreparedRow, ...]]
    rejected: tuple[Rejected, ...]
    repaired: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Candidate:
    example: Example
    raw: Mapping[str, Any]
    group: str
    category: str
    dropped: Rejected | None = field(default=None)

    def reject(self, kind: str, reason: str) -> None:
        self.dropped = Rejected(self.example.where, reason, kind, self.raw)


def read_raw(paths: Sequence[Path]) -> tuple[list[tuple[str, Mapping[str, Any]]], list[Problem]]:
    """All rows of the files with where they stand, and every line that is no row."""
    rows: list[tuple[str, Mapping[str, Any]]] = []
    problems: list[Problem] = []
    for path in paths:
        format_ = path.suffix.removeprefix(".").lower()
        if format_ not in READERS:
            known = ", ".join(f".{name}" for name in READERS)
            problems.append(Problem(str(path), f"{path.suffix or 'no ending'} is not read", known))
            continue
        before = len(rows) + len(problems)
        rows.extend(READERS[format_](path, problems))
        if len(rows) + len(problems) == before:
            problems.append(Problem(str(path), "no rows"))
    return rows, problems


def prepare_rows(rows: Sequence[tuple[str, Mapping[str, Any]]], recipe: Recipe) -> Prepared:
    """Map, check, drop duplicates and split. Equal rows and recipes give equal results.

    Raises DatasetError when a column is missing everywhere or nothing is left.
    """
    candidates, rejected = _mapped(rows, recipe)
    repaired = _checked(candidates, recipe)
    _without_repetitions(candidates, recipe.near)
    kept = [c for c in candidates if c.dropped is None]
    rejected += [c.dropped for c in candidates if c.dropped is not None]
    if not kept:
        first = rejected[0] if rejected else None
        what = f"no row is left; the first: {first.where}: {first.reason}" if first else "no rows"
        raise DatasetError(Problem("the data", what))
    if recipe.reasoning:
        kept = _with_reasoning(kept, recipe)
    order = {where: at for at, (where, _) in enumerate(rows)}
    rejected.sort(key=lambda one: order[one.where])
    wanted = {name: share for name, share in zip(SPLITS, recipe.shares, strict=True) if share}
    groups = [c.group for c in kept]
    by_group = len(set(groups)) >= len(wanted)
    keys = groups if by_group else [str(at) for at in range(len(kept))]
    chosen = chosen_splits(keys, wanted, recipe.seed)
    splits = {
        name: tuple(_row(c) for c, key in zip(kept, keys, strict=True) if chosen[key] == name)
        for name in SPLITS
    }
    warnings = split_warnings(splits, wanted, None if by_group else len(set(groups)))
    return Prepared(splits, tuple(rejected), repaired, tuple(warnings))


def _mapped(
    rows: Sequence[tuple[str, Mapping[str, Any]]], recipe: Recipe
) -> tuple[list[_Candidate], list[Rejected]]:
    candidates, rejected = [], []
    for where, row in rows:
        problems: list[Problem] = []
        example = parse_row(where, row, recipe.mapping, problems)
        if example is None:
            reason = "; ".join(f"{p.what} ({p.remedy})" if p.remedy else p.what for p in problems)
            rejected.append(Rejected(where, reason, "fields", row))
            continue
        named = row.get(recipe.group)
        group = _digest(group_of(example)) if named in (None, "") else str(named)
        candidates.append(_Candidate(example, row, group, str(row.get("category") or "")))
    return candidates, rejected


def _checked(candidates: Sequence[_Candidate], recipe: Recipe) -> int:
    """Reject answers that are not in the language; the number of those that were repaired."""
    repaired = 0
    for one in candidates:
        try:
            answer = CHECKS[recipe.language](one.example)
        except ValueError as error:
            one.reject("answer", str(error))
            continue
        repaired += answer != one.example.answer
        one.example = replace(one.example, answer=answer)
    return repaired


def _without_repetitions(candidates: Sequence[_Candidate], near: float) -> None:
    """Reject what was there before: word for word, nearly, or with another answer."""
    first: dict[str, _Candidate] = {}
    for one in (c for c in candidates if c.dropped is None):
        asked = _plain(f"{one.example.system}\n{one.example.user}")
        before = first.setdefault(asked, one)
        if before is one:
            continue
        if _plain(before.example.answer) == _plain(one.example.answer):
            one.reject("duplicate", f"the same as {before.example.where}")
        else:
            one.reject("contradiction", f"another answer than {before.example.where} gives")
    left = [c for c in candidates if c.dropped is None]
    by_group: dict[str, list[_Candidate]] = {}
    for one in left:
        by_group.setdefault(one.example.system, []).append(one)
    # Nearly the same question on another schema is another question.
    for members in by_group.values():
        texts = [f"{c.example.user}\n{c.example.answer}" for c in members]
        for at, twin in near_duplicates(texts, near).items():
            members[at].reject(
                "near duplicate", f"nearly the same as {members[twin].example.where}"
            )


def _with_reasoning(kept: Sequence[_Candidate], recipe: Recipe) -> list[_Candidate]:
    """Thoughts before the answers of a share of the rows that have some; direct answers else."""
    assert recipe.reasoning is not None
    able = [c for c in kept if str(c.raw.get(recipe.reasoning) or "").strip()]
    rng = random.Random(f"{recipe.seed}-reasoning")  # noqa: S311 - a draw, not a secret
    chosen = {id(c) for c in rng.sample(able, round(len(able) * recipe.reasoning_share))}
    for one in able:
        if id(one) in chosen:
            thought = str(one.raw[recipe.reasoning]).strip()
            answer = f"<think>\n{thought}\n</think>\n\n{one.example.answer}"
            one.example = replace(one.example, answer=answer)
    return list(kept)


def _row(one: _Candidate) -> PreparedRow:
    example = one.example
    return PreparedRow(example.system, example.user, example.answer, one.group, one.category)


def statistics_of(prepared: Prepared, read: int) -> dict[str, Any]:
    """What is told of a prepared data set: counts, lengths in characters, kinds."""
    return {
        "read": read,
        "kept": sum(map(len, prepared.splits.values())),
        "repaired": prepared.repaired,
        "rejected": dict(Counter(one.kind for one in prepared.rejected)),
        "warnings": list(prepared.warnings),
        "splits": {name: _of_split(rows) for name, rows in prepared.splits.items()},
    }


def _of_split(rows: Sequence[PreparedRow]) -> dict[str, Any]:
    return {
        "rows": len(rows),
        "groups": len({row.group for row in rows}),
        "categories": dict(Counter(row.category for row in rows if row.category).most_common()),
        "reasoning": sum(row.response.startswith("<think>") for row in rows),
        "characters": {
            name: _lengths([len(getattr(row, name)) for row in rows])
            for name in ("input", "instruction", "response")
        },
    }


def _lengths(values: Sequence[int]) -> dict[str, float]:
    if not values:
        return {}
    return {"median": statistics.median(values), "most": max(values)}


def write_prepared(
    prepared: Prepared,
    output: Path,
    report: Mapping[str, Any],
    texts: Mapping[int, str],
    unreadable: Sequence[Problem] = (),
) -> None:
    """Write the splits, the rejected rows with the lines that are no rows, and the report.
    ``texts`` are rendered rows by id."""
    output.mkdir(parents=True, exist_ok=True)
    for name, rows in prepared.splits.items():
        lines = [
            asdict(row) | ({"text": texts[id(row)]} if id(row) in texts else {}) for row in rows
        ]
        _write_lines(output / f"{name}.jsonl", lines)
    broken = [Rejected(p.where, p.what, "unreadable", None) for p in unreadable]
    _write_lines(output / REJECTED_FILE, [asdict(one) for one in (*broken, *prepared.rejected)])
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (output / REPORT_FILE).write_text(text + "\n", encoding="utf-8")


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().lower()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]

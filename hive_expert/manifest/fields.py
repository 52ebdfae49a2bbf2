"""The field status table of one manifest: what this version does with each field present."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hive_expert.errors import ManifestError, Problem
from hive_expert.manifest.honoured import HONOURED, scope_of
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import comments
from hive_expert.manifest.record import Record
from hive_expert.manifest.refusals import Field, Scope, Status
from hive_expert.manifest.slug import model_slug
from hive_expert.manifest.strict_json import join, located


@dataclass(frozen=True, slots=True)
class FieldStatus:
    """What becomes of one field that is present: its JSON path, the status, and how or why.

    ``scope`` says who refuses what is refused: a server too, or `hive-train` alone.
    """

    path: str
    status: Status
    detail: str
    scope: Scope = "serve"


def field_status(manifest: Manifest, *, base: str | None = None) -> tuple[FieldStatus, ...]:
    """The field status table: one row for each field present, in the manifest's order.

    With ``base`` (the served base model), the entries of other base models are only recorded,
    and a manifest without an entry for it gets a refused row.
    """
    rows = [
        _judge(Field(path, value, parent, manifest), pattern)
        for path, value, parent, pattern in _present(manifest, "", "")
    ]
    rows += [FieldStatus(path, "recorded", "a comment") for path, _ in comments(manifest)]
    if base is None:
        return tuple(rows)
    mine = [
        position
        for position, entry in enumerate(manifest.base_models)
        if model_slug(entry.name) == model_slug(base)
    ]
    return for_entries(tuple(rows), manifest, mine, base)


def for_entries(
    rows: tuple[FieldStatus, ...], manifest: Manifest, mine: Collection[int], base: str
) -> tuple[FieldStatus, ...]:
    """The table for one base model, which the entries at the positions ``mine`` are for."""
    others = tuple(f"base_models[{i}]." for i in range(len(manifest.base_models)) if i not in mine)
    judged = [
        FieldStatus(row.path, "recorded", f"not for {base}") if row.path.startswith(others) else row
        for row in rows
    ]
    if not mine:
        made_for = ", ".join(entry.name for entry in manifest.base_models)
        judged.append(FieldStatus("base_models", "refused", f"made for {made_for}, not for {base}"))
    return tuple(judged)


def with_verdicts(
    rows: tuple[FieldStatus, ...], verdicts: Iterable[FieldStatus]
) -> tuple[FieldStatus, ...]:
    """The table with what else was found out about fields; what is refused already stays so.

    Of several verdicts on one field the first counts; those on fields without a row of their own
    stand at the end.
    """
    known = {row.path for row in rows}
    found: dict[str, FieldStatus] = {}
    for verdict in verdicts:
        found.setdefault(verdict.path, verdict)
    return (
        *(row if row.status == "refused" else found.get(row.path, row) for row in rows),
        *(verdict for path, verdict in found.items() if path not in known),
    )


def require_honoured(
    manifest: Manifest, where: str = "manifest.json", *, base: str | None = None
) -> None:
    """Raise ManifestError, naming every field that a server of this version would have to ignore.

    How an expert was trained is history to whoever packs or serves it: what `hive-train` alone
    refuses is recorded there.
    """
    refused = [
        row
        for row in field_status(manifest, base=base)
        if row.status == "refused" and row.scope == "serve"
    ]
    if refused:
        raise ManifestError(
            *(
                Problem(located(where, row.path), row.detail, "leave the field out or change it")
                for row in refused
            )
        )


def _judge(field: Field, pattern: str) -> FieldStatus:
    entry = HONOURED[pattern]
    if entry.refusal and (reason := entry.refusal(field)):
        scope = scope_of(pattern)
        told = f"by hive-train: {reason}" if scope == "train" else reason
        return FieldStatus(field.path, "refused", told, scope)
    if entry.idle and (reason := entry.idle(field)):
        return FieldStatus(field.path, "recorded", reason)
    return FieldStatus(field.path, entry.status, entry.detail)


def _present(record: Record, path: str, pattern: str) -> Iterator[tuple[str, Any, Record, str]]:
    """Every leaf the record's author wrote: path, value, its record, its pattern in HONOURED."""
    for name in type(record).model_fields:
        if name in record.model_fields_set:
            value = getattr(record, name)
            yield from _leaves(record, value, join(path, name), join(pattern, name))
    for name, value in (record.model_extra or {}).items():
        yield join(path, name), value, record, f"{pattern}.*"


def _leaves(
    parent: Record, value: Any, path: str, pattern: str
) -> Iterator[tuple[str, Any, Record, str]]:
    if isinstance(value, Record):
        yield from _present(value, path, pattern)
    elif isinstance(value, tuple) and value and isinstance(value[0], Record):
        for position, item in enumerate(value):
            yield from _present(item, join(path, position), f"{pattern}[]")
    elif value != ():
        yield path, value, parent, pattern

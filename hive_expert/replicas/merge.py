"""One answer from those of all replicas: metrics and the list of experts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hive_expert.replicas.relay import Answer

_SUMMED = ("in_use", "requests", "loads", "evictions")
_PLACES = ("slot", "cpu", "disk")
"""Of an expert's weights, the nearest first."""
UNKNOWN = 404


def labelled(pages: Mapping[str, str]) -> str:
    """The metrics of all replicas on one page, each sample with its `replica`.

    Laws: every sample of every page is there once; a metric's samples stand together under its
    help and type, as Prometheus demands.
    """
    about: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for replica, page in pages.items():
        metric = ""
        for line in page.split("\n"):
            if line.startswith(("# HELP ", "# TYPE ")):
                metric = line.split(" ", 3)[2]
                lines = about.setdefault(metric, [])
                if not any(known.split(" ", 3)[:3] == line.split(" ", 3)[:3] for known in lines):
                    lines.append(line)
            elif line and not line.startswith("#"):
                samples.setdefault(metric, []).append(_with_replica(line, replica))
    metrics = {**about, **samples}
    return "".join(
        f"{line}\n"
        for metric in metrics
        for line in (*about.get(metric, ()), *samples.get(metric, ()))
    )


def _with_replica(sample: str, replica: str) -> str:
    label = f'replica="{replica}"'
    name, brace, rest = sample.partition("{")
    # A space comes first where there are no labels; a label's value may hold both.
    if brace and " " not in name:
        return f"{name}{{{label}{'' if rest.startswith('}') else ','}{rest}"
    name, _, value = sample.partition(" ")
    return f"{name}{{{label}}} {value}"


def experts(answers: Sequence[Answer]) -> dict[str, Any]:
    """`GET /v1/experts` over all replicas.

    What a replica counts is added up; `residency` is the nearest place of any replica, and
    `replicas` tells those of each. One that a replica has not verified yet may have no digest
    there, and is the same expert if all else that names it is.
    """
    merged: list[dict[str, Any]] = []
    places: dict[tuple[Any, ...], list[int]] = {}
    for answer in answers:
        for entry in json.loads(answer.body)["data"]:
            here = {answer.replica: entry.get("residency")} if "residency" in entry else {}
            alike = places.setdefault(tuple(map(entry.get, ("id", "version", "source"))), [])
            known = next((at for at in alike if _same(merged[at], entry)), None)
            if known is None:
                alike.append(len(merged))
                merged.append(entry | ({"replicas": here} if here else {}))
            else:
                merged[known] = _together(merged[known], entry, here)
    return {"object": "list", "data": merged}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    digests = {one.get("digest"), other.get("digest")} - {None}
    return len(digests) < 2 and ("residency" in one) == ("residency" in other)


def expert(answers: Sequence[Answer]) -> dict[str, Any]:
    """`GET /v1/experts/{name}` over all replicas, which have found it."""
    first, *others = answers
    entry = json.loads(first.body)
    merged: dict[str, Any] = entry | {"replicas": {first.replica: entry["residency"]}}
    for answer in others:
        entry = json.loads(answer.body)
        merged = _together(merged, entry, {answer.replica: entry["residency"]})
    return merged


def _together(one: dict[str, Any], other: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    if not here:
        return one
    # A replica that has verified it knows more of it.
    first, second = (one, other) if one.get("verified") else (other, one)
    merged = {**second, **first}
    merged |= {name: one[name] + other[name] for name in _SUMMED}
    merged["residency"] = min(one["residency"], other["residency"], key=_PLACES.index)
    merged["pinned"] = one["pinned"] or other["pinned"]
    merged["last_used"] = _latest(one["last_used"], other["last_used"])
    merged["replicas"] = {**one["replicas"], **here}
    return merged


def _latest(*times: str | None) -> str | None:
    return max((time for time in times if time is not None), default=None)


def first_refusal(answers: Sequence[Answer]) -> Answer | None:
    """The answer of all replicas, if it is an error.

    Laws: an error of any is that of all, but what is unknown to one (404) is unknown only if it is
    so to all: replicas look at the experts directory at different moments.
    """
    refused = [answer for answer in answers if answer.head.status >= 400]
    graver = [answer for answer in refused if answer.head.status != UNKNOWN]
    return next(iter(graver or (refused if len(refused) == len(answers) else ())), None)


def found(answers: Iterable[Answer]) -> list[Answer]:
    """The answers of those replicas that know what is asked for."""
    return [answer for answer in answers if answer.head.status != UNKNOWN]

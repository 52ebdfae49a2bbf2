"""What indexes list, and which entry of it is meant. Pure. SPEC section 13."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hive_expert.errors import InstallError, Problem
from hive_expert.manifest.adapter_model import BaseModelEntry
from hive_expert.manifest.versions import precedence
from hive_expert.sharing.compatibility import Target, is_for
from hive_expert.sharing.entries import Entry


@dataclass(frozen=True, slots=True)
class Listing:
    """The verified entries of an index, under the name the user gave it."""

    index: str
    entries: tuple[Entry, ...]


def choose_entry(
    listings: Sequence[Listing], target: Target, name: str, version: str | None
) -> tuple[str, Entry]:
    """The index and entry for a name: the highest version that fits, or the one asked for.

    Raises InstallError if there is none. An expert that two indexes list differently is refused:
    whoever can list a name somewhere could otherwise take it over by a higher version.
    """
    if not listings:
        remedy = "hive index use URL --fingerprint SHA256, or install from a URL or a path"
        raise InstallError(Problem(name, "no index is in use to find it in", remedy))
    found = [(one.index, e) for one in listings for e in one.entries if e.name == name]
    asked = [(index, e) for index, e in found if version in (None, e.version)]
    fitting = [(index, e) for index, e in asked if fits(e, target)]
    if not fitting:
        known = {e.name for one in listings for e in one.entries}
        raise InstallError(*_why_none(name, version, found, asked, target, known))
    indexes = {index for index, _ in fitting}
    index, entry = max(fitting, key=lambda pair: precedence(pair[1].version))
    same = {e.digest for _, e in fitting if e.version == entry.version}
    if len(indexes) > 1 and (len(same) > 1 or not _all_have(fitting, indexes, entry)):
        raise InstallError(
            Problem(
                name,
                f"is listed differently by {', '.join(sorted(indexes))}",
                "say whose you mean: --index NAME",
            )
        )
    return index, entry


def fits(entry: Entry, target: Target) -> bool:
    """Whether an entry's package can be served on a target, as far as the entry tells."""
    base = BaseModelEntry(name=entry.base.name, sha256=entry.base.sha256)
    return is_for(base, target) and (entry.rank or 0) <= target.max_rank


def search(listings: Iterable[Listing], words: Iterable[str]) -> Iterator[tuple[str, Entry]]:
    """Entries in whose name, description or capabilities every word is found; newest first."""
    wanted = [word.casefold() for word in words]
    for listing in listings:
        newest = sorted(listing.entries, key=lambda e: precedence(e.version), reverse=True)
        for entry in sorted(newest, key=lambda e: e.name):
            text = " ".join((entry.name, entry.description or "", *entry.capabilities)).casefold()
            if all(word in text for word in wanted):
                yield listing.index, entry


def _all_have(fitting: Sequence[tuple[str, Entry]], indexes: set[str], entry: Entry) -> bool:
    return {index for index, e in fitting if e.digest == entry.digest} == indexes


def _why_none(
    name: str,
    version: str | None,
    found: Sequence[tuple[str, Entry]],
    asked: Sequence[tuple[str, Entry]],
    target: Target,
    known: Iterable[str],
) -> Iterator[Problem]:
    if asked:
        for index, entry in asked:
            rank = f", rank {entry.rank}" if entry.rank else ""
            what = f"is listed in {index} for {entry.base.name}{rank}"
            yield Problem(f"{name}@{entry.version}", what, f"this is for {target.names[0]}")
    elif found:
        there = ", ".join(sorted({e.version for _, e in found}, key=precedence))
        yield Problem(f"{name}@{version}", "no index lists this version", f"there is {there}")
    else:
        near = difflib.get_close_matches(name, sorted(known), n=3)
        remedy = (
            f"did you mean {' or '.join(near)}?" if near else "hive search shows what they list"
        )
        yield Problem(name, "no index in use lists it", remedy)

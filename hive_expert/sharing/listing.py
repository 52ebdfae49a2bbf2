"""From packages in a repository to entries of an index, and back: is each what its entry says?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hive_expert.catalog.checks import known_checks
from hive_expert.errors import HiveError, IndexRefusedError, Problem
from hive_expert.sharing.candidate import Candidate, all_examined
from hive_expert.sharing.compatibility import Target
from hive_expert.sharing.entries import Entries, Entry
from hive_expert.sharing.lock import Origin
from hive_expert.sharing.repository import Access, fetch_commit
from hive_expert.sharing.shelf import Shelf
from hive_expert.sharing.source import GitSource, parse_url
from hive_expert.sharing.tree import packages_of


def entries_of(
    source: GitSource, access: Access, *, listed_url: str | None = None
) -> tuple[Entry, ...]:
    """An entry for each package of a repository, or for those of one version.

    ``listed_url`` is what users fetch, where ``source`` is a copy. Raises RepositoryError, and
    IndexRefusedError with every package that cannot be listed.
    """
    url = parse_url(listed_url) if listed_url else source.url
    commit = fetch_commit(source.url, access)
    with tempfile.TemporaryDirectory(prefix="hive-listing-") as folder:
        copies = []
        for number, file in enumerate(packages_of(commit.files)):
            copy = Path(folder) / str(number)
            commit.save(file, copy)
            copies.append((copy, Origin(url=url, commit=commit.id, path=file.path)))
        found, problems = all_examined(copies)
    wanted = [c for c in found if source.version in (None, c.facts.version)]
    problems += [
        Problem(c.origin.path, "is not signed", "sign it: hive-build sign")
        for c in wanted
        if c.facts.key_id is None
    ]
    if source.version and not wanted:
        problems.append(Problem(url, f"has no version {source.version}"))
    if problems:
        raise IndexRefusedError(*problems)
    return tuple(entry_of(candidate) for candidate in wanted)


def entry_of(candidate: Candidate) -> Entry:
    """What an index says of a package: its manifest's own words, and its hashes."""
    manifest = candidate.manifest
    base = manifest.base_models[0]
    document = {
        "name": candidate.name,
        "version": candidate.facts.version,
        "base": {"name": base.name, "sha256": base.sha256},
        "kinds": tuple(adapter.type for adapter in base.adapters),
        "digest": candidate.facts.digest,
        "sha256": candidate.sha256,
        "size": candidate.size,
        "key_id": candidate.facts.key_id,
        "publisher": candidate.facts.publisher,
        "description": manifest.description,
        "capabilities": manifest.capabilities,
        "license": manifest.license,
        "rank": candidate.rank or None,
        "source": candidate.origin.model_dump(exclude_none=True),
    }
    if manifest.quality_metrics:
        document["quality"] = manifest.quality_metrics.model_dump(exclude_none=True)
    if check := known_checks().get(candidate.facts.digest):
        document["checked"] = {
            "reproduced": check.reproduced, "score": check.score, "cases": check.cases,
            "date": check.date, **({"total": check.total} if check.is_sample else {}),
        }  # fmt: skip
    return Entry.model_validate({k: v for k, v in document.items() if v is not None})


def require_packages(entries: Entries, access: Access, progress: Callable[[str], None]) -> None:
    """Fetch every package and compare it with its entry. Raises IndexRefusedError with all that
    differs or cannot be had."""
    problems: list[Problem] = []
    for entry in entries.entries:
        progress(" ".join(entry.key))
        with tempfile.TemporaryDirectory(prefix="hive-listing-") as folder:
            shelf = Shelf(Path(folder), Target((entry.base.name,), None), (), access)
            try:
                shelf.listed(("the index", entry))
            except HiveError as error:
                problems += [
                    Problem(f"{' '.join(entry.key)}: {p.where}", p.what, p.remedy)
                    for p in error.problems
                ]
    if problems:
        raise IndexRefusedError(*problems)

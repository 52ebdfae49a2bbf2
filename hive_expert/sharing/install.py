"""Installing, updating and removing experts, as one change each. SPEC section 13."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hive_expert.errors import HiveError, InstallError, Problem, TrustError
from hive_expert.manifest.model import Constraints
from hive_expert.manifest.versions import precedence
from hive_expert.package.skim import skim
from hive_expert.package.trust import Decision, Policy, TrustStore
from hive_expert.package.trust_store import Pin
from hive_expert.package.unpack import file_sha256
from hive_expert.sharing.candidate import Candidate, judge
from hive_expert.sharing.compatibility import Target
from hive_expert.sharing.limits import MAX_REQUIRED
from hive_expert.sharing.listed import Listing
from hive_expert.sharing.lock import LOCK_FILE, Installed
from hive_expert.sharing.repository import Access
from hive_expert.sharing.shelf import Shelf
from hive_expert.sharing.source import GitSource, NamedSource, Source
from hive_expert.sharing.transaction import Change, ExpertsFolder, changing
from hive_expert.sharing.tree import SUFFIX


@dataclass(frozen=True, slots=True)
class Site:
    """An experts directory, and the rules by which packages come into it.

    ``listings`` is asked only when an expert is named; it reads the indexes in use, or the one
    that it is given.
    """

    directory: Path
    target: Target
    trust: TrustStore
    policy: Policy
    listings: Callable[[str | None], Sequence[Listing]] = lambda _: ()
    access: Access = field(default_factory=Access)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one expert: `install`, `upgrade`, `downgrade`, `replace`, `keep` or
    `remove`. ``before`` and ``after`` are versions."""

    action: str
    name: str
    before: str | None
    after: str | None
    source: str = ""
    publisher: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, or would be; and what of it could not be."""

    steps: tuple[Step, ...]
    failed: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Present:
    """An expert that lies in the directory, by its own word."""

    name: str
    file: str
    constraints: Constraints


def install(
    sources: Sequence[Source], site: Site, *, pin: bool = False, index: str | None = None,
    only: Sequence[str] = (), dry_run: bool = False,
) -> Outcome:  # fmt: skip
    """Install what sources name, with what it requires: all of it or nothing.

    ``only`` are the experts to take where sources have others too. ``pin`` holds each expert to its
    version from now on, and is the way back to an older one.

    Raises SourceError, RepositoryError, IndexRefusedError, PackageError, ManifestError, TrustError
    or InstallError; then nothing has changed.
    """
    named = any(isinstance(source, NamedSource) for source in sources)
    listings = site.listings(index) if named else ()
    explicit = pin or any(source.version for source in sources)
    with changing(site.directory, site.trust, dry_run=dry_run) as folder:
        shelf = _shelf(folder, site, listings)
        chosen: dict[str, Candidate] = {}
        for source in sources:
            chosen |= shelf.choose(source)
        chosen = _only(only, chosen)
        asked = tuple(chosen)
        chosen |= _required(chosen, folder, shelf)
        pins = asked if pin else ()
        steps, change = _plan(chosen, folder, site, pins=pins, may_go_back=explicit)
        _commit(folder, chosen, change, dry_run)
    return Outcome(steps)


def install_locked(site: Site, *, dry_run: bool = False) -> Outcome:
    """Install exactly what the lock file of the directory names; the file stays as it is.

    Raises as :func:`install`, and InstallError for a package that is no longer what it was.
    """
    _require_directory(site)
    with changing(site.directory, site.trust, dry_run=dry_run) as folder:
        if not (folder.directory / LOCK_FILE).exists():
            raise InstallError(Problem(str(folder.directory), f"has no {LOCK_FILE}"))
        lock = folder.lock
        shelf = _shelf(folder, site, ())
        missing = {n: e for n, e in lock.experts.items() if not _is_there(folder, e)}
        chosen = {name: shelf.again(name, entry) for name, entry in missing.items()}
        steps, change = _plan(chosen, folder, site, may_go_back=True, locked=True)
        kept = [
            Step("keep", n, e.version, e.version)
            for n, e in lock.experts.items()
            if n not in missing
        ]
        change = change.model_copy(update={"lock": lock})
        _commit(folder, chosen, change, dry_run)
    return Outcome((*steps, *kept))


def update(names: Sequence[str], site: Site, *, dry_run: bool = False) -> Outcome:
    """Install what the sources of installed experts have now; all installed ones by default.

    An expert that cannot be updated stays as it is, and is reported in ``failed``. Those that the
    user holds to a version are left alone.
    """
    _require_directory(site)
    with changing(site.directory, site.trust, dry_run=dry_run) as folder:
        lock = folder.lock
        unknown = [name for name in names if name not in lock.experts]
        if unknown:
            raise InstallError(*(Problem(n, "is not installed here") for n in unknown))
        steps: list[Step] = []
        failed: dict[str, tuple[Problem, ...]] = {}
        for name in names or sorted(lock.experts):
            held = site.trust.current().pins.get(name)
            if held is not None:
                version = lock.experts[name].version
                steps.append(Step("keep", name, version, version, notes=(f"held to {held}",)))
                continue
            try:
                steps += _update(name, folder, site, dry_run)
            except HiveError as error:
                if folder.unfinished:
                    raise
                failed[name] = error.problems
    return Outcome(tuple(steps), failed)


def uninstall(names: Sequence[str], site: Site, *, dry_run: bool = False) -> Outcome:
    """Remove installed experts. What trust remembers of their versions stays.

    Raises InstallError for one that is not installed, or that another one requires.
    """
    _require_directory(site)
    with changing(site.directory, site.trust, dry_run=dry_run) as folder:
        lock = folder.lock
        problems = [
            Problem(name, "is not installed here", "hive list shows what is")
            for name in names
            if name not in lock.experts
        ]
        for present in _present(folder):
            if present.name not in names:
                problems += [
                    Problem(name, f"is required by {present.name}", f"remove {present.name} too")
                    for name in names
                    if name in present.constraints.requires
                ]
        if problems:
            raise InstallError(*problems)
        gone = {name: lock.experts[name] for name in names}
        change = Change(
            removed=tuple(entry.file for entry in gone.values()), lock=lock.with_changes({}, gone)
        )
        if not dry_run:
            folder.commit(change)
    return Outcome(tuple(Step("remove", name, e.version, None) for name, e in gone.items()))


def _only(names: Sequence[str], chosen: dict[str, Candidate]) -> dict[str, Candidate]:
    """Those that are wanted of what sources have; all of it where none is named."""
    there = ", ".join(sorted(chosen))
    problems = [Problem(n, "is not there", f"there is {there}") for n in names if n not in chosen]
    if problems:
        raise InstallError(*problems)
    return {name: chosen[name] for name in names} if names else chosen


def _require_directory(site: Site) -> None:
    """Only an installation may make the directory."""
    if not site.directory.is_dir():
        raise InstallError(
            Problem(str(site.directory), "there is no such folder", "see --experts-dir")
        )


def _shelf(folder: ExpertsFolder, site: Site, listings: Sequence[Listing]) -> Shelf:
    return Shelf(folder.staging, site.target, listings, site.access, lambda: site.listings(None))


def _update(name: str, folder: ExpertsFolder, site: Site, dry_run: bool) -> tuple[Step, ...]:
    installed = folder.lock.experts[name]
    listings = site.listings(installed.source.index) if installed.source.index else ()
    shelf = _shelf(folder, site, listings)
    shelf.folder = folder.staging / name  # each update has its own copies
    shelf.folder.mkdir()
    found = _found_again(name, installed, shelf)
    if name not in found:
        raise InstallError(Problem(name, "is no longer where it came from"))
    chosen = {name: found[name]}
    chosen |= _required(chosen, folder, shelf)
    steps, change = _plan(chosen, folder, site)
    _commit(folder, chosen, change, dry_run)
    return steps


def _found_again(name: str, installed: Installed, shelf: Shelf) -> dict[str, Candidate]:
    """What is now where an installed expert came from; of a file that is its whole folder."""
    source = installed.source
    if source.index is not None:
        return shelf.choose(NamedSource(name))
    if source.url is not None:
        return shelf.choose(GitSource(source.url))
    return shelf.newest(name, Path(source.path))


def _required(
    chosen: Mapping[str, Candidate], folder: ExpertsFolder, shelf: Shelf
) -> dict[str, Candidate]:
    """What chosen experts require and is neither among them nor installed."""
    present = {p.name for p in _present(folder)}
    brought: dict[str, Candidate] = {}
    waiting = list(chosen.values())
    while waiting:
        candidate = waiting.pop()
        for name in candidate.requires:
            if name in present or name in chosen or name in brought:
                continue
            if len(brought) >= MAX_REQUIRED:
                raise InstallError(
                    Problem(candidate.label, f"requires more than {MAX_REQUIRED} others")
                )
            with _explained(candidate, name):
                brought[name] = shelf.find(name, candidate)
            waiting.append(brought[name])
    return brought


@contextmanager
def _explained(candidate: Candidate, name: str) -> Iterator[None]:
    try:
        yield
    except HiveError as error:
        raise InstallError(
            Problem(candidate.label, f"requires {name}, which is not to be had"), *error.problems
        ) from error


def _plan(
    chosen: Mapping[str, Candidate],
    folder: ExpertsFolder,
    site: Site,
    *,
    pins: Sequence[str] = (),
    may_go_back: bool = False,
    locked: bool = False,
) -> tuple[tuple[Step, ...], Change]:
    """What installing the chosen ones comes to. Raises TrustError or InstallError if it may not."""
    lock, trust = folder.lock, site.trust.current()
    now = site.clock()
    decisions = {
        name: judge(c, trust, site.policy, now, pinned=name in pins) for name, c in chosen.items()
    }
    refused = [p for d in decisions.values() if not d.accepted for p in d.reasons]
    if refused:
        raise TrustError(*refused)
    problems = [*_conflicts(chosen, folder)]
    for name, candidate in chosen.items():
        problems += _change_problems(candidate, lock.experts.get(name), may_go_back)
    if problems and not locked:
        raise InstallError(*problems)
    steps = tuple(_step(c, lock.experts.get(n), decisions[n]) for n, c in chosen.items())
    changed = {
        name: candidate.installed(decisions[name])
        for name, candidate in chosen.items()
        if locked or not _is_same(candidate, folder)
    }
    change = Change(
        added=tuple(entry.file for entry in changed.values()),
        removed=tuple(lock.experts[name].file for name in changed if name in lock.experts),
        seen={
            chosen[name].facts.line: chosen[name].facts.version
            for name in changed
            if decisions[name].signer
        },
        pins={name: Pin(version=chosen[name].facts.version) for name in pins},
        lock=lock.with_changes(changed),
    )
    return steps, change


def _commit(
    folder: ExpertsFolder, chosen: Mapping[str, Candidate], change: Change, dry_run: bool
) -> None:
    if dry_run or not (change.added or change.removed or change.pins):
        return
    for candidate in chosen.values():
        if candidate.file_name in change.added:
            candidate.file.replace(folder.staging / candidate.file_name)
    folder.commit(change)


def _is_there(folder: ExpertsFolder, entry: Installed) -> bool:
    path = folder.directory / entry.file
    with suppress(HiveError):
        return path.is_file() and file_sha256(path) == entry.sha256
    return False


def _is_same(candidate: Candidate, folder: ExpertsFolder) -> bool:
    """Whether it is installed to the byte, from the same place; of which commit makes no odds."""
    entry = folder.lock.experts.get(candidate.name)
    if entry is None or entry.sha256 != candidate.sha256 or not _is_there(folder, entry):
        return False
    before, now = entry.source, candidate.origin
    return (before.url, before.path, before.index) == (now.url, now.path, now.index)


def _step(candidate: Candidate, before: Installed | None, decision: Decision) -> Step:
    after = candidate.facts.version
    if before is None:
        action = "install"
    elif before.digest == candidate.facts.digest:
        action = "keep"
    elif precedence(after) > precedence(before.version):
        action = "upgrade"
    else:
        action = "replace" if after == before.version else "downgrade"
    notes = list(decision.warnings)
    if before is not None and before.key_id and before.key_id != candidate.facts.key_id:
        notes.append("signed with another key than before")
    origin = candidate.origin
    source = f"{origin.url} at {(origin.commit or '')[:12]}" if origin.url else origin.path
    old = before.version if before else None
    return Step(action, candidate.name, old, after, source, decision.signer, tuple(notes))


def _change_problems(
    candidate: Candidate, before: Installed | None, may_go_back: bool
) -> Iterator[Problem]:
    if before is None or before.digest == candidate.facts.digest:
        return
    new, old = precedence(candidate.facts.version), precedence(before.version)
    if new < old and not may_go_back:
        yield Problem(
            candidate.label,
            f"goes back behind {before.version}, which is installed",
            f"if you mean it: hive install SOURCE@{candidate.facts.version} --pin",
        )
    if new == old and before.key_id == candidate.facts.key_id:
        yield Problem(
            candidate.label,
            "has other content than the same version that is installed",
            "a published version does not change; if you believe it, uninstall the old one first",
        )


def _conflicts(chosen: Mapping[str, Candidate], folder: ExpertsFolder) -> Iterator[Problem]:
    """Experts that exclude one another, among those that would be there."""
    excluded = {name: set(candidate.excludes) for name, candidate in chosen.items()}
    for present in _present(folder):
        if present.name not in excluded:
            excluded[present.name] = set(present.constraints.incompatible_with)
    for name in chosen:
        for other in excluded:
            if other in excluded[name] or name in excluded[other]:
                yield Problem(
                    name, f"and {other} exclude one another", f"hive uninstall {other} first"
                )


def _present(folder: ExpertsFolder) -> Iterator[_Present]:
    """The packages in the directory, installed or put there by hand, as far as they can be read."""
    for path in sorted(folder.directory.glob(f"*{SUFFIX}")):
        with suppress(HiveError):
            manifest = skim(path).manifest
            yield _Present(manifest.name, path.name, manifest.constraints or Constraints())

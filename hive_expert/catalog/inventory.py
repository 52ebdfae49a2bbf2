"""What lies in the experts directory, and what has become of it. SPEC section 11.

Reading is cheap where it can be: a file is looked at again only when it has changed, and its
weights are read only when its expert is asked for, or when it comes to replace one that is served.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from hive_expert.catalog.catalog import Announced, Catalog, Expert, Unavailable, assemble
from hive_expert.catalog.scan import Host, Stamp, announce, look, stamp_of, verify
from hive_expert.catalog.standing import Entry, refusals, trust_beside
from hive_expert.engine.base_options import ServedBase
from hive_expert.errors import CatalogError, HiveError, NotYetError, Problem, TrustError, UnfitError
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy, TrustStore

SETTLE_S = 2.0
"""A file that cannot be read is taken to be still on its way for so long."""

AHEAD = 32
"""Experts that are verified before anybody asks for them."""


@dataclass(slots=True)
class _File:
    """A file or folder of the directory.

    ``expert`` is the last of its contents that could be served: it goes on being served while what
    lies there now cannot be. ``predecessor`` is the one before.
    """

    stamp: Stamp
    entry: Entry | None = None
    problem: Unavailable | None = None
    expert: Expert | None = None
    predecessor: Expert | None = None
    since: float = 0.0
    """When this content was first found to be unreadable (monotonic)."""
    try_again: bool = False
    """It failed for a reason that may pass, such as a full disk, or is on its way."""


@dataclass
class Inventory:
    """The experts directory of one server. Its methods may be called from any thread.

    Laws: what `catalog` returns has passed the trust policy as it was at that moment; a file that
    cannot be read, verified or trusted takes nothing away that was served before, until it is
    removed.
    """

    directory: Path
    host: Host
    store: PackageStore
    trust: TrustStore
    policy: Policy
    served: ServedBase | None = None
    """How the base runs, once that is decided; experts that need it otherwise are unavailable."""
    clock: Callable[[], float] = time.monotonic
    _files: dict[str, _File] = field(default_factory=dict)
    _opened: dict[str, Expert] = field(default_factory=dict)
    """Whose unpacked files this process holds, by digest."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """For `_files`; never held while something is read."""
    _reading: threading.Lock = field(default_factory=threading.Lock)
    """One at a time reads the directory, or verifies."""

    def refresh(self, *, settle_s: float = SETTLE_S, again: bool = False) -> bool:
        """Look at the directory and read what has changed.

        Args:
            settle_s: for how long a file that cannot be read is given the benefit of the doubt.
            again: also try those that failed before.

        Returns whether a file is still on its way, so that it is worth looking again soon. Raises
        HiveError if the directory itself cannot be read.
        """
        with self._reading:
            found = look(self.directory)
            # With those that go now: what takes their place may have a file name of its own.
            served = self._served_names()
            with self._lock:
                for source in self._files.keys() - found.keys():
                    del self._files[source]
            for source, stamp in found.items():
                before = self._files.get(source)
                if before is None or before.stamp != stamp or _worth_trying(before, again):
                    self._read(source, stamp, before, settle_s, served)
            return any(f.try_again and f.problem is None for f in self._files.values())

    def catalog(self, without: Collection[str] = ()) -> Catalog:
        """What is served, announced and unavailable, as things stand now.

        Args:
            without: digests of experts that are not served yet; what they replace goes on being
                served, if it still may be.

        Raises KeyFileError if the trust store cannot be read.
        """
        trust, now = self.trust.current(), datetime.now(UTC)
        with self._lock:
            files = {
                source: _before(file) if _is_one_of(file.entry, without) else file
                for source, file in self._files.items()
            }
        present = [file.entry for file in files.values() if file.entry]
        unmet = self._unmet(present)
        fit = [entry for entry in present if entry.source not in unmet]
        refused = refusals(fit, trust, self.policy, now) | unmet
        unavailable = [f.problem for f in files.values() if f.problem]
        unavailable += [Unavailable(source, None, reasons) for source, reasons in refused.items()]
        # What was served before takes the place of what cannot be served now.
        standing = [entry for entry in present if entry.source not in refused]
        replaced = {entry.source for entry in standing}
        kept = {
            source: file.expert
            for source, file in files.items()
            if file.expert and file.expert is not file.entry and source not in replaced
        }
        standing += kept.values()
        refused = refusals(standing, trust, self.policy, now, kept=kept)
        served = [entry for entry in standing if entry.source not in refused]
        return assemble(
            [e for e in served if isinstance(e, Expert)],
            sorted(unavailable, key=lambda u: u.source),
            [e for e in served if isinstance(e, Announced)],
        )

    def _unmet(self, entries: Sequence[Entry]) -> dict[str, tuple[Problem, ...]]:
        """By source, what entries need of the base model and do not get."""
        if self.served is None:
            return {}
        found = {entry.source: self.served.unmet(entry.manifest) for entry in entries}
        return {source: problems for source, problems in found.items() if problems}

    def otherwise(self, expert: Expert) -> tuple[str, ...]:
        """What the base does differently from what an expert was made for."""
        return self.served.otherwise(expert.manifest) if self.served else ()

    def verify(self, announced: Announced) -> None:
        """Read one as a whole: it becomes an expert, or unavailable.

        Raises NotYetError if it is no longer there, or is being replaced.
        """
        with self._reading:
            file = self._files.get(announced.source)
            if file is None or file.entry is not announced:
                return  # another was faster, or it has changed
            if stamp_of(self.directory / announced.source) != file.stamp:
                what = f"{announced.source} is being replaced"
                raise NotYetError(Problem("model", what, "try again"))
            self._put(announced.source, self._verified(announced, file))

    def verify_ahead(self, first: Sequence[str] = (), limit: int = AHEAD) -> None:
        """Verify up to `limit` experts: those named ``first``, then by load order."""
        announced = sorted(
            self.catalog().announced, key=lambda e: (e.name not in first, e.load_order, e.name)
        )
        for entry in announced[:limit]:
            with suppress(CatalogError):  # it is being replaced, and looked at again later
                self.verify(entry)

    def let_go(self, used: Collection[str]) -> None:
        """Give up the unpacked files of experts that are neither here any more nor in ``used``.

        Args:
            used: digests of packages that are still in memory.
        """
        with self._lock:
            here = {
                expert.digest
                for file in self._files.values()
                for expert in (file.entry, file.expert, file.predecessor)
                if isinstance(expert, Expert)
            }
            gone = [e for digest, e in self._opened.items() if digest not in here | {*used}]
            for expert in gone:
                del self._opened[expert.digest]
        for expert in gone:
            self.store.let_go(expert.digest)
            self.host.adapters.let_go(expert.adapter)

    def withdraw(self, expert: Expert, problems: tuple[Problem, ...]) -> None:
        """Take one out that turned out unfit; it is listed with the reason.

        What it has replaced goes on being served.
        """
        with self._lock:
            file = self._files.get(expert.source)
            if file is None:
                return
            if file.entry is expert:
                file.entry = None
            if file.expert is expert:
                file.expert, file.predecessor = file.predecessor, None
            file.problem = Unavailable(expert.source, expert.name, problems)

    def _read(
        self, source: str, stamp: Stamp, before: _File | None, settle_s: float, served: set[str]
    ) -> None:
        """Read what is new at a source. Its name joins ``served``, those that are."""
        file = _File(stamp, expert=before.expert if before else None, since=self.clock())
        known_broken = before is not None and before.stamp == stamp and before.entry is None
        if before is not None and known_broken:
            file.since = before.since
        path = self.directory / source
        try:
            entry = announce(path, self.host, policy=self.policy)
            if entry is None:
                file.entry = expert = verify(
                    path, self.host, store=self.store, trust=self.trust, policy=self.policy
                )
                if not self._unmet([expert]):
                    file.expert, file.predecessor = expert, file.expert
            else:
                file.entry = entry
                wanted = known_broken or file.expert is not None or entry.name in served
                # What cannot be served here takes nothing's place.
                if wanted and not self._unmet([entry]):
                    file = self._verified(entry, file)
        except (HiveError, OSError) as error:
            file = self._failed(source, file, error, settle_s)
        if file.expert is not None:
            served.add(file.expert.name)
        self._put(source, file)

    def _verified(self, announced: Announced, file: _File) -> _File:
        """What becomes of a file when its expert is verified."""
        with self._lock:
            others = [f.entry for f in self._files.values() if f.entry]
        trust = trust_beside(announced, others, self.trust.current())
        path = self.directory / announced.source
        try:
            expert = verify(path, self.host, store=self.store, trust=trust, policy=self.policy)
        except TrustError:
            return file  # the catalog says so, as long as it holds
        except (HiveError, OSError) as error:
            return self._failed(announced.source, file, error, settle_s=0)
        return _File(file.stamp, expert, expert=expert, predecessor=file.expert)

    def _failed(
        self, source: str, file: _File, error: HiveError | OSError, settle_s: float
    ) -> _File:
        failed = _File(file.stamp, expert=file.expert, since=file.since)
        if self.clock() - file.since < settle_s:
            failed.try_again = True
            return failed
        name = error.name if isinstance(error, UnfitError) else None
        problems = (
            error.problems
            if isinstance(error, HiveError)
            else (Problem(source, error.strerror or "cannot be read"),)
        )
        failed.problem = Unavailable(source, name, problems)
        failed.try_again = isinstance(error, TrustError) or _is_of_the_system(error)
        return failed

    def _served_names(self) -> set[str]:
        with self._lock:
            return {file.expert.name for file in self._files.values() if file.expert}

    def _put(self, source: str, file: _File) -> None:
        with self._lock:
            self._files[source] = file
            if file.expert is not None:
                self._opened[file.expert.digest] = file.expert


def _is_one_of(entry: Entry | None, digests: Collection[str]) -> bool:
    return isinstance(entry, Expert) and entry.digest in digests


def _before(file: _File) -> _File:
    """A file as if its last expert had not come."""
    return replace(file, entry=None, expert=file.predecessor, predecessor=None)


def _is_of_the_system(error: BaseException | None) -> bool:
    """Whether a failure to read or write is behind an error: a full disk, missing rights."""
    return error is not None and (isinstance(error, OSError) or _is_of_the_system(error.__cause__))


def _worth_trying(file: _File, again: bool) -> bool:
    return file.try_again or (again and file.problem is not None)

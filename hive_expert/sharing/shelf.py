"""Where packages are fetched to and looked at before one is chosen."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hive_expert.errors import InstallError, Problem, RepositoryError
from hive_expert.manifest.versions import Precedence, precedence
from hive_expert.sharing.candidate import Candidate, all_examined, best, examined
from hive_expert.sharing.compatibility import Target, misfits
from hive_expert.sharing.entries import Entry
from hive_expert.sharing.limits import MAX_PACKAGES
from hive_expert.sharing.listed import Listing, choose_entry
from hive_expert.sharing.lock import Installed, Origin
from hive_expert.sharing.repository import Access, Commit, fetch_commit
from hive_expert.sharing.source import GitSource, NamedSource, PathSource, Source, parse_url
from hive_expert.sharing.tree import SUFFIX, TreeFile, packages_of

_OUR_NAME = re.compile(r"expert-[a-z0-9.-]+\.v.+\.expert")


@dataclass(slots=True)
class Shelf:
    """Copies of packages in a folder of ours, and how to get more.

    ``indexes`` reads the indexes in use; it is asked only for what is found nowhere else, since one
    that cannot be had would stand in the way of all the others.

    Law: nothing is written outside ``folder`` but the cache of repositories.
    """

    folder: Path
    target: Target
    listings: Sequence[Listing] = ()
    access: Access = field(default_factory=Access)
    indexes: Callable[[], Sequence[Listing]] = tuple
    _count: int = 0

    def choose(self, source: Source) -> dict[str, Candidate]:
        """The experts of a source, by name; of each the version that is meant.

        Raises SharingError, PackageError or ManifestError if there is none.
        """
        match source:
            case NamedSource(name, version):
                return {name: self.listed(choose_entry(self.listings, self.target, name, version))}
            case GitSource(url, version):
                return self._of_repository(url, version)
            case PathSource(path, version):
                return self._of_path(path.expanduser(), version)

    def find(self, name: str, beside: Candidate) -> Candidate:
        """An expert that another one requires: where that came from, or in an index.

        Raises InstallError where it is neither.
        """
        origin = beside.origin
        if origin.url and origin.index is None:
            commit = self._commit(origin.url, commit=origin.commit)
            files = packages_of(commit.files)
            named = [file for file in files if Path(file.path).name.startswith(name)]
            found, _ = all_examined(self._copies(commit, named or files))
            if any(c.name == name for c in found):
                return best(found, self.target, name=name)[name]
        elif origin.url is None:
            found, _ = all_examined(
                self._files(sorted(Path(origin.path).parent.glob(f"{name}*{SUFFIX}")))
            )
            if any(c.name == name for c in found):
                return best(found, self.target, name=name)[name]
        self.listings = self.listings or self.indexes()
        return self.listed(choose_entry(self.listings, self.target, name, None))

    def newest(self, name: str, path: Path) -> dict[str, Candidate]:
        """The highest version of an expert in the folder of a file that it once came from.

        Raises InstallError or PackageError if there is none.
        """
        files = [other for other in _in_folder(path.parent, name) if other != path]
        if path.exists():
            files.append(path)  # of files with the same version the last one is taken
        found, broken = all_examined(self._files(files))
        return best(found, self.target, name=name, broken=broken)

    def listed(self, chosen: tuple[str, Entry]) -> Candidate:
        """The package of an index's entry. Raises InstallError if it is not what the entry says."""
        index, entry = chosen
        origin = Origin(**{**entry.source.model_dump(exclude_none=True), "index": index})
        candidate = self._from(origin)
        found = {"name": candidate.name, "version": candidate.facts.version,
                 "sha256": candidate.sha256, "digest": candidate.facts.digest}  # fmt: skip
        differing = [key for key, value in found.items() if value != getattr(entry, key)]
        if differing:
            raise InstallError(
                Problem(candidate.label, f"is not what {index} lists: {', '.join(differing)}",
                        "the repository was changed, or the index is wrong")
            )  # fmt: skip
        return candidate

    def again(self, name: str, entry: Installed) -> Candidate:
        """The very package that a lock file names. Raises InstallError if it is not to be had."""
        candidate = self._from(entry.source)
        if (candidate.sha256, candidate.name) != (entry.sha256, name):
            raise InstallError(
                Problem(
                    f"{name}@{entry.version}",
                    f"{candidate.origin.path} has sha256 {candidate.sha256[:12]}…,"
                    f" and the lock file says {entry.sha256[:12]}…",
                    "it was changed since; hive install without --locked takes what is there now",
                )
            )
        return candidate

    def _from(self, origin: Origin) -> Candidate:
        if origin.url is None:
            ((copy, _),) = self._files([Path(origin.path)])
            return examined(copy, origin)
        commit = self._commit(origin.url, commit=origin.commit)
        file = commit.find(origin.path)
        if file is None:
            raise InstallError(Problem(f"{origin.url}: {origin.path}", "is not in that commit"))
        copy = self._place()
        commit.save(file, copy)
        return examined(copy, origin)

    def _of_repository(self, url: str, version: str | None) -> dict[str, Candidate]:
        """What the default branch has; a version that it has not may be under a tag."""
        found, broken = self._packages(self._commit(url), version)
        if version and not any(c.facts.version == version for c in found):
            for tag in (f"v{version}", version):
                with suppress(RepositoryError):
                    tagged = fetch_commit(url, self.access, tag=tag)
                    found += self._packages(tagged, version)[0]
        return best(found, self.target, version=version, broken=broken)

    def _packages(
        self, commit: Commit, version: str | None
    ) -> tuple[list[Candidate], list[Problem]]:
        """Of one expert's versions as many as it takes for one to fit, or to be found broken."""
        found: list[Candidate] = []
        broken: list[Problem] = []
        for files in _by_line(packages_of(commit.files), self.target, version):
            for file in files:
                sound, unsound = all_examined(self._copies(commit, (file,)))
                found += sound
                broken += unsound
                if unsound or not any(misfits(sound[0].manifest, sound[0].rank, self.target)):
                    break
        return found, broken

    def _of_path(self, path: Path, version: str | None) -> dict[str, Candidate]:
        if path.is_dir() and ((path / ".git").exists() or (path / "objects").is_dir()):
            return self._of_repository(parse_url(path.resolve().as_uri()), version)
        files = [path]
        if path.is_dir():
            files = _in_folder(path)
            if not files:
                raise InstallError(Problem(str(path), "holds no .expert package"))
        found, broken = all_examined(self._files(files))
        return best(found, self.target, version=version, broken=broken)

    def _commit(self, url: str, commit: str | None = None) -> Commit:
        return fetch_commit(url, self.access, commit=commit)

    def _copies(self, commit: Commit, files: Sequence[TreeFile]) -> Iterator[tuple[Path, Origin]]:
        for file in files:
            self.access.progress(f"reading {Path(file.path).name}")
            copy = self._place()
            commit.save(file, copy)
            yield copy, Origin(url=commit.url, commit=commit.id, path=file.path)

    def _files(self, paths: Sequence[Path]) -> Iterator[tuple[Path, Origin]]:
        for path in paths:
            copy = self._place()
            _copy(path, copy, self.access.limits.package_bytes)
            yield copy, Origin(path=str(path.absolute()))

    def _place(self) -> Path:
        self._count += 1
        return self.folder / f"candidate-{self._count}"


def _by_line(
    files: tuple[TreeFile, ...], target: Target, version: str | None
) -> list[list[TreeFile]]:
    """The packages to look into, those of one expert together and the highest version first.

    Names as `hive-build` gives them spare what is surely not meant. They are a hint: what is
    fetched says itself what it is.
    """
    if not all(_OUR_NAME.fullmatch(Path(file.path).name) for file in files):
        return [[file] for file in files]
    wanted = [
        (file, stem)
        for file in files
        for stem in [Path(file.path).name.removesuffix(SUFFIX)]
        if any(f"-{slug}.v" in stem for slug in target.slugs)
        and (version is None or stem.endswith(f".v{version}"))
    ]
    if not wanted or version is not None:
        return [[file] for file, _ in wanted] or [[file] for file in files]
    lines: dict[str, list[tuple[TreeFile, str]]] = {}
    for file, stem in wanted:
        line, _, number = stem.rpartition(".v") if stem.count(".v") == 1 else (stem, "", "")
        lines.setdefault(line, []).append((file, number))
    return [
        [file for file, _ in sorted(line, key=lambda one: _place_of(one[1]), reverse=True)]
        for line in lines.values()
    ]


def _in_folder(folder: Path, name: str | None = None) -> list[Path]:
    """The packages in a folder, without those whose names say that they are not the one named.

    Raises InstallError if there are too many.
    """
    files = sorted(p for p in folder.glob(f"*{SUFFIX}") if not p.is_symlink())
    if name is not None:
        files = [p for p in files if p.name.startswith(name) or not _OUR_NAME.fullmatch(p.name)]
    if len(files) > MAX_PACKAGES:
        raise InstallError(Problem(str(folder), f"holds {len(files)} packages"))
    return files


def _place_of(number: str) -> tuple[bool, Precedence | tuple[()]]:
    """Where a version of a file's name stands; one that cannot be read is looked at first."""
    try:
        return False, precedence(number)
    except ValueError:
        return True, ()


def _copy(source: Path, target: Path, most: int) -> None:
    """A regular file, no larger than a package may be, into a place of ours."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would have us wait
        with os.fdopen(descriptor, "rb") as file, target.open("xb") as output:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode) or state.st_size > most:
                raise InstallError(Problem(str(source), "is no file, or too large for a package"))
            while piece := file.read(1 << 20):
                output.write(piece)
    except OSError as exc:
        raise InstallError(Problem(str(source), f"cannot be read: {exc.strerror}")) from exc

"""One commit of a git repository, fetched into a cache of ours, and the files it holds.

Only the newest commit comes, and of its files only those that are asked for, where the server can
do that. What has arrived stays, so a fetch that was interrupted goes on with what is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from hive_expert import locations
from hive_expert.errors import Problem, RepositoryError
from hive_expert.sharing.git import Git, Progress
from hive_expert.sharing.limits import MAX_TREE_BYTES, Limits
from hive_expert.sharing.source import LOOPBACK, parse_url
from hive_expert.sharing.tree import TreeFile, parse_tree, read_listing

KEPT_UNUSED = timedelta(days=30)

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"

_CONFIG = """\
[core]
	repositoryformatversion = 1
	bare = true
[extensions]
	partialClone = origin
[remote "origin"]
	url = {url}
	promisor = true
	partialclonefilter = blob:none
"""


@dataclass(frozen=True, slots=True)
class Access:
    """How repositories are reached.

    ``mirror`` is a folder with copies of them (`<host>/<path>`), which are read instead.
    ``offline`` takes what was fetched before, and fetches nothing.
    """

    mirror: Path | None = None
    offline: bool = False
    limits: Limits = field(default_factory=Limits)
    progress: Progress = lambda _: None


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that was fetched. Law: none of its files is refused by `tree.parse_tree`."""

    url: str
    id: str
    files: tuple[TreeFile, ...]
    git: Git
    offline: bool = False

    def find(self, path: str) -> TreeFile | None:
        return next((file for file in self.files if file.path == path), None)

    def save(self, file: TreeFile, target: Path) -> None:
        """Write the content of a file to a place of ours.

        Raises RepositoryError if it does not come, or is larger than a package may be.
        """
        self._require(file, self.git.limits.package_bytes)
        with target.open("xb") as output:
            for piece in self.git.stream("cat-file", "blob", file.oid):
                output.write(piece)
        with target.open("rb") as written:
            if written.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise RepositoryError(
                    Problem(file.path, "is only a pointer to Git LFS", "commit the package itself")
                )

    def read(self, file: TreeFile, most: int) -> bytes:
        """The content of a small file. Raises RepositoryError."""
        self._require(file, most)
        return self.git.run("cat-file", "blob", file.oid, most=most)

    def _require(self, file: TreeFile, most: int) -> None:
        """Have the object here, and know that it is not too large, before a byte of it is read."""
        if self._look(file) is None and not self.offline:
            with _locked(self.git) as git:
                git.run(*_FETCH, "--filter=blob:none", "--", "origin", file.oid)
        size = self._look(file)
        if size is None:
            raise RepositoryError(Problem(file.path, "did not come with the repository"))
        if size > most:
            raise RepositoryError(
                Problem(file.path, f"has {size} bytes, more than the {most} allowed")
            )

    def _look(self, file: TreeFile) -> int | None:
        """The size of a file's object, if it is here; asking about one would fetch it."""
        for line in self.git.run("cat-file", *_ALL_OBJECTS, most=64 << 20).splitlines():
            oid, kind, size = line.split()
            if oid == file.oid.encode():
                if kind != b"blob":
                    raise RepositoryError(Problem(file.path, f"is a {kind.decode()}, no file"))
                return int(size)
        return None


_FETCH = (
    "fetch", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-gc",
    "--progress",
)  # fmt: skip
_ALL_OBJECTS = ("--batch-all-objects", "--unordered", "--batch-check")


def fetch_commit(
    url: str, access: Access, *, commit: str | None = None, tag: str | None = None
) -> Commit:
    """Fetch one commit of a repository: the tip of its default branch, or the one named.

    What is returned goes by the original URL, also when a mirror was read. Raises SourceError for a
    URL that is not allowed, and RepositoryError for a repository that cannot be had, or that holds
    what is refused.
    """
    from_where = parse_url(url)
    if access.mirror:
        from_where = mirrored(from_where, access.mirror)
    wanted = commit or (f"refs/tags/{tag}" if tag else "HEAD")
    scheme = from_where.partition(":")[0]
    git = Git(_cache_of(from_where), scheme, access.limits, access.progress)
    try:
        with _locked(git) as locked:
            _prepare(git.directory, from_where)
            _collect(git.directory.parent)
            if commit and _has(git, commit):
                tip = commit
            else:
                tip = _known(git, wanted) if access.offline else _fetch(locked, wanted)
        entries = git.stream("ls-tree", "-r", "-z", "--full-tree", tip)
        files = parse_tree(read_listing(entries, MAX_TREE_BYTES))
    except RepositoryError as error:
        problems = (replace(p, where=f"{url}: {p.where}") for p in error.problems)
        raise RepositoryError(*problems) from error
    return Commit(url, tip, files, git, access.offline)


def _fetch(git: Git, wanted: str) -> str:
    """Fetch what a name means to the remote, alone; returns the commit."""
    what = f"+{wanted}:{_reference(wanted)}"
    try:
        git.run(*_FETCH, "--depth=1", "--filter=blob:none", "--", "origin", what)
    except RepositoryError as error:
        remedy = "look at the URL; without a network there are --mirror and --offline"
        problems = (replace(p, remedy=p.remedy or remedy) for p in error.problems)
        raise RepositoryError(*problems) from error
    return _tip(git, wanted)


def _known(git: Git, wanted: str) -> str:
    with suppress(RepositoryError):
        return _tip(git, wanted)
    raise RepositoryError(Problem(wanted, "was not fetched before", "leave --offline out"))


def _tip(git: Git, wanted: str) -> str:
    """The commit that was fetched last by this name."""
    answer = git.run("rev-parse", "--verify", f"{_reference(wanted)}^{{commit}}")
    return answer.decode().strip()


def _reference(wanted: str) -> str:
    return f"refs/hive/{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"


def mirrored(url: str, mirror: Path) -> str:
    """The URL of a repository's copy in a mirror folder. Raises RepositoryError if it has none."""
    scheme, _, rest = url.partition("://")
    rest = rest.strip("/")
    if scheme == "file" or rest.partition("/")[0].partition(":")[0] in LOOPBACK:
        return url
    for place in (mirror / rest, mirror / f"{rest}.git", mirror / rest.removesuffix(".git")):
        if place.is_dir():
            return parse_url(place.absolute().as_uri())
    remedy = f"git clone --mirror {url} {mirror / rest}"
    raise RepositoryError(Problem(url, f"is not in the mirror {mirror}", remedy))


def _cache_of(url: str) -> Path:
    """Where what was fetched from a URL is kept."""
    return locations.repositories_dir() / hashlib.sha256(url.encode()).hexdigest()[:32]


@contextmanager
def _locked(git: Git) -> Iterator[Git]:
    """One process at a time fetches into a repository of ours, and a git that outlives the process
    that started it counts."""
    directory = git.directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = directory.with_suffix(".lock").open("w")
    except OSError as exc:
        raise RepositoryError(
            Problem(str(directory.parent), f"cannot be written: {exc.strerror}", "set HIVE_HOME")
        ) from exc
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield replace(git, keeping=(lock.fileno(),))


def _prepare(directory: Path, url: str) -> None:
    """An empty repository, or the one that is there without what a killed git left in it."""
    if not (directory / "HEAD").is_file():
        shutil.rmtree(directory, ignore_errors=True)
        for part in ("objects/info", "objects/pack", "refs/heads", "refs/hive"):
            (directory / part).mkdir(parents=True)
        (directory / "config").write_text(_CONFIG.format(url=url))
        (directory / "HEAD").write_text("ref: refs/heads/none\n")
    for pattern in ("*.lock", "refs/hive/*.lock", "objects/pack/tmp_*", "objects/pack/*.lock"):
        for leftover in directory.glob(pattern):
            leftover.unlink(missing_ok=True)


def _has(git: Git, commit: str) -> bool:
    with suppress(RepositoryError):
        return git.run("cat-file", "-t", commit).strip() == b"commit"
    return False


def _collect(repositories: Path) -> None:
    """Remove what was fetched of repositories that nobody has used for long.

    Called while one is locked, so a lock that cannot be had is somebody else's, or that one.
    """
    latest = time.time() - KEPT_UNUSED.total_seconds()
    for lock in repositories.glob("*.lock"):
        with suppress(OSError), lock.open() as file:
            if lock.stat().st_mtime < latest:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink()

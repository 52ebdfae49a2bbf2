"""What a commit's tree holds, and what in it is refused. Pure. SPEC section 13.

No file of a repository is ever written under its own name. What could be used against a working
copy is refused all the same: a repository that has it is not one to take packages from.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hive_expert.errors import Problem, RepositoryError
from hive_expert.sharing.limits import MAX_PACKAGES, MAX_TREE_ENTRIES

SUFFIX = ".expert"

_ENTRY = re.compile(rb"(\d{6}) ([a-z]+) ([0-9a-f]{40}|[0-9a-f]{64})\t(.+)", re.DOTALL)
_IGNORED_ON_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_MAX_TOLD = 20


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of a commit: its path there, and the object that holds its content."""

    path: str
    oid: str


def read_listing(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """The entries of `git ls-tree -z`; at most ``most`` bytes of them are read.

    A tree of a few kilobytes can list the same folder billions of times. Raises RepositoryError.
    """
    rest, size, count = b"", 0, 0
    for piece in pieces:
        size += len(piece)
        *whole, rest = (rest + piece).split(b"\0")
        count += len(whole)
        if size > most or count > MAX_TREE_ENTRIES:
            raise RepositoryError(
                Problem("tree", f"lists more than {MAX_TREE_ENTRIES} files or {most >> 20} MiB")
            )
        yield from whole


def parse_tree(entries: Iterable[bytes]) -> tuple[TreeFile, ...]:
    """All files of a tree. Raises RepositoryError with what is refused in it."""
    files: list[TreeFile] = []
    problems: list[Problem] = []
    for entry in entries:
        found = _ENTRY.fullmatch(entry)
        if found is None:
            problems.append(Problem("tree", "has an entry that is not understood"))
            continue
        mode, _, oid, raw = found.groups()
        path = raw.decode("utf-8", "replace")
        problems += _entry_problems(mode, path)
        files.append(TreeFile(path, oid.decode()))
    problems += _twin_problems(files)
    if problems:
        more = len(problems) - _MAX_TOLD
        tail = [Problem("tree", f"and {more} more of the kind")] if more > 0 else []
        raise RepositoryError(*problems[:_MAX_TOLD], *tail)
    return tuple(files)


def packages_of(files: Iterable[TreeFile]) -> tuple[TreeFile, ...]:
    """The packages among the files, in order of their paths. Raises RepositoryError."""
    found = sorted((f for f in files if f.path.endswith(SUFFIX)), key=lambda f: f.path)
    if len(found) > MAX_PACKAGES:
        raise RepositoryError(
            Problem("tree", f"holds {len(found)} packages, more than the {MAX_PACKAGES} allowed")
        )
    if not found:
        raise RepositoryError(
            Problem("tree", "holds no .expert package", "hive-build package makes one; commit it")
        )
    return tuple(found)


def _entry_problems(mode: bytes, path: str) -> Iterator[Problem]:
    shown = _shown(path)
    if mode == b"160000":
        yield Problem(shown, "is a submodule, and submodules are not fetched")
    elif mode == b"120000":
        yield Problem(shown, "is a symbolic link, and links are not followed")
    elif mode not in (b"100644", b"100755", b"100664"):
        yield Problem(shown, f"has the mode {mode.decode()}")
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or "\ufffd" in path:
        yield Problem(shown, "has control characters, backslashes or bytes that are no UTF-8")
    if any(part in ("", ".", "..") for part in parts):
        yield Problem(shown, "leads out of its folder")
    if any(_is_git_twin(part) for part in parts):
        yield Problem(shown, "poses as git's own folder")
    if parts[-1].casefold() == ".gitmodules":
        yield Problem(shown, "declares submodules, which are not fetched")


def _is_git_twin(part: str) -> bool:
    """Whether some file system takes the name for `.git`."""
    plain = _IGNORED_ON_HFS.sub("", part).casefold().partition(":")[0].rstrip(". ")
    return plain in (".git", "git~1")


def _twin_problems(files: list[TreeFile]) -> Iterator[Problem]:
    """Packages that are one file where case does not count, and so not the same for everybody."""
    folded = Counter(f.path.casefold() for f in files if f.path.casefold().endswith(SUFFIX))
    for path, count in folded.items():
        if count > 1:
            yield Problem(_shown(path), f"is there {count} times, with other capitals")


def _shown(path: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in path)[:120]

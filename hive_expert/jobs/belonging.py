"""Which database the files of a folder belong to.

Both keep the same random mark. A database that is new, or that of another folder, knows none of the
files that lie there, and would have them all swept away.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from hive_expert.errors import Problem
from hive_expert.jobs.files import Files
from hive_expert.jobs.store import Store

MARK = "files-of"
"""Name of the file that has the folder's mark, beside its files."""


def foreign(folder: Path, files: Files, store: Store) -> Problem | None:
    """Why a folder's files may not be this database's; None if they are, which is marked then.

    A folder without files is whoever's database comes first. One without a mark has files of a time
    before there were marks: it is that of a database that knows some of them.
    """
    path, there = folder / MARK, files.all_ids()
    found = path.read_text(errors="replace").strip() if path.exists() else None
    own = store.folder_mark()
    known = found is None and not there.isdisjoint(store.all_file_ids())
    if there and not known and (own is None or own != found):
        if found is None:
            # Else it would be this database's as soon as that knows one file in it.
            _write(path, _new_mark())
        what = "its files are another database's, and none of them is removed"
        remedy = "give this database another --jobs-dir, or this folder the --jobs-database it had"
        return Problem(str(folder), what, remedy)
    if own is None:
        own = _new_mark()
        store.set_folder_mark(own)
    if found != own:
        _write(path, own)
    return None


def _new_mark() -> str:
    return secrets.token_hex(12)


def _write(path: Path, mark: str) -> None:
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(f"{mark}\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)

"""A database sweeps its own folder only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hive_expert.jobs.batch import File
from hive_expert.jobs.belonging import MARK, foreign
from hive_expert.jobs.files import Files, new_id
from hive_expert.jobs.store import Store
from hive_expert.jobs.tables import open_database
from tests.jobs.conftest import Open


class Folder:
    """A folder of jobs, and databases that it may be used with."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.files = Files(path / "files")
        self._stack = stack

    def database(self, name: str) -> Store:
        engine = open_database(f"sqlite:///{self.path / name}")
        self._stack.callback(engine.dispose)
        return Store(engine)

    def foreign(self, store: Store) -> bool:
        return foreign(self.path, self.files, store) is not None

    def add(self, *stores: Store) -> str:
        """A file that these know."""
        file_id = new_id("file-")
        with self.files.writing(file_id) as out:
            out.write(b"x")
        for store in stores:
            store.add_file(File(file_id, "alice", "in.jsonl", "batch", 1, 1))
        return file_id


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with ExitStack() as stack:
        yield Folder(tmp_path, stack)


def test_a_folder_stays_that_of_its_first_database(folder: Folder) -> None:
    first, second = folder.database("1.sqlite"), folder.database("2.sqlite")
    assert not folder.foreign(first)
    folder.add()
    assert not folder.foreign(first)
    assert folder.foreign(second)
    folder.add(second)
    assert folder.foreign(second)
    assert not folder.foreign(first)


def test_a_folder_without_files_is_whoever_s(folder: Folder) -> None:
    first, second = folder.database("1.sqlite"), folder.database("2.sqlite")
    assert not folder.foreign(first) and not folder.foreign(second)
    folder.add()
    assert not folder.foreign(second) and folder.foreign(first)


def test_an_older_folder_is_that_of_the_database_that_knows_its_files(folder: Folder) -> None:
    older = folder.database("1.sqlite")
    folder.add(older)
    folder.add()
    assert not folder.foreign(older)
    assert (folder.path / MARK).read_text().strip() == older.folder_mark()


def test_an_older_folder_is_never_that_of_a_new_database(folder: Folder) -> None:
    new = folder.database("2.sqlite")
    folder.add()
    assert folder.foreign(new)
    folder.add(new)
    assert folder.foreign(new)


def test_another_database_leaves_the_files_and_says_so(
    opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = opened()
    kept = Folder(tmp_path / "jobs", ExitStack()).add(first.store)
    first._lease.release()
    begun = first.files.folder / f"{new_id('file-')}.part"
    begun.touch()
    second = opened(database=f"sqlite:///{tmp_path / 'other.sqlite'}")
    assert second.files.all_ids() == {kept} and not begun.exists()
    assert "another --jobs-dir" in caplog.text

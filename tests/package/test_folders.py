"""Folders shared by processes: put in place whole, held while in use, collected afterwards."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.queues import Queue
from pathlib import Path

import pytest

from hive_expert.errors import AdapterError, PackageError
from hive_expert.package.folders import FolderStore

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def folders(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "folders", PackageError)


def add(folders: FolderStore, name: str, content: bytes = b"x") -> Path:
    with folders.staging() as staged:
        (staged / "file").write_bytes(content)
        return folders.adopt(staged, name)


def _add_and_end(root: Path, name: str) -> None:
    add(FolderStore(root, PackageError), name)


def _hold_until(root: Path, name: str, ready: Queue[bool], done: Queue[bool]) -> None:
    ready.put(FolderStore(root, PackageError).hold(name) is not None)
    done.get(timeout=60)


def add_elsewhere(folders: FolderStore, name: str) -> None:
    """In a process that ends: nobody holds it then."""
    child = SPAWN.Process(target=_add_and_end, args=(folders.root, name))
    child.start()
    child.join(60)
    assert child.exitcode == 0


@contextmanager
def held_elsewhere(folders: FolderStore, name: str) -> Iterator[None]:
    ready: Queue[bool] = SPAWN.Queue()
    done: Queue[bool] = SPAWN.Queue()
    child = SPAWN.Process(target=_hold_until, args=(folders.root, name, ready, done))
    child.start()
    assert ready.get(timeout=60)
    try:
        yield
    finally:
        done.put(True)
        child.join(60)


def test_what_was_adopted_is_there_and_can_be_held(folders: FolderStore) -> None:
    place = add(folders, "a")
    assert (place / "file").read_bytes() == b"x"
    assert folders.names() == {"a"}
    assert folders.hold("a") == place
    assert folders.hold("b") is None


def test_the_first_of_two_with_one_name_stays(folders: FolderStore) -> None:
    add(folders, "a", b"first")
    assert (add(folders, "a", b"second") / "file").read_bytes() == b"first"


def test_what_nobody_needs_is_collected(folders: FolderStore) -> None:
    add_elsewhere(folders, "a")
    add_elsewhere(folders, "b")
    assert folders.collect({"a"}) == ("b",)
    assert folders.names() == {"a"}
    assert folders.collect() == ("a",)
    assert list((folders.root / "staging").iterdir()) == []


def test_what_this_process_adopted_or_held_is_kept(folders: FolderStore) -> None:
    add(folders, "adopted")
    add_elsewhere(folders, "held")
    folders.hold("held")
    assert folders.collect() == ()


def test_what_another_process_holds_is_kept_until_it_ends(folders: FolderStore) -> None:
    add_elsewhere(folders, "a")
    with held_elsewhere(folders, "a"):
        assert folders.collect() == ()
    assert folders.collect() == ("a",)


def test_what_was_used_lately_is_kept(folders: FolderStore) -> None:
    add_elsewhere(folders, "new")
    add_elsewhere(folders, "old")
    last_week = time.time() - 8 * 86_400
    os.utime(folders.root / "old", (last_week, last_week))
    assert folders.collect(unused_for=timedelta(days=7)) == ("old",)


def test_holding_is_using(folders: FolderStore) -> None:
    add_elsewhere(folders, "a")
    os.utime(folders.root / "a", (0, 0))
    with held_elsewhere(folders, "a"):
        pass
    assert folders.collect(unused_for=timedelta(days=1)) == ()


def test_the_notes_of_processes_that_ended_are_removed(folders: FolderStore) -> None:
    add_elsewhere(folders, "a")
    holders = folders.root / ".shared" / "holders"
    assert len(list(holders.iterdir())) == 1
    folders.collect({"a"})
    assert list(holders.iterdir()) == []


def test_leftovers_are_collected_too(folders: FolderStore) -> None:
    leftover = folders.root / "staging" / "half"
    leftover.mkdir(parents=True)
    (leftover / "file").write_bytes(b"x")
    assert folders.collect() == ()
    assert not leftover.exists()


def test_collecting_where_there_is_nothing_makes_nothing(folders: FolderStore) -> None:
    assert folders.collect() == ()
    assert folders.names() == set()
    assert not folders.root.exists()


def test_what_is_discarded_is_gone_though_held(folders: FolderStore) -> None:
    add(folders, "a")
    folders.discard("a")
    assert folders.names() == set()
    folders.discard("a")
    assert list((folders.root / "staging").iterdir()) == []


def test_what_is_dropped_is_gone_at_once(folders: FolderStore) -> None:
    add(folders, "a")
    add(folders, "b")
    folders.drop("a")
    folders.drop("never there")
    assert folders.names() == {"b"}
    assert folders.collect() == ()


def test_what_another_process_holds_is_not_dropped(folders: FolderStore) -> None:
    add(folders, "a")
    with held_elsewhere(folders, "a"):
        folders.drop("a")
        assert folders.names() == {"a"}


def test_many_at_once_do_not_disturb_each_other(folders: FolderStore) -> None:
    """Without one lock around clearing and locking, one removes what another is just making."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(15):
                add(folders, f"{number}-{turn % 3}")
                folders.collect(unused_for=timedelta(hours=1))
        except BaseException as error:  # noqa: BLE001  # handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(folders.names()) == 12


def test_a_place_that_cannot_be_written_is_an_error_of_the_callers_kind(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where the store should be")
    folders = FolderStore(tmp_path / "occupied", AdapterError)
    with pytest.raises(AdapterError, match="cannot be written"), folders.staging():
        pass


def test_what_was_let_go_is_collected_like_what_nobody_holds(folders: FolderStore) -> None:
    for name in ("a", "b"):
        add(folders, name)
    folders.let_go("a")
    folders.let_go("never held")
    assert folders.collect(unused_for=timedelta(days=1)) == ()
    assert folders.collect() == ("a",)
    # What is held again is kept again.
    folders.let_go("b")
    folders.hold("b")
    assert folders.collect() == ()

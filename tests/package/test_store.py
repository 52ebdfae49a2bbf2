"""The store: whole or not there, whoever crashes or competes."""

from __future__ import annotations

import multiprocessing
import stat
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from hive_expert.package.statement import package_digest
from hive_expert.package.store import PackageStore

CONTENT = {"manifest.json": b"{}", "adapter/adapter_config.json": b"{}"}
DIGEST = package_digest({path: sha256(data).hexdigest() for path, data in CONTENT.items()})


def fill(folder: Path) -> None:
    for path, data in CONTENT.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)


def adopt(store: PackageStore) -> Path:
    with store.staging() as folder:
        fill(folder)
        return store.adopt(folder, DIGEST)


def test_what_was_adopted_is_found(store: PackageStore) -> None:
    assert not store.has(DIGEST)
    place = adopt(store)
    assert store.has(DIGEST)
    assert store.find(DIGEST) == place


def test_what_was_not_adopted_is_gone(store: PackageStore) -> None:
    with store.staging() as folder:
        fill(folder)
    assert not folder.exists()
    assert store.find(DIGEST) is None


def test_an_error_leaves_nothing(store: PackageStore) -> None:
    with pytest.raises(RuntimeError), store.staging() as folder:
        fill(folder)
        raise RuntimeError
    assert list((store.root / "staging").iterdir()) == []


def test_adopting_the_same_package_twice_keeps_the_first(store: PackageStore) -> None:
    inode = (adopt(store) / "manifest.json").stat().st_ino
    assert (adopt(store) / "manifest.json").stat().st_ino == inode


def test_the_store_is_private(store: PackageStore) -> None:
    with store.staging() as folder:
        assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_a_crash_left_is_cleared_by_the_next(store: PackageStore) -> None:
    abandoned = store.root / "staging" / "abandoned"
    abandoned.mkdir(parents=True)
    fill(abandoned)
    with store.staging():
        assert not abandoned.exists()


def _hold(root: Path, ready: object, done: object) -> None:
    with PackageStore(root).staging() as folder:
        (folder / "mine").write_text("in use")
        ready.put(str(folder))  # type: ignore[attr-defined]  # a queue; typeshed's is generic
        done.get()  # type: ignore[attr-defined]


def test_what_another_process_is_filling_is_left_alone(store: PackageStore) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Queue(), context.Queue()
    other = context.Process(target=_hold, args=(store.root, ready, done))
    other.start()
    folder = Path(ready.get(timeout=30))
    with store.staging():
        assert (folder / "mine").read_text() == "in use"
    done.put(None)
    other.join(30)
    assert not folder.exists()


def _change(place: Path) -> None:
    (place / "manifest.json").write_bytes(b"[]")


def _add(place: Path) -> None:
    (place / "extra").write_bytes(b"")


def _remove(place: Path) -> None:
    (place / "manifest.json").unlink()


def _sign(place: Path) -> None:
    """A signature is not among what is signed, so the digest would not tell."""
    (place / "signature.sig").write_bytes(b"{}")


def _name(place: Path) -> None:
    """A name that no message could hold."""
    (place / "caf\xe9").write_bytes(b"")


def _truncate(place: Path) -> None:
    """What a power cut may leave where data was not put on the disk first."""
    (place / "adapter" / "adapter_config.json").write_bytes(b"")


@pytest.mark.parametrize("damage", [_change, _add, _remove, _sign, _name, _truncate])
def test_a_damaged_folder_is_dropped(store: PackageStore, damage: object) -> None:
    place = adopt(store)
    damage(place)  # type: ignore[operator]  # one of the functions above
    assert store.find(DIGEST) is None
    assert not place.exists()
    assert adopt(store) == place


@pytest.mark.parametrize("damage", [_change, _sign])
def test_what_is_adopted_takes_the_place_of_a_damaged_folder(
    store: PackageStore, damage: object
) -> None:
    place = adopt(store)
    damage(place)  # type: ignore[operator]  # one of the functions above
    assert adopt(store) == place
    assert store.find(DIGEST) == place


def test_an_open_package_is_not_collected(store: PackageStore) -> None:
    place = adopt(store)
    assert store.collect() == ()
    assert store.find(DIGEST) == place


def test_a_package_that_was_let_go_is_collected(store: PackageStore) -> None:
    adopt(store)
    store.let_go(DIGEST)
    assert store.collect() == (DIGEST,)


def _adopt(root: Path) -> None:
    adopt(PackageStore(root))


def test_a_package_nobody_has_open_is_collected_unless_it_is_wanted(store: PackageStore) -> None:
    other = multiprocessing.get_context("spawn").Process(target=_adopt, args=(store.root,))
    other.start()
    other.join(60)
    assert store.collect({DIGEST}) == ()
    assert store.collect(unused_for=timedelta(days=1)) == ()
    assert store.collect() == (DIGEST,)
    assert store.find(DIGEST) is None

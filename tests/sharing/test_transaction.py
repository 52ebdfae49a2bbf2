"""Changes of an experts directory: whole, by one at a time, and finished by whoever comes next."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from hive_expert.errors import InstallError
from hive_expert.package.trust_store import Pin, TrustStore
from hive_expert.sharing.lock import Lock, read_lock
from hive_expert.sharing.transaction import Change, changing, settle
from tests.sharing.hostile.documents import INSTALLED

FILE = INSTALLED["file"]
LOCK = Lock.model_validate({"experts": {"expert-sample": INSTALLED}})


@pytest.fixture
def trust(tmp_path: Path) -> TrustStore:
    return TrustStore.load(tmp_path / "config" / "trust.json")


def change() -> Change:
    return Change(
        added=(FILE,),
        seen={"expert-sample/smollm2-135m": "0.1.0"},
        pins={"expert-sample": Pin(version="0.1.0")},
        lock=LOCK,
    )


def is_done(directory: Path, trust: TrustStore) -> bool:
    known = trust.current()
    states = [
        (directory / FILE).exists(),
        read_lock(directory) == LOCK,
        known.seen == {"expert-sample/smollm2-135m": "0.1.0"},
        known.pins == {"expert-sample": Pin(version="0.1.0")},
    ]
    assert len(set(states)) == 1, states
    return states[0]


def test_a_change_is_all_of_it(tmp_path: Path, trust: TrustStore) -> None:
    directory = tmp_path / "experts.d"
    with changing(directory, trust) as folder:
        (folder.staging / FILE).write_bytes(b"package")
        assert not is_done(directory, trust)
        folder.commit(change())
        assert is_done(directory, trust)
    assert sorted(p.name for p in (directory / ".hive").iterdir()) == ["lock"]


def test_what_was_only_staged_is_gone(tmp_path: Path, trust: TrustStore) -> None:
    directory = tmp_path / "experts.d"
    with pytest.raises(KeyError), changing(directory, trust) as folder:
        (folder.staging / FILE).write_bytes(b"package")
        raise KeyError
    assert not is_done(directory, trust)
    assert not (directory / ".hive" / "staged").exists()


def interrupted(directory: Path) -> None:
    """The state right after a change has happened, with nothing of it done yet."""
    staged = directory / ".hive" / "staged"
    staged.mkdir(parents=True)
    (staged / FILE).write_bytes(b"package")
    document = change().model_dump(mode="json", exclude_none=True)
    (directory / ".hive" / "change.json").write_text(json.dumps(document))


@pytest.mark.parametrize("error", [KeyboardInterrupt, PermissionError])
def test_what_breaks_it_off_half_way_leaves_it_to_whoever_comes_next(
    tmp_path: Path, trust: TrustStore, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    directory = tmp_path / "experts.d"

    def broken_off(*_: object) -> None:
        raise error

    with pytest.raises((KeyboardInterrupt, InstallError)), monkeypatch.context() as patched:
        patched.setattr("hive_expert.sharing.transaction._carry_out", broken_off)
        with changing(directory, trust) as folder:
            (folder.staging / FILE).write_bytes(b"package")
            folder.commit(change())
    settle(directory, trust)
    assert is_done(directory, trust)
    assert (directory / FILE).read_bytes() == b"package"


def test_who_reads_next_finishes_it(tmp_path: Path, trust: TrustStore) -> None:
    directory = tmp_path / "experts.d"
    interrupted(directory)
    settle(directory, trust)
    assert is_done(directory, trust)
    settle(directory, trust)


def test_who_changes_next_finishes_it_first(tmp_path: Path, trust: TrustStore) -> None:
    directory = tmp_path / "experts.d"
    interrupted(directory)
    with changing(directory, trust) as folder:
        assert is_done(directory, trust)
        folder.commit(Change(removed=(FILE,), lock=Lock()))
    assert not (directory / FILE).exists()


def test_a_reader_leaves_alone_what_a_living_process_does(
    tmp_path: Path, trust: TrustStore
) -> None:
    directory = tmp_path / "experts.d"
    with changing(directory, trust) as folder:
        (folder.staging / FILE).write_bytes(b"package")
        reader = multiprocessing.get_context("fork").Process(target=settle, args=(directory, trust))
        reader.start()
        reader.join(60)
        assert reader.exitcode == 0
        assert (folder.staging / FILE).exists()


def test_a_change_that_is_none_is_refused_and_nothing_done(
    tmp_path: Path, trust: TrustStore
) -> None:
    directory = tmp_path / "experts.d"
    interrupted(directory)
    journal = directory / ".hive" / "change.json"
    journal.write_text(journal.read_text().replace(FILE, "../../outside"))
    with pytest.raises(InstallError, match="added"):
        settle(directory, trust)
    assert not is_done(directory, trust)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, trust: TrustStore) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InstallError, match="cannot be written"), changing(tmp_path / "file", trust):
        pass

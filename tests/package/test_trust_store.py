"""The trust store: edits, its file, and files that are none."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import KeyFileError
from hive_expert.package.trust_store import Pin, TrustStore
from tests.package.samples import NOW, key, trusting


def full() -> TrustStore:
    return (
        trusting("Ann", "Bo", patterns=("expert-sql", "acme-*"))
        .revoking(key("Bo").key_id, NOW)
        .with_pin("expert-sql", Pin(version="0.2.0"))
        .having_seen("expert-sql/smollm2-135m", "0.3.0")
    )


def test_a_store_is_read_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    full().save(path)
    read = TrustStore.load(path)
    assert (read.keys, read.pins, read.seen) == (full().keys, full().pins, full().seen)


def test_an_edit_leaves_the_old_store_as_it_was() -> None:
    before = TrustStore()
    before.with_key(key().public, ("*",), NOW)
    assert before.keys == {}


def test_an_absent_file_is_an_empty_store(tmp_path: Path) -> None:
    assert TrustStore.load(tmp_path / "absent.json").keys == {}


def test_an_edit_is_on_disk_and_seen_by_others(tmp_path: Path) -> None:
    ours = TrustStore.load(tmp_path / "new" / "trust.json")
    theirs = TrustStore.load(tmp_path / "new" / "trust.json")
    ours.edited(lambda s: s.with_key(key("Ann").public, ("*",), NOW))
    theirs.edited(lambda s: s.with_key(key("Bo").public, ("*",), NOW))
    assert set(ours.current().keys) == {key("Ann").key_id, key("Bo").key_id}


def test_edits_of_several_processes_all_last(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC\n"
        "from hive_expert.package.trust_store import TrustStore\n"
        "store = TrustStore.load(Path(sys.argv[1]))\n"
        "for n in range(5):\n"
        "    store.edited(lambda s: s.having_seen(f'expert-{sys.argv[2]}/{n}', '1.0.0'))\n"
    )
    path = tmp_path / "trust.json"
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("a", "b", "c")
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(TrustStore.load(path).seen) == 15


def test_an_edit_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    full().save(path)
    inode = path.stat().st_ino
    TrustStore.load(path).edited(lambda s: s.having_seen("expert-sql/smollm2-135m", "0.1.0"))
    assert path.stat().st_ino == inode


def test_only_the_highest_version_is_kept() -> None:
    store = TrustStore()
    for version in ("0.2.0", "0.10.0", "0.9.0"):
        store = store.having_seen("expert-sql/m", version)
    assert store.seen == {"expert-sql/m": "0.10.0"}


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("*", "expert-sql", True),
        ("expert-sql", "expert-sql", True),
        ("sql", "expert-sql", True),
        ("acme-*", "expert-acme-sql", True),
        ("acme-*", "expert-sql", False),
        ("expert-sql", "expert-sql2", False),
        ("expert-*", "expert-sql", True),
        ("*-sql", "expert-acme-sql", True),
        ("expert-sql", "expert-expert-sql", False),
        ("expert-acme-*", "expert-expert-acme-sql", False),
    ],
)
def test_patterns_cover_names_with_or_without_the_prefix(
    pattern: str, name: str, covered: bool
) -> None:
    store = trusting("Ann", patterns=(pattern,))
    assert store.keys[key("Ann").key_id].covers(name) is covered


def document() -> dict[str, Any]:
    return {"format": 1, **full().model_dump(mode="json", exclude_unset=True)}


def _rename_key(d: dict[str, Any]) -> None:
    d["keys"] = {"0" * 64: d["keys"][key("Ann").key_id]}


def _shell_pattern(d: dict[str, Any]) -> None:
    d["keys"][key("Ann").key_id]["names"] = ["[a-z]*"]


def _key_of_order_one(d: dict[str, Any]) -> None:
    """One signature fits every message under this key, to OpenSSL as well."""
    raw = (1).to_bytes(32, "little")
    entry = d["keys"].pop(key("Ann").key_id)
    d["keys"] = {hashlib.sha256(raw).hexdigest(): {**entry, "public_key": raw.hex()}}


@pytest.mark.parametrize(
    "change",
    [
        _rename_key,
        _key_of_order_one,
        _shell_pattern,
        lambda d: d.update(format=2),
        lambda d: d.update(kyes={}),
        lambda d: d["keys"][key("Ann").key_id].update(names=[]),
        lambda d: d["keys"][key("Ann").key_id].pop("added"),
        lambda d: d["keys"][key("Ann").key_id].update(revoked="yesterday"),
        lambda d: d["keys"][key("Ann").key_id].update(revoked="2026-02-30T00:00:00Z"),
        lambda d: d["seen"].update({"expert-sql/m": "one"}),
        lambda d: d["pins"].update({"Expert SQL": {"version": "1.0.0"}}),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, change: Any) -> None:
    changed = document()
    change(changed)
    (tmp_path / "trust.json").write_text(json.dumps(changed))
    with pytest.raises(KeyFileError):
        TrustStore.load(tmp_path / "trust.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"keys": {}, "keys": {}}'])
def test_a_broken_file_is_refused_rather_than_taken_for_empty(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "trust.json").write_bytes(content)
    with pytest.raises(KeyFileError):
        TrustStore.load(tmp_path / "trust.json")


def test_what_a_crash_left_is_cleared_by_the_next_edit(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    half = tmp_path / ".trust.json.x1y2z3"
    half.write_text("{")
    other = tmp_path / ".other.json.x1y2z3"
    other.write_text("{")
    TrustStore.load(path).edited(lambda store: store.with_pin("expert-a", Pin(version="1.0.0")))
    assert not half.exists()
    assert other.exists()
    assert TrustStore.load(path).pins

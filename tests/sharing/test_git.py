"""git's limits, and what of the user's surroundings it gets to see."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hive_expert.errors import RepositoryError
from hive_expert.sharing.git import Git
from hive_expert.sharing.limits import Limits
from tests.sharing.world import Repository


def bare(repository: Repository, **limits: float) -> Git:
    return Git(repository.path / ".git", "file", Limits(**limits))  # type: ignore[arg-type]


def test_it_answers(repository: Repository) -> None:
    commit = repository.commit()
    assert bare(repository).run("rev-parse", "HEAD").decode().strip() == commit


def test_a_failure_is_told_in_gits_words(repository: Repository) -> None:
    with pytest.raises(RepositoryError, match=r"git rev-parse: fatal: .*single revision"):
        bare(repository).run("rev-parse", "--verify", "nothing")


def test_what_takes_too_long_is_killed_with_all_it_started(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "pid"
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > {mark}\nwait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with pytest.raises(RepositoryError, match="takes longer than the 1 seconds"):
        bare(repository, seconds=1).run("status")
    deadline = time.monotonic() + 60
    while Path(f"/proc/{mark.read_text().strip()}").exists():
        assert time.monotonic() < deadline, "its child lives on"
        time.sleep(0.05)


def test_an_answer_that_is_too_long_is_cut_off(repository: Repository) -> None:
    (repository.path / "large").write_bytes(bytes(1 << 20))
    repository.commit()
    with pytest.raises(RepositoryError, match="more than the 1000 bytes"):
        bare(repository).run("cat-file", "blob", "HEAD:large", most=1000)


def test_it_sees_nothing_of_the_users_settings(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text("[alias]\n\tmine = version\n[user]\n\tname = Ann\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Ann")
    shown = bare(repository).run("config", "--list").decode()
    assert "Ann" not in shown
    assert "protocol.allow=never" in shown
    assert "protocol.file.allow=always" in shown


def test_without_git_it_is_told(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(RepositoryError, match="is not installed"):
        bare(repository).run("status")

"""Indexes in real git repositories: kept by one, used by another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hive_expert.cli.hive import main
from hive_expert.package.keys import save_key
from hive_expert.sharing.keeper import tuf_key_id
from tests.package.samples import key
from tests.sharing.world import NAME, Repository, User, package

Run = Callable[..., Result]


@pytest.fixture
def run(user: User) -> Run:
    """`hive` as a user calls it."""

    def invoke(*arguments: object, exit_code: int = 0) -> Result:
        words = [str(a) for a in arguments]
        if words[0] in ("install", "update", "uninstall"):
            words += ["--experts-dir", str(user.directory)]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """Private key files of four people, each with its public file beside it."""
    made = {}
    for name in ("ann", "bo", "cy", "dee"):
        made[name] = tmp_path / f"{name}.pem"
        save_key(key(name), made[name])
    return made


@pytest.fixture
def index(tmp_path: Path) -> Repository:
    return Repository.at(tmp_path / "repositories" / "index")


def public(file: Path) -> Path:
    return file.with_suffix(".pub.json")


def begun(run: Run, index: Repository, keys: dict[str, Path]) -> str:
    """An empty index of Ann's; its fingerprint."""
    made = run("index", "init", index.path, "--key", keys["ann"], "--json")
    index.commit()
    return str(json.loads(made.stdout)["fingerprint"])


def test_from_an_empty_folder_to_an_installed_expert(
    run: Run, user: User, index: Repository, repository: Repository, keys: dict[str, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    commit = repository.put(package(tmp_path))
    fingerprint = begun(run, index, keys)
    run("index", "add", index.path, repository.url, "--key", keys["ann"])
    index.commit()
    assert fingerprint in run("index", "use", index.url, exit_code=2).stderr
    run("index", "use", index.url, "--fingerprint", "0" * 64, exit_code=1)
    run("index", "use", index.url, "--fingerprint", fingerprint, "--name", "team")
    (found,) = json.loads(run("search", "sample", "--json").stdout)
    assert (found["index"], found["name"], found["source"]["commit"]) == ("team", NAME, commit)
    assert json.loads(run("search", "no such words", "--json").stdout) == []
    run("install", NAME)
    assert user.installed() == {NAME: "0.1.0"}
    repository.put(package(tmp_path, version="0.2.0"))
    run("update")
    assert user.installed() == {NAME: "0.1.0"}, "the index does not list it yet"
    run("index", "add", index.path, f"{repository.url}@0.2.0", "--key", keys["ann"])
    index.commit()
    run("update")
    assert user.installed() == {NAME: "0.2.0"}
    run("install", f"{NAME}@0.1.0", "--pin")
    assert user.installed() == {NAME: "0.1.0"}
    run("index", "check", index.path, "--packages")
    run("index", "remove", index.path, f"{NAME}@0.2.0", "--key", keys["ann"])
    assert [
        e[1] for e in json.loads(run("index", "check", index.path, "--json").stdout)["entries"]
    ] == ["0.1.0"]
    run("index", "forget", "team")
    run("install", NAME, exit_code=1)


def test_an_index_that_goes_back_is_refused_even_after_it_was_forgotten(
    run: Run, index: Repository, repository: Repository, keys: dict[str, Path], tmp_path: Path
) -> None:
    from tests.sharing.world import git

    repository.put(package(tmp_path))
    fingerprint = begun(run, index, keys)
    old = git("rev-parse", "HEAD", cwd=index.path)
    run("index", "add", index.path, repository.url, "--key", keys["ann"])
    index.commit()
    run("index", "use", index.url, "--fingerprint", fingerprint)
    git("reset", "-q", "--hard", old, cwd=index.path)
    assert "goes back" in run("search", exit_code=1).stderr
    run("index", "forget", "index")
    assert (
        "goes back"
        in run("index", "use", index.url, "--fingerprint", fingerprint, exit_code=1).stderr
    )


def test_no_two_indexes_have_the_same_first_root(
    run: Run, index: Repository, keys: dict[str, Path], tmp_path: Path
) -> None:
    other = Repository.at(tmp_path / "repositories" / "other-index")
    assert begun(run, index, keys) != begun(run, other, keys)


def test_two_people_must_sign_the_root(
    run: Run, index: Repository, keys: dict[str, Path], tmp_path: Path
) -> None:
    both = [word for name in ("ann", "bo") for word in ("--root", public(keys[name]))]
    ann = ["--targets", public(keys["ann"]), "--online", public(keys["ann"])]
    made = run("index", "init", index.path, "--key", keys["ann"], *both, *ann,
               "--threshold", "root=2")  # fmt: skip
    assert "lacks 1" in run("index", "check", index.path, exit_code=1).stderr
    assert made.exit_code == 0
    run("index", "sign", index.path, "--key", keys["bo"])
    run("index", "check", index.path)
    assert (
        "nothing to sign"
        in run("index", "sign", index.path, "--key", keys["cy"], exit_code=2).stderr
    )


def test_users_follow_rotated_keys(
    run: Run, index: Repository, repository: Repository, keys: dict[str, Path], tmp_path: Path
) -> None:
    repository.put(package(tmp_path))
    fingerprint = begun(run, index, keys)
    run("index", "use", index.url, "--fingerprint", fingerprint)
    ann = tuf_key_id(key("ann").public)
    for role, name in (("online", "bo"), ("targets", "cy"), ("root", "dee")):
        signing = ["--key", keys["ann"], "--key", keys[name], "--key", keys["bo"]]
        run("index", "rotate", index.path, "--role", role, "--add", public(keys[name]),
            "--remove", ann[:12], *signing)  # fmt: skip
        index.commit()
        assert json.loads(run("search", "--json").stdout) == []
    refused = run("index", "add", index.path, repository.url, "--key", keys["ann"], exit_code=2)
    assert "none of the keys" in refused.stderr
    run("index", "add", index.path, repository.url, "--key", keys["cy"], "--key", keys["bo"])
    index.commit()
    assert len(json.loads(run("search", "--json").stdout)) == 1


@pytest.mark.parametrize("threshold", ["root=2", "root=0", "nobody=1", "root"])
def test_a_threshold_that_cannot_be_met(
    run: Run, index: Repository, keys: dict[str, Path], threshold: str
) -> None:
    run("index", "init", index.path, "--key", keys["ann"], "--threshold", threshold, exit_code=2)


def test_what_is_not_signed_is_not_listed(
    run: Run, index: Repository, repository: Repository, keys: dict[str, Path], tmp_path: Path
) -> None:
    begun(run, index, keys)
    repository.put(package(tmp_path, None))
    refused = run("index", "add", index.path, repository.url, "--key", keys["ann"], exit_code=1)
    assert "is not signed" in refused.stderr


def test_a_name_that_two_indexes_list_is_not_taken_over(
    run: Run, user: User, index: Repository, repository: Repository, keys: dict[str, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    other_index = Repository.at(tmp_path / "repositories" / "other-index")
    other = Repository.at(tmp_path / "repositories" / "other")
    repository.put(package(tmp_path))
    other.put(package(tmp_path, version="9.0.0"))
    for place, source in ((index, repository), (other_index, other)):
        fingerprint = begun(run, place, keys)
        run("index", "add", place.path, source.url, "--key", keys["ann"])
        place.commit()
        run("index", "use", place.url, "--fingerprint", fingerprint)
    assert "listed differently" in run("install", NAME, exit_code=1).stderr
    run("install", NAME, "--index", "index")
    assert user.installed() == {NAME: "0.1.0"}
    run("update")
    assert user.installed() == {NAME: "0.1.0"}


def test_a_package_that_is_not_what_the_index_lists_is_refused(
    run: Run, user: User, index: Repository, repository: Repository, keys: dict[str, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    from hive_expert.package.keys import load_signing_key
    from hive_expert.sharing.keeper import Keeping
    from tests.package.samples import NOW

    repository.put(package(tmp_path))
    fingerprint = begun(run, index, keys)
    run("index", "add", index.path, repository.url, "--key", keys["ann"])
    keeping = Keeping(index.path)
    (entry,) = keeping.entries().entries
    wrong: dict[str, Any] = {"digest": "0" * 64}
    entries = keeping.entries().having(entry.model_copy(update=wrong))
    from datetime import UTC, datetime

    assert datetime.now(UTC) > NOW
    keeping.publish(entries, [load_signing_key(keys["ann"])], now=datetime.now(UTC))
    index.commit()
    run("index", "use", index.url, "--fingerprint", fingerprint)
    assert "is not what index lists: digest" in run("install", NAME, exit_code=1).stderr
    assert "digest" in run("index", "check", index.path, "--packages", exit_code=1).stderr
    assert user.installed() == {}


def test_a_lost_memory_is_no_new_beginning(
    run: Run, user: User, index: Repository, keys: dict[str, Path]
) -> None:
    import shutil

    fingerprint = begun(run, index, keys)
    run("index", "use", index.url, "--fingerprint", fingerprint)
    shutil.rmtree(user.home / "data" / "indexes")
    assert "is damaged or gone" in run("search", exit_code=1).stderr
    run("index", "forget", "index")
    run("index", "use", index.url, "--fingerprint", fingerprint)
    run("search")

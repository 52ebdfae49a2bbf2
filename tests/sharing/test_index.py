"""Indexes in real git repositories: kept by one, used by another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hive_expert.catalog.checks import Check, remember_check
from hive_expert.cli.hive import main
from hive_expert.package.keys import save_key
from hive_expert.package.open import examine_package
from hive_expert.sharing.index import _name_of
from hive_expert.sharing.index_signing import tuf_key_id
from tests.package.samples import key
from tests.sharing.world import NAME, Repository, User, git, package

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
    assert f"did you mean {NAME}?" in run("install", f"{NAME}s", exit_code=1).stderr
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


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/ann/Experts_Index.git", "experts-index"),
        ("https://example.org/ann/index/", "index"),
        ("file:///srv/team/.git", "team"),
        ("file:///srv/---", "index"),
    ],
)
def test_an_index_is_called_by_its_url(url: str, name: str) -> None:
    assert _name_of(url) == name


def test_an_index_that_goes_back_is_refused_even_after_it_was_forgotten(
    run: Run, index: Repository, repository: Repository, keys: dict[str, Path], tmp_path: Path
) -> None:
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
    (entry,) = keeping.files.entries().entries
    wrong: dict[str, Any] = {"digest": "0" * 64}
    entries = keeping.files.entries().having(entry.model_copy(update=wrong))
    from datetime import UTC, datetime

    assert datetime.now(UTC) > NOW
    keeping.publish(entries, [load_signing_key(keys["ann"])], now=datetime.now(UTC))
    index.commit()
    run("index", "use", index.url, "--fingerprint", fingerprint)
    assert "is not what index lists: digest" in run("install", NAME, exit_code=1).stderr
    assert "digest" in run("index", "check", index.path, "--packages", exit_code=1).stderr
    assert user.installed() == {}


def test_everything_goes_through_a_mirror_where_there_is_no_network(
    run: Run, user: User, index: Repository, repository: Repository, keys: dict[str, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    mirror = tmp_path / "mirror"
    site = "https://example.org/ann"

    def copy(original: Repository, name: str) -> None:
        place = mirror / "example.org" / "ann" / f"{name}.git"
        if not place.exists():
            git("clone", "-q", "--mirror", original.path, place, cwd=tmp_path)
        git("--git-dir", place, "fetch", "-q", "--prune", cwd=tmp_path)

    repository.put(package(tmp_path))
    fingerprint = begun(run, index, keys)
    listed = ("--listed-url", f"{site}/experts.git", "--key", keys["ann"])
    run("index", "add", index.path, repository.url, *listed)
    index.commit()
    copy(repository, "experts")
    copy(index, "index")
    by_mirror = ("--mirror", mirror)
    run("index", "use", f"{site}/index.git", "--fingerprint", fingerprint, *by_mirror)
    (found,) = json.loads(run("search", "--json", *by_mirror).stdout)
    assert found["source"]["url"] == f"{site}/experts.git"
    run("install", NAME, *by_mirror)
    assert user.installed() == {NAME: "0.1.0"}
    repository.put(package(tmp_path, version="0.2.0"))
    run("index", "add", index.path, repository.url, *listed)
    index.commit()
    run("update", *by_mirror)
    assert user.installed() == {NAME: "0.1.0"}, "the mirror is not that far"
    copy(repository, "experts")
    copy(index, "index")
    run("update", *by_mirror)
    assert user.installed() == {NAME: "0.2.0"}
    shutil.rmtree(mirror / "example.org")
    run("uninstall", NAME)
    run("install", NAME, "--offline", *by_mirror, exit_code=1)


def test_a_dry_run_of_each_command_changes_nothing(
    run: Run, user: User, repository: Repository, tmp_path: Path
) -> None:
    def would(*words: object) -> list[tuple[str, str, str | None, str | None]]:
        document = json.loads(run(*words, "--dry-run", "--json").stdout)
        assert document["dry_run"] is True
        keys = ("action", "name", "before", "after")
        return [tuple(step[key] for key in keys) for step in document["steps"]]

    repository.put(package(tmp_path))
    assert would("install", repository.url) == [("install", NAME, None, "0.1.0")]
    assert user.installed() == {}
    run("install", repository.url)
    repository.put(package(tmp_path, version="0.2.0"))
    assert would("update") == [("upgrade", NAME, "0.1.0", "0.2.0")]
    assert would("uninstall", NAME) == [("remove", NAME, "0.1.0", None)]
    assert user.installed() == {NAME: "0.1.0"}
    assert "would upgrade" in run("update", "--dry-run").stdout
    run("update")
    assert user.installed() == {NAME: "0.2.0"}


def test_what_a_check_found_is_listed_beside_the_claims(
    run: Run, index: Repository, repository: Repository, keys: dict[str, Path], tmp_path: Path
) -> None:
    made = package(tmp_path, quality_metrics={"benchmark_score": 0.9})
    repository.put(made)
    fingerprint = begun(run, index, keys)
    found = Check(reproduced=False, score=0.5, low=0.4, high=0.6, cases=24, total=100, base="b",
                  date="2026-03-01", broken=("benchmark_score: claimed 0.9",))  # fmt: skip
    remember_check(examine_package(made).facts.digest, found)
    run("index", "add", index.path, repository.url, "--key", keys["ann"])
    index.commit()
    run("index", "use", index.url, "--fingerprint", fingerprint)
    (entry,) = json.loads(run("search", "--json").stdout)
    assert entry["checked"] == {
        "reproduced": False, "score": 0.5, "cases": 24, "total": 100, "date": "2026-03-01",
    }  # fmt: skip
    assert "not reproduced by the index (0.5 in 24 of 100 cases)" in run("search").stdout


def test_a_lost_memory_is_no_new_beginning(
    run: Run, user: User, index: Repository, keys: dict[str, Path]
) -> None:
    fingerprint = begun(run, index, keys)
    run("index", "use", index.url, "--fingerprint", fingerprint)
    shutil.rmtree(user.home / "data" / "indexes")
    assert "is damaged or gone" in run("search", exit_code=1).stderr
    run("index", "forget", "index")
    run("index", "use", index.url, "--fingerprint", fingerprint)
    run("search")

"""Where packages are looked for and how they are fetched, from real repositories."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import (
    InstallError,
    RepositoryError,
)
from hive_expert.sharing.compatibility import Target
from hive_expert.sharing.install import install, uninstall
from hive_expert.sharing.repository import Access
from hive_expert.sharing.source import GitSource, PathSource, parse_source
from tests.sharing.world import NAME, Repository, User, actions, base_entry, git, package, served


def test_a_folder_a_file_and_a_working_copy_are_sources(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    file = package(tmp_path)
    for path in (file, file.parent, repository.path):
        if path == repository.path:
            repository.put(file)
        assert NAME in actions(install([PathSource(path)], user.site()))
        uninstall([NAME], user.site())


def test_a_mirror_is_read_instead_of_the_network(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    repository.put(package(tmp_path))
    copy = tmp_path / "mirror" / "example.org" / "ann" / "experts.git"
    git("clone", "-q", "--mirror", repository.path, copy, cwd=tmp_path)
    url = "https://example.org/ann/experts.git"
    install([GitSource(url)], user.site(access=Access(mirror=tmp_path / "mirror")))
    from hive_expert.sharing.lock import read_lock

    assert read_lock(user.directory).experts[NAME].source.url == url
    with pytest.raises(RepositoryError, match="is not in the mirror"):
        elsewhere = GitSource("https://example.org/bo/experts.git")
        install([elsewhere], user.site(access=Access(mirror=tmp_path / "mirror")))


def test_offline_takes_what_was_fetched_before(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    repository.put(package(tmp_path))
    install([GitSource(repository.url)], user.site())
    uninstall([NAME], user.site())
    repository.path.rename(tmp_path / "gone")
    offline = user.site(access=Access(offline=True))
    assert actions(install([GitSource(repository.url)], offline)) == {NAME: "install"}
    with pytest.raises(RepositoryError, match="was not fetched before"):
        install([GitSource("https://example.org/never-fetched.git")], offline)


def test_a_fifo_is_no_package(user: User, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "waiting.expert")
    with pytest.raises(InstallError, match="is no file"):
        install([PathSource(tmp_path / "waiting.expert")], user.site())


def test_a_repository_in_a_folder_with_spaces_and_accents(user: User, tmp_path: Path) -> None:
    repository = Repository.at(tmp_path / "my exp\u00e9rts")
    repository.put(package(tmp_path))
    install([PathSource(repository.path)], user.site())
    assert user.installed() == {NAME: "0.1.0"}


def test_a_version_that_is_only_tagged(repository: Repository, user: User, tmp_path: Path) -> None:
    old = package(tmp_path)
    repository.put(old)
    git("tag", "v0.1.0", cwd=repository.path)
    (repository.path / old.name).unlink()
    repository.put(package(tmp_path, version="0.2.0"))
    install([GitSource(repository.url, "0.1.0")], user.site())
    assert user.installed() == {NAME: "0.1.0"}
    with pytest.raises(InstallError, match=r"0\.3\.0: is not there"):
        install([GitSource(repository.url, "0.3.0")], user.site())


@pytest.mark.parametrize(("fingerprint", "version"), [("a" * 64, "0.3.0"), ("b" * 64, "0.2.0")])
def test_a_version_that_does_not_fit_hides_none_that_does(
    fingerprint: str, version: str, repository: Repository, user: User, tmp_path: Path
) -> None:
    others = base_entry(sha256="a" * 64)
    repository.put(
        package(tmp_path),
        package(tmp_path, version="0.2.0"),
        package(tmp_path, version="0.3.0", base_models=others),
    )
    told: list[str] = []
    target = Target(user.site().target.names, fingerprint)
    install(
        [GitSource(repository.url)],
        user.site(target=target, access=Access(progress=told.append)),
    )
    assert user.installed() == {NAME: version}
    assert not any("v0.1.0" in line for line in told), told


def test_an_interrupted_fetch_goes_on_with_what_is_missing(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    names = [f"expert-number-{n}" for n in range(4)]
    repository.put(*(package(tmp_path, name=name) for name in names))
    posts: list[str] = []
    healed: list[bool] = []
    stop_at = 4

    def answer(handler: Any) -> bool:
        if handler.command == "POST":
            posts.append(handler.path)
            if len(posts) == stop_at and not healed:
                handler.send_error(503)
                return True
        return False

    with served(repository.path.parent, answer) as url:
        with pytest.raises(RepositoryError):
            install([parse_source(f"{url}/experts/.git")], user.site())
        first = len(posts)
        assert first == stop_at
        healed.append(True)
        install([parse_source(f"{url}/experts/.git")], user.site())
        rest = len(posts) - first
        for name in names:
            uninstall([name], user.site())
        posts.clear()
        shutil.rmtree(user.home / "data" / "repositories")
        install([parse_source(f"{url}/experts/.git")], user.site())
    assert rest < len(posts), "what had arrived was fetched again"


def test_a_fetch_tells_what_it_does(repository: Repository, user: User, tmp_path: Path) -> None:
    repository.put(package(tmp_path), package(tmp_path, name="expert-other"))
    told: list[str] = []
    with served(repository.path.parent) as url:
        source = parse_source(f"{url}/experts/.git")
        install([source], user.site(access=Access(progress=told.append)))
    assert any("objects" in text for text in told), "git's own words"
    assert any(text.startswith("reading expert-sample") for text in told)
    assert all(text.isprintable() for text in told)


def test_what_was_fetched_and_is_not_used_is_removed_in_time(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    other = Repository.at(tmp_path / "repositories" / "other")
    repository.put(package(tmp_path))
    other.put(package(tmp_path, name="expert-other"))
    install([GitSource(repository.url)], user.site())
    fetched = user.home / "data" / "repositories"
    (lock,) = fetched.glob("*.lock")
    os.utime(lock, (0, 0))
    install([GitSource(other.url)], user.site())
    assert not lock.exists()
    assert len([p for p in fetched.iterdir() if p.is_dir()]) == 1
    install([GitSource(repository.url)], user.site())

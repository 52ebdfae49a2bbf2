"""Installing, updating, going back and removing, from real repositories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import (
    InstallError,
    PackageError,
    Problem,
    RepositoryError,
    TrustError,
)
from hive_expert.package.trust import Policy
from hive_expert.package.trust_store import TrustStore
from hive_expert.sharing.install import install, install_locked, uninstall, update
from hive_expert.sharing.lock import LOCK_FILE
from hive_expert.sharing.source import GitSource, PathSource, parse_source
from tests.package.samples import (
    forged,
    key,
    sample_members,
)
from tests.sharing.world import NAME, Repository, User, actions, package, served


@pytest.fixture(params=["file", "http"])
def url(request: pytest.FixtureRequest, repository: Repository) -> Any:
    """The repository's URL, by both ways there are without TLS."""
    if request.param == "file":
        yield repository.url
        return
    with served(repository.path.parent) as root:
        yield f"{root}/experts/.git"


def test_the_whole_life_of_an_expert(
    url: str, repository: Repository, user: User, tmp_path: Path
) -> None:
    first = repository.put(package(tmp_path), folder="packages")
    assert actions(install([parse_source(url)], user.site())) == {NAME: "install"}
    assert user.installed() == {NAME: "0.1.0"}
    assert actions(install([parse_source(url)], user.site())) == {NAME: "keep"}
    repository.put(package(tmp_path, version="0.2.0"), folder="packages")
    assert actions(update([], user.site())) == {NAME: "upgrade"}
    assert user.installed() == {NAME: "0.2.0"}
    back = parse_source(f"{url}@0.1.0")
    with pytest.raises(TrustError, match="goes back behind"):
        install([back], user.site())
    assert user.installed() == {NAME: "0.2.0"}
    assert actions(install([back], user.site(), pin=True)) == {NAME: "downgrade"}
    assert user.installed() == {NAME: "0.1.0"}
    assert actions(update([], user.site())) == {NAME: "keep"}
    assert first
    assert actions(uninstall([NAME], user.site())) == {NAME: "remove"}
    assert user.installed() == {}


def test_what_trust_remembers_survives_uninstalling(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    repository.put(package(tmp_path), package(tmp_path, version="0.2.0"))
    install([GitSource(repository.url)], user.site())
    assert user.installed() == {NAME: "0.2.0"}
    uninstall([NAME], user.site())
    with pytest.raises(TrustError, match="goes back"):
        install([GitSource(repository.url, "0.1.0")], user.site())


def test_the_lock_tells_source_commit_digest_and_publisher(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    commit = repository.put(package(tmp_path), folder="a/b")
    install([GitSource(repository.url)], user.site())
    entry = user.site()
    from hive_expert.sharing.lock import read_lock

    locked = read_lock(entry.directory).experts[NAME]
    assert (locked.source.url, locked.source.commit) == (repository.url, commit)
    assert locked.source.path == f"a/b/{locked.file}"
    assert locked.publisher == "Ann"


def test_two_homes_have_the_same_bytes_from_the_lock(
    url: str, repository: Repository, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.put(package(tmp_path), package(tmp_path, name="expert-other"))
    install([parse_source(url)], user.site())
    # What comes later is not in the lock.
    repository.put(package(tmp_path, version="0.2.0"))
    other = User(tmp_path / "other")
    monkeypatch.setenv("HIVE_HOME", str(other.home))
    other.directory.mkdir()
    (other.directory / LOCK_FILE).write_bytes((user.directory / LOCK_FILE).read_bytes())
    install_locked(other.site())
    assert contents(other.directory) == contents(user.directory)
    assert actions(install_locked(other.site())) == {NAME: "keep", "expert-other": "keep"}


def contents(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.is_file()}


def test_a_locked_package_that_changed_is_refused(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    source = package(tmp_path)
    install([PathSource(source)], user.site())
    (user.directory / source.name).unlink()
    source.write_bytes(package(tmp_path, description="another").read_bytes())
    with pytest.raises(InstallError, match="the lock file says"):
        install_locked(user.site())


@pytest.mark.parametrize(
    "change",
    [install_locked, lambda site: update([], site), lambda site: uninstall([NAME], site)],
    ids=["install --locked", "update", "uninstall"],
)
def test_only_an_installation_makes_the_directory(change: Any, user: User) -> None:
    with pytest.raises(InstallError, match="there is no such folder"):
        change(user.site())
    assert not user.directory.exists()


def test_of_several_experts_those_that_are_wanted(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    """What is not wanted need not be trusted, either."""
    repository.put(
        package(tmp_path, name="expert-other", constraints={"requires": ["expert-third"]}),
        package(tmp_path, name="expert-third"),
        package(tmp_path, "Bo"),
    )
    source = GitSource(repository.url)
    with pytest.raises(TrustError):
        install([source], user.site())
    with pytest.raises(InstallError, match=r"expert-absent: is not there .*expert-other"):
        install([source], user.site(), only=["expert-absent", "expert-other"])
    install([source], user.site(), only=["expert-other"])
    assert user.installed() == {"expert-other": "0.1.0", "expert-third": "0.1.0"}


def test_a_dry_run_changes_nothing(repository: Repository, user: User, tmp_path: Path) -> None:
    repository.put(package(tmp_path))
    assert actions(install([GitSource(repository.url)], user.site(), dry_run=True)) == {
        NAME: "install"
    }
    assert not user.directory.exists()
    assert not TrustStore.load(user.trust_file).seen


def test_a_dry_run_leaves_a_folder_as_it_was(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    repository.put(package(tmp_path))
    user.directory.mkdir()
    (user.directory / "mine.txt").write_text("x")
    install([GitSource(repository.url)], user.site(), dry_run=True)
    assert [path.name for path in user.directory.iterdir()] == ["mine.txt"]
    install([GitSource(repository.url)], user.site())
    before = files_and_times(user.directory)
    repository.put(package(tmp_path, version="0.3.0"))
    assert actions(update([NAME], user.site(), dry_run=True)) == {NAME: "upgrade"}
    assert actions(uninstall([NAME], user.site(), dry_run=True)) == {NAME: "remove"}
    assert files_and_times(user.directory) == before


def files_and_times(directory: Path) -> dict[str, int]:
    return {
        str(path.relative_to(directory)): path.stat().st_mtime_ns
        for path in directory.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_what_is_required_comes_along(repository: Repository, user: User, tmp_path: Path) -> None:
    needing = package(tmp_path, constraints={"requires": ["expert-other"]}, version="0.3.0")
    repository.put(needing)
    with pytest.raises(InstallError, match="requires expert-other, which is not to be had"):
        install([GitSource(repository.url)], user.site())
    assert user.installed() == {}
    repository.put(package(tmp_path, name="expert-other"))
    install([GitSource(repository.url)], user.site())
    assert user.installed() == {NAME: "0.3.0", "expert-other": "0.1.0"}
    with pytest.raises(InstallError, match="is required by expert-sample"):
        uninstall(["expert-other"], user.site())
    uninstall(["expert-other", NAME], user.site())


def test_what_lies_beside_needs_no_index(user: User, tmp_path: Path) -> None:
    """An index that cannot be had is no reason to refuse what is found without it."""

    def unreachable(_: str | None) -> Any:
        raise RepositoryError(Problem("index", "cannot be reached"))

    needing = package(tmp_path, constraints={"requires": ["expert-other"]})
    site = user.site(listings=unreachable)
    with pytest.raises(InstallError, match="cannot be reached"):
        install([PathSource(needing)], site)
    package(tmp_path, name="expert-other")
    install([PathSource(needing)], site)
    assert user.installed() == {NAME: "0.1.0", "expert-other": "0.1.0"}


@pytest.mark.parametrize("who", [NAME, "expert-other"])
def test_experts_that_exclude_one_another_are_refused(
    who: str, repository: Repository, user: User, tmp_path: Path
) -> None:
    other = "expert-other" if who == NAME else NAME
    excluding = package(tmp_path, name=who, constraints={"incompatible_with": [other]})
    install([PathSource(package(tmp_path, name=other))], user.site())
    with pytest.raises(InstallError, match="exclude one another"):
        install([PathSource(excluding)], user.site())
    assert user.installed() == {other: "0.1.0"}


@pytest.mark.parametrize("signer", [None, "Bo"])
def test_who_is_not_trusted_installs_nothing(
    signer: str | None, user: User, tmp_path: Path
) -> None:
    with pytest.raises(TrustError):
        install([PathSource(package(tmp_path, signer))], user.site())
    assert user.installed() == {}
    install([PathSource(package(tmp_path, signer))], user.site(policy=Policy.WARN))
    assert user.installed() == {NAME: "0.1.0"}


def test_a_broken_package_is_refused_with_its_reason(user: User, tmp_path: Path) -> None:
    made = package(tmp_path)
    data = bytearray(made.read_bytes())
    data[len(data) // 2] ^= 1
    made.write_bytes(data)
    with pytest.raises(PackageError):
        install([PathSource(made)], user.site())
    assert user.installed() == {}


def test_a_grammar_that_no_server_takes_is_refused_before_it_is_installed(
    user: User, tmp_path: Path
) -> None:
    members = {**sample_members(), "grammar.gbnf": b"root ::= nothing\n"}
    made = forged(tmp_path / "p.expert", members, signer=key("Ann"))
    with pytest.raises(PackageError, match="there is no rule named nothing"):
        install([PathSource(made)], user.site())
    assert user.installed() == {}


def test_a_published_version_does_not_change(user: User, tmp_path: Path) -> None:
    install([PathSource(package(tmp_path))], user.site())
    with pytest.raises(InstallError, match="other content than the same version"):
        install([PathSource(package(tmp_path, description="changed"))], user.site())


def test_the_same_version_signed_with_a_new_key_replaces_it(user: User, tmp_path: Path) -> None:
    user.trust_file.unlink()
    user = User(user.home, ("Ann", "Bo"))
    install([PathSource(package(tmp_path))], user.site())
    outcome = install([PathSource(package(tmp_path, "Bo"))], user.site())
    assert actions(outcome) == {NAME: "replace"}
    assert "another key" in outcome.steps[0].notes[0]


def test_without_trust_an_older_version_still_needs_to_be_meant(user: User, tmp_path: Path) -> None:
    rules = user.site(policy=Policy.OFF)
    install([PathSource(package(tmp_path, None, version="0.2.0"))], rules)
    with pytest.raises(InstallError, match="goes back behind"):
        install([PathSource(package(tmp_path, None))], rules)
    install([PathSource(package(tmp_path, None))], rules, pin=True)
    assert user.installed() == {NAME: "0.1.0"}


def test_an_update_that_fails_leaves_the_others_alone(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    other = Repository.at(tmp_path / "repositories" / "other")
    repository.put(package(tmp_path))
    other.put(package(tmp_path, name="expert-other"))
    install([GitSource(repository.url), GitSource(other.url)], user.site())
    repository.put(package(tmp_path, version="0.2.0"))
    other.path.rename(tmp_path / "gone")
    outcome = update([], user.site())
    assert actions(outcome) == {NAME: "upgrade"}
    assert set(outcome.failed) == {"expert-other"}
    assert user.installed() == {NAME: "0.2.0", "expert-other": "0.1.0"}


def test_packages_put_there_by_hand_are_left_alone(user: User, tmp_path: Path) -> None:
    user.directory.mkdir(parents=True)
    by_hand = user.directory / "mine.expert"
    by_hand.write_bytes(package(tmp_path, name="expert-mine").read_bytes())
    install([PathSource(package(tmp_path))], user.site())
    uninstall([NAME], user.site())
    assert by_hand.exists()
    with pytest.raises(InstallError, match="is not installed here"):
        uninstall(["expert-mine"], user.site())


def test_installing_from_elsewhere_is_what_updates_follow(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    install([PathSource(package(tmp_path))], user.site())
    repository.put(package(tmp_path))
    assert actions(install([GitSource(repository.url)], user.site())) == {NAME: "keep"}
    repository.put(package(tmp_path, version="0.2.0"))
    assert actions(update([], user.site())) == {NAME: "upgrade"}


def test_an_update_sees_what_came_into_a_folder(user: User, tmp_path: Path) -> None:
    folder = package(tmp_path).parent
    package(tmp_path, name="expert-other")
    install([PathSource(folder)], user.site())
    package(tmp_path, version="0.2.0")
    assert actions(update([], user.site())) == {NAME: "upgrade", "expert-other": "keep"}
    assert user.installed() == {NAME: "0.2.0", "expert-other": "0.1.0"}


def test_an_update_keeps_to_its_file_where_another_has_the_same_version(
    user: User, tmp_path: Path
) -> None:
    made = package(tmp_path).rename(tmp_path / "mine.expert")
    install([PathSource(made)], user.site())
    changed = package(tmp_path, description="changed")
    changed.rename(made.with_name("other.expert"))
    assert actions(update([], user.site())) == {NAME: "keep"}


def test_the_way_back_in_a_folder(user: User, tmp_path: Path) -> None:
    folder = package(tmp_path).parent
    package(tmp_path, version="0.2.0")
    install([PathSource(folder)], user.site())
    install([parse_source(f"{folder}@0.1.0")], user.site(), pin=True)
    assert user.installed() == {NAME: "0.1.0"}

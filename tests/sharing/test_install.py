"""Installing, updating, going back and removing, from real repositories."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import (
    InstallError,
    ManifestError,
    PackageError,
    Problem,
    RepositoryError,
    TrustError,
)
from hive_expert.package.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from hive_expert.package.trust import Policy
from hive_expert.package.trust_store import TrustStore
from hive_expert.sharing.compatibility import Target
from hive_expert.sharing.install import Outcome, install, install_locked, uninstall, update
from hive_expert.sharing.lock import LOCK_FILE
from hive_expert.sharing.repository import Access
from hive_expert.sharing.source import GitSource, PathSource, parse_source
from tests.package.samples import (
    forged,
    key,
    lora_tensors,
    manifest_document,
    peft_config,
    safetensors,
    sample_members,
)
from tests.sharing.world import NAME, Repository, User, git, package, served


def actions(outcome: Outcome) -> dict[str, str]:
    return {step.name: step.action for step in outcome.steps}


def base_entry(**changes: Any) -> list[dict[str, Any]]:
    """The sample's only entry of `base_models`, changed."""
    return [{**manifest_document()["base_models"][0], **changes}]


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


def test_a_folder_a_file_and_a_working_copy_are_sources(
    repository: Repository, user: User, tmp_path: Path
) -> None:
    file = package(tmp_path)
    for path in (file, file.parent, repository.path):
        if path == repository.path:
            repository.put(file)
        assert NAME in actions(install([PathSource(path)], user.site()))
        uninstall([NAME], user.site())


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
    assert user.installed() == {}
    assert not (user.directory / LOCK_FILE).exists()
    assert not TrustStore.load(user.trust_file).seen


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


@pytest.mark.parametrize(
    ("changes", "target", "reason"),
    [
        ({"base_models": base_entry(name="Qwen/Qwen3-0.6B")}, {}, "is made for Qwen/Qwen3-0.6B"),
        ({"base_models": base_entry(sha256="a" * 64)}, {"fingerprint": "b" * 64}, "weights aaaa"),
        ({}, {"max_rank": 1}, "has rank 2, more than 1"),
        ({"runtime": {"attention_kernel": "nobodys"}}, {}, "attention_kernel"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    changes: dict[str, Any], target: dict[str, Any], reason: str, user: User, tmp_path: Path
) -> None:
    rules = {"names": user.site().target.names, "fingerprint": None} | target
    try:
        made = package(tmp_path, **changes)
    except ManifestError as error:  # pack refuses it as well
        assert reason in str(error)
        return
    with pytest.raises(InstallError, match=reason):
        install([PathSource(made)], user.site(target=Target(**rules)))
    assert user.installed() == {}


def test_the_rank_of_a_pattern_counts(user: User, tmp_path: Path) -> None:
    tensors = lora_tensors(("q_proj",)) | lora_tensors(("v_proj",), rank=3)
    made = forged(
        tmp_path / "expert-sample-smollm2-135m-instruct.v0.1.0.expert",
        {
            ADAPTER_CONFIG: json.dumps(peft_config(rank_pattern={"v_proj": 3})).encode(),
            ADAPTER_WEIGHTS: safetensors(tensors),
        },
        signer=key("Ann"),
    )
    names = user.site().target.names
    with pytest.raises(InstallError, match="has rank 3, more than 2"):
        install([PathSource(made)], user.site(target=Target(names, None, max_rank=2)))
    install([PathSource(made)], user.site(target=Target(names, None, max_rank=3)))
    assert user.installed() == {NAME: "0.1.0"}


def test_the_pinned_weights_decide_not_the_name(user: User, tmp_path: Path) -> None:
    made = package(tmp_path, base_models=base_entry(name="a/copy", sha256="a" * 64))
    target = Target(("b/name",), "a" * 64)
    install([PathSource(made)], user.site(target=target))
    assert user.installed() == {NAME: "0.1.0"}


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


def test_a_fifo_is_no_package(user: User, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "waiting.expert")
    with pytest.raises(InstallError, match="is no file"):
        install([PathSource(tmp_path / "waiting.expert")], user.site())


def test_a_repository_in_a_folder_with_spaces_and_accents(user: User, tmp_path: Path) -> None:
    repository = Repository.at(tmp_path / "my exp\u00e9rts")
    repository.put(package(tmp_path))
    install([PathSource(repository.path)], user.site())
    assert user.installed() == {NAME: "0.1.0"}


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

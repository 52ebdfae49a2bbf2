"""A publisher changes his key: README's walk, at the publisher's desk and at a user's."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hive_expert import locations
from hive_expert.cli import build, hive
from hive_expert.errors import TrustError
from hive_expert.package.open import open_package
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy
from hive_expert.package.trust_store import TrustStore
from tests.package.samples import expert_directory

README = Path(__file__).parents[2] / "README.md"
Shell = Callable[..., Any]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs a command of ours; what it prints as JSON, or on stderr if it fails."""
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    for variable in ("HIVE_TRUST", "HIVE_KEY_PASSPHRASE", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(variable, raising=False)
    programs = {"hive": hive.main, "hive-build": build.main}

    def run(line: str, *arguments: object, exit_code: int = 0) -> Any:
        program, *words = shlex.split(line)
        words += [*map(str, arguments), "--json"]
        result = CliRunner().invoke(programs[program], words)
        assert result.exit_code == exit_code, result.output
        return result.stderr if exit_code else json.loads(result.stdout)

    return run


def key(shell: Shell, folder: Path, name: str) -> tuple[Path, str]:
    """A key file, and the key's id."""
    made = shell("hive-build keygen --name Ann --output", folder / name)
    return folder / name, made["key_id"]


def packed(shell: Shell, directory: Path, version: str, key: Path, to: Path) -> Path:
    manifest = directory / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": version}))
    made = shell("hive-build package", directory, "--key", key, "--output", to)
    return Path(made["path"])


def use(package: Path) -> str | None:
    """What a server does with a package: the trusted publisher, if it may be loaded."""
    trust = TrustStore.load(locations.trust_store())
    store = PackageStore(locations.package_store())
    now = datetime.now(UTC)
    return open_package(package, store=store, trust=trust, policy=Policy.ENFORCE, now=now).publisher


def test_a_key_is_changed_without_a_day_on_which_nothing_is_trusted(
    shell: Shell, tmp_path: Path
) -> None:
    directory = expert_directory(tmp_path)
    old, old_id = key(shell, tmp_path, "ann.pem")
    package = packed(shell, directory, "0.2.0", old, tmp_path / "out")
    shell("hive trust add --names sample", old.with_suffix(".pub.json"))
    assert use(package) == "Ann"

    # The publisher makes a new key and signs anew; the members stay as they are.
    new, new_id = key(shell, tmp_path, "ann-2.pem")
    renewed = tmp_path / "renewed.expert"
    shell("hive-build sign", package, "--key", new, "--output", renewed)
    assert new_id[:16] in shell("hive-build verify", renewed, exit_code=1)

    # The user believes both for a while, by the same names.
    shell("hive trust add --names sample", new.with_suffix(".pub.json"))
    assert use(renewed) == use(package) == "Ann"

    # Then the old one goes. A name is no answer to which of the two.
    assert "fits 2 keys" in shell("hive trust remove Ann", exit_code=2)
    shell("hive trust remove", old_id[:16])
    assert use(renewed) == "Ann"
    with pytest.raises(TrustError, match="you revoked"):
        use(package)
    assert "you revoked" in shell("hive-build verify --trust warn", package, exit_code=1)
    assert "--forget" in shell("hive trust add", old.with_suffix(".pub.json"), exit_code=2)
    keys = {entry["key_id"]: entry["revoked"] for entry in shell("hive trust list")["keys"]}
    assert keys[new_id] is None
    assert keys[old_id] is not None


def test_what_was_signed_before_the_revocation_is_refused_too(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief of the key writes any date; so the date in a package is no excuse."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    old, old_id = key(shell, tmp_path, "ann.pem")
    package = packed(shell, expert_directory(tmp_path), "0.2.0", old, tmp_path / "out")
    shell("hive trust add", old.with_suffix(".pub.json"))
    shell("hive trust remove", old_id)
    assert "you revoked" in shell("hive-build verify", package, exit_code=1)


def test_the_new_key_does_not_reset_the_memory_of_versions(shell: Shell, tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    old, old_id = key(shell, tmp_path, "ann.pem")
    new, _ = key(shell, tmp_path, "ann-2.pem")
    shell("hive trust add", old.with_suffix(".pub.json"))
    use(packed(shell, directory, "0.2.0", old, tmp_path / "out"))
    shell("hive trust add", new.with_suffix(".pub.json"))
    shell("hive trust remove --forget", old_id)

    older = packed(shell, directory, "0.1.0", new, tmp_path / "out")
    assert "goes back behind 0.2.0" in shell("hive-build verify", older, exit_code=1)
    shell("hive trust pin expert-sample 0.1.0")
    assert use(older) == "Ann"


def test_a_pin_to_a_version_outlasts_the_change_and_one_to_a_file_does_not(
    shell: Shell, tmp_path: Path
) -> None:
    directory = expert_directory(tmp_path)
    old, _ = key(shell, tmp_path, "ann.pem")
    new, _ = key(shell, tmp_path, "ann-2.pem")
    for file in (old, new):
        shell("hive trust add", file.with_suffix(".pub.json"))
    package = packed(shell, directory, "0.2.0", old, tmp_path / "out")
    renewed = tmp_path / "renewed.expert"
    signed = shell("hive-build sign", package, "--key", new, "--output", renewed)

    shell("hive trust pin expert-sample 0.2.0")
    assert use(renewed) == "Ann"
    digest = shell("hive-build inspect", package)["digest"]
    assert digest != signed["digest"]
    shell("hive trust pin expert-sample", digest)
    assert "is pinned to" in shell("hive-build verify", renewed, exit_code=1)


def test_the_readme_tells_these_steps(shell: Shell, tmp_path: Path) -> None:
    """Its commands, with its file names, do what the text beside them says."""
    section = README.read_text().split("### Changing a key\n", 1)[1].split("\n## ")[0]
    lines = re.findall(r"^hive.*", section, re.MULTILINE)
    (name,) = set(re.findall(r"\S+\.expert\b", " ".join(lines)))
    directory = expert_directory(tmp_path)
    old, old_id = key(shell, tmp_path, "old.pem")
    package = packed(shell, directory, "0.1.0", old, tmp_path)
    shutil.copy(package, tmp_path / name)
    shell("hive trust add", old.with_suffix(".pub.json"))
    home = str(tmp_path / "home" / "config")
    for line in lines:
        words = line.replace("3f9a1c77d0b2e845", old_id[:16]).replace("~/.config/hive", home)
        words = words.replace(" expert-sql-", f" {tmp_path}/expert-sql-")
        words = words.replace(" publisher-2", f" {home}/keys/publisher-2")
        shell(words)
    assert use(tmp_path / name) == "Your name"
    with pytest.raises(TrustError):
        use(package)

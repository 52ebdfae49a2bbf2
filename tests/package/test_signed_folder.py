"""A package that lies unpacked is worth what its file is: all is signed, or nothing is used."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hive_expert.errors import HiveError, TrustError
from hive_expert.package import layout, signed_folder
from hive_expert.package.open import VerifiedPackage, open_package
from hive_expert.package.signed_folder import is_signed, packed, skim_folder
from hive_expert.package.skim import skim
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy
from tests.package.samples import NOW, key, package, trusting

WEIGHTS = layout.ADAPTER_WEIGHTS


def unpacked(parent: Path) -> tuple[Path, Path]:
    """Ann's package, and the folder that `tar` makes of it."""
    parent.mkdir(exist_ok=True)
    path, folder = package(parent, key()), parent / "expert-unpacked"
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return path, folder


def opened(folder: Path, policy: Policy = Policy.ENFORCE, *trusted: str) -> VerifiedPackage:
    """As a server does it: first a look, then all."""
    skim_folder(folder)
    store, trust = PackageStore(folder.parent / "store"), trusting(*trusted)
    with packed(folder) as path:
        return open_package(path, store=store, trust=trust, policy=policy, now=NOW)


def test_it_is_what_its_package_is(tmp_path: Path) -> None:
    path, folder = unpacked(tmp_path)
    assert is_signed(folder)
    assert skim_folder(folder) == skim(path)
    found = opened(folder, Policy.ENFORCE, "Ann")
    assert (found.facts, found.publisher) == (skim(path).facts, "Ann")
    # Nothing reads the user's folder again.
    assert found.directory.is_relative_to(tmp_path / "store")
    (folder / WEIGHTS).write_bytes(b"something else")
    assert (found.directory / WEIGHTS).read_bytes() != b"something else"


@pytest.mark.parametrize("policy", list(Policy))
def test_trust_decides_as_for_a_package(tmp_path: Path, policy: Policy) -> None:
    _, folder = unpacked(tmp_path)
    if policy is Policy.ENFORCE:
        with pytest.raises(TrustError):
            opened(folder, policy)
        return
    found = opened(folder, policy)
    assert found.publisher is None
    assert bool(found.decision.warnings) is (policy is Policy.WARN)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_by_link(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def huge(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(layout.max_bytes(path.name) + 1)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "weights": lambda f: flip(f / WEIGHTS),
    "manifest": lambda f: (f / "manifest.json").write_bytes(
        (f / "manifest.json").read_bytes().replace(b"A sample.", b"Another. ")
    ),
    "no JSON": lambda f: flip(f / "signature.sig"),
    "readme": lambda f: flip(f / "README.md"),
    "grammar": lambda f: (f / "grammar.gbnf").write_text('root ::= "b"\n'),
    "missing": lambda f: (f / "LICENSE").unlink(),
    "no weights": lambda f: (f / WEIGHTS).unlink(),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "undeclared": lambda f: (
        (f / "soft_prompts").mkdir(),
        (f / "soft_prompts" / "x.safetensors").write_bytes(b"x"),
    ),
    "code": lambda f: (f / "setup.py").write_text(""),
    "hidden": lambda f: (f / ".env").write_text(""),
    "a folder": lambda f: (f / "datasets").mkdir(),
    "a folder for a file": lambda f: ((f / "LICENSE").unlink(), (f / "LICENSE").mkdir()),
    "link": lambda f: replace_by_link(f / "README.md"),
    "link for weights": lambda f: replace_by_link(f / WEIGHTS),
    "link for a folder": lambda f: replace_by_link(f / "adapter"),
    "FIFO": lambda f: replace_by_fifo(f / "LICENSE"),
    "too large": lambda f: huge(f / "README.md"),
    "link for the signature": lambda f: (
        (f / "signature.sig").unlink(),
        (f / "signature.sig").symlink_to("nowhere"),
    ),
}


@pytest.mark.parametrize("policy", [Policy.ENFORCE, Policy.OFF])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_one_that_differs_is_refused(
    tmp_path: Path, damage: Callable[[Path], object], policy: Policy
) -> None:
    _, folder = unpacked(tmp_path)
    damage(folder)
    assert is_signed(folder)
    with pytest.raises(HiveError):
        opened(folder, policy, "Ann")
    assert PackageStore(tmp_path / "store").collect() == ()


def test_too_many_and_too_much_are_not_even_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = unpacked(tmp_path)
    for name, limit in (("MAX_MEMBERS", 3), ("MAX_UNPACKED_BYTES", 100)):
        with monkeypatch.context() as patch:
            patch.setattr(signed_folder, name, limit)
            with pytest.raises(HiveError, match="larger than a package"):
                skim_folder(folder)


def test_weights_are_not_read_by_a_first_look(tmp_path: Path) -> None:
    path, folder = unpacked(tmp_path)
    flip(folder / WEIGHTS)
    assert skim_folder(folder) == skim(path)


def test_one_without_a_signature_is_none(tmp_path: Path) -> None:
    _, folder = unpacked(tmp_path)
    (folder / "signature.sig").unlink()
    assert not is_signed(folder)

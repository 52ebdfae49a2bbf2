"""The files in tests/vectors mean what they meant when they were released."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from hive_expert import errors
from hive_expert.cli.build import main
from hive_expert.errors import ManifestError
from hive_expert.manifest.parse import dump_manifest, parse_manifest
from hive_expert.package.keys import load_public_key
from hive_expert.package.open import examine_package, open_package
from hive_expert.package.pack import build_package
from hive_expert.package.statement import signed_message
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy
from hive_expert.package.trust_store import TrustStore
from tests.package.samples import NOW, key, trusting

VECTORS = Path(__file__).parents[1] / "vectors"
VERSION_1 = sorted(VECTORS.glob("valid/v1-*.json"))
VALID = sorted(set(VECTORS.glob("valid/*.json")) - set(VERSION_1))
INVALID = sorted(p for p in VECTORS.glob("invalid/*.json") if p.name != "places.json")
RELEASED = sorted(VECTORS.glob("released/*/*.expert"))
REFUSED = sorted(VECTORS.glob("refused/*.expert"))
REASONS = json.loads((VECTORS / "refused" / "errors.json").read_bytes())
SOURCES = sorted(VECTORS.glob("released/*/source"))
RELEASED_AT = "1767225600"  # 2026-01-01, as in the packages


def stem(path: Path) -> str:
    return path.stem


def test_there_are_vectors() -> None:
    assert len(VALID) >= 5
    assert len(VERSION_1) >= 4
    assert len(INVALID) >= 15
    assert len(RELEASED) >= 2
    assert SOURCES
    assert {path.stem for path in REFUSED} == set(REASONS)
    assert len(REFUSED) >= 24


@pytest.mark.parametrize("path", VALID, ids=stem)
def test_valid_manifests_are_read_and_written_back(path: Path) -> None:
    assert dump_manifest(parse_manifest(path.read_bytes())) == path.read_bytes()


@pytest.mark.parametrize("path", VERSION_1, ids=stem)
def test_manifests_of_version_1_are_written_as_their_version_2(path: Path) -> None:
    migrated = path.with_name(f"v2-of-{path.name}")
    assert dump_manifest(parse_manifest(path.read_bytes())) == migrated.read_bytes()


@pytest.mark.parametrize("path", INVALID, ids=stem)
def test_invalid_manifests_are_refused_at_the_one_place(path: Path) -> None:
    places = json.loads((VECTORS / "invalid" / "places.json").read_bytes())
    place = places.get(path.stem)
    if place is None:
        place = json.loads(path.read_bytes())["_place"]
    with pytest.raises(ManifestError) as caught:
        parse_manifest(path.read_bytes(), "m.json")
    (problem,) = caught.value.problems
    assert problem.where == (f"m.json: {place}" if place else "m.json")


def in_release(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", RELEASED, ids=in_release)
def test_released_packages_are_opened(path: Path, store: PackageStore) -> None:
    publisher = load_public_key(path.with_name("publisher.pub.json"))
    trust = TrustStore().with_key(publisher, ("*",), NOW)
    package = open_package(path, store=store, trust=trust, policy=Policy.ENFORCE, now=NOW)
    message = path.with_suffix(".message").read_bytes()
    assert package.digest == hashlib.sha256(message).hexdigest()
    hashes = {member.path: member.sha256 for member in examine_package(path).members}
    assert signed_message(hashes) == message


@pytest.mark.parametrize("path", REFUSED, ids=stem)
def test_refused_packages_are_refused_for_what_is_wrong_with_them(
    path: Path, store: PackageStore
) -> None:
    reason = REASONS[path.stem]
    with pytest.raises(getattr(errors, reason["error"]), match=re.escape(reason["about"])):
        open_package(path, store=store, trust=trusting("Vectors"), policy=Policy.ENFORCE, now=NOW)
    assert not [place for place in store.root.glob("*") if re.fullmatch("[0-9a-f]{64}", place.name)]


@pytest.mark.parametrize("directory", SOURCES, ids=in_release)
def test_released_packages_are_built_from_their_sources_byte_for_byte(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", RELEASED_AT)
    signer = key("Vectors")
    built = build_package(directory, model="smollm2-135m", output=tmp_path, signer=signer)
    released = directory.parent / built.path.name
    assert built.path.read_bytes() == released.read_bytes()
    sidecar = f"{released.name}.sha256"
    assert (tmp_path / sidecar).read_bytes() == (directory.parent / sidecar).read_bytes()


@pytest.mark.parametrize("path", RELEASED, ids=in_release)
def test_released_packages_are_shown_with_all_they_were_shown_with(path: Path) -> None:
    """Later versions may say more of a package, and nothing else."""
    shown = CliRunner().invoke(main, ["inspect", str(path), "--json"])
    expected = json.loads(path.with_suffix(".inspect.json").read_bytes())
    assert json.loads(shown.stdout) | expected == json.loads(shown.stdout)
    assert expected["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()

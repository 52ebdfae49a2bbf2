"""A package's manifest and signature are known without reading its weights; nothing else is."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from hive_expert.errors import ArchiveError, HiveError, IntegrityError, SignatureError
from hive_expert.package.archive import Entry, write_archive
from hive_expert.package.gzip_stream import stored
from hive_expert.package.layout import ADAPTER_WEIGHTS
from hive_expert.package.open import examine_package
from hive_expert.package.skim import skim
from tests.package.samples import forged, key, package, sample_members, soft_prompt_tensors
from tests.package.samples import safetensors as to_bytes


def test_it_finds_what_opening_finds(tmp_path: Path) -> None:
    path = package(tmp_path, key())
    skimmed, whole = skim(path), examine_package(path)
    assert (skimmed.manifest, skimmed.facts) == (whole.manifest, whole.facts)


def test_an_unsigned_package_is_one(tmp_path: Path) -> None:
    assert skim(package(tmp_path)).facts.key_id is None


def test_weights_of_several_blocks_are_passed_over(tmp_path: Path) -> None:
    """Larger than a stored block, than a chunk of the writer, and of no round size."""
    for size in (65_535, 65_536, (1 << 20) + 512, (3 << 20) + 17):
        members = sample_members() | {ADAPTER_WEIGHTS: b"x" * size}
        path = forged(tmp_path / f"{size}.expert", members, signer=key())
        assert skim(path).facts.key_id == key().key_id


def test_weights_are_not_read(tmp_path: Path) -> None:
    """So damage there goes unnoticed, which is why nothing skimmed may be loaded."""
    path = forged(tmp_path / "p.expert", sample_members(), signer=key())
    data = bytearray(path.read_bytes())
    weights = sample_members()[ADAPTER_WEIGHTS]
    at = bytes(data).index(weights[-64:])
    data[at + 10] ^= 1
    path.write_bytes(data)
    assert skim(path).facts.key_id == key().key_id
    with pytest.raises(HiveError):
        examine_package(path)


def test_a_manifest_that_was_changed_breaks_the_signature(tmp_path: Path) -> None:
    sound = forged(tmp_path / "a.expert", sample_members(), signer=key())
    members = {**sample_members()}
    other = forged(
        tmp_path / "b.expert", members, signer=key(), manifest={"description": "Another."}
    )
    mixed = tmp_path / "mixed.expert"
    _exchange_member(sound, other, "manifest.json", mixed)
    with pytest.raises(SignatureError):
        skim(mixed)


def test_declared_weights_that_are_not_there_are_missed(tmp_path: Path) -> None:
    members = sample_members()
    path = forged(tmp_path / "p.expert", members)
    _without_member(path, ADAPTER_WEIGHTS)
    with pytest.raises(IntegrityError, match="missing"):
        skim(path)


def test_undeclared_weights_are_found(tmp_path: Path) -> None:
    members = sample_members()
    path = forged(tmp_path / "p.expert", members)
    _with_member(path, "soft_prompts/extra.safetensors", to_bytes(soft_prompt_tensors()))
    with pytest.raises(IntegrityError, match="not declared"):
        skim(path)


def test_weights_in_a_flood_of_tiny_blocks_are_not_followed(tmp_path: Path) -> None:
    """Each would cost a look at the file, and two gigabytes have room for very many."""
    header = forged(tmp_path / "p.expert", {ADAPTER_WEIGHTS: bytes(1_000_000)})
    plain = gzip.decompress(header.read_bytes())
    pieces = (plain[:512], *(plain[at : at + 1] for at in range(512, 1_000_512)))
    header.write_bytes(b"".join(stored(pieces)))
    started = time.process_time()
    with pytest.raises(ArchiveError, match="not laid out"):
        skim(header)
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize("left", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, left: float) -> None:
    members = sample_members() | {ADAPTER_WEIGHTS: b"x" * 300_000}
    path = forged(tmp_path / "p.expert", members, signer=key())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])
    with pytest.raises(ArchiveError):
        skim(path)


def test_every_byte_outside_the_weights_counts(tmp_path: Path) -> None:
    """Flipped, it is refused or makes no difference to what is found."""
    path = forged(tmp_path / "p.expert", sample_members(), signer=key())
    data, sound = path.read_bytes(), skim(path)
    start = data.index(sample_members()[ADAPTER_WEIGHTS][:64])
    inside = range(start, start + len(sample_members()[ADAPTER_WEIGHTS]) + 600)
    refused = 0
    places = [place for place in range(0, len(data), 7) if place not in inside]
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            assert skim(path) == sound
        except HiveError:
            refused += 1
    assert refused > 0.95 * len(places)


def _members_of(path: Path) -> dict[str, bytes]:
    import tarfile

    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]  # all are files


def _write(path: Path, members: dict[str, bytes]) -> None:
    with path.open("wb") as file:
        write_archive([Entry(name, data) for name, data in members.items()], file, mtime=0)


def _exchange_member(one: Path, other: Path, name: str, output: Path) -> None:
    _write(output, _members_of(one) | {name: _members_of(other)[name]})


def _without_member(path: Path, name: str) -> None:
    members = _members_of(path)
    del members[name]
    _write(path, members)


def _with_member(path: Path, name: str, data: bytes) -> None:
    _write(path, _members_of(path) | {name: data})

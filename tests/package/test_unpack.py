"""The one reading of a package: what it finds, and what it writes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hive_expert.errors import ArchiveError, TensorError
from hive_expert.package.layout import ADAPTER_WEIGHTS, SIGNATURE
from hive_expert.package.tensors import MAX_SOFT_PROMPT_TENSORS
from hive_expert.package.unpack import DOCUMENTS, Unpacked, file_sha256, reading, unpack
from tests.package.samples import forged, key, safetensors, sample_members, written

ONE = ("BF16", (1,), b"\x80\x3f")


def unpacked(path: Path, folder: Path | None = None) -> Unpacked:
    with reading(path) as file:
        return unpack(file, path.name, folder=folder)


def files_below(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return forged(tmp_path / "p.expert", sample_members(), signer=key("Ann"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_hashes_are_those_of_what_is_written_and_of_the_signature(path: Path, out: Path) -> None:
    found = unpacked(path, out)
    files = files_below(out)
    assert SIGNATURE not in files
    files[SIGNATURE] = found.documents[SIGNATURE]
    assert found.hashes == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert found.sizes == {name: len(data) for name, data in files.items()}
    assert found.documents == {name: files[name] for name in DOCUMENTS & files.keys()}


def test_nothing_is_written_without_a_folder_and_the_same_is_found(
    path: Path, out: Path, tmp_path: Path
) -> None:
    before = files_below(tmp_path)
    found = unpacked(path)
    assert files_below(tmp_path) == before
    assert unpacked(path, out) == found


def test_what_is_written_is_for_the_user_to_read_and_nobody_to_change(
    path: Path, out: Path
) -> None:
    unpacked(path, out)
    for name in files_below(out):
        assert (out / name).stat().st_mode & 0o777 == 0o400
    assert (out / "adapter").stat().st_mode & 0o777 == 0o700


def test_the_hash_of_the_file_is_that_of_all_its_bytes(path: Path) -> None:
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_broken_weights_are_read_to_their_end_and_told_with_the_rest(tmp_path: Path) -> None:
    members = sample_members() | {ADAPTER_WEIGHTS: b"no weights" * 100_000}
    found = unpacked(forged(tmp_path / "p.expert", members))
    assert isinstance(found.weights[ADAPTER_WEIGHTS], TensorError)
    assert found.hashes[ADAPTER_WEIGHTS] == hashlib.sha256(b"no weights" * 100_000).hexdigest()


@pytest.mark.parametrize("count", [MAX_SOFT_PROMPT_TENSORS, MAX_SOFT_PROMPT_TENSORS + 1])
def test_a_soft_prompt_of_many_tensors_is_not_looked_at_further(tmp_path: Path, count: int) -> None:
    """63 of them with ten thousand tensors each would take seconds and 200 MB."""
    prompt = "soft_prompts/s.safetensors"
    many = safetensors({f"t{n}": ONE for n in range(count)})
    found = unpacked(written(tmp_path / "p.expert", {prompt: many})).weights[prompt]
    assert isinstance(found, TensorError) == (count > MAX_SOFT_PROMPT_TENSORS)


@pytest.mark.parametrize("text", [b"\xff", b"caf\xc3", b"\xed\xa0\x80"])
def test_text_that_is_not_utf8_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"p\.expert: README\.md: is not UTF-8 text"):
        unpacked(written(tmp_path / "p.expert", {"README.md": text}))

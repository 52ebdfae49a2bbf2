"""The container: written in one way, read in no other."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from hive_expert.errors import ArchiveError
from hive_expert.package import archive, gzip_stream
from hive_expert.package.archive import Entry, read_archive, write_archive
from hive_expert.package.gzip_stream import deflated, stored

CONTENT = {
    "LICENSE": b"free\n",
    "README.md": b"# hello\n" * 100,
    "adapter/adapter_model.safetensors": bytes(range(256)) * 700,
    "grammar.gbnf": b"",
    "manifest.json": b"{}",
}


def packed(members: dict[str, bytes], mtime: int = 0) -> bytes:
    out = io.BytesIO()
    write_archive([Entry(path, data) for path, data in members.items()], out, mtime=mtime)
    return out.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    members = read_archive(io.BytesIO(data), len(data), "p.expert")
    return {member.path: b"".join(member.chunks) for member in members}


def test_what_is_written_is_read() -> None:
    assert unpacked(packed(CONTENT)) == CONTENT


def test_the_order_of_entries_does_not_matter() -> None:
    assert packed(dict(reversed(CONTENT.items()))) == packed(CONTENT)


def test_members_come_in_byte_order() -> None:
    assert list(unpacked(packed(CONTENT))) == sorted(CONTENT)


def test_weights_are_stored_and_text_is_deflated() -> None:
    weights = CONTENT["adapter/adapter_model.safetensors"]
    data = packed(CONTENT)
    assert weights[:60_000] in data
    assert CONTENT["README.md"] not in data


def test_headers_are_those_of_tarfile_in_ustar_format() -> None:
    """A second implementation agrees on every byte."""
    reference = io.BytesIO()
    with tarfile.open(fileobj=reference, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in sorted(CONTENT.items()):
            info = tarfile.TarInfo(path)
            info.size, info.mtime, info.mode = len(data), 1_700_000_000, 0o644
            tar.addfile(info, io.BytesIO(data))
    ours = gzip.decompress(packed(CONTENT, mtime=1_700_000_000))
    assert reference.getvalue().rstrip(b"\0") == ours.rstrip(b"\0")


def test_tar_lists_and_unpacks_it(tmp_path: Path) -> None:
    (tmp_path / "p.tar.gz").write_bytes(packed(CONTENT))
    listed = subprocess.run(
        ["tar", "-tzf", "p.tar.gz"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert listed.stdout.split() == sorted(CONTENT)
    assert listed.stderr == ""
    subprocess.run(["tar", "-xzf", "p.tar.gz"], cwd=tmp_path, check=True)
    assert {p: (tmp_path / p).read_bytes() for p in CONTENT} == CONTENT


def test_a_long_path_is_split_as_ustar_does() -> None:
    path = "soft_prompts/" + "a" * 99 + ".safetensors"
    assert len(path) > 100
    with pytest.raises(ArchiveError):
        packed({path: b"x"})
    path = "soft_prompts/" + "a" * 88 + ".safetensors"
    assert len(path) > 100
    assert unpacked(packed({path: b"x"})) == {path: b"x"}


def tar(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.USTAR_FORMAT) -> bytes:  # noqa: A002  # tarfile's word
    """A gzip'd archive by tarfile, which writes whatever it is told."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive_:
        for info, data in members:
            archive_.addfile(info, io.BytesIO(data))
    return deflated(out.getvalue())


def member(path: str = "README.md", size: int = 1, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.size = size
    for name, value in fields.items():
        setattr(info, name, value)
    return info


def test_tarfile_writes_what_we_accept() -> None:
    """The refusals below are for their one corruption, not for being tarfile's work."""
    assert unpacked(tar((member(), b"x"))) == {"README.md": b"x"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.CHRTYPE, "character device"),
        (tarfile.BLKTYPE, "block device"),
        (tarfile.DIRTYPE, "directory"),
        (tarfile.FIFOTYPE, "FIFO"),
        (tarfile.CONTTYPE, "contiguous file"),
        (tarfile.AREGTYPE, "not a regular file"),
        (tarfile.GNUTYPE_SPARSE, "sparse file"),
        (tarfile.GNUTYPE_LONGNAME, "GNU long name"),
        (tarfile.XHDTYPE, "pax header"),
        (tarfile.XGLTYPE, "pax header"),
        (b"Z", "not a regular file"),
    ],
)
def test_only_regular_files_are_read(kind: bytes, name: str) -> None:
    with pytest.raises(ArchiveError, match=name):
        unpacked(tar((member(size=0, type=kind, linkname="LICENSE"), b"")))


def test_pax_headers_are_refused() -> None:
    info = member(pax_headers={"path": "../README.md"})
    with pytest.raises(ArchiveError, match="pax"):
        unpacked(tar((info, b"x"), format=tarfile.PAX_FORMAT))


def test_gnu_archives_are_refused() -> None:
    with pytest.raises(ArchiveError, match="not a ustar archive"):
        unpacked(tar((member(), b"x"), format=tarfile.GNU_FORMAT))


@pytest.mark.parametrize(
    "path",
    [
        "/README.md",
        "../README.md",
        "tests/../README.md",
        "./README.md",
        "tests//test_cases.json",
        "README.md\nmanifest.json",
        "README .md",
        "RÉADME.md",
        "README.md:stream",
        "C:README.md",
        "tests\\test_cases.json",
    ],
)
def test_unsafe_names_are_refused(path: str) -> None:
    with pytest.raises(ArchiveError, match="the name"):
        unpacked(tar((member(path), b"x")))


@pytest.mark.parametrize(
    "path",
    [
        "adapter/adapter_model.bin",
        "soft_prompts/tone.pt",
        "weights.pkl",
        "__init__.py",
        ".statement",
        ".sha256sums",
        "tests/test_cases.json/x",
        "adapter",
    ],
)
def test_members_outside_the_format_are_refused(path: str) -> None:
    with pytest.raises(ArchiveError, match=r"not a member|can carry code"):
        unpacked(packed({path: b"x"}))


def test_a_member_twice_is_refused() -> None:
    with pytest.raises(ArchiveError, match="twice"):
        unpacked(tar((member(), b"x"), (member(), b"y")))


def test_names_that_differ_in_case_only_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "unexpected_member", lambda path: None)
    with pytest.raises(ArchiveError, match="case only"):
        unpacked(packed({"README.md": b"x", "readme.md": b"y"}))


def test_members_out_of_order_are_refused() -> None:
    with pytest.raises(ArchiveError, match="byte order"):
        unpacked(tar((member("README.md"), b"x"), (member("LICENSE"), b"y")))


@pytest.mark.parametrize(
    "fields",
    [
        {"uid": 1000},
        {"gid": 1000},
        {"uname": "ann"},
        {"gname": "ann"},
        {"mode": 0o755},
        {"mode": 0o4644},
        {"linkname": "LICENSE"},
        {"devmajor": 1, "type": b"0"},
    ],
)
def test_header_fields_have_one_value(fields: dict[str, object]) -> None:
    info = member(**fields)
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    if "devmajor" in fields:
        block[329:337] = b"0000001\0"
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
    data = bytes(block) + b"x".ljust(512, b"\0") + bytes(1024)
    with pytest.raises(ArchiveError, match="canonical"):
        unpacked(deflated(data))


def plain(change: Callable[[bytearray], None]) -> bytes:
    """A one-member archive with a change to its plain bytes."""
    data = bytearray(gzip.decompress(packed({"README.md": b"x"})))
    change(data)
    return deflated(bytes(data))


def test_a_wrong_checksum_is_refused() -> None:
    def change(data: bytearray) -> None:
        data[148:154] = b"000000"

    with pytest.raises(ArchiveError, match="canonical"):
        unpacked(plain(change))


@pytest.mark.parametrize(
    "size", [b"-0000000001\0", b"00000000 01\0", b"\x80" + bytes(10) + b"\x01", b"000000000019"]
)
def test_a_size_that_is_not_plain_octal_is_refused(size: bytes) -> None:
    def change(data: bytearray) -> None:
        data[124:136] = size

    with pytest.raises(ArchiveError, match="damaged size"):
        unpacked(plain(change))


def test_data_in_the_padding_is_refused() -> None:
    def change(data: bytearray) -> None:
        data[512 + 100] = 1

    with pytest.raises(ArchiveError, match="padding"):
        unpacked(plain(change))


def test_data_after_the_end_is_refused() -> None:
    def change(data: bytearray) -> None:
        data += b"x".ljust(512, b"\0")

    with pytest.raises(ArchiveError, match="after its end"):
        unpacked(plain(change))


def test_one_zero_block_is_no_end() -> None:
    def change(data: bytearray) -> None:
        del data[-512:]

    with pytest.raises(ArchiveError, match="does not end"):
        unpacked(plain(change))


def test_endless_padding_is_refused() -> None:
    def change(data: bytearray) -> None:
        data += bytes(512 * 40)

    with pytest.raises(ArchiveError, match=r"does not end|unpacks to"):
        unpacked(plain(change))


def test_a_size_beyond_the_content_is_refused() -> None:
    info = member(size=5000)
    data = info.tobuf(tarfile.USTAR_FORMAT) + b"x" * 512
    with pytest.raises(ArchiveError, match="middle of a member"):
        unpacked(deflated(data))


def test_a_flood_of_empty_gzip_members_is_refused_at_once() -> None:
    """Each costs a copy of what was read ahead; `gzip -d` takes any number of them."""
    data = packed({"README.md": b"x"})
    sixty_two = deflated(b"") * 62
    assert unpacked(sixty_two + data) == {"README.md": b"x"}
    with pytest.raises(ArchiveError, match="more than 65 gzip members"):
        unpacked(sixty_two + deflated(b"") * 2 + data)
    started = time.perf_counter()
    with pytest.raises(ArchiveError, match="more than 65 gzip members"):
        unpacked(deflated(b"") * 100_000)
    assert time.perf_counter() - started < 0.5


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 4)
    with pytest.raises(ArchiveError, match="more than 4 members"):
        unpacked(packed(CONTENT))


def test_sixty_five_soft_prompts_are_too_many() -> None:
    members = {f"soft_prompts/{n:02}.safetensors": b"x" for n in range(65)}
    with pytest.raises(ArchiveError, match="more than 64 members"):
        unpacked(packed(members))


def test_a_large_manifest_is_refused_by_its_header() -> None:
    data = packed({"manifest.json": random.Random(0).randbytes((1 << 20) + 1)})
    with pytest.raises(ArchiveError, match=r"manifest\.json: has .* more than the 1048576"):
        unpacked(data)


def test_a_bomb_is_refused_after_little_output() -> None:
    """10 MiB of zeros in 10 KiB: a ratio of 1,000."""
    bomb = packed({"README.md": bytes(10 << 20)})
    with pytest.raises(ArchiveError, match="200 times"):
        unpacked(bomb)


def test_the_total_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_stream, "MAX_UNPACKED_BYTES", 100_000)
    with pytest.raises(ArchiveError, match="unpacks to more than 100000"):
        unpacked(packed(CONTENT))


def test_memory_stays_flat() -> None:
    """64 MiB of weights pass through in blocks."""
    file = io.BytesIO(packed({"adapter/adapter_model.safetensors": bytes(64 << 20)}))
    size = len(file.getvalue())
    tracemalloc.start()
    for entry in read_archive(file, size, "p"):
        for _ in entry.chunks:
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_another_gzip_header_is_refused() -> None:
    with pytest.raises(ArchiveError, match="gzip as hive-build writes it"):
        unpacked(gzip.compress(gzip.decompress(packed(CONTENT))))


def test_a_file_that_is_no_gzip_is_refused() -> None:
    with pytest.raises(ArchiveError, match="gzip as hive-build writes it"):
        unpacked(b"PK\x03\x04" + bytes(100))


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ArchiveError, match="end-of-archive"):
        unpacked(b"")


@pytest.mark.parametrize("position", [-1, -5])
def test_a_wrong_gzip_trailer_is_refused(position: int) -> None:
    data = bytearray(deflated(gzip.decompress(packed(CONTENT))))
    data[position] ^= 1
    with pytest.raises(ArchiveError, match="checksum"):
        unpacked(bytes(data))


def test_stored_members_are_plain_gzip() -> None:
    chunks = [b"a" * 70_000, b"", b"b" * 3]
    assert gzip.decompress(b"".join(stored(chunks))) == b"".join(chunks)

"""One reading of a package file, in which all is hashed, checked and written. SPEC section 4."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, BufferedWriter
from pathlib import Path

from hive_expert.errors import ArchiveError, PackageError, Problem, TensorError
from hive_expert.package.archive import Member, read_archive
from hive_expert.package.gzip_stream import MAX_UNPACKED_BYTES
from hive_expert.package.hashing import Hash, HashingThread
from hive_expert.package.layout import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    GRAMMAR,
    MANIFEST,
    SIGNATURE,
    is_weights,
)
from hive_expert.package.tensors import (
    MAX_SOFT_PROMPT_TENSORS,
    MAX_TENSORS,
    Tensor,
    scan_tensors,
)

# gzip adds 5 bytes to each 64 KiB it stores, so a packed file is hardly larger than its content.
MAX_PACKED_BYTES = MAX_UNPACKED_BYTES + (1 << 20)


DOCUMENTS = frozenset({MANIFEST, SIGNATURE, ADAPTER_CONFIG, GRAMMAR})
"""The members that verification reads as a whole; none may have more than a mebibyte."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What was found in a package file, all in one reading. Nothing of it is believed yet.

    ``hashes`` (SHA-256) and ``sizes`` are those of its members.
    ``documents`` are the contents of the members in :data:`DOCUMENTS`; ``weights`` the tensors
    of each weight file, or what is wrong with them.
    """

    hashes: Mapping[str, str]
    sizes: Mapping[str, int]
    documents: Mapping[str, bytes]
    weights: Mapping[str, tuple[Tensor, ...] | TensorError]


@contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """The package file, open. A failing read or write in the block becomes a PackageError."""
    try:
        # Opening a FIFO would otherwise wait for somebody to write into it.
        with open(
            path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        ) as file:  # Path.open takes no opener
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise PackageError(Problem(str(path), "is not a file"))
            if state.st_size > MAX_PACKED_BYTES:
                raise ArchiveError(
                    Problem(path.name, f"is larger than the {MAX_PACKED_BYTES} bytes allowed")
                )
            yield file
    except OSError as exc:
        problem = Problem(str(exc.filename or path), exc.strerror or "cannot be read")
        raise PackageError(problem) from exc


def file_sha256(path: Path) -> str:
    """SHA-256 of a package file, as its sidecar states it. Nothing is decided by it."""
    with reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(file: BufferedReader, where: str, *, folder: Path | None = None) -> Unpacked:
    """Read a package file once, in constant memory, and look at every byte of it.

    The members are written below ``folder``, if there is one, as they are hashed and checked: what
    is there afterwards is what was looked at. The signature is not among them: it is about them.
    Raises ArchiveError at the first thing that is not in the format; ``folder`` is then to be
    thrown away.
    """
    packed_bytes = os.fstat(file.fileno()).st_size
    with HashingThread() as hashing:
        members = read_archive(file, packed_bytes, where, take=hashing.buffer)
        received = {m.path: _receive(m, hashing, folder, where) for m in members}
    return Unpacked(
        {path: member.hashed.hexdigest() for path, member in received.items()},
        {path: member.size for path, member in received.items()},
        {path: m.document for path, m in received.items() if m.document is not None},
        {path: m.tensors for path, m in received.items() if m.tensors is not None},
    )


@dataclass(frozen=True, slots=True)
class _Received:
    """A member, when its last chunk has gone by."""

    size: int
    hashed: Hash
    document: bytes | None
    tensors: tuple[Tensor, ...] | TensorError | None


def _receive(member: Member, hashing: HashingThread, folder: Path | None, where: str) -> _Received:
    """Take one member. Its name was checked by the archive reader."""
    shown = f"{where}: {member.path}"
    hashed, document = hashing.new(), bytearray()
    tensors: tuple[Tensor, ...] | TensorError | None = None
    is_document = member.path in DOCUMENTS
    with ExitStack() as files:
        watchers: list[Callable[[memoryview], object]] = [partial(hashing.add, hashed)]
        if folder is not None and member.path != SIGNATURE:
            watchers.append(files.enter_context(_new_file(folder / member.path)).write)
        if is_document:
            watchers.append(document.extend)
        chunks = _watched(member.chunks, watchers)
        if is_weights(member.path):
            most = MAX_TENSORS if member.path == ADAPTER_WEIGHTS else MAX_SOFT_PROMPT_TENSORS
            try:
                tensors = scan_tensors(chunks, member.size, shown, max_tensors=most)
            except TensorError as error:
                tensors = error  # for whoever has found the rest to be sound
        else:
            _check_text(chunks, shown)
        for _ in chunks:
            pass  # what the scan of broken weights left
    return _Received(member.size, hashed, bytes(document) if is_document else None, tensors)


def _watched(
    chunks: Iterator[memoryview], watchers: list[Callable[[memoryview], object]]
) -> Iterator[memoryview]:
    for chunk in chunks:
        for watch in watchers:
            watch(chunk)
        yield chunk


def _new_file(path: Path) -> BufferedWriter:
    path.parent.mkdir(exist_ok=True, mode=0o700)
    file = path.open("xb")
    path.chmod(0o400)
    return file


def _check_text(chunks: Iterator[memoryview], where: str) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in chunks:
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as exc:
        raise ArchiveError(Problem(where, "is not UTF-8 text")) from exc

"""Building a package from an expert's directory, and signing one. SPEC section 4."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hive_expert.decoding.contract import contract_of
from hive_expert.errors import ManifestError, PackageError, Problem, UsageError
from hive_expert.manifest.fields import require_honoured
from hive_expert.manifest.migrate import Converter
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import dump_manifest, manifest_from, parse_manifest
from hive_expert.manifest.record import timestamp
from hive_expert.manifest.slug import model_slug
from hive_expert.package.archive import Entry, write_archive
from hive_expert.package.examine import examine
from hive_expert.package.gather import gather
from hive_expert.package.keys import SigningKey
from hive_expert.package.layout import MANIFEST, MAX_MANIFEST_BYTES, SIGNATURE
from hive_expert.package.open import examine_package
from hive_expert.package.statement import Signature, signed_message
from hive_expert.package.unpack import file_sha256, reading, unpack

SUFFIX = ".expert"
_LAST_SECOND = 8**11 - 1  # in the year 2242: a ustar header has room for eleven octal digits


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A package that was written: what it is known by, and its file's SHA-256 and size in bytes."""

    path: Path
    digest: str
    sha256: str
    size: int


def build_package(
    path: Path,
    *,
    model: str | None,
    output: Path,
    signer: SigningKey | None,
    created_at: datetime | None = None,
    convert: Converter | None = None,
) -> PackagedFile:
    """Pack an expert for one of its base models.

    ``path`` is the expert's directory, or a manifest in it that goes by another name than
    `manifest.json`: it has that name in the package. ``model`` is the slug or the name of an entry
    of `base_models` (None: the only one). ``output`` is a folder, or a file name ending in
    `.expert`. ``created_at`` defaults to SOURCE_DATE_EPOCH, else 1970: the same inputs give the
    same bytes. ``convert`` reads soft prompts of the first generation (`.pt`); without it they are
    refused. A `.sha256` file is written beside the package.

    Raises ManifestError for a manifest that is broken, contradicts the adapter, or asks for what
    this version cannot honour; DecodingError for a grammar, schema or check that no server could
    use; PackageError for files that are missing or not acceptable; UsageError for a package.
    """
    if path.suffix == SUFFIX and not path.is_dir():
        remedy = "give an expert's folder or its manifest; hive-build sign signs a package"
        raise UsageError(Problem(path.name, "is packed already", remedy))
    directory = path if path.is_dir() else path.parent
    manifest = _for_one_model(read_any_manifest(path), model)
    require_honoured(manifest, f"{path.name}/{MANIFEST}" if path.is_dir() else path.name)
    members, manifest = gather(directory, manifest, convert)
    _check_decoding(manifest, members)
    target = output if output.suffix == SUFFIX else output / package_name(manifest)
    return _write(target, manifest, members, signer, timestamp(created_at or source_date()))


def sign_package(path: Path, signer: SigningKey, *, output: Path | None = None) -> PackagedFile:
    """Sign a package, or sign it anew with another key; writes ``output`` or replaces ``path``.

    Raises PackageError or ManifestError if the package is not sound to begin with.
    """
    with reading(path) as file, tempfile.TemporaryDirectory(prefix="hive-sign-") as folder:
        unpacked = unpack(file, path.name, folder=Path(folder))
        examined = examine(unpacked, path.name)
        assert examined.manifest.integrity is not None  # examined packages have it
        created = examined.manifest.integrity.created_at
        members: dict[str, bytes | Path] = {
            name: Path(folder, name)
            for name in unpacked.hashes
            if name not in (MANIFEST, SIGNATURE)
        }
        return _write(output or path, examined.manifest, members, signer, created)


def package_name(manifest: Manifest) -> str:
    """`<name>-<model slug>.v<version>.expert`, for a manifest of one base model."""
    slug = model_slug(manifest.base_models[0].name)
    return f"{manifest.name}-{slug}.v{manifest.version}{SUFFIX}"


def read_any_manifest(path: Path) -> Manifest:
    """The manifest of an expert's directory, of a package, or in a file of its own."""
    if path.is_dir():
        return _read_manifest(path / MANIFEST, f"{path.name}/{MANIFEST}")
    if path.suffix == SUFFIX:
        return examine_package(path).manifest
    return _read_manifest(path, path.name)


@contextmanager
def laid_out(path: Path) -> Iterator[tuple[Manifest, Path | None]]:
    """An expert's manifest, and the folder that its paths lead into.

    The folder is an expert's directory, or a package unpacked for the while; None for a manifest
    alone. Raises as :func:`read_any_manifest`.
    """
    if path.is_dir() or path.suffix != SUFFIX:
        yield read_any_manifest(path), path if path.is_dir() else None
        return
    with tempfile.TemporaryDirectory(prefix="hive-look-") as name:
        with reading(path) as file:
            examined = examine(unpack(file, path.name, folder=Path(name)), path.name)
        yield examined.manifest, Path(name)


def _read_manifest(path: Path, where: str) -> Manifest:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as exc:
        raise ManifestError(
            Problem(str(path), exc.strerror or "cannot be read", "give an expert's directory")
        ) from exc
    manifest = parse_manifest(data, where)
    if manifest.integrity is not None:
        raise ManifestError(
            Problem(f"{where}: integrity", "is written by packaging alone", "remove it")
        )
    return manifest


def source_date() -> datetime:
    """SOURCE_DATE_EPOCH (seconds since 1970, see reproducible-builds.org), or 1970 without it."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= _LAST_SECOND):
        raise UsageError(
            Problem(
                "SOURCE_DATE_EPOCH",
                f"{text[:40]!r} is not a time in seconds since 1970 that an archive can hold",
                f"give a number from 0 to {_LAST_SECOND}",
            )
        )
    return datetime.fromtimestamp(int(text), UTC)


def _for_one_model(manifest: Manifest, model: str | None) -> Manifest:
    """The manifest with the chosen base model alone."""
    entries = manifest.base_models
    slugs = ", ".join(model_slug(entry.name) for entry in entries)
    chosen = [
        position
        for position, entry in enumerate(entries)
        if model is None or model == entry.name or model_slug(model) == model_slug(entry.name)
    ]
    exact = [position for position in chosen if entries[position].name == model]
    if not chosen:
        raise UsageError(Problem("--model", f"{model} is not in the manifest", f"choose: {slugs}"))
    if len(chosen) > 1 and not exact:
        names = ", ".join(entries[position].name for position in chosen)
        raise UsageError(Problem("--model", "more than one base model fits", f"choose: {names}"))
    document = manifest.model_dump(mode="json", exclude_unset=True)
    document["base_models"] = [document["base_models"][(exact or chosen)[0]]]
    return manifest_from(document)


def _check_decoding(manifest: Manifest, members: Mapping[str, bytes | Path]) -> None:
    """Build the decoding contract as a server will, to sign none that it could not keep."""

    def read(member: str) -> bytes:
        content = members[member]
        return content if isinstance(content, bytes) else content.read_bytes()

    contract_of(manifest.training.decoding if manifest.training else None, read)


def _write(
    target: Path,
    manifest: Manifest,
    members: Mapping[str, bytes | Path],
    signer: SigningKey | None,
    created_at: str,
) -> PackagedFile:
    """Write package and sidecar; the package takes its name once our own reader accepts it."""
    entries = _sealed(manifest, members, signer, created_at)
    mtime = int(datetime.strptime(created_at, "%Y-%m-%dT%H:%M:%S%z").timestamp())
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                write_archive(entries, file, mtime=mtime)
            digest = examine_package(temporary).facts.digest
            size, sha256 = temporary.stat().st_size, file_sha256(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        sidecar = target.with_name(f"{target.name}.sha256")
        sidecar.write_text(f"{sha256}  {target.name}\n", encoding="utf-8")
    except OSError as exc:
        problem = Problem(str(exc.filename or target), exc.strerror or "cannot be written")
        raise PackageError(problem) from exc
    return PackagedFile(target, digest, sha256, size)


def _sealed(
    manifest: Manifest,
    members: Mapping[str, bytes | Path],
    signer: SigningKey | None,
    created_at: str,
) -> list[Entry]:
    """All members, with the manifest that declares them and the signature over all."""
    hashes = {path: _sha256(content) for path, content in members.items()}
    integrity: dict[str, Any] = {
        "format": 2,
        "algorithm": "sha256",
        "files": dict(sorted(hashes.items())),
        "created_at": created_at,
    }
    if signer is not None:
        integrity |= {"publisher": signer.name, "key_id": signer.key_id}
    document = manifest.model_dump(mode="json", exclude_unset=True)
    declared = dump_manifest(manifest_from({**document, "integrity": integrity}))
    sealed: dict[str, bytes | Path] = {**members, MANIFEST: declared}
    if signer is not None:
        message = signed_message({**hashes, MANIFEST: _sha256(declared)})
        signature = Signature(signer.key_id, signer.sign(message), signer.public)
        sealed[SIGNATURE] = signature.to_bytes()
    return [Entry(path, content) for path, content in sealed.items()]


def _sha256(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

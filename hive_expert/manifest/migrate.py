"""From a manifest of version 1.0 to one of 2.0: in memory, and on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from hive_expert.errors import ManifestError, Problem
from hive_expert.manifest.adapter_model import SoftPrompt
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import dump_manifest, manifest_from, parse_manifest
from hive_expert.manifest.strict_json import MAX_BYTES, read_json
from hive_expert.manifest.version1 import as_version_2, is_version_1

MANIFEST = "manifest.json"

Converter: TypeAlias = Callable[[Path, SoftPrompt, str], bytes]
"""Reads the `.pt` file of a soft prompt, called such in messages; returns it as safetensors."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A manifest file and what becomes of it.

    ``spellings`` are the renamed fields, (path in 1.0, path in 2.0); ``content`` is the file as
    2.0; ``converted`` are the soft prompts that were `.pt` files, by the files they are to have.
    A manifest that is of version 2.0 already has none of them, and ``needed`` is false.
    """

    source: Path
    manifest: Manifest
    spellings: tuple[tuple[str, str], ...]
    content: bytes
    converted: Mapping[Path, bytes] = field(default_factory=dict)

    @property
    def needed(self) -> bool:
        return bool(self.content)


def migrate(document: Mapping[str, Any], where: str = MANIFEST) -> Manifest:
    """The manifest of version 2.0 that says what ``document``, of version 1.0, says.

    Law: nothing is lost, comments included; only the place and the spelling of fields change.
    Raises ManifestError with every problem, by its place in ``document``.
    """
    return manifest_from(dict(document), where)


def plan_migration(path: Path, convert: Converter | None = None) -> Migration:
    """Read a manifest file, or the one in a directory, and work out its version 2.0.

    With ``convert``, soft prompts whose `.pt` file is there become safetensors beside it. Nothing
    is written. Raises ManifestError if the manifest is not sound, and what ``convert`` raises.
    """
    source = path / MANIFEST if path.is_dir() else path
    where = str(source)
    try:
        with source.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ManifestError(Problem(where, exc.strerror or "cannot be read")) from exc
    document = read_json(data, where)
    manifest = manifest_from(document, where)
    if not is_version_1(document):
        return Migration(source, manifest, (), b"")
    manifest, converted = _with_converted_prompts(manifest, source.parent, convert)
    content = dump_manifest(manifest)
    # 2.0 nests adapters two levels deeper, and indentation makes a file larger.
    parse_manifest(content, f"{where} as 2.0")
    spellings = as_version_2(document, where).spellings
    renamed = tuple((old, new) for new, old in spellings.items())
    return Migration(source, manifest, renamed, content, converted)


def write_migration(migration: Migration, output: Path | None = None) -> Path | None:
    """Write the version 2.0: to ``output``, or in place of the source.

    In place, the original is kept beside it as `<stem>.v1.json`, whose path is returned. No file
    that is there already is overwritten: ManifestError if ``output`` or a different backup is,
    or a different file in place of a soft prompt's.
    """
    target, backup = output or migration.source, None
    try:
        for file, content in migration.converted.items():
            _create(file, content)
        if target.exists() and not target.samefile(migration.source):
            raise ManifestError(
                Problem(str(target), "is there already", "name another file with --output")
            )
        if target.exists():
            backup = _keep(target)
        _replace(target, migration.content)
    except OSError as exc:
        problem = Problem(str(exc.filename or target), exc.strerror or "cannot be written")
        raise ManifestError(problem) from exc
    return backup


def _with_converted_prompts(
    manifest: Manifest, directory: Path, convert: Converter | None
) -> tuple[Manifest, dict[Path, bytes]]:
    """The manifest that names safetensors in place of `.pt` files, and those safetensors."""
    document = manifest.model_dump(mode="json", exclude_unset=True)
    converted = {}
    for position, prompt in enumerate(manifest.soft_prompts):
        source = directory / prompt.path
        if convert is not None and source.suffix == ".pt" and source.is_file():
            converted[source.with_suffix(".safetensors")] = convert(source, prompt, str(source))
            renamed = prompt.path.removesuffix(".pt") + ".safetensors"
            document["soft_prompts"][position]["path"] = renamed
    return (manifest_from(document) if converted else manifest), converted


def _keep(source: Path) -> Path:
    """Put a copy of the file beside it, or find it there."""
    backup = source.with_name(f"{source.stem}.v1.json")
    _create(backup, source.read_bytes())
    return backup


def _create(path: Path, content: bytes) -> None:
    """Make a file; one that is there with the same content will do."""
    try:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as exc:
        if path.read_bytes() != content:
            raise ManifestError(
                Problem(str(path), "is there already, with other content", "move it away")
            ) from exc


def _replace(target: Path, content: bytes) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)

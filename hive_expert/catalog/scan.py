"""From a file in the experts directory to an expert: looked at, announced, verified."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from hive_expert.adapters.base_model import BaseModel
from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.fit import check_fit
from hive_expert.adapters.peft_adapter import read_adapter
from hive_expert.adapters.soft_prompt import read_header
from hive_expert.adapters.store import AdapterStore, ready_for_engine
from hive_expert.catalog.catalog import Announced, Expert
from hive_expert.decoding.contract import contract_of
from hive_expert.decoding.templates import expert_template
from hive_expert.errors import (
    AdapterError,
    ArchiveError,
    BaseModelError,
    HiveError,
    ManifestError,
    Problem,
    UnfitError,
)
from hive_expert.manifest.adapter_model import BaseModelEntry
from hive_expert.manifest.fields import require_honoured
from hive_expert.manifest.parse import parse_manifest
from hive_expert.manifest.slug import model_slug
from hive_expert.package.layout import SIGNATURE
from hive_expert.package.open import VerifiedPackage, open_package
from hive_expert.package.pack import build_package
from hive_expert.package.signed_folder import is_signed, packed, skim_folder
from hive_expert.package.skim import skim
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy, TrustStore

SUFFIX = ".expert"
MAX_ENTRIES = 10_000
"""Entries of an experts directory that are looked at."""
KEPT_UNUSED = timedelta(days=7)

Stamp: TypeAlias = tuple[int, ...]
"""Tells whether a file or folder is still what it was. Compared for equality only: clocks jump."""


@dataclass(frozen=True, slots=True)
class Host:
    """What experts are checked against and made ready for: the served base and the slots' rank."""

    base: BaseModel
    weights: BaseWeights
    adapters: AdapterStore
    max_rank: int


def host_of(base: BaseModel, max_rank: int) -> Host:
    """A host that keeps what it derives under the user's data folder."""
    return Host(base, BaseWeights(base.directory), AdapterStore.default(), max_rank)


def collect_garbage(host: Host, store: PackageStore) -> None:
    """Remove what no process uses any more, and what a crashed one left half done.

    Packages and derived adapters stay for a week after their last use, so that servers of
    different directories, started in turn, do not unpack everything anew.
    """
    store.collect(unused_for=KEPT_UNUSED)
    host.adapters.collect(unused_for=KEPT_UNUSED)


def look(directory: Path) -> dict[str, Stamp]:
    """Everything in a directory that may be an expert, by file name. Reads no content.

    Raises:
        HiveError: the directory itself cannot be read.
    """
    try:
        found = sorted(p for p in directory.iterdir() if not p.name.startswith("."))
    except OSError as error:
        remedy = "give --experts-dir a folder of packages"
        problem = Problem(str(directory), error.strerror or "cannot be read", remedy)
        raise HiveError(problem) from error
    stamps = {path.name: stamp_of(path) for path in found[:MAX_ENTRIES]}
    return {name: stamp for name, stamp in stamps.items() if stamp is not None}


def stamp_of(path: Path) -> Stamp | None:
    """How a package or unpacked expert is now; None if there is none at ``path``."""
    with suppress(OSError):  # it went while we looked
        if path.suffix == SUFFIX and not path.is_dir():
            return _stamp(path.stat())
        if (path / "manifest.json").is_file():
            return _stamp_of_folder(path)
    return None


def announce(path: Path, host: Host, *, policy: Policy) -> Announced | None:
    """What a package or unpacked expert says of itself; its weights are not read.

    A folder with a signature is a package that lies unpacked, and is trusted as one.

    Returns None for one that tells nothing before it is read as a whole. Raises HiveError for one
    that will not be served whatever its weights are.
    """
    if path.is_dir() and not is_signed(path):
        _require_no_trust(path, policy)
        manifest = parse_manifest((path / "manifest.json").read_bytes(), str(path.name))
        return Announced(manifest, path.name, None)
    try:
        skimmed = skim_folder(path) if path.is_dir() else skim(path)
    except ArchiveError:
        return None
    entry = skimmed.manifest.base_models[0]
    for _ in _check_base(entry, host):
        pass  # warnings come when it is verified
    require_honoured(skimmed.manifest, base=entry.name)
    return Announced(skimmed.manifest, path.name, skimmed.facts)


def verify(
    path: Path, host: Host, *, store: PackageStore, trust: TrustStore, policy: Policy
) -> Expert:
    """Verify one package or unpacked expert as a whole, and make it ready for the engine.

    Raises HiveError with all reasons why it is not served.
    """
    package = _open(path, store=store, trust=trust, policy=policy)
    try:
        return _expert(package, host, path.name)
    except HiveError as error:
        raise UnfitError(package.manifest.name, *error.problems) from error


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _stamp_of_folder(folder: Path) -> Stamp:
    """All of its files but the data that is not packed."""
    stamps: list[tuple[str, Stamp]] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f != "datasets" and not f.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            stamps.append((str(path), _stamp(path.stat())))
            if len(stamps) >= MAX_ENTRIES:
                return hash(tuple(stamps)), len(stamps)
    return hash(tuple(stamps)), len(stamps)


def _require_no_trust(path: Path, policy: Policy) -> None:
    if policy != "off":
        raise ManifestError(
            Problem(
                path.name,
                f"is a directory without {SIGNATURE}",
                "package and sign it, or serve with --trust off while you develop",
            )
        )


def _open(
    source: Path, *, store: PackageStore, trust: TrustStore, policy: Policy
) -> VerifiedPackage:
    now = datetime.now(UTC)
    # The same door for all: a directory is packed first, so that one reader checks everything.
    with ExitStack() as for_now:
        path = source
        if source.is_dir() and is_signed(source):
            path = for_now.enter_context(packed(source))
        elif source.is_dir():
            _require_no_trust(source, policy)
            folder = for_now.enter_context(tempfile.TemporaryDirectory(prefix="hive-unpacked-"))
            path = build_package(source, model=None, output=Path(folder), signer=None).path
        return open_package(path, store=store, trust=trust, policy=policy, now=now)


def _expert(package: VerifiedPackage, host: Host, source: str) -> Expert:
    manifest = package.manifest
    entry = manifest.base_models[0]
    warnings = [*map(str, package.decision.warnings), *_check_base(entry, host)]
    require_honoured(manifest, base=entry.name)
    adapter = read_adapter(package.directory / "adapter") if entry.adapters else None
    weights = host.weights
    rank = check_fit(adapter, weights.shapes, host.max_rank, weights.packed) if adapter else 0
    applied = manifest.applied_soft_prompt
    prompt = read_header(package.directory / applied.path, host.weights) if applied else None
    if adapter is None and prompt is None:
        raise AdapterError(Problem("base_models[0].adapters", "no adapter to serve"))
    decoding = manifest.training.decoding if manifest.training else None
    contract = contract_of(
        decoding,
        lambda member: (package.directory / member).read_bytes(),
        template=expert_template(entry.prompt_template, entry.name),
    )
    return Expert(
        manifest=manifest,
        digest=package.digest,
        adapter=ready_for_engine(adapter, package.digest, host.weights, host.adapters, prompt),
        contract=contract,
        rank=rank,
        virtual_tokens=prompt.tokens if prompt else 0,
        publisher=package.publisher,
        warnings=tuple(warnings),
        source=source,
        facts=package.facts,
    )


def _check_base(entry: BaseModelEntry, host: Host) -> Iterator[str]:
    """Yields warnings; raises when the expert was made for another base."""
    if entry.sha256:
        if entry.sha256 != host.weights.fingerprint:
            raise BaseModelError(
                Problem(
                    "base_models[0].sha256",
                    f"made for weights {entry.sha256[:12]}…, the served base is "
                    f"{host.weights.fingerprint[:12]}…",
                    f"serve it on {entry.name}, or ask its author for a matching package",
                )
            )
        return
    if model_slug(entry.name) not in {model_slug(name) for name in host.base.names}:
        raise BaseModelError(
            Problem(
                "base_models[0].name",
                f"made for {entry.name}, the served base is {host.base.name}",
                f"start with --base {entry.name}",
            )
        )
    yield f"base_models[0].sha256 is empty: not pinned to the weights of {entry.name}"

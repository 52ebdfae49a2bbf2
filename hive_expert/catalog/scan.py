"""From an experts directory to a catalog: verify, check against the base, never stop at one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hive_expert.adapters.base_model import BaseModel
from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.fit import check_fit
from hive_expert.adapters.peft_format import read_adapter
from hive_expert.adapters.soft_prompt import read_header
from hive_expert.adapters.store import AdapterStore, ready_for_engine
from hive_expert.catalog.catalog import Catalog, Expert, Unavailable, assemble
from hive_expert.decoding.contract import contract_of
from hive_expert.decoding.templates import expert_template
from hive_expert.errors import AdapterError, BaseModelError, HiveError, ManifestError, Problem
from hive_expert.manifest.adapter_model import BaseModelEntry
from hive_expert.manifest.fields import require_honoured
from hive_expert.manifest.slug import model_slug
from hive_expert.package.open import VerifiedPackage, open_package
from hive_expert.package.pack import build_package
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy, TrustStore

SUFFIX = ".expert"
MAX_ENTRIES = 10_000
"""Entries of an experts directory that are looked at."""
KEPT_UNUSED = timedelta(days=7)


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


def scan(
    directory: Path, host: Host, *, store: PackageStore, trust: TrustStore, policy: Policy
) -> Catalog:
    """Verify everything in a directory. What fails is listed with its reason.

    Raises:
        HiveError: the directory itself cannot be read.
    """
    experts: list[Expert] = []
    unavailable: list[Unavailable] = []
    for source in _entries(directory):
        try:
            package = _open(source, store=store, trust=trust, policy=policy)
        except HiveError as error:
            unavailable.append(Unavailable(source.name, None, error.problems))
            continue
        try:
            experts.append(_expert(package, host))
        except HiveError as error:
            unavailable.append(Unavailable(source.name, package.manifest.name, error.problems))
    return assemble(experts, unavailable)


def collect_garbage(host: Host, store: PackageStore) -> None:
    """Remove what no process uses any more, and what a crashed one left half done.

    Packages and derived adapters stay for a week after their last use, so that servers of
    different directories, started in turn, do not unpack everything anew.
    """
    store.collect(unused_for=KEPT_UNUSED)
    host.adapters.collect(unused_for=KEPT_UNUSED)


def _entries(directory: Path) -> Iterator[Path]:
    if not directory.is_dir():
        raise HiveError(
            Problem(str(directory), "not a directory", "give --experts-dir a folder of packages")
        )
    found = sorted(p for p in directory.iterdir() if not p.name.startswith("."))
    for path in found[:MAX_ENTRIES]:
        if path.suffix == SUFFIX or (path / "manifest.json").is_file():
            yield path


def _open(
    source: Path, *, store: PackageStore, trust: TrustStore, policy: Policy
) -> VerifiedPackage:
    now = datetime.now(UTC)
    if source.is_file():
        return open_package(source, store=store, trust=trust, policy=policy, now=now)
    if policy != "off":
        raise ManifestError(
            Problem(
                source.name,
                "an unpacked directory has no signature",
                "package and sign it, or serve with --trust off while you develop",
            )
        )
    # The same door for both: a directory is packed first, so that one reader checks all.
    with tempfile.TemporaryDirectory(prefix="hive-unpacked-") as folder:
        packed = build_package(source, model=None, output=Path(folder), signer=None)
        return open_package(packed.path, store=store, trust=trust, policy=policy, now=now)


def _expert(package: VerifiedPackage, host: Host) -> Expert:
    manifest = package.manifest
    entry = manifest.base_models[0]
    warnings = [*map(str, package.decision.warnings), *_check_base(entry, host)]
    require_honoured(manifest, base=entry.name)
    adapter = read_adapter(package.directory / "adapter") if entry.adapters else None
    rank = check_fit(adapter, host.weights.shapes, host.max_rank) if adapter else 0
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

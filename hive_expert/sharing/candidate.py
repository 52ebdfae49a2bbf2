"""Packages that could be installed: copied to a place of ours, verified, with their origin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from hive_expert.errors import HiveError, InstallError, PackageError, Problem
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.versions import precedence
from hive_expert.package.examine import require_contract
from hive_expert.package.open import examine_package
from hive_expert.package.pack import package_name
from hive_expert.package.trust import Decision, PackageFacts, Policy, TrustStore, decide
from hive_expert.package.trust_store import Pin
from hive_expert.package.unpack import file_sha256
from hive_expert.sharing.compatibility import Target, misfits
from hive_expert.sharing.lock import Installed, Origin


@dataclass(frozen=True, slots=True)
class Candidate:
    """A package that is sound in itself. Whether it is trusted and fits is asked separately.

    ``file`` is our copy, outside of the reach of whoever it came from.
    """

    manifest: Manifest
    facts: PackageFacts
    rank: int
    file: Path
    sha256: str
    size: int
    origin: Origin

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def label(self) -> str:
        return f"{self.facts.name}@{self.facts.version}"

    @property
    def requires(self) -> tuple[str, ...]:
        return self.manifest.constraints.requires if self.manifest.constraints else ()

    @property
    def excludes(self) -> tuple[str, ...]:
        return self.manifest.constraints.incompatible_with if self.manifest.constraints else ()

    @property
    def file_name(self) -> str:
        return package_name(self.manifest)

    def installed(self, decision: Decision) -> Installed:
        """How the lock file tells of it."""
        return Installed.model_validate(
            {
                "version": self.facts.version,
                "model": self.facts.model,
                "file": self.file_name,
                "digest": self.facts.digest,
                "sha256": self.sha256,
                "size": self.size,
                "source": self.origin.model_dump(exclude_none=True),
                **({"key_id": self.facts.key_id} if self.facts.key_id else {}),
                **({"publisher": decision.signer} if decision.signer else {}),
            }
        )


def examined(file: Path, origin: Origin) -> Candidate:
    """The package in a copy of ours.

    Raises PackageError or ManifestError if it is not sound, DecodingError if its grammar is not.
    """
    package = examine_package(file)
    require_contract(package)
    return Candidate(
        package.manifest,
        package.facts,
        package.rank,
        file,
        file_sha256(file),
        file.stat().st_size,
        origin,
    )


def all_examined(copies: Iterable[tuple[Path, Origin]]) -> tuple[list[Candidate], list[Problem]]:
    """The sound packages among copies, and what is wrong with the others."""
    found: list[Candidate] = []
    problems: list[Problem] = []
    for file, origin in copies:
        try:
            found.append(examined(file, origin))
        except HiveError as error:
            problems += [_of(p, file.name, origin.path) for p in error.problems]
    return found, problems


def _of(problem: Problem, copy: str, path: str) -> Problem:
    """A problem of our copy, told of the file that its owner knows."""
    where = problem.where.removeprefix(copy).removeprefix(": ")
    return replace(problem, where=f"{path}: {where}" if where else path)


def best(
    candidates: Iterable[Candidate],
    target: Target,
    *,
    name: str | None = None,
    version: str | None = None,
    broken: Iterable[Problem] = (),
) -> dict[str, Candidate]:
    """For each expert, or the one named, the highest version that fits, or the one asked for.

    Raises InstallError where nothing fits, with what is wrong with each, and PackageError where
    nothing is sound.
    """
    found = [c for c in candidates if name in (None, c.name)]
    asked = [c for c in found if version in (None, c.facts.version)]
    fitting: dict[str, Candidate] = {}
    unfit: list[Problem] = []
    for candidate in sorted(asked, key=lambda c: precedence(c.facts.version)):
        reasons = tuple(misfits(candidate.manifest, candidate.rank, target))
        if reasons:
            unfit += reasons
        else:
            fitting[candidate.name] = candidate
    if fitting:
        return fitting
    if not found and (problems := tuple(broken)):
        raise PackageError(*problems)
    if not asked:
        there = ", ".join(sorted({c.label for c in found})) or "nothing"
        wanted = f"{name or 'an expert'}@{version}" if version else (name or "an expert")
        raise InstallError(Problem(wanted, "is not there", f"there is {there}"), *broken)
    raise InstallError(*dict.fromkeys(unfit))


def judge(
    candidate: Candidate, trust: TrustStore, policy: Policy, now: datetime, *, pinned: bool = False
) -> Decision:
    """What trust says of a candidate; ``pinned`` as if the user held it to this version."""
    if pinned:
        trust = trust.with_pin(candidate.name, Pin(version=candidate.facts.version))
    return decide(candidate.facts, trust, policy, now)


def missing_from(
    candidates: Iterable[Candidate], present: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Names that candidates require and that are not there, with who requires them."""
    here = {*present, *(c.name for c in candidates)}
    for candidate in candidates:
        for name in candidate.requires:
            if name not in here:
                yield name, candidate.label

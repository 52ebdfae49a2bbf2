"""Opening a package: from a file somebody sent to what may be loaded. SPEC sections 4 and 5.

The stages have types of their own: `Unpacked` is bytes with their hashes, `Examined` is sound
in itself, `VerifiedPackage` is sound, trusted, and lies in the store.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from datetime import datetime
from io import BufferedReader
from pathlib import Path

from hive_expert.errors import ArchiveError, TrustError
from hive_expert.manifest.model import Manifest
from hive_expert.package.examine import Examined, examine, require_contract
from hive_expert.package.skim import skim_file
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Decision, PackageFacts, Policy, TrustStore, decide
from hive_expert.package.unpack import reading, unpack

_VERIFIER = object()


@dataclass(frozen=True, slots=True)
class Report:
    """What verification found, for people: the package, and what trust says of it."""

    package: Examined
    decision: Decision


@dataclass(frozen=True, slots=True)
class VerifiedPackage:
    """A package that may be loaded.

    Laws: only this module makes one; ``directory`` holds exactly the members that were verified,
    and nothing reads the user's file again.
    """

    manifest: Manifest
    digest: str
    directory: Path
    decision: Decision
    facts: PackageFacts
    rank: int
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        if proof is not _VERIFIER:
            raise TypeError("a VerifiedPackage comes from open_package only")

    @property
    def publisher(self) -> str | None:
        """The trusted publisher who signed it; None if nobody the user trusts did."""
        return self.decision.signer


def open_package(
    path: Path, *, store: PackageStore, trust: TrustStore, policy: Policy, now: datetime
) -> VerifiedPackage:
    """Verify a package and unpack it into the store; what is returned may be loaded.

    A trust store that came from a file is read anew, and remembers the version. Raises
    PackageError (its kind says what is broken), ManifestError or TrustError; then the store is
    as it was before.
    """
    where, directory = path.name, None
    with reading(path) as file:
        if _seems_stored(file, where, store):
            examined = examine(unpack(file, where), where)
            decision = _admit(examined.facts, trust, policy, now)
            directory = store.find(examined.facts.digest)
            file.seek(0)
        if directory is None:
            with store.staging() as folder:
                examined = examine(unpack(file, where, folder=folder), where)
                decision = _admit(examined.facts, trust, policy, now)
                directory = store.adopt(folder, examined.facts.digest)
    facts = examined.facts
    if decision.signer is not None:
        trust.edited(lambda known: known.having_seen(facts.line, facts.version))
    return VerifiedPackage(
        examined.manifest, facts.digest, directory, decision, facts, examined.rank, proof=_VERIFIER
    )


def _seems_stored(file: BufferedReader, where: str, store: PackageStore) -> bool:
    """Whether the store has what a package says it is; it is back at its start then.

    A guess that spares writing it again, and no more. Raises what :func:`skim_file` does, but for
    a layout that is not ours.
    """
    try:
        return store.has(skim_file(file, where).facts.digest)
    except ArchiveError:
        return False
    finally:
        file.seek(0)


def verify_package(path: Path, *, trust: TrustStore, policy: Policy, now: datetime) -> Report:
    """Verify a package, as it would have to be to be served, and keep nothing.

    Raises PackageError or ManifestError if it is not sound, and DecodingError if its grammar or
    schema is not. That trust refuses it is no error here: the report's decision says so.
    """
    examined = examine_package(path)
    require_contract(examined)
    return Report(examined, decide(examined.facts, trust.current(), policy, now))


def examine_package(path: Path) -> Examined:
    """Check that a package is sound, whoever signed it. Raises PackageError or ManifestError."""
    with reading(path) as file:
        return examine(unpack(file, path.name), path.name)


def _admit(facts: PackageFacts, trust: TrustStore, policy: Policy, now: datetime) -> Decision:
    decision = decide(facts, trust.current(), policy, now)
    if not decision.accepted:
        raise TrustError(*decision.reasons)
    return decision

"""An index whose keeper can do anything: a small TUF repository in memory, honest until told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from hive_expert.errors import IndexRefusedError
from hive_expert.sharing.entries import ENTRIES_FILE, Entries
from hive_expert.sharing.metadata import verified_entries

ROLES = ("root", "timestamp", "snapshot", "targets")
FIRST: dict[str, int | None] = dict.fromkeys(ROLES, 1)
"""The versions of what a client has seen of an index that has never changed."""


def signer(number: int) -> CryptoSigner:
    """The same key for the same number."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def in_days(days: float) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


@dataclass
class TufRepository:
    """Files by their paths in the index, and what they are made of."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hashes_in_meta: bool = False

    def __post_init__(self) -> None:
        self.signers: dict[str, list[CryptoSigner]] = {
            role: [signer(n + 1)] for n, role in enumerate(ROLES)
        }
        expires = in_days(30)
        self.root = Root(expires=expires, consistent_snapshot=True)
        for role in ROLES:
            self.root.roles[role] = Role([], 1)
            self.root.add_key(self.signers[role][0].public_key, role)
        self.timestamp = Timestamp(expires=expires, snapshot_meta=MetaFile(1))
        self.snapshot = Snapshot(expires=expires, meta={"targets.json": MetaFile(1)})
        self.targets = Targets(expires=expires)
        for signed in (self.root, self.timestamp, self.snapshot, self.targets):
            signed.version = 0  # publishing makes it 1
        self.entries = Entries(format=1).to_bytes()
        self.publish_root()
        self.publish_all()
        self.first_root = self.files["metadata/1.root.json"]

    def publish_root(self) -> None:
        self.root.version += 1
        self.write("root", f"{self.root.version}.root.json", self.root)

    def publish_all(self) -> None:
        """Targets, snapshot and timestamp, each one version higher, each naming the other."""
        self.publish_targets()
        self.publish_snapshot()

    def publish_targets(self, *, bump: bool = True) -> None:
        self.targets.version += bump
        target = TargetFile.from_data(ENTRIES_FILE, self.entries, ["sha256"])
        self.targets.targets = {ENTRIES_FILE: target}
        self.files[f"targets/{target.hashes['sha256']}.{ENTRIES_FILE}"] = self.entries
        data = self.write("targets", f"{self.targets.version}.targets.json", self.targets)
        self.snapshot.meta["targets.json"] = self._meta(self.targets.version, data)

    def publish_snapshot(self, *, bump: bool = True) -> None:
        self.snapshot.version += bump
        data = self.write("snapshot", f"{self.snapshot.version}.snapshot.json", self.snapshot)
        self.timestamp.snapshot_meta = self._meta(self.snapshot.version, data)
        self.publish_timestamp()

    def publish_timestamp(self, *, bump: bool = True) -> None:
        self.timestamp.version += bump
        self.write("timestamp", "timestamp.json", self.timestamp)

    def write(self, role: str, name: str, signed: Any) -> bytes:
        """Sign with all keys of the role, and put the file there."""
        metadata: Metadata[Any] = Metadata(signed)
        for one in self.signers[role]:
            metadata.sign(one, append=True)
        self.files[f"metadata/{name}"] = metadata.to_bytes()
        return self.files[f"metadata/{name}"]

    def set_keys(
        self, role: str, keys: Sequence[int], threshold: int, signing: Sequence[int]
    ) -> None:
        """Replace who may sign for a role, and who does."""
        self.root.roles[role] = Role([], threshold)
        for number in keys:
            self.root.add_key(signer(number).public_key, role)
        self.signers[role] = [signer(number) for number in signing]

    def rotate(self, role: str, number: int) -> None:
        self.set_keys(role, [number], 1, [number])

    def read(self, path: str, most: int) -> bytes | None:
        self.asked.append(path)
        data = self.files.get(path)
        return None if data is None else data[: most + 1]

    def _meta(self, version: int, data: bytes) -> MetaFile:
        if not self.hashes_in_meta:
            return MetaFile(version)
        return MetaFile.from_data(version, data, ["sha256"])


@dataclass
class Client:
    """A user's client with a memory of its own."""

    state: Path
    repository: TufRepository
    root: bytes = b""

    def refresh(self) -> Entries:
        self.repository.asked.clear()
        root = self.root or self.repository.first_root
        return verified_entries(self.repository.read, self.state, root, "index")

    def refuses(self, reason: str, **versions: int | None) -> None:
        """It refuses what is there now for this reason; then it trusts these versions of roles."""
        told = self.refused()
        assert reason in told, told
        assert {role: self.version(role) for role in versions} == versions

    def refused(self) -> str:
        """The reason for which it refuses what is there now."""
        try:
            self.refresh()
        except IndexRefusedError as error:
            return str(error)
        raise AssertionError("it was accepted")

    def version(self, role: str) -> int | None:
        """What is trusted of a role, by what the client keeps."""
        path = self.state / "metadata" / f"{role}.json"
        return Metadata.from_file(str(path)).signed.version if path.exists() else None

    def versions(self) -> dict[str, int | None]:
        return {role: self.version(role) for role in ROLES}

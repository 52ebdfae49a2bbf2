"""Keeping an index: the signed metadata in a working copy of its repository. SPEC section 13.

::

    metadata/1.root.json, 2.root.json …   who may sign what; each signed by the one before too
    metadata/timestamp.json               which snapshot is the newest; short-lived
    metadata/N.snapshot.json              which targets metadata belongs to it; short-lived
    metadata/N.targets.json               the hash of experts.json
    targets/<sha256>.experts.json         the entries
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from hive_expert.errors import IndexRefusedError, Problem, UsageError
from hive_expert.package.keys import PublicKey, SigningKey
from hive_expert.sharing.entries import ENTRIES_FILE, Entries, parse_entries

ROLES = ("root", "targets", "online")
ROOT_DAYS = TARGETS_DAYS = 365
ONLINE_DAYS = 30
RENEW_DAYS = 90
"""Root and targets that expire within so many days are renewed by whoever signs with their keys."""

_OF_ROLE = {"root": ("root",), "targets": ("targets",), "online": ("snapshot", "timestamp")}
_SERIALIZER = JSONSerializer(compact=False)

Files: TypeAlias = dict[str, Metadata[Any]]
"""Metadata by the name of its file."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """An index's folder. Its methods write whole files; committing and pushing is git's business.

    A role that is signed by too few keys is written as it is: others add theirs with :meth:`sign`.

    Law: a method that refuses has written nothing.
    """

    directory: Path

    def init(
        self, keys: Mapping[str, Sequence[PublicKey]], thresholds: Mapping[str, int],
        signers: Sequence[SigningKey], *, now: datetime, online_days: int = ONLINE_DAYS,
    ) -> str:  # fmt: skip
        """Make an empty index; returns the fingerprint of its root, for users to begin with.

        Raises UsageError where there is one already, or a threshold cannot be met.
        """
        if self._root_versions():
            raise UsageError(Problem(str(self.directory), "is an index already"))
        root = Root(version=1, expires=_in_days(now, ROOT_DAYS), consistent_snapshot=True)
        # Users tell indexes apart by their first root, so no two may have the same.
        root.unrecognized_fields["x-hive-index"] = secrets.token_hex(16)
        for role in ROLES:
            _require_threshold(role, thresholds.get(role, 1), len(keys[role]))
            for tuf_role in _OF_ROLE[role]:
                root.roles[tuf_role] = Role([], thresholds.get(role, 1))
                for key in keys[role]:
                    root.add_key(_tuf_key(key), tuf_role)
        metadata = Metadata(root)
        _sign(metadata, signers, "root", root)
        entries = Entries(format=1).to_bytes()
        listing = self._listing(_target(entries), root, signers, now, online_days)
        self._save({"1.root.json": metadata, **listing}, entries)
        return hashlib.sha256((self._metadata / "1.root.json").read_bytes()).hexdigest()

    def entries(self) -> Entries:
        """What the index lists. Raises IndexRefusedError where there is no index."""
        target = self._targets().signed.targets[ENTRIES_FILE]
        path = self.directory / "targets" / f"{target.hashes['sha256']}.{ENTRIES_FILE}"
        try:
            return parse_entries(path.read_bytes(), str(path))
        except OSError as exc:
            raise IndexRefusedError(Problem(str(path), f"cannot be read: {exc.strerror}")) from exc

    def publish(
        self, entries: Entries, signers: Sequence[SigningKey], *, now: datetime,
        online_days: int = ONLINE_DAYS,
    ) -> None:  # fmt: skip
        """List these entries from now on: new targets metadata, snapshot and timestamp.

        Raises UsageError if none of the keys may sign targets.
        """
        data = entries.to_bytes()
        root = self._root().signed
        self._save(self._listing(_target(data), root, signers, now, online_days), data)

    def sign(
        self, signers: Sequence[SigningKey], *, now: datetime, online_days: int = ONLINE_DAYS
    ) -> tuple[str, ...]:
        """Add these keys' signatures where they are missing, and renew what they may: what is
        short-lived always, root and targets in the last 90 days before they expire.

        Returns the files that were written. Raises UsageError if the keys have nothing to sign.
        """
        root = self._root().signed
        online = _may_sign(signers, root, "timestamp")
        targets = self._targets_again(signers, now, renew=online)
        files = self._root_again(signers, now) | targets
        if online:
            renewed = (metadata.signed.version for metadata in targets.values())
            version = max([*self._versions("targets"), *renewed])
            files |= self._online(version, root, signers, now, online_days)
        if not files:
            raise UsageError(
                Problem("--key", "the keys have nothing to sign in this index",
                        "what is listed is renewed with a targets key and the online key together")
            )  # fmt: skip
        self._save(files)
        return tuple(files)

    def rotate(
        self, role: str, *, add: Sequence[PublicKey], remove: Sequence[str],
        threshold: int | None, signers: Sequence[SigningKey], now: datetime,
        online_days: int = ONLINE_DAYS,
    ) -> int:  # fmt: skip
        """Change the keys of a role by a new root, and sign anew what the role signs.

        ``remove`` are key ids as `hive index check` shows them, or the start of one. The new root
        needs signatures of the old root keys and of the new ones. Returns its version. Raises
        UsageError for keys that are not there, or a threshold that cannot be met.
        """
        old, root = self._root().signed, self._root().signed  # read twice: one is changed
        root.version += 1
        root.expires = _in_days(now, ROOT_DAYS)
        for tuf_role in _OF_ROLE[role]:
            for prefix in remove:
                for keyid in _matching(prefix, root.roles[tuf_role].keyids):
                    root.revoke_key(keyid, tuf_role)
            for key in add:
                root.add_key(_tuf_key(key), tuf_role)
            root.roles[tuf_role].threshold = threshold or root.roles[tuf_role].threshold
            _require_threshold(role, root.roles[tuf_role].threshold,
                               len(root.roles[tuf_role].keyids))  # fmt: skip
        metadata = Metadata(root)
        if not _sign(metadata, signers, "root", root, old):
            raise UsageError(Problem("--key", "none of the keys is a root key of this index"))
        files: Files = {f"{root.version}.root.json": metadata}
        if role == "targets":
            target = self._targets().signed.targets[ENTRIES_FILE]
            files |= self._listing(target, root, signers, now, online_days)
        elif role == "online":
            version = max(self._versions("targets"))
            files |= self._online(version, root, signers, now, online_days)
        self._save(files)
        return root.version

    def lacking(self) -> dict[str, int]:
        """Signatures that are still missing before users can take the index, by file."""
        newest = self._root()
        root = newest.signed
        found = {f"{root.version}.root.json": _missing(newest, "root", root, self._root_before())}
        for name, role in (
            (f"{max(self._versions('targets'))}.targets.json", "targets"),
            (f"{max(self._versions('snapshot'))}.snapshot.json", "snapshot"),
            ("timestamp.json", "timestamp"),
        ):
            found[name] = _missing(self._load(name), role, root)
        return {name: count for name, count in found.items() if count}

    def expiries(self) -> dict[str, datetime]:
        """Until when each role's metadata is good."""
        return {
            "root": self._root().signed.expires,
            "targets": self._targets().signed.expires,
            "snapshot": self._load(
                f"{max(self._versions('snapshot'))}.snapshot.json"
            ).signed.expires,
            "timestamp": self._load("timestamp.json").signed.expires,
        }

    def expiring(self, now: datetime) -> tuple[str, ...]:
        """Those of root and targets that are to be renewed now, before they expire."""
        found = (self._root().signed, self._targets().signed)
        return tuple(signed.type for signed in found if _expires_soon(signed, now))

    def roles(self) -> dict[str, tuple[int, tuple[str, ...]]]:
        """Threshold and key ids of each role, as the newest root has them."""
        root = self._root().signed
        return {
            role: (root.roles[names[0]].threshold, tuple(root.roles[names[0]].keyids))
            for role, names in _OF_ROLE.items()
        }

    def read(self, path: str, most: int) -> bytes | None:
        """A file of the index, for reading it as a user's client would."""
        file = self.directory / path
        return file.read_bytes()[: most + 1] if file.is_file() else None

    @property
    def _metadata(self) -> Path:
        return self.directory / "metadata"

    def _root_again(self, signers: Sequence[SigningKey], now: datetime) -> Files:
        """The newest root with signatures that it lacked, or the next one if it expires soon.

        A key that is leaving signs too: it is the old root keys that users believe.
        """
        newest, before = self._root(), self._root_before()
        root = newest.signed
        if _expires_soon(root, now) and not _missing(newest, "root", root, before):
            root.version, root.expires = root.version + 1, _in_days(now, ROOT_DAYS)
            newest, before = Metadata(root), root
        signed = _sign(newest, signers, "root", root, before)
        return {f"{root.version}.root.json": newest} if signed else {}

    def _targets_again(
        self, signers: Sequence[SigningKey], now: datetime, *, renew: bool
    ) -> Files:  # fmt: skip
        """The newest targets with signatures that they lacked, or the next ones if they expire
        soon and may be renewed."""
        newest, root = self._targets(), self._root().signed
        targets = newest.signed
        if renew and _expires_soon(targets, now) and not _missing(newest, "targets", root):
            targets.version, targets.expires = targets.version + 1, _in_days(now, TARGETS_DAYS)
            newest = Metadata(targets)
        signed = _sign(newest, signers, "targets", root)
        return {f"{targets.version}.targets.json": newest} if signed else {}

    def _listing(
        self, target: TargetFile, root: Root, signers: Sequence[SigningKey], now: datetime,
        online_days: int,
    ) -> Files:  # fmt: skip
        """New targets metadata that name this list, with the snapshot and timestamp it needs."""
        version = 1 + max(self._versions("targets"), default=0)
        targets = Targets(
            version=version, expires=_in_days(now, TARGETS_DAYS), targets={ENTRIES_FILE: target}
        )
        metadata = Metadata(targets)
        if not _sign(metadata, signers, "targets", root):
            raise UsageError(Problem("--key", "none of the keys may sign what the index lists"))
        online = self._online(version, root, signers, now, online_days)
        return {f"{version}.targets.json": metadata, **online}

    def _online(
        self, targets_version: int, root: Root, signers: Sequence[SigningKey], now: datetime,
        days: int,
    ) -> Files:  # fmt: skip
        """A new snapshot and timestamp. Users take the targets metadata that these name."""
        number = 1 + max(self._versions("snapshot"), default=0)
        meta = {"targets.json": MetaFile(targets_version)}
        snapshot = Metadata(Snapshot(version=number, expires=_in_days(now, days), meta=meta))
        before = self._metadata / "timestamp.json"
        version = 1
        if before.is_file():
            version = 1 + self._load("timestamp.json").signed.version
        timestamp = Metadata(
            Timestamp(version=version, expires=_in_days(now, days), snapshot_meta=MetaFile(number))
        )
        if not (_sign(snapshot, signers, "snapshot", root)
                and _sign(timestamp, signers, "timestamp", root)):  # fmt: skip
            raise UsageError(
                Problem("--key", "none of the keys may sign snapshot and timestamp",
                        "give the online key too")
            )  # fmt: skip
        return {f"{number}.snapshot.json": snapshot, "timestamp.json": timestamp}

    def _sweep(self) -> None:
        """Remove what no snapshot names any more; roots stay, for users who come from far back."""
        targets = self._targets()
        keep = {
            f"{max(self._versions('targets'))}.targets.json",
            f"{max(self._versions('snapshot'))}.snapshot.json",
        }
        for role in ("targets", "snapshot"):
            for path in self._metadata.glob(f"*.{role}.json"):
                if path.name not in keep:
                    path.unlink()
        listed = f"{targets.signed.targets[ENTRIES_FILE].hashes['sha256']}.{ENTRIES_FILE}"
        for path in (self.directory / "targets").glob(f"*.{ENTRIES_FILE}"):
            if path.name != listed:
                path.unlink()

    def _versions(self, role: str) -> list[int]:
        names = (p.name.partition(".")[0] for p in self._metadata.glob(f"*.{role}.json"))
        return sorted(int(name) for name in names if name.isdigit())

    def _root_versions(self) -> list[int]:
        return self._versions("root")

    def _root(self) -> Metadata[Root]:
        """The newest root, whether enough keys have signed it yet or not."""
        versions = self._root_versions()
        if not versions:
            raise IndexRefusedError(
                Problem(str(self.directory), "is no index", "hive index init makes one")
            )
        return self._load(f"{versions[-1]}.root.json")

    def _root_before(self) -> Root:
        """The root whose keys must sign the newest one too; of the first root it is that itself."""
        before: Metadata[Root] = self._load(f"{max(1, self._root_versions()[-1] - 1)}.root.json")
        return before.signed

    def _targets(self) -> Metadata[Targets]:
        versions = self._versions("targets")
        if not versions:
            raise IndexRefusedError(
                Problem(str(self.directory), "is no index", "hive index init makes one")
            )
        return self._load(f"{versions[-1]}.targets.json")

    def _load(self, name: str) -> Metadata[Any]:
        path = self._metadata / name
        try:
            return Metadata.from_bytes(path.read_bytes())
        except (OSError, TufError) as exc:
            raise IndexRefusedError(Problem(str(path), f"cannot be read: {exc}")) from exc

    def _save(self, files: Files, entries: bytes | None = None) -> None:
        """Write metadata, and the list that it names if that is new, what is named first."""
        for folder in (self._metadata, self.directory / "targets"):
            folder.mkdir(parents=True, exist_ok=True)
        if entries is not None:
            digest = hashlib.sha256(entries).hexdigest()
            (self.directory / "targets" / f"{digest}.{ENTRIES_FILE}").write_bytes(entries)
        for name, metadata in files.items():
            (self._metadata / name).write_bytes(metadata.to_bytes(_SERIALIZER))
        self._sweep()


def _sign(
    metadata: Metadata[Any], signers: Sequence[SigningKey], role: str, *roots: Root
) -> int:  # fmt: skip
    """Add the signatures that are missing of those keys that may, by one of the roots; returns how
    many were added."""
    allowed = {keyid for root in roots for keyid in root.roles[role].keyids}
    signed = 0
    for key in signers:
        signer = CryptoSigner(key.private)
        if signer.public_key.keyid in allowed - metadata.signatures.keys():
            metadata.sign(signer, append=True)
            signed += 1
    return signed


def _may_sign(signers: Sequence[SigningKey], root: Root, role: str) -> bool:
    return any(
        CryptoSigner(key.private).public_key.keyid in root.roles[role].keyids for key in signers
    )


def _missing(metadata: Metadata[Any], role: str, *roots: Root) -> int:
    """How many signatures are missing, by the root that misses most."""
    return max(
        root.get_verification_result(role, metadata.signed_bytes, metadata.signatures).missing
        for root in roots
    )


def _expires_soon(signed: Signed, now: datetime) -> bool:
    return signed.expires < _in_days(now, RENEW_DAYS)


def _target(entries: bytes) -> TargetFile:
    return TargetFile.from_data(ENTRIES_FILE, entries, ["sha256"])


def _tuf_key(key: PublicKey) -> SSlibKey:
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(key.raw))


def tuf_key_id(key: PublicKey) -> str:
    """The id that TUF gives a key; it is not ours, since it is the hash of more than the key."""
    return _tuf_key(key).keyid


def _matching(prefix: str, keyids: Sequence[str]) -> list[str]:
    found = [keyid for keyid in keyids if len(prefix) >= 8 and keyid.startswith(prefix)]
    if len(found) != 1:
        raise UsageError(Problem(prefix, "is no key of this role", "hive index check shows them"))
    return found


def _require_threshold(role: str, threshold: int, keys: int) -> None:
    if not 1 <= threshold <= keys:
        raise UsageError(Problem("--threshold", f"{role} has {keys} keys, not {threshold}"))


def _in_days(now: datetime, days: int) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0) + timedelta(days=days)

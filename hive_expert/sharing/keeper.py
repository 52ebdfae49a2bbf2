"""Keeping an index: making its metadata, signing it, renewing it. SPEC section 13."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

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

from hive_expert.errors import Problem, UsageError
from hive_expert.package.keys import PublicKey, SigningKey
from hive_expert.sharing.entries import ENTRIES_FILE, Entries
from hive_expert.sharing.index_files import TIMESTAMP, Files, IndexFiles
from hive_expert.sharing.index_signing import (
    matching,
    may_sign,
    missing,
    require_threshold,
    sign,
    tuf_key,
)

ROLES = ("root", "targets", "online")
ROOT_DAYS = TARGETS_DAYS = 365
ONLINE_DAYS = 30
RENEW_DAYS = 90
"""Root and targets that expire within so many days are renewed by whoever signs with their keys."""

_OF_ROLE = {"root": ("root",), "targets": ("targets",), "online": ("snapshot", "timestamp")}


@dataclass(frozen=True, slots=True)
class Keeping:
    """An index's folder. Its methods write whole files; committing and pushing is git's business.

    A role that is signed by too few keys is written as it is: others add theirs with :meth:`sign`.

    Law: a method that refuses has written nothing.
    """

    directory: Path

    @property
    def files(self) -> IndexFiles:
        """What is kept."""
        return IndexFiles(self.directory)

    def init(
        self, keys: Mapping[str, Sequence[PublicKey]], thresholds: Mapping[str, int],
        signers: Sequence[SigningKey], *, now: datetime, online_days: int = ONLINE_DAYS,
    ) -> str:  # fmt: skip
        """Make an empty index; returns the fingerprint of its root, for users to begin with.

        Raises UsageError where there is one already, or a threshold cannot be met.
        """
        if self.files.versions("root"):
            raise UsageError(Problem(str(self.directory), "is an index already"))
        root = Root(version=1, expires=_in_days(now, ROOT_DAYS), consistent_snapshot=True)
        # Users tell indexes apart by their first root, so no two may have the same.
        root.unrecognized_fields["x-hive-index"] = secrets.token_hex(16)
        for role in ROLES:
            require_threshold(role, thresholds.get(role, 1), len(keys[role]))
            for tuf_role in _OF_ROLE[role]:
                root.roles[tuf_role] = Role([], thresholds.get(role, 1))
                for key in keys[role]:
                    root.add_key(tuf_key(key), tuf_role)
        metadata = Metadata(root)
        sign(metadata, signers, "root", root)
        entries = Entries(format=1).to_bytes()
        listing = self._listing(_target(entries), root, signers, now, online_days)
        self.files.save({"1.root.json": metadata, **listing}, entries)
        first = self.directory / "metadata" / "1.root.json"
        return hashlib.sha256(first.read_bytes()).hexdigest()

    def publish(
        self, entries: Entries, signers: Sequence[SigningKey], *, now: datetime,
        online_days: int = ONLINE_DAYS,
    ) -> None:  # fmt: skip
        """List these entries from now on: new targets metadata, snapshot and timestamp.

        Raises UsageError if none of the keys may sign targets.
        """
        data = entries.to_bytes()
        root = self.files.root().signed
        self.files.save(self._listing(_target(data), root, signers, now, online_days), data)

    def sign(
        self, signers: Sequence[SigningKey], *, now: datetime, online_days: int = ONLINE_DAYS
    ) -> tuple[str, ...]:
        """Add these keys' signatures where they are missing, and renew what they may: what is
        short-lived always, root and targets in the last 90 days before they expire.

        Returns the files that were written. Raises UsageError if the keys have nothing to sign.
        """
        root = self.files.root().signed
        online = may_sign(signers, root, "timestamp")
        targets = self._targets_again(signers, now, renew=online)
        files = self._root_again(signers, now) | targets
        if online:
            renewed = (metadata.signed.version for metadata in targets.values())
            version = max([*self.files.versions("targets"), *renewed])
            files |= self._online(version, root, signers, now, online_days)
        if not files:
            raise UsageError(
                Problem("--key", "the keys have nothing to sign in this index",
                        "what is listed is renewed with a targets key and the online key together")
            )  # fmt: skip
        self.files.save(files)
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
        old, root = self.files.root().signed, self.files.root().signed  # read twice: one is changed
        root.version += 1
        root.expires = _in_days(now, ROOT_DAYS)
        for tuf_role in _OF_ROLE[role]:
            for prefix in remove:
                for keyid in matching(prefix, root.roles[tuf_role].keyids):
                    root.revoke_key(keyid, tuf_role)
            for key in add:
                root.add_key(tuf_key(key), tuf_role)
            root.roles[tuf_role].threshold = threshold or root.roles[tuf_role].threshold
            require_threshold(role, root.roles[tuf_role].threshold,
                               len(root.roles[tuf_role].keyids))  # fmt: skip
        metadata = Metadata(root)
        if not sign(metadata, signers, "root", root, old):
            raise UsageError(Problem("--key", "none of the keys is a root key of this index"))
        files: Files = {f"{root.version}.root.json": metadata}
        if role == "targets":
            target = self.files.targets().signed.targets[ENTRIES_FILE]
            files |= self._listing(target, root, signers, now, online_days)
        elif role == "online":
            version = max(self.files.versions("targets"))
            files |= self._online(version, root, signers, now, online_days)
        self.files.save(files)
        return root.version

    def lacking(self) -> dict[str, int]:
        """Signatures that are still missing before users can take the index, by file."""
        newest = self.files.root()
        found = {
            self.files.newest("root"): missing(
                newest, "root", newest.signed, self.files.root_before()
            )
        }
        for role in ("targets", "snapshot", TIMESTAMP):
            name = self.files.newest(role)
            found[name] = missing(self.files.load(name), role, newest.signed)
        return {name: count for name, count in found.items() if count}

    def expiries(self) -> dict[str, datetime]:
        """Until when each role's metadata is good."""
        roles = ("root", "targets", "snapshot", TIMESTAMP)
        return {role: self.files.load(self.files.newest(role)).signed.expires for role in roles}

    def expiring(self, now: datetime) -> tuple[str, ...]:
        """Those of root and targets that are to be renewed now, before they expire."""
        found = (self.files.root().signed, self.files.targets().signed)
        return tuple(signed.type for signed in found if _expires_soon(signed, now))

    def roles(self) -> dict[str, tuple[int, tuple[str, ...]]]:
        """Threshold and key ids of each role, as the newest root has them."""
        root = self.files.root().signed
        return {
            role: (root.roles[names[0]].threshold, tuple(root.roles[names[0]].keyids))
            for role, names in _OF_ROLE.items()
        }

    def _root_again(self, signers: Sequence[SigningKey], now: datetime) -> Files:
        """The newest root with signatures that it lacked, or the next one if it expires soon.

        A key that is leaving signs too: it is the old root keys that users believe.
        """
        newest, before = self.files.root(), self.files.root_before()
        root = newest.signed
        if _expires_soon(root, now) and not missing(newest, "root", root, before):
            root.version, root.expires = root.version + 1, _in_days(now, ROOT_DAYS)
            newest, before = Metadata(root), root
        signed = sign(newest, signers, "root", root, before)
        return {f"{root.version}.root.json": newest} if signed else {}

    def _targets_again(
        self, signers: Sequence[SigningKey], now: datetime, *, renew: bool
    ) -> Files:  # fmt: skip
        """The newest targets with signatures that they lacked, or the next ones if they expire
        soon and may be renewed."""
        newest, root = self.files.targets(), self.files.root().signed
        targets = newest.signed
        if renew and _expires_soon(targets, now) and not missing(newest, "targets", root):
            targets.version, targets.expires = targets.version + 1, _in_days(now, TARGETS_DAYS)
            newest = Metadata(targets)
        signed = sign(newest, signers, "targets", root)
        return {f"{targets.version}.targets.json": newest} if signed else {}

    def _listing(
        self, target: TargetFile, root: Root, signers: Sequence[SigningKey], now: datetime,
        online_days: int,
    ) -> Files:  # fmt: skip
        """New targets metadata that name this list, with the snapshot and timestamp it needs."""
        version = 1 + max(self.files.versions("targets"), default=0)
        targets = Targets(
            version=version, expires=_in_days(now, TARGETS_DAYS), targets={ENTRIES_FILE: target}
        )
        metadata = Metadata(targets)
        if not sign(metadata, signers, "targets", root):
            raise UsageError(Problem("--key", "none of the keys may sign what the index lists"))
        online = self._online(version, root, signers, now, online_days)
        return {f"{version}.targets.json": metadata, **online}

    def _online(
        self, targets_version: int, root: Root, signers: Sequence[SigningKey], now: datetime,
        days: int,
    ) -> Files:  # fmt: skip
        """A new snapshot and timestamp. Users take the targets metadata that these name."""
        number = 1 + max(self.files.versions("snapshot"), default=0)
        meta = {"targets.json": MetaFile(targets_version)}
        snapshot = Metadata(Snapshot(version=number, expires=_in_days(now, days), meta=meta))
        version = 1
        if self.files.has(before := self.files.newest(TIMESTAMP)):
            version += self.files.load(before).signed.version
        timestamp = Metadata(
            Timestamp(version=version, expires=_in_days(now, days), snapshot_meta=MetaFile(number))
        )
        if not (sign(snapshot, signers, "snapshot", root)
                and sign(timestamp, signers, "timestamp", root)):  # fmt: skip
            raise UsageError(
                Problem("--key", "none of the keys may sign snapshot and timestamp",
                        "give the online key too")
            )  # fmt: skip
        return {f"{number}.snapshot.json": snapshot, "timestamp.json": timestamp}


def _expires_soon(signed: Signed, now: datetime) -> bool:
    return signed.expires < _in_days(now, RENEW_DAYS)


def _target(entries: bytes) -> TargetFile:
    return TargetFile.from_data(ENTRIES_FILE, entries, ["sha256"])


def _in_days(now: datetime, days: int) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0) + timedelta(days=days)

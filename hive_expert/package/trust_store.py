"""The user's trust store: whom to believe, for what, and what was seen. SPEC section 5."""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr

from hive_expert.errors import KeyFileError, Problem, SignatureError
from hive_expert.manifest.record import (
    Contradiction,
    ExpertName,
    Line,
    Record,
    Sha256,
    Timestamp,
    timestamp,
)
from hive_expert.manifest.strict_json import read_json
from hive_expert.manifest.validation import build
from hive_expert.manifest.versions import SEMANTIC_VERSION, precedence
from hive_expert.package.keys import PublicKey

MAX_FILE_BYTES = 4 << 20

NamePattern = Annotated[str, Field(strict=True, max_length=64, pattern=r"^[a-z0-9*-]+$")]
Version = Annotated[str, Field(strict=True, max_length=64, pattern=SEMANTIC_VERSION)]


class TrustedKey(Record):
    """A key the user believes, and for which experts.

    Law: its bytes are a usable key; see `PublicKey`.
    """

    publisher: Line
    """The name the user knows its holder by."""
    public_key: Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}$")]
    """The raw key in hexadecimal."""
    names: Annotated[tuple[NamePattern, ...], Field(min_length=1)]
    """Expert names it may sign, `*` for any run of characters, with or without `expert-`."""
    added: Timestamp
    """Since when."""
    revoked: Timestamp | None = None
    """Since when no longer; what the clock says now makes no difference to that."""

    @property
    def key(self) -> PublicKey:
        return PublicKey(bytes.fromhex(self.public_key), self.publisher)

    def contradictions(self) -> Iterable[Contradiction]:
        try:
            _ = self.key
        except SignatureError as exc:
            yield Contradiction("public_key", str(exc))

    def covers(self, name: str) -> bool:
        """Whether the key may sign the expert ``name``: `acme-*` covers `expert-acme-sql`."""
        return any(
            fnmatch.fnmatchcase(name, form) for pattern in self.names for form in _spelled(pattern)
        )


class Pin(Record):
    """The only version of an expert, or the only package, the user wants."""

    version: Version | None = None
    """The version."""
    digest: Sha256 | None = None
    """What the package is known by: `statement.package_digest`."""

    def fits(self, version: str, digest: str) -> bool:
        return self.version in (None, version) and self.digest in (None, digest)

    def __str__(self) -> str:
        return self.version or f"digest {(self.digest or '')[:12]}"


class TrustStore(Record):
    """The user's memory: which keys to believe, which versions are pinned, which were seen.

    Laws: an edit returns a new store and leaves the old one as it was; a key stands under its
    own key_id.
    """

    _path: Path | None = PrivateAttr(default=None)

    format: Literal[1] = 1
    """Version of the file's format."""
    keys: Mapping[Sha256, TrustedKey] = Field(default_factory=dict)
    """Trusted keys by key_id."""
    pins: Mapping[ExpertName, Pin] = Field(default_factory=dict)
    """Pins by expert name."""
    seen: Mapping[Line, Version] = Field(default_factory=dict)
    """Highest accepted version of each expert for each base model (`expert-sql/smollm2-135m`)."""

    def with_key(self, key: PublicKey, names: tuple[str, ...], now: datetime) -> TrustStore:
        entry = {
            "publisher": key.name,
            "public_key": key.raw.hex(),
            "names": names,
            "added": timestamp(now),
        }
        return self._with(keys={**self.keys, key.key_id: TrustedKey.model_validate(entry)})

    def revoking(self, key_id: str, now: datetime) -> TrustStore:
        """Mark a key as not to be believed any more; its packages are refused by name."""
        entry = {**self.keys[key_id].model_dump(exclude_unset=True), "revoked": timestamp(now)}
        return self._with(keys={**self.keys, key_id: TrustedKey.model_validate(entry)})

    def without_key(self, key_id: str) -> TrustStore:
        return self._with(keys={k: v for k, v in self.keys.items() if k != key_id})

    def with_pin(self, name: str, pin: Pin) -> TrustStore:
        return self._with(pins={**self.pins, name: pin})

    def without_pin(self, name: str) -> TrustStore:
        return self._with(pins={k: v for k, v in self.pins.items() if k != name})

    def having_seen(self, line: str, version: str) -> TrustStore:
        """Remember that a version was accepted from a trusted key, if it is the highest yet."""
        known = self.seen.get(line)
        if known is not None and precedence(version) <= precedence(known):
            return self
        return self._with(seen={**self.seen, line: version})

    def without_seen(self, line: str) -> TrustStore:
        """The store without its memory of a line's versions; it no longer knows its file."""
        return self._with(seen={k: v for k, v in self.seen.items() if k != line})

    def contradictions(self) -> Iterable[Contradiction]:
        for key_id, entry in self.keys.items():
            if hashlib.sha256(bytes.fromhex(entry.public_key)).hexdigest() != key_id:
                yield Contradiction("keys", f"{key_id} is not the hash of its public_key")

    @classmethod
    def load(cls, path: Path) -> TrustStore:
        """Read the store; an absent file is an empty store.

        The result knows its file, so that :meth:`current` sees later edits. Raises KeyFileError
        for a file that is no trust store: better no package than any.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            store = cls()
        except OSError as exc:
            raise KeyFileError(Problem(str(path), f"cannot be read: {exc.strerror}")) from exc
        else:
            document = read_json(data, str(path), error=KeyFileError, max_bytes=MAX_FILE_BYTES)
            store = build(cls, document, str(path), error=KeyFileError)
        store._path = path
        return store

    def current(self) -> TrustStore:
        """The store as its file is now; itself if it never came from a file."""
        return self if self._path is None else TrustStore.load(self._path)

    def edited(self, change: Callable[[TrustStore], TrustStore]) -> TrustStore:
        """Apply ``change`` to the store, in its file if it has one, and return the result.

        The file is read and replaced under a lock, so that two processes' edits both last.
        """
        if self._path is None:
            return change(self)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _locked(self._path) as lock:
                _clear_abandoned(self._path, lock)
                before = TrustStore.load(self._path)
                after = change(before)
                if after is not before:
                    after.save(self._path)
        except OSError as exc:
            raise KeyFileError(
                Problem(str(self._path), f"cannot be written: {exc.strerror}")
            ) from exc
        return TrustStore.load(self._path)

    def save(self, path: Path) -> None:
        """Write the store: all of it, or the old file stays. For a file in use see `edited`."""
        document = {"format": 1, **self.model_dump(mode="json", exclude_unset=True)}
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)

    def _with(self, **changes: object) -> TrustStore:
        kept = {name: getattr(self, name) for name in type(self).model_fields}
        return TrustStore.model_validate({**self.comments, **kept, **changes})


def _spelled(pattern: str) -> tuple[str, ...]:
    """The patterns for whole names that a pattern means; one that says `expert-` means itself."""
    return (pattern,) if pattern.startswith("expert-") else (pattern, f"expert-{pattern}")


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    # The lock has a file of its own: the store's own file is replaced by every edit.
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield lock


def _clear_abandoned(path: Path, lock: Path) -> None:
    """Remove what a process that died while it wrote the store has left; needs the lock."""
    for file in path.parent.glob(f".{path.name}.*"):
        if file != lock:
            file.unlink(missing_ok=True)

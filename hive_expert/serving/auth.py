"""Keys: who asks, and what they may do. SPEC section 10.

A key is compared by its sha256, in constant time and against all known keys, so that neither
the time of an answer nor a memory dump tells one. The keys themselves are kept nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hive_expert.errors import Problem, UsageError
from hive_expert.serving.agents import PriorityClass
from hive_expert.serving.routes import Access

MIN_LENGTH = 16
"""Characters of a key: below that it can be guessed."""
MAX_LENGTH = 512
MAX_KEYS = 10_000

_KEY = re.compile(r"[\x21-\x7e]+")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Key:
    """One key as the server keeps it."""

    digest: bytes
    """sha256 of the key."""
    tenant: str
    """Whose it is. Keys of one tenant share its caches and limits."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request."""

    tenant: str | None
    """None: nobody has to say who he is."""
    admin: bool
    job: PriorityClass | None = None
    """The class of a batch that the server itself asks for; None: a client is waiting."""


@dataclass(frozen=True, slots=True)
class Denial:
    """A request that may not go on."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of a server.

    Law: without inference keys everybody may ask models; without any key, and with a server that
    only its own machine reaches, everybody may administrate too; in no other case.
    """

    inference: tuple[Key, ...] = ()
    admin: tuple[Key, ...] = ()
    local: bool = True
    """Only the machine itself reaches the server."""

    @property
    def any(self) -> bool:
        """Whether there is a key at all, and so more than one who might ask."""
        return bool(self.inference or self.admin)

    def admit(self, access: Access, presented: str | None) -> Caller | Denial:
        """Whether a request with this key may use a route of this access."""
        admin = _owner(self.admin, presented)
        caller = admin or _owner(self.inference, presented)
        if access is Access.PUBLIC:
            return Caller(caller, admin is not None)
        if access is Access.ADMIN:
            return self._admit_admin(admin, caller)
        if caller is not None or not self.inference:
            return Caller(caller, admin is not None)
        return _missing_or_wrong(presented)

    def _admit_admin(self, admin: str | None, caller: str | None) -> Caller | Denial:
        if admin is not None:
            return Caller(admin, admin=True)
        if self.admin:
            if caller is not None:
                return Denial(403, "This key may ask models, and not change what is served.")
            return Denial(401, "This needs an admin key.")
        if self.local and not self.inference:
            return Caller(None, admin=True)
        return Denial(403, "This server has no admin key: hive-serve --admin-key-file sets one.")


def _owner(keys: tuple[Key, ...], presented: str | None) -> str | None:
    if presented is None or not keys:
        return None
    digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
    owner = None
    for key in keys:
        # No early end: the time must not tell which key is near.
        if hmac.compare_digest(key.digest, digest):
            owner = key.tenant
    return owner


def _missing_or_wrong(presented: str | None) -> Denial:
    if presented is None:
        return Denial(401, "No key: send `Authorization: Bearer KEY`.")
    return Denial(401, "This key is not valid here.")


def parse_keys(text: str, where: str) -> tuple[Key, ...]:
    """Keys, one a line as `KEY` or `TENANT KEY`; lines that begin with `#` are comments.

    A key without a tenant is a tenant of its own.

    Raises:
        UsageError: all lines that are neither. No message contains a key.
    """
    keys: list[Key] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        place = f"{where}, line {number}"
        wrong = [*_wrong_line(words)]
        problems += [Problem(place, what, "openssl rand -hex 32 makes a key") for what in wrong]
        if not wrong:
            digest = hashlib.sha256(words[-1].encode()).digest()
            tenant = words[0] if len(words) == 2 else f"key-{digest.hex()[:8]}"
            keys.append(Key(digest, tenant))
    if len(keys) > MAX_KEYS:
        problems.append(Problem(where, f"{len(keys)} keys, more than {MAX_KEYS}"))
    if problems:
        raise UsageError(*problems)
    return tuple(keys)


def _wrong_line(words: list[str]) -> Iterator[str]:
    if len(words) > 2:
        yield "more than a tenant's name and a key"
        return
    if len(words) == 2 and not _NAME.fullmatch(words[0]):
        yield "the tenant's name may have letters, digits, dot, dash and underscore, at most 64"
    key = words[-1]
    if not MIN_LENGTH <= len(key) <= MAX_LENGTH:
        yield f"a key has {MIN_LENGTH} to {MAX_LENGTH} characters"
    if not _KEY.fullmatch(key):
        yield "a key has printable ASCII characters only"


@dataclass(frozen=True, slots=True)
class KeySources:
    """Where keys come from; files are read anew when the server is told to."""

    inference: tuple[str, ...] = ()
    inference_files: tuple[Path, ...] = ()
    admin: tuple[str, ...] = ()
    admin_files: tuple[Path, ...] = ()

    def load(self, *, local: bool) -> Keys:
        """Read all keys.

        Raises:
            UsageError: a file that cannot be read, is empty, or has a line that is no key; all of
                them at once.
        """
        problems: list[Problem] = []
        inference = _collect("--api-key", self.inference, self.inference_files, problems)
        admin = _collect("--admin-key", self.admin, self.admin_files, problems)
        if {k.digest for k in inference} & {k.digest for k in admin}:
            problems.append(
                Problem("keys", "a key is both an inference and an admin key", "make another")
            )
        if problems:
            raise UsageError(*problems)
        return Keys(inference, admin, local)

    def __repr__(self) -> str:
        """Without the keys: this object may end in a log."""
        return f"KeySources(files={[*map(str, (*self.inference_files, *self.admin_files))]})"


def _collect(
    option: str, given: tuple[str, ...], files: tuple[Path, ...], problems: list[Problem]
) -> tuple[Key, ...]:
    keys: list[Key] = []
    for number, text in enumerate(given, 1):
        keys += _parsed(text, f"{option} {number}", problems)
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            problems.append(Problem(str(path), f"cannot be read: {reason}"))
            continue
        keys += _parsed(text, str(path), problems)
    return tuple(keys)


def _parsed(text: str, where: str, problems: list[Problem]) -> tuple[Key, ...]:
    try:
        keys = parse_keys(text, where)
    except UsageError as error:
        problems += error.problems
        return ()
    if not keys:
        # An emptied file would open the server to everybody.
        problems.append(Problem(where, "holds no key"))
    return keys

"""Keys and signatures of an index's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root

from hive_expert.errors import Problem, UsageError
from hive_expert.package.keys import PublicKey, SigningKey


def sign(metadata: Metadata[Any], signers: Sequence[SigningKey], role: str, *roots: Root) -> int:
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


def may_sign(signers: Sequence[SigningKey], root: Root, role: str) -> bool:
    """Whether one of the keys is the role's."""
    return any(
        CryptoSigner(key.private).public_key.keyid in root.roles[role].keyids for key in signers
    )


def missing(metadata: Metadata[Any], role: str, *roots: Root) -> int:
    """How many signatures are missing, by the root that misses most."""
    return max(
        root.get_verification_result(role, metadata.signed_bytes, metadata.signatures).missing
        for root in roots
    )


def tuf_key(key: PublicKey) -> SSlibKey:
    """A key of ours as TUF has it."""
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(key.raw))


def tuf_key_id(key: PublicKey) -> str:
    """The id that TUF gives a key; it is not ours, since it is the hash of more than the key."""
    return tuf_key(key).keyid


def matching(prefix: str, keyids: Sequence[str]) -> list[str]:
    """The one key id that begins so. Raises UsageError where there is none, or several."""
    found = [keyid for keyid in keyids if len(prefix) >= 8 and keyid.startswith(prefix)]
    if len(found) != 1:
        raise UsageError(Problem(prefix, "is no key of this role", "hive index check shows them"))
    return found


def require_threshold(role: str, threshold: int, keys: int) -> None:
    """Raise UsageError where so many signatures cannot be had of so many keys."""
    if not 1 <= threshold <= keys:
        raise UsageError(Problem("--threshold", f"{role} has {keys} keys, not {threshold}"))

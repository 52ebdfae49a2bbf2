"""What a signature is over, and the file it comes in. Pure. SPEC section 4."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from hive_expert.errors import Problem, SignatureError
from hive_expert.manifest.strict_json import read_json
from hive_expert.package.keys import PublicKey
from hive_expert.package.layout import MAX_SIGNATURE_BYTES, SIGNATURE

HEADER = "hive-expert/2"
SIGNATURE_BYTES = 64


def signed_message(hashes: Mapping[str, str]) -> bytes:
    """The bytes that are signed: the line `hive-expert/2`, then `<sha256>  <path>` for each
    member but the signature itself, in byte order of the paths, each line ended.

    Law: the message depends on the set of (path, hash) pairs alone, and two sets of safe paths
    never give the same message. `sha256sum -c` reads all but the first line.
    """
    lines = [f"{hashes[path]}  {path}" for path in sorted(hashes) if path != SIGNATURE]
    return "".join(f"{line}\n" for line in (HEADER, *lines)).encode("ascii")


def package_digest(hashes: Mapping[str, str]) -> str:
    """What a package is known by: the SHA-256 of the message that is signed, or would be.

    Law: it depends on the members alone, not on how they are packed, when, or who signed them.
    """
    return hashlib.sha256(signed_message(hashes)).hexdigest()


@dataclass(frozen=True, slots=True)
class Signature:
    """The content of `signature.sig`.

    ``public_key`` is there to be shown and to tell damage from an unknown signer. Whom to
    believe is the trust store's business, by ``key_id``.
    """

    key_id: str
    signature: bytes
    public_key: PublicKey

    def to_bytes(self) -> bytes:
        """The one way this signature is written."""
        document = {
            "key_id": self.key_id,
            "algorithm": "ed25519",
            "signature": base64.b64encode(self.signature).decode(),
            "public_key": base64.b64encode(self.public_key.raw).decode(),
        }
        return (json.dumps(document, indent=2) + "\n").encode()


def parse_signature(data: bytes, where: str = SIGNATURE) -> Signature:
    """Read `signature.sig`.

    Raises SignatureError unless it is the very bytes :meth:`Signature.to_bytes` writes: the
    file is not signed itself, so it must have nothing in it that could vary.
    """
    document = read_json(data, where, error=SignatureError, max_bytes=MAX_SIGNATURE_BYTES)
    broken = SignatureError(
        Problem(where, "is not a signature as hive-build writes it", "get the package again")
    )
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise broken
    try:
        signature = Signature(
            key_id=document["key_id"],
            signature=base64.b64decode(document["signature"], validate=True),
            public_key=PublicKey(base64.b64decode(document["public_key"], validate=True)),
        )
    except (KeyError, ValueError) as exc:  # base64 raises two kinds
        raise broken from exc
    if signature.to_bytes() != data or len(signature.signature) != SIGNATURE_BYTES:
        raise broken
    if signature.key_id != signature.public_key.key_id:
        raise SignatureError(Problem(where, "key_id is not the hash of its public key"))
    return signature

"""Keys: kept private, checked before use, never of a kind that lets a signature fit twice."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from hive_expert.errors import KeyFileError, SignatureError
from hive_expert.package.keys import (
    PublicKey,
    SigningKey,
    generate_key,
    is_encrypted,
    load_public_key,
    load_signing_key,
    public_file,
    save_key,
)
from tests.package.hostile import edwards
from tests.package.samples import key

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
L = 2**252 + 27742317777372353535851937790883648493


def test_a_key_is_read_as_it_was_saved(tmp_path: Path) -> None:
    made = generate_key("Ann")
    save_key(made, tmp_path / "keys" / "ann.pem")
    read = load_signing_key(tmp_path / "keys" / "ann.pem")
    assert (read.name, read.public) == ("Ann", made.public)
    assert load_public_key(tmp_path / "keys" / "ann.pub.json") == made.public


def test_the_private_file_is_pkcs8_and_only_its_owners(tmp_path: Path) -> None:
    save_key(key(), tmp_path / "ann.pem")
    load_pem_private_key((tmp_path / "ann.pem").read_bytes(), None)
    assert (tmp_path / "ann.pem").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert stat.S_IMODE((tmp_path / "ann.pem").stat().st_mode) == 0o600


def test_the_public_file_holds_nothing_secret(tmp_path: Path) -> None:
    public = save_key(key(), tmp_path / "ann.pem")
    assert set(json.loads(public.read_bytes())) == {"name", "algorithm", "key_id", "public_key"}


def test_a_key_with_a_passphrase_needs_it(tmp_path: Path) -> None:
    path = tmp_path / "ann.pem"
    save_key(key(), path, "correct horse")
    assert is_encrypted(path)
    assert load_signing_key(path, "correct horse").public == key().public
    with pytest.raises(KeyFileError, match="needs a passphrase"):
        load_signing_key(path)
    with pytest.raises(KeyFileError, match="cannot be unlocked"):
        load_signing_key(path, "wrong horse")


def test_a_key_without_a_passphrase_takes_any(tmp_path: Path) -> None:
    """A passphrase in the environment does not shut out keys that have none."""
    save_key(key(), tmp_path / "ann.pem")
    assert load_signing_key(tmp_path / "ann.pem", "unneeded").public == key().public


@pytest.mark.parametrize("name", ["", "two\nlines", "n" * 513])
def test_a_key_that_could_not_be_read_again_is_not_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFileError, match="publisher: name"):
        save_key(generate_key(name), tmp_path / "ann.pem")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("existing", ["ann.pem", "ann.pub.json"])
def test_a_key_is_never_overwritten(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    with pytest.raises(KeyFileError, match="exists"):
        save_key(key(), tmp_path / "ann.pem")
    assert [p.name for p in tmp_path.iterdir()] == [existing]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    save_key(key(), tmp_path / "ann.pem")
    (tmp_path / "ann.pem").chmod(0o644)
    with pytest.raises(KeyFileError, match="other users"):
        load_signing_key(tmp_path / "ann.pem")


def test_a_public_file_of_another_key_is_refused(tmp_path: Path) -> None:
    save_key(key("Ann"), tmp_path / "ann.pem")
    other = save_key(key("Bo"), tmp_path / "bo.pem")
    public_file(tmp_path / "ann.pem").write_bytes(other.read_bytes())
    with pytest.raises(KeyFileError, match="does not belong"):
        load_signing_key(tmp_path / "ann.pem")


@pytest.mark.parametrize(
    "private",
    [X25519PrivateKey.generate(), rsa.generate_private_key(public_exponent=65537, key_size=1024)],
    ids=["x25519", "rsa"],
)
def test_keys_of_other_kinds_are_refused(
    tmp_path: Path, private: X25519PrivateKey | rsa.RSAPrivateKey
) -> None:
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "ann.pem").write_bytes(pem)
    (tmp_path / "ann.pem").chmod(0o600)
    with pytest.raises(KeyFileError, match="not an Ed25519 key"):
        load_signing_key(tmp_path / "ann.pem")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ann.pem").write_bytes(content)
    (tmp_path / "ann.pem").chmod(0o600)
    with pytest.raises(KeyFileError, match="not a private key"):
        load_signing_key(tmp_path / "ann.pem")


@pytest.mark.parametrize(
    "change",
    [
        {"key_id": "0" * 64},
        {"public_key": "AAAA"},
        {"public_key": "not base64"},
        {"public_key": "nót base64"},
        {"algorithm": "rsa"},
        {"name": ""},
        {"extra": 1},
    ],
)
def test_a_changed_public_file_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    public = save_key(key(), tmp_path / "ann.pem")
    public.write_text(json.dumps(json.loads(public.read_bytes()) | change))
    with pytest.raises(KeyFileError):
        load_public_key(public)


def test_a_missing_file_is_a_key_file_error(tmp_path: Path) -> None:
    for read in (load_signing_key, load_public_key):
        with pytest.raises(KeyFileError, match="cannot be read"):
            read(tmp_path / "absent")


def test_a_signature_fits_its_message_and_key_only() -> None:
    signature = key("Ann").sign(b"message")
    key("Ann").public.verify(signature, b"message", "")
    with pytest.raises(SignatureError):
        key("Ann").public.verify(signature, b"massage", "")
    with pytest.raises(SignatureError):
        key("Bo").public.verify(signature, b"message", "")
    with pytest.raises(SignatureError):
        key("Ann").public.verify(signature[:-1], b"message", "")


def test_a_signature_with_another_s_for_the_same_point_is_refused() -> None:
    """s and s + L satisfy the same equation; accepting both makes signatures malleable."""
    signature = key().sign(b"message")
    s = int.from_bytes(signature[32:], "little") + L
    with pytest.raises(SignatureError):
        key().public.verify(signature[:32] + s.to_bytes(32, "little"), b"message", "")


def small_order_points() -> set[int]:
    """The y coordinates of the eight points of order 1, 2, 4 and 8, found on the curve itself.

    A point of order 8 doubles to one of order 4, which has y = 0: y2 = (y^2 + x^2) / (2 - ...)
    vanishes where y^2 = -x^2; put into -x^2 + y^2 = 1 + d x^2 y^2 that is d y^4 + 2 y^2 - 1 = 0.
    """

    def root(n: int) -> int | None:
        candidate = pow(n, (P + 3) // 8, P)
        for r in (candidate, candidate * pow(2, (P - 1) // 4, P) % P):
            if r * r % P == n % P:
                return r
        return None

    discriminant = root(4 + 4 * D)
    assert discriminant is not None
    found = {0, 1, P - 1}
    for sign in (1, -1):
        square = (-2 + sign * discriminant) * pow(2 * D, -1, P) % P
        if (y := root(square)) is not None:
            found |= {y, P - y}
    return found


def test_keys_of_small_order_are_refused() -> None:
    points = small_order_points()
    assert len(points) == 5
    for y in points:
        for sign in (0, 1):
            with pytest.raises(SignatureError):
                PublicKey((y | sign << 255).to_bytes(32, "little"))


def test_a_key_of_order_one_would_verify_anything() -> None:
    """Why small orders are refused: the library itself takes R = key, S = 0 for any message."""
    raw = (1).to_bytes(32, "little")
    for message in (b"one", b"other"):
        Ed25519PublicKey.from_public_bytes(raw).verify(raw + bytes(32), message)


def test_a_public_file_with_a_key_of_small_order_is_refused(tmp_path: Path) -> None:
    """So `hive trust add` never stores one."""
    for y in small_order_points():
        raw = y.to_bytes(32, "little")
        document = {
            "name": "Mallory",
            "algorithm": "ed25519",
            "key_id": hashlib.sha256(raw).hexdigest(),
            "public_key": base64.b64encode(raw).decode(),
        }
        (tmp_path / "m.pub.json").write_text(json.dumps(document))
        with pytest.raises(KeyFileError, match="not an Ed25519 key"):
            load_public_key(tmp_path / "m.pub.json")


def test_a_signature_does_not_fit_the_key_plus_a_point_of_small_order() -> None:
    own = edwards.decode(key().public.raw)
    signature = key().sign(b"message")
    for name, torsion in edwards.small_order_points():
        if name != "0T":
            mixed = PublicKey(edwards.encode(edwards.add(own, torsion)))
            with pytest.raises(SignatureError):
                mixed.verify(signature, b"message", "")


def test_r_is_taken_in_one_encoding_only() -> None:
    """A holder of a key can sign with R = 1; no second spelling of that R fits."""
    scalar = private_scalar(key())
    fitting = []
    for name, raw_r in edwards.small_order_encodings():
        digest = hashlib.sha512(raw_r + key().public.raw + b"message").digest()
        s = int.from_bytes(digest, "little") % L * scalar % L
        try:
            key().public.verify(raw_r + s.to_bytes(32, "little"), b"message", "")
        except SignatureError:
            continue
        fitting.append(name)
    assert fitting == ["0T"]


def private_scalar(signing: SigningKey) -> int:
    """RFC 8032 section 5.1.5."""
    seed = signing.private.private_bytes_raw()
    half = bytearray(hashlib.sha512(seed).digest()[:32])
    half[0] &= 248
    half[31] &= 127
    half[31] |= 64
    return int.from_bytes(half, "little")


def test_a_y_coordinate_beyond_the_field_is_refused() -> None:
    for excess in range(19):
        with pytest.raises(SignatureError):
            PublicKey((P + excess).to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_has_32_bytes(length: int) -> None:
    with pytest.raises(SignatureError):
        PublicKey(b"\2" * length)

"""The signed message, and the file the signature comes in."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from hive_expert.errors import Problem, SignatureError
from hive_expert.package.open import examine_package
from hive_expert.package.statement import (
    Signature,
    package_digest,
    parse_signature,
    signed_message,
)
from tests.package.samples import key

HASHES = {"manifest.json": "b" * 64, "LICENSE": "a" * 64, "signature.sig": "c" * 64}


def signature() -> Signature:
    ann = key("Ann")
    return Signature(ann.key_id, ann.sign(b"message"), ann.public)


def test_the_message_is_a_line_for_the_format_and_one_for_each_member_but_the_signature() -> None:
    expected = f"hive-expert/2\n{'a' * 64}  LICENSE\n{'b' * 64}  manifest.json\n"
    assert signed_message(HASHES) == expected.encode()


def test_the_order_of_members_does_not_matter() -> None:
    assert signed_message(dict(reversed(HASHES.items()))) == signed_message(HASHES)


def test_the_digest_is_of_the_message_and_not_of_the_signature() -> None:
    expected = hashlib.sha256(signed_message(HASHES)).hexdigest()
    assert package_digest(HASHES) == expected
    assert package_digest({**HASHES, "signature.sig": "d" * 64}) == expected
    for path in ("LICENSE", "manifest.json"):
        assert package_digest({**HASHES, path: "d" * 64}) != expected
    assert package_digest({**HASHES, "README.md": "a" * 64}) != expected


def test_a_signature_is_read_as_it_was_written() -> None:
    assert parse_signature(signature().to_bytes()) == signature()


def test_a_signature_file_has_four_fields() -> None:
    ann = key("Ann")
    assert json.loads(signature().to_bytes()) == {
        "key_id": ann.key_id,
        "algorithm": "ed25519",
        "signature": base64.b64encode(ann.sign(b"message")).decode(),
        "public_key": base64.b64encode(ann.public.raw).decode(),
    }


def document() -> dict[str, str]:
    result: dict[str, str] = json.loads(signature().to_bytes())
    return result


@pytest.mark.parametrize("field", ["key_id", "algorithm", "signature", "public_key"])
def test_every_field_is_needed(field: str) -> None:
    broken = document()
    del broken[field]
    with pytest.raises(SignatureError):
        parse_signature(json.dumps(broken, indent=2).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "none"},
        {"algorithm": "ED25519"},
        {"key_id": "0" * 64},
        {"signature": ""},
        {"signature": "not base64"},
        {"signature": "nót base64"},
        {"signature": None},
        {"public_key": base64.b64encode(bytes(32)).decode()},
        {"public_key": base64.b64encode(b"short").decode()},
        {"extra": "x"},
    ],
)
def test_no_other_value_is_read(change: dict[str, str]) -> None:
    with pytest.raises(SignatureError):
        parse_signature((json.dumps(document() | change, indent=2) + "\n").encode())


def told(data: bytes) -> tuple[Problem, ...]:
    with pytest.raises(SignatureError) as caught:
        parse_signature(data, "p.expert: signature.sig")
    return caught.value.problems


def test_a_refusal_names_the_file_and_what_to_do() -> None:
    where = "p.expert: signature.sig"
    other = (json.dumps(document() | {"key_id": "0" * 64}, indent=2) + "\n").encode()
    assert told(other) == (Problem(where, "key_id is not the hash of its public key"),)
    assert told(b"{}") == (
        Problem(where, "is not a signature as hive-build writes it", "get the package again"),
    )
    assert told(b"{")[0].where.startswith(where)


def test_another_spelling_of_the_same_signature_is_refused() -> None:
    """The file is not signed itself: a byte that could vary is a byte an attacker may choose."""
    with pytest.raises(SignatureError):
        parse_signature(json.dumps(document()).encode())


def test_base64_with_other_spare_bits_is_refused() -> None:
    text = document()["signature"]
    assert text.endswith("==")
    other = {"signature": text[:-3] + chr(ord(text[-3]) + 1) + "=="}
    assert base64.b64decode(other["signature"]) == base64.b64decode(text)
    with pytest.raises(SignatureError):
        parse_signature((json.dumps(document() | other, indent=2) + "\n").encode())


def test_a_signature_of_more_than_4_kib_is_refused() -> None:
    with pytest.raises(SignatureError, match="more than"):
        parse_signature(b" " * 5000)


def test_the_message_can_be_checked_by_hand(signed: Path, tmp_path: Path) -> None:
    """tar, sha256sum and openssl agree with us, and need none of our code."""
    run = tmp_path / "by-hand"
    run.mkdir()
    subprocess.run(["tar", "-xzf", signed, "-C", run], check=True)
    listed = subprocess.run(["tar", "-tzf", signed], check=True, capture_output=True, text=True)
    members = sorted(path for path in listed.stdout.split() if path != "signature.sig")
    sums = subprocess.run(["sha256sum", *members], cwd=run, check=True, capture_output=True)
    (run / "message").write_bytes(b"hive-expert/2\n" + sums.stdout)
    body = b"".join((run / "message").read_bytes().splitlines(keepends=True)[1:])
    subprocess.run(["sha256sum", "--check", "--strict"], cwd=run, input=body, check=True)
    digest = subprocess.run(["sha256sum", "message"], cwd=run, check=True, capture_output=True)
    assert digest.stdout.decode().split()[0] == examine_package(signed).facts.digest
    stated = json.loads((run / "signature.sig").read_bytes())
    (run / "signature").write_bytes(base64.b64decode(stated["signature"]))
    # An Ed25519 key in DER is this prefix and the raw key (RFC 8410).
    der = bytes.fromhex("302a300506032b6570032100") + base64.b64decode(stated["public_key"])
    (run / "key.der").write_bytes(der)
    verify = [
        *("openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER"),
        *("-inkey", "key.der", "-in", "message", "-sigfile", "signature"),
    ]
    assert subprocess.run(verify, cwd=run, capture_output=True).returncode == 0
    (run / "message").write_bytes(b"hive-expert/2\n" + sums.stdout + b"\n")
    assert subprocess.run(verify, cwd=run, capture_output=True).returncode != 0

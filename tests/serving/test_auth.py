"""Who may do what with which key."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from hive_expert.errors import UsageError
from hive_expert.serving import auth
from hive_expert.serving.auth import Caller, Denial, Keys, KeySources, parse_keys
from hive_expert.serving.routes import Access

ALICE = "alice-key-0123456789"
BOB = "bob-key-0123456789ab"
ROOT = "root-key-0123456789a"


def keys(*, local: bool = True, inference: str = "", admin: str = "") -> Keys:
    return Keys(parse_keys(inference, "inference"), parse_keys(admin, "admin"), local)


WITH_BOTH = keys(inference=f"alice {ALICE}\nbob {BOB}", admin=f"ops {ROOT}", local=False)


@pytest.mark.parametrize(
    ("access", "presented", "result"),
    [
        (Access.PUBLIC, None, Caller(None, admin=False)),
        (Access.PUBLIC, "wrong", Caller(None, admin=False)),
        (Access.INFERENCE, ALICE, Caller("alice", admin=False)),
        (Access.INFERENCE, BOB, Caller("bob", admin=False)),
        (Access.INFERENCE, ROOT, Caller("ops", admin=True)),
        (Access.INFERENCE, None, 401),
        (Access.INFERENCE, "", 401),
        (Access.INFERENCE, ALICE[:-1], 401),
        (Access.INFERENCE, ALICE + " ", 401),
        (Access.INFERENCE, "alice", 401),
        (Access.ADMIN, ROOT, Caller("ops", admin=True)),
        (Access.ADMIN, ALICE, 403),
        (Access.ADMIN, "wrong", 401),
        (Access.ADMIN, None, 401),
    ],
)
def test_with_keys(access: Access, presented: str | None, result: Caller | int) -> None:
    admitted = WITH_BOTH.admit(access, presented)
    assert (admitted.status if isinstance(admitted, Denial) else admitted) == result


@pytest.mark.parametrize(
    ("held", "access", "allowed"),
    [
        (keys(), Access.INFERENCE, True),
        (keys(), Access.ADMIN, True),
        (keys(local=False), Access.INFERENCE, True),
        (keys(local=False), Access.ADMIN, False),
        (keys(inference=ALICE), Access.INFERENCE, False),
        (keys(inference=ALICE), Access.ADMIN, False),
        (keys(admin=ROOT), Access.INFERENCE, True),
        (keys(admin=ROOT), Access.ADMIN, False),
    ],
)
def test_without_a_key(held: Keys, access: Access, allowed: bool) -> None:
    assert isinstance(held.admit(access, None), Caller) is allowed
    assert isinstance(held.admit(access, "no-key-of-this-server"), Caller) is allowed


def test_an_inference_key_never_administrates_a_server_without_admin_keys() -> None:
    denial = keys(inference=ALICE).admit(Access.ADMIN, ALICE)
    assert isinstance(denial, Denial)
    assert denial.status == 403
    assert "--admin-key-file" in denial.message


def test_a_key_is_compared_with_every_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    genuine = hmac.compare_digest

    def compare(known: bytes, presented: bytes) -> bool:
        seen.append(known)
        return genuine(known, presented)

    monkeypatch.setattr(auth.hmac, "compare_digest", compare)
    WITH_BOTH.admit(Access.INFERENCE, ALICE)
    assert len(seen) == 3


def test_keys_are_parsed_with_and_without_tenants() -> None:
    text = f"# ours\n\n{ALICE}\n  bob   {BOB}  \n"
    first, second = parse_keys(text, "keys")
    assert first.tenant.startswith("key-")
    assert second.tenant == "bob"
    assert first.digest != second.digest


@pytest.mark.parametrize(
    "line",
    [
        "short",
        "bob short",
        f"a b {BOB}",
        f"b/b {BOB}",
        f"{'x' * 65} {BOB}",
        "x" * 600,
        f"bob {BOB}é",
    ],
)
def test_a_line_that_is_no_key_is_refused_without_being_shown(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_keys(f"# first\n{line}\n", "keys.txt")
    message = str(caught.value)
    assert "keys.txt, line 2" in message
    assert line.split()[-1] not in message


def test_sources_are_read_together(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"bob {BOB}\n")
    (tmp_path / "admin").write_text(f"{ROOT}\n")
    sources = KeySources((ALICE,), (tmp_path / "keys",), (), (tmp_path / "admin",))
    held = sources.load(local=False)
    assert [k.tenant for k in held.inference][1] == "bob"
    assert len(held.admin) == 1
    assert ALICE not in repr(sources)
    assert ALICE not in repr(held)


def test_all_that_is_wrong_with_the_sources_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing left\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    sources = KeySources(
        (ROOT,), (tmp_path / "empty", tmp_path / "binary", tmp_path / "none"), (ROOT,), ()
    )
    with pytest.raises(UsageError) as caught:
        sources.load(local=True)
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    for said in ("holds no key", "not UTF-8", "No such file", "both an inference and an admin key"):
        assert said in text
    assert ROOT not in text

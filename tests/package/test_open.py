"""What is opened, what is refused and why, and what is left behind."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import shutil
import tarfile
from datetime import timedelta
from pathlib import Path

import pytest

from hive_expert.errors import (
    DecodingError,
    HiveError,
    IntegrityError,
    PackageError,
    SignatureError,
    TrustError,
)
from hive_expert.package.archive import read_archive
from hive_expert.package.gzip_stream import deflated
from hive_expert.package.layout import ADAPTER_WEIGHTS, SIGNATURE
from hive_expert.package.open import VerifiedPackage, examine_package, open_package, verify_package
from hive_expert.package.skim import skim
from hive_expert.package.statement import Signature, signed_message
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy
from hive_expert.package.trust_store import Pin, TrustStore
from tests.package.samples import NOW, forged, key, package, sample_members, trusting, written


def opened(
    path: Path, store: PackageStore, trust: TrustStore, policy: Policy = Policy.ENFORCE
) -> VerifiedPackage:
    return open_package(path, store=store, trust=trust, policy=policy, now=NOW)


def kept(store: PackageStore) -> list[str]:
    """What a user finds in the store's folder afterwards, but for its own locks."""
    found = {p.relative_to(store.root) for p in store.root.rglob("*")}
    return sorted(p.as_posix() for p in found if p != Path("staging") and p.parts[0] != ".shared")


def test_a_signed_package_of_a_trusted_key_is_unpacked_into_the_store(
    signed: Path, store: PackageStore
) -> None:
    package = opened(signed, store, trusting("Ann"))
    assert package.directory == store.root / package.digest
    assert package.publisher == "Ann"
    assert package.manifest.name == "expert-sample"
    found = {p.relative_to(package.directory).as_posix() for p in package.directory.rglob("*.*")}
    assert found == {
        "README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "grammar.gbnf",
        "manifest.json",
        "tests/test_cases.json",
    }


def test_only_the_verifier_makes_a_verified_package(signed: Path, store: PackageStore) -> None:
    real = opened(signed, store, trusting("Ann"))
    with pytest.raises(TypeError, match=r"^a VerifiedPackage comes from open_package only$"):
        VerifiedPackage(
            real.manifest, real.digest, real.directory, real.decision, real.facts, real.rank,
            proof=object(),
        )  # fmt: skip


def unpacks(data: bytes) -> bool:
    """Whether the container alone lets the bytes pass: a quick first look, without a disk."""
    try:
        for member in read_archive(io.BytesIO(data), len(data), "p"):
            for _ in member.chunks:
                pass
    except HiveError:
        return False
    return True


def test_every_changed_byte_is_refused(signed: Path) -> None:
    sound = signed.read_bytes()
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 0xFF
        if unpacks(damaged):
            signed.write_bytes(damaged)
            with pytest.raises(HiveError):
                examine_package(signed)


def test_a_changed_bit_is_refused_or_changes_no_member(tmp_path: Path) -> None:
    """Deflate has a few bits without meaning; a change there changes the file and nothing else."""
    path = forged(tmp_path / "p.expert", sample_members(), signer=key("Ann"))
    sound = path.read_bytes()
    members = examine_package(path).members
    for bit in random.Random(0).sample(range(len(sound) * 8), 2000):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        if unpacks(damaged):
            path.write_bytes(damaged)
            assert examine_package(path).members == members


def test_a_package_cut_short_anywhere_is_refused(signed: Path) -> None:
    sound = signed.read_bytes()
    assert unpacks(sound)
    assert not any(unpacks(sound[:length]) for length in range(len(sound)))


def test_a_package_with_anything_after_it_is_refused(signed: Path) -> None:
    with signed.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(PackageError):
        examine_package(signed)


@pytest.mark.parametrize(
    ("policy", "accepted"), [("enforce", False), ("warn", True), ("off", True)]
)
def test_an_unsigned_package_is_a_matter_of_policy(
    unsigned: Path, store: PackageStore, policy: str, accepted: bool
) -> None:
    if not accepted:
        with pytest.raises(TrustError, match="not signed"):
            opened(unsigned, store, trusting("Ann"), Policy(policy))
        assert kept(store) == []
        return
    package = opened(unsigned, store, trusting("Ann"), Policy(policy))
    assert bool(package.decision.warnings) == (policy == "warn")
    assert package.publisher is None


def test_a_key_is_not_trusted_because_it_came_with_the_package(
    signed: Path, store: PackageStore
) -> None:
    with pytest.raises(TrustError, match="do not trust"):
        opened(signed, store, trusting("Bo"))
    assert kept(store) == []


def test_a_refused_package_does_not_appear_after_it_was_stored(
    signed: Path, store: PackageStore
) -> None:
    opened(signed, store, trusting("Ann"))
    revoked = trusting("Ann").revoking(key("Ann").key_id, NOW)
    with pytest.raises(TrustError, match="revoked"):
        opened(signed, store, revoked)


def test_the_highest_version_seen_is_remembered_on_disk(
    tmp_path: Path, store: PackageStore
) -> None:
    trust = TrustStore.load(tmp_path / "trust.json")
    trust = trust.edited(lambda s: s.with_key(key("Ann").public, ("*",), NOW))
    (tmp_path / "new").mkdir()
    (tmp_path / "old").mkdir()
    new = package(tmp_path / "new", key("Ann"), version="0.3.0")
    old = package(tmp_path / "old", key("Ann"), version="0.2.0")
    opened(old, store, trust)
    opened(new, store, trust)
    with pytest.raises(TrustError, match=r"goes back behind 0\.3\.0"):
        opened(old, store, trust)
    assert opened(old, store, trust, Policy.WARN).decision.warnings
    trust.edited(lambda s: s.with_pin("expert-sample", Pin(version="0.2.0")))
    assert opened(old, store, trust).decision.accepted


def test_a_version_nobody_trusted_signed_is_not_remembered(
    tmp_path: Path, store: PackageStore
) -> None:
    trust = TrustStore.load(tmp_path / "trust.json")
    opened(package(tmp_path, version="9.0.0"), store, trust, Policy.OFF)
    assert trust.current().seen == {}


def test_a_package_opened_again_is_not_unpacked_again(
    signed: Path, store: PackageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(signed, store, trusting("Ann")).directory
    inode = (first / "manifest.json").stat().st_ino
    monkeypatch.delattr(PackageStore, "staging")
    again = opened(signed, store, trusting("Ann")).directory
    assert (again / "manifest.json").stat().st_ino == inode


def test_a_stored_package_that_was_changed_is_unpacked_anew(
    signed: Path, store: PackageStore
) -> None:
    grammar = opened(signed, store, trusting("Ann")).directory / "grammar.gbnf"
    sound = grammar.read_bytes()
    grammar.chmod(0o600)
    grammar.write_bytes(b'root ::= "b"\n')
    opened(signed, store, trusting("Ann"))
    assert grammar.read_bytes() == sound


def test_a_file_added_to_a_stored_package_is_not_loaded(signed: Path, store: PackageStore) -> None:
    directory = opened(signed, store, trusting("Ann")).directory
    (directory / "adapter" / "adapter_model.bin").write_bytes(b"pickle")
    opened(signed, store, trusting("Ann"))
    assert not (directory / "adapter" / "adapter_model.bin").exists()


@pytest.mark.parametrize("kind", ["link to the file", "link to a folder", "FIFO"])
def test_a_stored_package_with_anything_but_files_is_unpacked_anew(
    signed: Path, store: PackageStore, tmp_path: Path, kind: str
) -> None:
    """A link may lead elsewhere by the time the engine follows it; a FIFO keeps it waiting."""
    directory = opened(signed, store, trusting("Ann")).directory
    grammar, extra = directory / "grammar.gbnf", directory / "adapter" / "extra"
    match kind:
        case "link to the file":
            shutil.move(grammar, tmp_path / "grammar.gbnf")
            grammar.symlink_to(tmp_path / "grammar.gbnf")
        case "link to a folder":
            extra.symlink_to(tmp_path)
        case _:
            os.mkfifo(extra)
    opened(signed, store, trusting("Ann"))
    assert not grammar.is_symlink()
    assert not os.path.lexists(extra)


def test_a_damaged_package_leaves_the_stored_ones_alone(signed: Path, store: PackageStore) -> None:
    opened(signed, store, trusting("Ann"))
    before = kept(store)
    damaged = bytearray(signed.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    signed.write_bytes(damaged)
    with pytest.raises(PackageError) as caught:
        opened(signed, store, trusting("Ann"))
    assert all(problem.where.startswith(signed.name) for problem in caught.value.problems)
    assert kept(store) == before


def test_verification_keeps_nothing_and_does_not_raise_for_want_of_trust(
    signed: Path, tmp_path: Path
) -> None:
    report = verify_package(signed, trust=TrustStore(), policy=Policy.ENFORCE, now=NOW)
    assert not report.decision.accepted
    assert report.package.facts.key_id == key("Ann").key_id
    assert report.package.facts.publisher == "Ann"


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (b"root ::= nothing\n", r"grammar.gbnf:1:10: there is no rule named nothing"),
        (b'root ::= root "a"\n', "left"),
        (b"root ::= \n", "grammar.gbnf"),
        (b'root ::= "a"' + b" " * (64 << 10), "is larger than"),
    ],
)
def test_verification_builds_the_decoding_contract(
    grammar: bytes, reason: str, tmp_path: Path
) -> None:
    """pack refuses such a grammar as well: this is one that was packed by something else."""
    members = {**sample_members(), "grammar.gbnf": grammar}
    path = forged(tmp_path / "p.expert", members, signer=key("Ann"))
    examine_package(path)
    with pytest.raises(DecodingError, match=reason):
        verify_package(path, trust=trusting("Ann"), policy=Policy.ENFORCE, now=NOW)


def test_a_package_from_the_future_is_pointed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = NOW + timedelta(days=30)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(later.timestamp())))
    path = package(tmp_path, key("Ann"))
    report = verify_package(path, trust=trusting("Ann"), policy=Policy.ENFORCE, now=NOW)
    assert report.decision.accepted
    assert any("future" in warning for warning in report.decision.warnings)


def test_what_is_no_file_is_a_package_error(tmp_path: Path) -> None:
    """A FIFO that nobody writes into must not keep its reader waiting, either."""
    os.mkfifo(tmp_path / "fifo.expert")
    for path in (tmp_path, tmp_path / "absent.expert", tmp_path / "fifo.expert", Path("/dev/zero")):
        with pytest.raises(PackageError):
            examine_package(path)


def test_a_store_that_cannot_be_written_is_a_package_error(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where the store should be")
    with pytest.raises(PackageError):
        opened(signed, PackageStore(tmp_path / "occupied"), trusting("Ann"))


def test_the_stores_content_does_not_depend_on_where_the_file_was(
    signed: Path, store: PackageStore, tmp_path: Path
) -> None:
    copy = shutil.copy(signed, tmp_path / "renamed.expert")
    one = opened(signed, store, trusting("Ann"))
    other = opened(Path(copy), store, trusting("Ann"))
    assert one.directory == other.directory


class Meddling(PackageStore):
    """A store during whose look-up somebody exchanges the content of the package's file."""

    def has(self, digest: str) -> bool:
        found = super().has(digest)
        (self.root.parent / "p.expert").write_bytes((self.root.parent / "other").read_bytes())
        return found


@pytest.mark.parametrize("stored", [True, False])
def test_a_package_that_changes_while_it_is_read_is_what_was_read_last(
    tmp_path: Path, stored: bool
) -> None:
    """It is stored, or found, by the digest of what was verified, not of what it was before."""
    path = forged(tmp_path / "p.expert", sample_members(), signer=key("Ann"))
    other = sample_members() | {"README.md": b"hello"}
    forged(tmp_path / "other", other, signer=key("Ann"))
    if stored:
        opened(path, PackageStore(tmp_path / "store"), trusting("Ann"))
    package = opened(path, Meddling(tmp_path / "store"), trusting("Ann"))
    assert package.facts == examine_package(tmp_path / "other").facts
    assert (package.directory / "README.md").read_bytes() == b"hello"
    assert PackageStore(tmp_path / "store").find(package.digest) == package.directory


def repacked(path: Path, output: Path) -> Path:
    """The same members, all deflated and of another time: another file."""
    plain = bytearray(gzip.decompress(path.read_bytes()))
    position = 0
    while plain[position]:
        header = plain[position : position + 512]
        size = int(header[124:135], 8)
        header[136:147], header[148:156] = b"%011o" % 1_000_000_000, b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        plain[position : position + 512] = header
        position += 512 + size + -size % 512
    output.write_bytes(deflated(bytes(plain)))
    return output


def test_the_same_members_packed_otherwise_are_the_same_package(
    signed: Path, store: PackageStore, tmp_path: Path
) -> None:
    other = repacked(signed, tmp_path / "other.expert")
    assert other.read_bytes() != signed.read_bytes()
    one, again = opened(signed, store, trusting("Ann")), opened(other, store, trusting("Ann"))
    assert again == one
    fresh = opened(other, PackageStore(tmp_path / "fresh"), trusting("Ann"))
    assert fresh.digest == one.digest
    inode = (one.directory / "manifest.json").stat().st_ino
    assert (again.directory / "manifest.json").stat().st_ino == inode


def test_a_stored_package_that_was_changed_is_not_found_by_one_packed_otherwise(
    signed: Path, store: PackageStore, tmp_path: Path
) -> None:
    """Nothing is known of that one before it is read to its end."""
    grammar = opened(signed, store, trusting("Ann")).directory / "grammar.gbnf"
    sound = grammar.read_bytes()
    grammar.chmod(0o600)
    grammar.write_bytes(b'root ::= "b"\n')
    opened(repacked(signed, tmp_path / "other.expert"), store, trusting("Ann"))
    assert grammar.read_bytes() == sound


def test_other_members_are_another_package(tmp_path: Path) -> None:
    members = sample_members()
    one = forged(tmp_path / "one.expert", members, signer=key("Ann"))
    other = forged(tmp_path / "other.expert", members | {"LICENSE": b"MIT"}, signer=key("Ann"))
    assert examine_package(one).facts.digest != examine_package(other).facts.digest


def test_the_same_members_signed_by_another_are_decided_on_anew(
    tmp_path: Path, store: PackageStore
) -> None:
    """The manifest names the key, so it is another package, stored or not."""
    ann = forged(tmp_path / "ann.expert", sample_members(), signer=key("Ann"))
    bo = forged(tmp_path / "bo.expert", sample_members(), signer=key("Bo"))
    known = opened(ann, store, trusting("Ann"))
    with pytest.raises(TrustError, match="do not trust"):
        opened(bo, store, trusting("Ann"))
    assert opened(bo, store, trusting("Bo")).digest != known.digest


@pytest.mark.parametrize("policy", Policy)
def test_anothers_signature_over_a_stored_package_does_not_open_it(
    signed: Path, store: PackageStore, policy: Policy
) -> None:
    """All that is stored is sound, and the signature at hand still decides."""
    opened(signed, store, trusting("Ann"))
    with tarfile.open(signed) as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]  # all are files
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    bo = key("Bo")
    signature = Signature(bo.key_id, bo.sign(signed_message(hashes)), bo.public).to_bytes()
    for wrong in (signature, None):
        named = members | {SIGNATURE: signature}
        if wrong is None:
            del named[SIGNATURE]
        written(signed, named)
        with pytest.raises(SignatureError) as caught:
            opened(signed, store, trusting("Ann", "Bo"), policy)
        assert all(problem.where.startswith(signed.name) for problem in caught.value.problems)


def test_weights_that_differ_from_the_stored_ones_are_refused(
    tmp_path: Path, store: PackageStore
) -> None:
    """A file that says it is a package in the store is read to its end all the same."""
    path = forged(tmp_path / "p.expert", sample_members(), signer=key("Ann"))
    opened(path, store, trusting("Ann"))
    with tarfile.open(path) as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]  # all are files
    weights = bytearray(members[ADAPTER_WEIGHTS])
    weights[-1] ^= 1
    written(path, members | {ADAPTER_WEIGHTS: bytes(weights)})
    assert store.has(skim(path).facts.digest)
    with pytest.raises(IntegrityError, match="differs from the hash") as caught:
        opened(path, store, trusting("Ann"))
    assert all(problem.where.startswith("p.expert") for problem in caught.value.problems)


def test_a_refusal_names_the_file(tmp_path: Path, store: PackageStore) -> None:
    no_manifest = written(tmp_path / "a.expert", sample_members())
    no_archive = tmp_path / "b.expert"
    no_archive.write_bytes(b"no archive")
    for path, name in ((no_manifest, "a.expert"), (no_archive, "b.expert")):
        for refuse in (lambda p: opened(p, store, trusting("Ann")), examine_package):
            with pytest.raises(PackageError) as caught:
                refuse(path)
            assert [problem.where for problem in caught.value.problems] == [name]


def test_what_was_found_is_the_same_when_a_package_is_opened_again(
    signed: Path, store: PackageStore
) -> None:
    trust = trusting("Ann")
    first = opened(signed, store, trust)
    assert first.facts == examine_package(signed).facts
    assert opened(signed, store, trust) == first
    pinned = trust.with_pin("expert-sample", Pin(digest=first.digest))
    assert opened(signed, store, pinned).decision.accepted


def test_verification_asks_for_the_policy(unsigned: Path) -> None:
    for policy in Policy:
        report = verify_package(unsigned, trust=TrustStore(), policy=policy, now=NOW)
        assert report.decision.accepted == (policy != Policy.ENFORCE)

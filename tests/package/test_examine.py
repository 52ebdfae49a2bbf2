"""Packages that were built by a liar: every part is well-formed, and they do not fit together."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import (
    ArchiveError,
    HiveError,
    IntegrityError,
    ManifestError,
    SignatureError,
    TensorError,
)
from hive_expert.package.open import examine_package
from hive_expert.package.statement import Signature, signed_message
from tests.package.samples import (
    forged,
    key,
    lora_tensors,
    packed_document,
    peft_config,
    safetensors,
    sample_members,
    soft_prompt,
    soft_prompt_tensors,
    written,
)

WEIGHTS = "adapter/adapter_model.safetensors"
CONFIG = "adapter/adapter_config.json"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refused(path: Path) -> HiveError:
    with pytest.raises(HiveError) as caught:
        examine_package(path)
    return caught.value


def integrity(files: dict[str, str], **changes: Any) -> dict[str, Any]:
    return {
        "format": 2,
        "algorithm": "sha256",
        "files": files,
        "created_at": "2026-01-01T00:00:00Z",
        **changes,
    }


def hashes(members: dict[str, bytes]) -> dict[str, str]:
    return {path: sha256(data) for path, data in members.items()}


def test_the_forgery_without_a_lie_is_sound(tmp_path: Path) -> None:
    """What follows is refused for its lie, not for being a forgery."""
    path = forged(tmp_path / "p.expert", sample_members(), signer=key())
    assert examine_package(path).facts.key_id == key().key_id


def test_a_package_without_a_manifest_is_refused(tmp_path: Path) -> None:
    error = refused(written(tmp_path / "p.expert", sample_members()))
    assert isinstance(error, ArchiveError)
    assert "no manifest.json" in str(error)


def test_a_manifest_without_integrity_is_refused(tmp_path: Path) -> None:
    members = sample_members()
    manifest = json.dumps(packed_document(members)).encode()
    path = written(tmp_path / "p.expert", {**members, "manifest.json": manifest})
    assert isinstance(refused(path), IntegrityError)


def test_an_undeclared_member_is_refused(tmp_path: Path) -> None:
    members = sample_members()
    lie = {"integrity": integrity(hashes(members))}
    path = forged(tmp_path / "p.expert", {**members, "README.md": b"hi"}, manifest=lie)
    assert "README.md: is not declared" in str(refused(path))


def test_a_missing_member_is_refused(tmp_path: Path) -> None:
    members = sample_members()
    lie = {"integrity": integrity({**hashes(members), "README.md": sha256(b"hi")})}
    path = forged(tmp_path / "p.expert", members, manifest=lie)
    assert "README.md: is declared and missing" in str(refused(path))


def test_a_member_with_another_hash_is_refused_by_name(tmp_path: Path) -> None:
    members = sample_members() | {"README.md": b"hi"}
    lie = {"integrity": integrity({**hashes(members), "README.md": sha256(b"ho")})}
    error = refused(forged(tmp_path / "p.expert", members, manifest=lie))
    assert isinstance(error, IntegrityError)
    assert "README.md: differs" in str(error)


def test_every_wrong_member_is_reported_at_once(tmp_path: Path) -> None:
    members = sample_members() | {"README.md": b"hi"}
    lie = {"integrity": integrity({WEIGHTS: "0" * 64, "LICENSE": "0" * 64})}
    error = refused(forged(tmp_path / "p.expert", members, manifest=lie))
    assert len(error.problems) == 4


def test_a_signature_taken_off_is_noticed(tmp_path: Path) -> None:
    members = sample_members()
    lie = {"integrity": integrity(hashes(members), key_id=key().key_id)}
    error = refused(forged(tmp_path / "p.expert", members, manifest=lie))
    assert isinstance(error, SignatureError)
    assert "signature.sig is missing" in str(error)


def test_a_signature_by_another_key_than_the_manifest_names_is_refused(tmp_path: Path) -> None:
    members = sample_members()
    lie = {"integrity": integrity(hashes(members), key_id=key("Bo").key_id)}
    path = forged(tmp_path / "p.expert", members, signer=key("Ann"), manifest=lie)
    assert "another key" in str(refused(path))


def test_a_signature_put_on_an_unsigned_package_is_refused(tmp_path: Path) -> None:
    members = sample_members()
    lie = {"integrity": integrity(hashes(members))}
    path = forged(tmp_path / "p.expert", members, signer=key("Ann"), manifest=lie)
    assert isinstance(refused(path), SignatureError)


def test_a_signature_over_another_package_is_refused(tmp_path: Path) -> None:
    members = sample_members()
    document = packed_document(members) | {
        "integrity": integrity(hashes(members), key_id=key().key_id)
    }
    everything = {**members, "manifest.json": json.dumps(document).encode()}
    other = signed_message({**hashes(everything), "README.md": sha256(b"")})
    signature = Signature(key().key_id, key().sign(other), key().public)
    everything["signature.sig"] = signature.to_bytes()
    error = refused(written(tmp_path / "p.expert", everything))
    assert isinstance(error, SignatureError)
    assert "does not fit the members" in str(error)


def test_a_stranger_cannot_sign_in_anothers_name(tmp_path: Path) -> None:
    """Ann's key id and public key, with Bo's signature."""
    members = sample_members()
    document = packed_document(members) | {
        "integrity": integrity(hashes(members), key_id=key("Ann").key_id)
    }
    everything = {**members, "manifest.json": json.dumps(document).encode()}
    message = signed_message(hashes(everything))
    signature = Signature(key("Ann").key_id, key("Bo").sign(message), key("Ann").public)
    everything["signature.sig"] = signature.to_bytes()
    assert isinstance(refused(written(tmp_path / "p.expert", everything)), SignatureError)


def test_a_manifest_for_two_base_models_is_refused(tmp_path: Path) -> None:
    members = sample_members()
    (entry,) = packed_document(members)["base_models"]
    lie = {"base_models": [entry, {**entry, "name": "Qwen/Qwen3-0.6B"}]}
    assert "one base model" in str(refused(forged(tmp_path / "p.expert", members, manifest=lie)))


@pytest.mark.parametrize(
    "change",
    [
        {"path": "weights/"},
        {"sha256": "0" * 64},
        {"size_bytes": 1},
    ],
)
def test_an_adapter_entry_that_is_not_the_adapter_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    members = sample_members()
    lie = packed_document(members)
    lie["base_models"][0]["adapters"][0] |= change
    path = forged(tmp_path / "p.expert", members, manifest={"base_models": lie["base_models"]})
    assert isinstance(refused(path), IntegrityError)


@pytest.mark.parametrize("missing", [WEIGHTS, CONFIG])
def test_an_adapter_that_is_not_there_is_refused(tmp_path: Path, missing: str) -> None:
    members = sample_members()
    lie = {"base_models": packed_document(members)["base_models"]}
    del members[missing]
    assert missing in str(refused(forged(tmp_path / "p.expert", members, manifest=lie)))


@pytest.mark.parametrize(
    "manifest",
    [
        {"training": {"decoding": {"grammar_file": "grammar.gbnf"}}},
        {"training": {"decoding": {"grammar_file": "other.gbnf"}}},
        {"training": {"decoding": {"json_schema": "schema.json"}}},
        {
            "training": {
                "decoding": {"validation": {"type": "json", "json_schema": "README.md"}},
            }
        },
        {"evaluation": {"test_cases": "tests/test_cases.json"}},
        {"soft_prompts": [{"name": "s", "path": "soft_prompts/s.safetensors", "tokens": 4}]},
    ],
)
def test_a_reference_to_nothing_is_refused(tmp_path: Path, manifest: dict[str, Any]) -> None:
    error = refused(forged(tmp_path / "p.expert", sample_members(), manifest=manifest))
    assert isinstance(error, IntegrityError)


@pytest.mark.parametrize(
    "member", ["grammar.gbnf", "tests/test_cases.json", "soft_prompts/s.safetensors"]
)
def test_a_member_nothing_refers_to_is_refused(tmp_path: Path, member: str) -> None:
    members = sample_members() | {member: b"x"}
    manifest = {"training": {"decoding": {"temperature": 0.1}}}
    error = refused(forged(tmp_path / "p.expert", members, manifest=manifest))
    assert isinstance(error, IntegrityError)


def test_a_configuration_that_says_other_than_the_manifest_is_refused(tmp_path: Path) -> None:
    members = sample_members() | {CONFIG: json.dumps(peft_config(lora_alpha=64)).encode()}
    assert isinstance(refused(forged(tmp_path / "p.expert", members)), ManifestError)


def test_weights_of_another_rank_are_refused(tmp_path: Path) -> None:
    members = sample_members() | {WEIGHTS: safetensors(lora_tensors(rank=4))}
    assert isinstance(refused(forged(tmp_path / "p.expert", members)), TensorError)


def test_a_pickle_in_a_safe_name_is_refused(tmp_path: Path) -> None:
    members = sample_members() | {WEIGHTS: b"\x80\x04\x95" + bytes(100)}
    assert isinstance(refused(forged(tmp_path / "p.expert", members)), TensorError)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    members = sample_members() | {"README.md": b"\x80\x04\x95"}
    error = refused(forged(tmp_path / "p.expert", members))
    assert "README.md: is not UTF-8" in str(error)


def test_text_cut_in_the_middle_of_a_character_is_refused(tmp_path: Path) -> None:
    members = sample_members() | {"README.md": "é".encode()[:1]}
    assert "not UTF-8" in str(refused(forged(tmp_path / "p.expert", members)))


def test_an_adapter_of_another_kind_than_declared_is_refused(tmp_path: Path) -> None:
    members = sample_members()
    lie = packed_document(members)["base_models"]
    lie[0]["adapters"][0]["type"] = "dora"
    error = refused(forged(tmp_path / "p.expert", members, manifest={"base_models": lie}))
    assert isinstance(error, ManifestError)
    assert "use_dora" in str(error)


PROMPT = "soft_prompts/tone.safetensors"


def with_prompt(tmp_path: Path, tensors: Any, **changes: Any) -> Path:
    members = sample_members() | {PROMPT: safetensors(tensors)}
    lie = {"soft_prompts": [soft_prompt(**{"path": PROMPT, **changes})]}
    return forged(tmp_path / "p.expert", members, manifest=lie)


def test_a_soft_prompt_as_declared_is_sound(tmp_path: Path) -> None:
    path = with_prompt(tmp_path, soft_prompt_tensors())
    (prompt,) = examine_package(path).manifest.soft_prompts
    assert prompt.path == PROMPT


def test_a_soft_prompt_of_other_length_than_declared_is_refused(tmp_path: Path) -> None:
    error = refused(with_prompt(tmp_path, soft_prompt_tensors(), tokens=8))
    assert isinstance(error, TensorError)
    assert f"{PROMPT}: prompt_embeddings: has 3 tokens and the manifest says 8" in str(error)


def test_a_soft_prompt_that_is_an_adapter_is_refused(tmp_path: Path) -> None:
    assert isinstance(refused(with_prompt(tmp_path, lora_tensors())), TensorError)


def test_a_soft_prompt_with_nan_is_refused(tmp_path: Path) -> None:
    dtype, shape, data = soft_prompt_tensors()["prompt_embeddings"]
    broken = {"prompt_embeddings": (dtype, shape, data[:-2] + b"\xc0\x7f")}
    assert "holds NaN" in str(refused(with_prompt(tmp_path, broken)))


def test_a_soft_prompt_outside_its_folder_is_refused(tmp_path: Path) -> None:
    path = with_prompt(tmp_path, soft_prompt_tensors(), path="adapter/adapter_model.safetensors")
    assert isinstance(refused(path), IntegrityError)

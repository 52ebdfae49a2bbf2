"""Small experts, keys and packages to test with; all of them deterministic."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hive_expert.package.archive import Entry, write_archive
from hive_expert.package.keys import SigningKey
from hive_expert.package.layout import MANIFEST, SIGNATURE
from hive_expert.package.pack import build_package
from hive_expert.package.statement import Signature, signed_message
from hive_expert.package.trust_store import TrustStore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TARGETS = ("q_proj", "v_proj")
RANK, WIDTH, TOKENS = 2, 4, 3


def key(name: str = "Ann") -> SigningKey:
    """A publisher's key; the same name gives the same key."""
    seed = hashlib.sha256(name.encode()).digest()
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(seed))


def trusting(*names: str, patterns: tuple[str, ...] = ("*",)) -> TrustStore:
    """A trust store with those publishers' keys."""
    store = TrustStore()
    for name in names:
        store = store.with_key(key(name).public, patterns, NOW)
    return store


def safetensors(tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    """A safetensors file of (dtype, shape, bytes) by name, laid out without gaps."""
    header: dict[str, Any] = {}
    data = b""
    for name, (dtype, shape, raw) in tensors.items():
        end = len(data) + len(raw)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), end]}
        data += raw
    return with_header(json.dumps(header).encode(), data)


def with_header(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def lora_name(module: str, side: str, layer: int = 0) -> str:
    return f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{side}.weight"


def lora_tensors(
    targets: tuple[str, ...] = TARGETS, rank: int = RANK
) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """A bf16 LoRA adapter for one layer; every value is 1."""
    one = b"\x80\x3f"
    tensors = {}
    for module in targets:
        tensors[lora_name(module, "A")] = ("BF16", (rank, WIDTH), one * rank * WIDTH)
        tensors[lora_name(module, "B")] = ("BF16", (WIDTH, rank), one * rank * WIDTH)
    return tensors


def soft_prompt_tensors(
    tokens: int = TOKENS, width: int = WIDTH
) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """A bf16 soft prompt; every value is 1."""
    return {"prompt_embeddings": ("BF16", (tokens, width), b"\x80\x3f" * tokens * width)}


def soft_prompt(name: str = "tone", **changes: Any) -> dict[str, Any]:
    """A soft prompt in a manifest, in its usual place."""
    path = f"prompts/{name}.safetensors"
    return {"name": name, "path": path, "tokens": TOKENS, **changes}


def peft_config(**changes: Any) -> dict[str, Any]:
    """What PEFT writes beside a plain LoRA adapter."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "/home/ann/models/smollm2",
        "r": RANK,
        "lora_alpha": 4,
        "lora_dropout": 0.0,
        "target_modules": list(TARGETS),
        "bias": "none",
        "modules_to_save": None,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        "megatron_core": "megatron.core",
        "peft_version": "0.21.2",
        **changes,
    }


def manifest_document(**changes: Any) -> dict[str, Any]:
    """The manifest of the sample expert, as a JSON document."""
    return {
        "name": "expert-sample",
        "version": "0.1.0",
        "schema_version": "2.0",
        "description": "A sample.",
        "base_models": [
            {
                "name": "HuggingFaceTB/SmolLM2-135M-Instruct",
                "sha256": "",
                "prompt_template": "chatml",
                "adapters": [
                    {
                        "type": "lora",
                        "r": RANK,
                        "alpha": 4,
                        "target_modules": list(TARGETS),
                        "path": "weights/",
                    }
                ],
            }
        ],
        "training": {
            "decoding": {"temperature": 0.1, "use_grammar": True, "grammar_file": "grammar.gbnf"}
        },
        **changes,
    }


def expert_directory(parent: Path, **changes: Any) -> Path:
    """The sample expert on disk; ``changes`` are top-level fields of its manifest."""
    directory = parent / "expert-sample"
    weights = directory / "weights"
    weights.mkdir(parents=True)
    (weights / "adapter_model.safetensors").write_bytes(safetensors(lora_tensors()))
    (weights / "adapter_config.json").write_text(json.dumps(peft_config()))
    (directory / "manifest.json").write_text(json.dumps(manifest_document(**changes)))
    (directory / "grammar.gbnf").write_text('root ::= "a"\n')
    (directory / "README.md").write_text("# A sample\n")
    (directory / "LICENSE").write_text("Apache-2.0\n")
    (directory / "tests").mkdir()
    (directory / "tests" / "test_cases.json").write_text('{"format": 1, "cases": []}\n')
    return directory


def package(parent: Path, signer: SigningKey | None = None, **changes: Any) -> Path:
    """The sample expert packed, by default unsigned; ``changes`` as in expert_directory."""
    directory = expert_directory(parent, **changes)
    built = build_package(directory, model=None, output=parent / "out", signer=signer)
    return built.path


def forged(
    path: Path,
    members: Mapping[str, bytes],
    *,
    signer: SigningKey | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """A package of any members, declared and signed as they are, past every check of pack.

    ``manifest`` replaces fields of the sample's; `integrity` among them replaces the true one.
    """
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    integrity: dict[str, Any] = {
        "format": 2,
        "algorithm": "sha256",
        "files": hashes,
        "created_at": "2026-01-01T00:00:00Z",
    }
    if signer is not None:
        integrity |= {"publisher": signer.name, "key_id": signer.key_id}
    document = {**packed_document(members), "integrity": integrity, **(manifest or {})}
    everything = {**members, MANIFEST: json.dumps(document).encode()}
    if signer is not None:
        message = signed_message({n: hashlib.sha256(d).hexdigest() for n, d in everything.items()})
        everything[SIGNATURE] = Signature(
            signer.key_id, signer.sign(message), signer.public
        ).to_bytes()
    return written(path, everything)


def written(path: Path, members: Mapping[str, bytes]) -> Path:
    """The members as a package's archive, whatever they are."""
    with path.open("wb") as file:
        write_archive([Entry(name, data) for name, data in members.items()], file, mtime=0)
    return path


def packed_document(members: Mapping[str, bytes]) -> dict[str, Any]:
    """The sample's manifest as it stands in a package with those members."""
    document = manifest_document()
    weights = members.get("adapter/adapter_model.safetensors", b"")
    document["base_models"][0]["adapters"][0] |= {
        "path": "adapter/",
        "size_bytes": len(weights),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    if "grammar.gbnf" not in members:
        document["training"]["decoding"] = {"temperature": 0.1}
    return document


def sample_members() -> dict[str, bytes]:
    """The fewest members of a sound package, without manifest and signature."""
    return {
        "adapter/adapter_config.json": json.dumps(peft_config()).encode(),
        "adapter/adapter_model.safetensors": safetensors(lora_tensors()),
    }

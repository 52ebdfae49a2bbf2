"""The experts of the first generation: their manifests, migrated, packed, signed and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from hive_expert.cli.build import main
from hive_expert.cli.hive_trust import trust
from hive_expert.manifest.adapter_model import Adapter, SoftPrompt
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import parse_manifest
from hive_expert.package.adapter_config import packaged_adapter_config
from tests.package.samples import WIDTH, lora_name, lora_tensors, safetensors, soft_prompt_tensors

VECTORS = Path(__file__).parents[1] / "vectors" / "valid"
ONE = b"\x80\x3f"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    for variable in ("HIVE_TRUST", "HIVE_KEY_PASSPHRASE", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(variable, raising=False)

    def invoke(*arguments: object, command: Any = main, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(command, [str(a) for a in arguments])
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


def expert(directory: Path, source: Path) -> Manifest:
    """The expert of a manifest, with made-up weights of the shapes that it states."""
    directory.mkdir()
    (directory / "manifest.json").write_bytes(source.read_bytes())
    manifest = parse_manifest(source.read_bytes())
    (entry,) = manifest.base_models
    for adapter in entry.adapters:
        place = directory / adapter.path
        folder = place.parent if place.suffix else place
        write(folder / "adapter_model.safetensors", safetensors(weights(adapter)))
        write(folder / "adapter_config.json", packaged_adapter_config(adapter, entry.name))
    for prompt in manifest.soft_prompts:
        write_prompt(directory / prompt.path, prompt)
    decoding = manifest.training.decoding if manifest.training else None
    if decoding and decoding.grammar_file:
        write(directory / decoding.grammar_file, b'root ::= "a"\n')
    if manifest.evaluation and manifest.evaluation.test_cases:
        write(directory / manifest.evaluation.test_cases, b'{"format": 1, "cases": []}')
    return manifest


def weights(adapter: Adapter) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    vectors = {
        f"base_model.model.model.layers.0.mlp.{module}.ia3_l": ("BF16", (WIDTH, 1), ONE * WIDTH)
        for module in adapter.target_modules
    }
    if adapter.type == "ia3":
        return vectors
    assert adapter.r is not None
    matrices = lora_tensors(adapter.target_modules, adapter.r)
    if adapter.type == "dora":
        for module in adapter.target_modules:
            name = lora_name(module, "A").replace("lora_A.weight", "lora_magnitude_vector")
            matrices[name] = ("BF16", (WIDTH,), ONE * WIDTH)
    return matrices


def write_prompt(path: Path, prompt: SoftPrompt) -> None:
    if path.suffix == ".pt":
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"embedding": torch.ones(prompt.tokens, WIDTH)}, path)
    else:
        write(path, safetensors(soft_prompt_tensors(prompt.tokens)))


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "refused"),
    [("sql", []), ("neo4j", []), ("json", []),
     # A metric that nobody measures binds hive-train alone: the expert is packed all the same.
     ("typescript", ["evaluation.metrics", "evaluation.thresholds"])],
)  # fmt: skip
def test_an_expert_of_the_first_generation_is_packed_and_trusted(
    run: Any, tmp_path: Path, name: str, refused: list[str]
) -> None:
    directory, key = tmp_path / f"expert-{name}", tmp_path / "ann.pem"
    before = expert(directory, VECTORS / f"v1-expert-{name}.json")
    run("keygen", "--name", "Ann", "--output", key)
    run("add", key.with_suffix(".pub.json"), command=trust)

    shown = json.loads(run("validate", directory, "--json", exit_code=bool(refused)).stdout)
    assert [row["path"] for row in shown["fields"] if row["status"] == "refused"] == refused
    run("package", directory, "--key", key, "--output", tmp_path / "old.expert")
    renamed = json.loads(run("migrate", directory, "--json").stdout)["renamed"]
    run("validate", directory, exit_code=bool(refused))
    run("package", directory, "--key", key, "--output", tmp_path / "new.expert")

    assert renamed
    assert (tmp_path / "old.expert").read_bytes() == (tmp_path / "new.expert").read_bytes()
    verified = json.loads(run("verify", tmp_path / "new.expert", "--json").stdout)
    assert verified["accepted"] and verified["signer"] == "Ann"
    shown = json.loads(run("inspect", tmp_path / "new.expert", "--json").stdout)
    packed = parse_manifest(json.dumps(shown["manifest"]).encode())
    assert without_places(packed) == without_places(before)
    assert not [member["path"] for member in shown["members"] if member["path"].endswith(".pt")]


def without_places(manifest: Manifest) -> dict[str, Any]:
    """What a manifest says, but for where files lie and what packing adds."""
    document = manifest.model_dump(mode="json", exclude_unset=True)
    document.pop("integrity", None)
    for adapter in document["base_models"][0]["adapters"]:
        for field in ("path", "size_bytes", "sha256"):
            adapter.pop(field, None)
    for prompt in document.get("soft_prompts", []):
        del prompt["path"]
    document["training"]["decoding"].pop("grammar_file", None)
    document.get("evaluation", {}).pop("test_cases", None)
    return document

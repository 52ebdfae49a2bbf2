"""From an expert's directory to a package."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import HiveError, ManifestError, PackageError, UsageError
from hive_expert.package.gather import missing_files
from hive_expert.package.open import examine_package
from hive_expert.package.pack import build_package, read_any_manifest, sign_package
from tests.package.samples import (
    expert_directory,
    key,
    lora_tensors,
    manifest_document,
    package,
    peft_config,
    safetensors,
    soft_prompt,
    soft_prompt_tensors,
)

QWEN = {
    "name": "Qwen/Qwen3-0.6B",
    "adapters": [
        {
            "type": "lora",
            "r": 2,
            "alpha": 4,
            "target_modules": ["q_proj", "v_proj"],
            "path": "weights-qwen/",
        }
    ],
}


def build(directory: Path, model: str | None = None, **options: Any) -> Path:
    arguments = {"output": directory.parent / "out", "signer": None, **options}
    return build_package(directory, model=model, **arguments).path


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        found = {}
        for info in tar:
            file = tar.extractfile(info)
            assert file is not None
            found[info.name] = file.read()
        return found


def test_a_manifest_of_another_name_is_packed_with_the_files_beside_it(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    as_usual = members(build(directory))
    other = directory / "manifest.qwen.json"
    other.write_bytes((directory / "manifest.json").read_bytes())
    (directory / "manifest.json").write_text("{}")
    packed = build(other, output=tmp_path / "other")
    assert members(packed) == as_usual
    other.write_text("{}")
    with pytest.raises(ManifestError, match=r"manifest\.qwen\.json"):
        build(other)
    with pytest.raises(UsageError, match="is packed already"):
        build(packed)


def test_the_file_is_named_after_expert_model_and_version(tmp_path: Path) -> None:
    assert package(tmp_path).name == "expert-sample-smollm2-135m.v0.1.0.expert"


def test_the_output_may_be_a_file_name(tmp_path: Path) -> None:
    path = build(expert_directory(tmp_path), output=tmp_path / "mine.expert")
    assert path == tmp_path / "mine.expert"
    examine_package(path)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    directory = expert_directory(tmp_path / "one")
    shutil.copytree(directory, tmp_path / "two" / directory.name)
    one = build(directory, signer=key())
    other = build(tmp_path / "two" / directory.name, signer=key())
    assert one.read_bytes() == other.read_bytes()


def test_source_date_epoch_dates_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    path = package(tmp_path)
    assert examine_package(path).facts.created_at == "2023-11-14T22:13:20Z"
    with tarfile.open(path) as tar:
        assert {info.mtime for info in tar} == {1_700_000_000}


@pytest.mark.parametrize("epoch", ["0", str(2**32), str(8**11 - 1)])
def test_any_source_date_that_an_archive_can_hold_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with tarfile.open(package(tmp_path)) as tar:
        assert {info.mtime for info in tar} == {int(epoch)}


@pytest.mark.parametrize("epoch", ["today", "", "-1", "1.5", "1_0", " 5", "٣", str(8**11)])
def test_a_source_date_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        package(tmp_path)


def test_the_sidecar_is_checked_by_sha256sum(tmp_path: Path) -> None:
    path = package(tmp_path)
    sidecar = f"{path.name}.sha256"
    subprocess.run(["sha256sum", "--check", "--strict", sidecar], cwd=path.parent, check=True)


def test_the_packages_manifest_names_members_as_the_format_does(tmp_path: Path) -> None:
    directory = expert_directory(
        tmp_path,
        training={"decoding": {"use_grammar": True, "grammar_file": "grammars/sql.gbnf"}},
        evaluation={"test_cases": "cases.json"},
    )
    (directory / "grammars").mkdir()
    (directory / "grammar.gbnf").rename(directory / "grammars" / "sql.gbnf")
    (directory / "tests" / "test_cases.json").rename(directory / "cases.json")
    packed = members(build(directory))
    manifest = json.loads(packed["manifest.json"])
    adapter = manifest["base_models"][0]["adapters"][0]
    weights = packed["adapter/adapter_model.safetensors"]
    assert manifest["training"]["decoding"]["grammar_file"] == "grammar.gbnf"
    assert manifest["evaluation"]["test_cases"] == "tests/test_cases.json"
    assert adapter["path"] == "adapter/"
    assert adapter["sha256"] == hashlib.sha256(weights).hexdigest()
    assert adapter["size_bytes"] == len(weights)
    assert manifest["integrity"]["files"] == {
        path: hashlib.sha256(data).hexdigest()
        for path, data in packed.items()
        if path != "manifest.json"
    }


def test_test_cases_in_their_usual_place_are_packed_unasked(tmp_path: Path) -> None:
    packed = members(package(tmp_path))
    assert packed["tests/test_cases.json"] == b'{"format": 1, "cases": []}\n'
    evaluation = json.loads(packed["manifest.json"])["evaluation"]
    assert evaluation == {"test_cases": "tests/test_cases.json"}


def test_a_json_schema_file_becomes_part_of_the_manifest(tmp_path: Path) -> None:
    directory = expert_directory(
        tmp_path, training={"decoding": {"use_grammar": True, "json_schema": "answer.json"}}
    )
    (directory / "answer.json").write_text('{"type": "object"}')
    manifest = json.loads(members(build(directory))["manifest.json"])
    assert manifest["training"]["decoding"]["json_schema"] == {"type": "object"}


def test_the_schema_file_of_the_validation_becomes_part_of_the_manifest(tmp_path: Path) -> None:
    decoding = {"validation": {"type": "json", "json_schema": "answer.json"}}
    directory = expert_directory(tmp_path, training={"decoding": decoding})
    manifest = read_any_manifest(directory)
    (problem,) = missing_files(directory, manifest)
    assert problem.where == "training.decoding.validation.json_schema"
    assert isinstance(refused(directory), PackageError)
    (directory / "answer.json").write_text('{"type": "object"}')
    assert missing_files(directory, manifest) == ()
    packed = json.loads(members(build(directory))["manifest.json"])
    assert packed["training"]["decoding"]["validation"]["json_schema"] == {"type": "object"}


def with_soft_prompts(tmp_path: Path, *prompts: dict[str, Any], **changes: Any) -> Path:
    """The sample expert with those soft prompts, each in the file it names."""
    directory = expert_directory(tmp_path, soft_prompts=list(prompts), **changes)
    for prompt in prompts:
        file = directory / prompt["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(safetensors(soft_prompt_tensors()))
    return directory


def test_soft_prompts_are_packed_by_their_names(tmp_path: Path) -> None:
    prompts = (soft_prompt("tone of voice", path="a/1.safetensors"), soft_prompt("short"))
    packed = members(build(with_soft_prompts(tmp_path, *prompts)))
    paths = [prompt["path"] for prompt in json.loads(packed["manifest.json"])["soft_prompts"]]
    assert paths == ["soft_prompts/tone-of-voice.safetensors", "soft_prompts/short.safetensors"]
    assert {packed[path] for path in paths} == {safetensors(soft_prompt_tensors())}


def test_a_soft_prompt_alone_is_packed_without_adapter_members(tmp_path: Path) -> None:
    entry = manifest_document()["base_models"][0] | {"adapters": []}
    packed = members(build(with_soft_prompts(tmp_path, soft_prompt(), base_models=[entry])))
    assert "soft_prompts/tone.safetensors" in packed
    assert not [name for name in packed if name.startswith("adapter/")]


def test_a_soft_prompt_may_be_the_folder_that_peft_writes(tmp_path: Path) -> None:
    directory = with_soft_prompts(tmp_path, soft_prompt(path="p/adapter_model.safetensors"))
    document = manifest_document(soft_prompts=[soft_prompt(path="p/")])
    (directory / "manifest.json").write_text(json.dumps(document))
    assert "soft_prompts/tone.safetensors" in members(build(directory))


def test_a_soft_prompt_may_be_a_folder_with_a_file_for_each_base_model(tmp_path: Path) -> None:
    entries = [*manifest_document()["base_models"], QWEN]
    changes = {"base_models": entries, "soft_prompts": [soft_prompt(path="prompts/")]}
    directory = expert_directory(tmp_path, **changes)
    shutil.copytree(directory / "weights", directory / "weights-qwen")
    (directory / "prompts").mkdir()
    for width, model in ((4, "smollm2-135m"), (8, "qwen3-0.6b")):
        prompt = safetensors(soft_prompt_tensors(width=width))
        (directory / "prompts" / f"{model}.safetensors").write_bytes(prompt)
        packed = members(build(directory, model))
        assert packed["soft_prompts/tone.safetensors"] == prompt


def test_comments_and_unknown_files_do_not_disturb(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path, _why="a comment")
    (directory / "notes.txt").write_text("private")
    packed = members(build(directory))
    assert json.loads(packed["manifest.json"])["_why"] == "a comment"
    assert "notes.txt" not in packed


def test_one_base_model_is_chosen_by_slug_or_name(tmp_path: Path) -> None:
    entries = [*manifest_document()["base_models"], QWEN]
    directory = expert_directory(tmp_path, base_models=entries)
    shutil.copytree(directory / "weights", directory / "weights-qwen")
    for model in ("qwen3-0.6b", "Qwen/Qwen3-0.6B"):
        path = build(directory, model)
        assert path.name == "expert-sample-qwen3-0.6b.v0.1.0.expert"
        manifest = json.loads(members(path)["manifest.json"])
        assert [entry["name"] for entry in manifest["base_models"]] == ["Qwen/Qwen3-0.6B"]


@pytest.mark.parametrize(
    ("model", "reason"), [(None, "more than one"), ("llama", "not in the manifest")]
)
def test_a_choice_that_is_none_is_wrong_usage(
    tmp_path: Path, model: str | None, reason: str
) -> None:
    entries = [*manifest_document()["base_models"], QWEN]
    with pytest.raises(UsageError, match=reason):
        build(expert_directory(tmp_path, base_models=entries), model)


def refused(directory: Path) -> HiveError:
    """Why the directory is not packed; nothing is left where the package would be."""
    with pytest.raises(HiveError) as caught:
        build(directory)
    out = directory.parent / "out"
    assert not out.exists() or list(out.iterdir()) == []
    return caught.value


def test_a_field_this_version_cannot_honour_is_refused(tmp_path: Path) -> None:
    error = refused(expert_directory(tmp_path, runtime={"speculation": "eagle"}))
    assert isinstance(error, ManifestError)
    assert "runtime.speculation" in str(error)


def test_integrity_by_hand_is_refused(tmp_path: Path) -> None:
    integrity = {
        "format": 2,
        "algorithm": "sha256",
        "files": {},
        "created_at": "2026-01-01T00:00:00Z",
    }
    assert "packaging alone" in str(refused(expert_directory(tmp_path, integrity=integrity)))


def test_missing_weights_are_named_with_what_to_do(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    (directory / "weights" / "adapter_model.safetensors").unlink()
    (problem,) = refused(directory).problems
    assert problem.where == "expert-sample/weights/adapter_model.safetensors"
    assert "does not exist" in problem.what
    assert "hive-train run" in problem.remedy


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt"])
def test_pickled_weights_are_named_as_such(tmp_path: Path, name: str) -> None:
    directory = expert_directory(tmp_path)
    weights = directory / "weights"
    (weights / "adapter_model.safetensors").rename(weights / name)
    (problem,) = refused(directory).problems
    assert name in problem.where
    assert "can carry code" in problem.what


def test_a_soft_prompt_of_other_length_than_declared_is_refused(tmp_path: Path) -> None:
    directory = with_soft_prompts(tmp_path, soft_prompt(tokens=8))
    assert "has 3 tokens and the manifest says 8" in str(refused(directory))


def test_a_missing_soft_prompt_is_named(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path, soft_prompts=[soft_prompt()])
    error = refused(directory)
    assert isinstance(error, PackageError)
    assert "expert-sample/prompts/tone.safetensors: does not exist" in str(error)


@pytest.mark.parametrize(
    ("name", "remedy"), [("tone.pt", "hive-build package"), ("tone.bin", "with PEFT")]
)
def test_a_soft_prompt_that_is_no_safetensors_is_refused(
    tmp_path: Path, name: str, remedy: str
) -> None:
    directory = expert_directory(tmp_path, soft_prompts=[soft_prompt(path=name)])
    (directory / name).write_bytes(b"\x80\x04\x95")
    (problem,) = refused(directory).problems
    assert "not a safetensors file" in problem.what
    assert remedy in problem.remedy


def test_a_soft_prompt_outside_the_directory_is_refused(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path, soft_prompts=[soft_prompt(path="tone.safetensors")])
    (tmp_path / "tone.safetensors").write_bytes(safetensors(soft_prompt_tensors()))
    (directory / "tone.safetensors").symlink_to(tmp_path / "tone.safetensors")
    assert "leads out" in str(refused(directory))


def test_soft_prompts_that_would_share_a_member_are_refused(tmp_path: Path) -> None:
    prompts = (soft_prompt("tone 1", path="a.safetensors"), soft_prompt("Tone-1"))
    assert "would be soft_prompts/Tone-1" in str(refused(with_soft_prompts(tmp_path, *prompts)))


def test_a_soft_prompt_whose_name_is_too_long_for_a_file_is_refused(tmp_path: Path) -> None:
    prompt = soft_prompt("n" * 200, path="p.safetensors")
    (problem,) = refused(with_soft_prompts(tmp_path, prompt)).problems
    assert problem.where == "soft_prompts[0].name"


def test_a_missing_adapter_configuration_is_named(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    (directory / "weights" / "adapter_config.json").unlink()
    assert "adapter_config.json: does not exist" in str(refused(directory))


@pytest.mark.parametrize("missing", ["grammar.gbnf", "manifest.json"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    directory = expert_directory(tmp_path)
    (directory / missing).unlink()
    assert missing in str(refused(directory))


def test_an_adapter_configuration_that_contradicts_the_manifest_is_refused(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    config = directory / "weights" / "adapter_config.json"
    config.write_text(json.dumps(peft_config(r=16)))
    assert isinstance(refused(directory), ManifestError)


def test_weights_that_contradict_the_manifest_are_refused(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    weights = directory / "weights" / "adapter_model.safetensors"
    weights.write_bytes(safetensors(lora_tensors(rank=4)))
    assert "rank 4 and the manifest says 2" in str(refused(directory))


def test_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    (tmp_path / "secret").write_text("mine")
    (directory / "grammar.gbnf").unlink()
    (directory / "grammar.gbnf").symlink_to(tmp_path / "secret")
    assert "leads out" in str(refused(directory))


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_weights_behind_a_link_out_of_the_directory_are_refused(tmp_path: Path, name: str) -> None:
    directory = expert_directory(tmp_path)
    (directory / "weights" / name).rename(tmp_path / name)
    (directory / "weights" / name).symlink_to(tmp_path / name)
    assert f"weights/{name}: leads out" in str(refused(directory))


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    (directory / "README.md").write_bytes(b"\xff\xfe")
    assert "README.md: is not UTF-8" in str(refused(directory))


def test_a_broken_json_schema_is_refused(tmp_path: Path) -> None:
    decoding = {"use_grammar": True, "json_schema": {"type": "objekt"}}
    error = refused(expert_directory(tmp_path, training={"decoding": decoding}))
    assert "not a JSON Schema" in str(error)


@pytest.mark.parametrize("schema", ["5", "true", "[]", "null"])
def test_a_json_schema_file_that_is_no_object_is_refused(tmp_path: Path, schema: str) -> None:
    decoding = {"use_grammar": True, "json_schema": "answer.json"}
    directory = expert_directory(tmp_path, training={"decoding": decoding})
    (directory / "answer.json").write_text(schema)
    assert "answer.json: is not a JSON object" in str(refused(directory))


def test_broken_test_cases_are_refused(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    (directory / "tests" / "test_cases.json").write_text('{"a": 1, "a": 2}')
    assert isinstance(refused(directory), PackageError)


def test_a_target_that_cannot_be_written_is_a_package_error(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(PackageError):
        build(directory)


def test_signing_adds_a_signature_and_changes_no_other_member(tmp_path: Path) -> None:
    path = package(tmp_path)
    before = members(path)
    sign_package(path, key("Ann"))
    after = members(path)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"manifest.json", "signature.sig"}
    assert examine_package(path).facts.key_id == key("Ann").key_id


def test_signing_what_was_built_unsigned_equals_building_it_signed(tmp_path: Path) -> None:
    directory = expert_directory(tmp_path)
    unsigned = build(directory)
    signed = build(directory, signer=key("Ann"), output=tmp_path / "signed.expert")
    sign_package(unsigned, key("Ann"))
    assert unsigned.read_bytes() == signed.read_bytes()


def test_signing_again_replaces_the_signature(tmp_path: Path) -> None:
    path = package(tmp_path, key("Ann"))
    sign_package(path, key("Bo"))
    examined = examine_package(path)
    assert (examined.facts.key_id, examined.facts.publisher) == (key("Bo").key_id, "Bo")


def test_a_damaged_package_is_not_signed(tmp_path: Path) -> None:
    path = package(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[-20] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(PackageError):
        sign_package(path, key("Ann"))
    assert path.read_bytes() == damaged

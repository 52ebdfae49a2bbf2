"""Migrating files: nothing is lost, neither in the manifest nor on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hive_expert.errors import ManifestError
from hive_expert.manifest.adapter_model import SoftPrompt
from hive_expert.manifest.migrate import migrate, plan_migration, write_migration
from hive_expert.manifest.parse import dump_manifest, parse_manifest
from tests.manifest.documents import smallest
from tests.manifest.test_version1 import old


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(old()))
    return path


def test_in_place_the_original_is_kept_byte_for_byte(source: Path) -> None:
    original = source.read_bytes()
    backup = write_migration(plan_migration(source.parent))
    assert backup == source.with_name("manifest.v1.json")
    assert backup.read_bytes() == original
    assert source.read_bytes() == dump_manifest(migrate(old()))


def test_migrating_again_does_nothing(source: Path) -> None:
    write_migration(plan_migration(source))
    assert not plan_migration(source).needed
    assert plan_migration(source).manifest == migrate(old())


def test_to_another_file_the_source_stays(source: Path, tmp_path: Path) -> None:
    original = source.read_bytes()
    assert write_migration(plan_migration(source), tmp_path / "new.json") is None
    assert source.read_bytes() == original
    assert parse_manifest((tmp_path / "new.json").read_bytes()) == migrate(old())


def test_an_output_that_is_there_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    (tmp_path / "new.json").write_text("mine")
    with pytest.raises(ManifestError, match="is there already"):
        write_migration(plan_migration(source), tmp_path / "new.json")
    assert (tmp_path / "new.json").read_text() == "mine"


def test_an_output_that_is_the_source_by_another_name_is_kept(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link.json").hardlink_to(source)
    backup = write_migration(plan_migration(source), tmp_path / "link.json")
    assert backup is not None
    assert json.loads(backup.read_bytes()) == old()


def test_another_backup_is_not_overwritten(source: Path) -> None:
    original = source.read_bytes()
    source.with_name("manifest.v1.json").write_text("older still")
    with pytest.raises(ManifestError, match="other content"):
        write_migration(plan_migration(source))
    assert source.read_bytes() == original
    assert source.with_name("manifest.v1.json").read_text() == "older still"


def test_a_backup_left_by_a_run_that_was_cut_short_is_taken(source: Path) -> None:
    source.with_name("manifest.v1.json").write_bytes(source.read_bytes())
    write_migration(plan_migration(source))
    assert not plan_migration(source).needed


def test_nothing_else_is_left_in_the_folder(source: Path) -> None:
    write_migration(plan_migration(source))
    assert {p.name for p in source.parent.iterdir()} == {"manifest.json", "manifest.v1.json"}


def test_renamed_fields_are_told(source: Path) -> None:
    document = old()
    document["adapters"][0]["lora_alpha"] = document["adapters"][0].pop("alpha")
    source.write_text(json.dumps(document))
    assert plan_migration(source).spellings == (
        ("adapters[0].lora_alpha", "base_models[0].adapters[0].alpha"),
    )


def test_what_would_be_too_deep_as_version_2_is_refused(source: Path) -> None:
    document = old()
    deep: object = 1
    for _ in range(28):
        deep = [deep]
    document["adapters"][0]["_deep"] = deep
    source.write_text(json.dumps(document))
    parse_manifest(source.read_bytes())
    document["adapters"][0]["_deep"] = [[deep]]
    source.write_text(json.dumps(document))
    assert plan_source_is_refused(source)


def plan_source_is_refused(source: Path) -> bool:
    try:
        plan_migration(source)
    except ManifestError as error:
        return "nested deeper" in str(error)
    return False


def test_a_manifest_that_is_not_sound_is_not_migrated(source: Path) -> None:
    source.write_text(json.dumps(old(version="one")))
    with pytest.raises(ManifestError, match="version"):
        plan_migration(source)


def test_a_missing_manifest_is_a_manifest_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        plan_migration(tmp_path)


def test_version_2_needs_no_migration(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(smallest()))
    assert not plan_migration(tmp_path).needed


PROMPT = {"name": "tone", "path": "prompts/tone.pt", "num_virtual_tokens": 3, "_by": "ann"}


@pytest.fixture
def prompted(tmp_path: Path) -> Path:
    """A first-generation expert with a soft prompt in a `.pt` file."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "tone.pt").write_bytes(b"a pickle")
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(old(soft_prompts=[PROMPT])))
    return path


def convert(source: Path, prompt: SoftPrompt, where: str) -> bytes:
    assert prompt.tokens == 3
    assert where == str(source)
    return b"tensors of " + source.read_bytes()


def test_a_pt_file_is_written_beside_as_safetensors_and_named_so(prompted: Path) -> None:
    plan = plan_migration(prompted, convert=convert)
    write_migration(plan)
    converted = prompted.parent / "prompts" / "tone.safetensors"
    assert [*plan.converted] == [converted]
    assert converted.read_bytes() == b"tensors of a pickle"
    assert converted.with_suffix(".pt").read_bytes() == b"a pickle"
    (prompt,) = json.loads(prompted.read_bytes())["soft_prompts"]
    assert prompt == {"name": "tone", "path": "prompts/tone.safetensors", "tokens": 3, "_by": "ann"}


def test_planning_writes_no_soft_prompt(prompted: Path) -> None:
    plan_migration(prompted, convert=convert)
    assert [p.name for p in (prompted.parent / "prompts").iterdir()] == ["tone.pt"]


def test_a_pt_file_that_is_not_there_yet_stays_named(prompted: Path) -> None:
    (prompted.parent / "prompts" / "tone.pt").unlink()
    plan = plan_migration(prompted, convert=convert)
    assert not plan.converted
    assert plan.manifest.soft_prompts[0].path == "prompts/tone.pt"


def test_without_a_converter_pt_files_are_left_alone(prompted: Path) -> None:
    assert plan_migration(prompted).manifest == migrate(old(soft_prompts=[PROMPT]))


def test_another_safetensors_in_its_place_is_not_overwritten(prompted: Path) -> None:
    original = prompted.read_bytes()
    there = prompted.parent / "prompts" / "tone.safetensors"
    there.write_bytes(b"other")
    with pytest.raises(ManifestError, match="other content"):
        write_migration(plan_migration(prompted, convert=convert))
    assert there.read_bytes() == b"other"
    assert prompted.read_bytes() == original

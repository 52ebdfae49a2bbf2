"""hive-build migrate, and experts whose manifest is of version 1.0."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.build_results import Run, parsed
from tests.package.samples import expert_directory


@pytest.fixture
def old_expert(tmp_path: Path) -> Path:
    """The sample expert with a manifest of version 1.0."""
    directory = expert_directory(tmp_path)
    manifest = directory / "manifest.json"
    document = json.loads(manifest.read_text())
    (base,) = document.pop("base_models")
    (adapter,) = base.pop("adapters")
    adapter["lora_alpha"] = adapter.pop("alpha")
    old = {**document, "schema_version": "1.0", "base_model": base, "adapters": [adapter]}
    manifest.write_text(json.dumps(old))
    return directory


def test_a_first_generation_expert_is_packed_as_it_is(
    run: Run, old_expert: Path, tmp_path: Path
) -> None:
    run("package", old_expert, "--output", tmp_path / "old")
    run("migrate", old_expert)
    run("package", old_expert, "--output", tmp_path / "new")
    (old,), (new,) = ((tmp_path / side).glob("*.expert") for side in ("old", "new"))
    assert old.read_bytes() == new.read_bytes()


def test_migrate_keeps_the_original(run: Run, old_expert: Path) -> None:
    original = (old_expert / "manifest.json").read_bytes()
    result = parsed(run("migrate", old_expert, "--json"))
    assert Path(result["backup"]).read_bytes() == original
    assert result["renamed"] == [
        {"from": "adapters[0].lora_alpha", "to": "base_models[0].adapters[0].alpha"}
    ]
    assert json.loads((old_expert / "manifest.json").read_text())["schema_version"] == "2.0"
    assert not parsed(run("migrate", old_expert, "--json"))["needed"]


def test_migrate_can_be_tried_without_writing(run: Run, old_expert: Path) -> None:
    before = {p: p.read_bytes() for p in old_expert.rglob("*") if p.is_file()}
    shown = json.loads(run("migrate", old_expert, "--dry-run").stdout)
    assert shown["base_models"][0]["adapters"][0]["alpha"] == 4
    assert parsed(run("migrate", old_expert, "--dry-run", "--json"))["written"] is None
    assert {p: p.read_bytes() for p in old_expert.rglob("*") if p.is_file()} == before

"""Every kind of adapter is served from a directory of experts, or listed with the reason."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hive_expert.adapters.base_model import BaseModel
from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.engine_format import read_form
from hive_expert.adapters.store import AdapterStore
from hive_expert.catalog import scan as scan_module
from hive_expert.catalog.catalog import Catalog
from hive_expert.catalog.inventory import Inventory
from hive_expert.catalog.scan import Host
from hive_expert.errors import PackageError
from hive_expert.package.folders import FolderStore
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy, TrustStore
from tests.adapters import tiny

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
STATED: dict[str, dict[str, Any]] = {
    "lora": {"type": "lora", "r": 4, "alpha": 8},
    "dora": {"type": "dora", "r": 3, "alpha": 6},
    "ia3": {"type": "ia3", "feedforward_modules": ["down_proj"]},
    "ia3_outputs": {"type": "ia3"},
}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    directory = tiny.save_base(tmp_path / "base")
    return Host(BaseModel((BASE,), directory), BaseWeights(directory), AdapterStore.default(), 16)


def expert(folder: Path, kind: str) -> Path:
    """An unpacked expert with a trained adapter of that kind."""
    directory = folder / f"expert-{kind.replace('_', '-')}"
    tiny.train(tiny.CONFIGS[kind], directory / "weights")
    (directory / "README.md").write_text("# An expert\n")
    (directory / "LICENSE").write_text("Apache-2.0\n")
    adapter = {
        **STATED[kind],
        "target_modules": sorted(tiny.CONFIGS[kind].target_modules),
        "path": "weights/",
    }
    manifest = {
        "name": directory.name,
        "version": "0.1.0",
        "schema_version": "2.0",
        "description": "An expert.",
        "base_models": [{"name": BASE, "adapters": [adapter]}],
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def scanned(folder: Path, host: Host) -> Catalog:
    store = PackageStore(folder.parent / "store")
    inventory = Inventory(folder, host, store, TrustStore(), Policy.OFF)
    inventory.refresh(settle_s=0)
    inventory.verify_ahead()
    return inventory.catalog()


def test_every_kind_is_served(host: Host, tmp_path: Path) -> None:
    for kind in STATED:
        expert(tmp_path / "experts", kind)
    catalog = scanned(tmp_path / "experts", host)
    assert catalog.unavailable == ()
    assert {name: e.rank for name, e in catalog.experts.items()} == {
        "expert-lora": 4,
        "expert-dora": 3,
        "expert-ia3": 0,
        "expert-ia3-outputs": 0,
    }
    for name, found in catalog.experts.items():
        if name == "expert-lora":
            assert found.adapter.is_relative_to(tmp_path / "store")
        else:
            assert read_form(found.adapter).has_gains


def test_a_second_scan_converts_nothing(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expert(tmp_path / "experts", "dora")
    first = scanned(tmp_path / "experts", host).experts["expert-dora"].adapter

    def no_second_conversion(*_: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr("hive_expert.adapters.store.to_normal_form", no_second_conversion)
    assert scanned(tmp_path / "experts", host).experts["expert-dora"].adapter == first


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("dora", {"q_proj.lora_B": torch.ones(9, 3)}, "does not go with B"),
        ("ia3_outputs", {"q_proj.ia3_l": torch.full((9, 1), 2.0)}, "out size 9"),
        (
            "ia3_outputs",
            {"q_proj.ia3_l": torch.ones(8, 1), "up_proj.ia3_l": torch.ones(10, 1)},
            "no effect",
        ),
    ],
)
def test_a_broken_one_is_listed_and_the_others_served(
    kind: str, change: dict[str, torch.Tensor], says: str, host: Host, tmp_path: Path
) -> None:
    tiny.edit_tensors(expert(tmp_path / "experts", kind) / "weights", **change)
    expert(tmp_path / "experts", "lora")
    catalog = scanned(tmp_path / "experts", host)
    assert catalog.names() == ("expert-lora",)
    (entry,) = catalog.unavailable
    assert says in str(entry.problems)


def test_one_for_a_base_that_is_quantized_here_is_told_so(host: Host, tmp_path: Path) -> None:
    expert(tmp_path / "experts", "lora")
    packed = {f"{module}.qweight": torch.zeros(6, 1, dtype=torch.int32) for module in tiny.SIZES}
    save_file(packed, host.base.directory / "model.safetensors")
    (entry,) = scanned(tmp_path / "experts", host).unavailable
    assert "the base model is quantized here" in str(entry.problems)


def test_the_default_host_keeps_derived_adapters_in_the_data_folder(host: Host) -> None:
    found = scan_module.host_of(host.base, 8)
    assert (found.adapters, found.max_rank) == (AdapterStore.default(), 8)


def _leave_old_ones(stores: tuple[Path, Path]) -> None:
    """Two folders that another process made and nobody has used for a fortnight."""
    fortnight_ago = time.time() - 14 * 86_400
    for root in stores:
        with FolderStore(root, PackageError).staging() as staged:
            place = FolderStore(root, PackageError).adopt(staged, "0" * 64)
        os.utime(place, (fortnight_ago, fortnight_ago))


def test_what_no_process_uses_any_more_is_collected(host: Host, tmp_path: Path) -> None:
    roots = (tmp_path / "store", host.adapters.root)
    other = multiprocessing.get_context("spawn").Process(target=_leave_old_ones, args=(roots,))
    other.start()
    other.join(120)
    assert all((root / ("0" * 64)).is_dir() for root in roots)
    expert(tmp_path / "experts", "lora")
    expert(tmp_path / "experts", "dora")
    served = scanned(tmp_path / "experts", host).experts
    scan_module.collect_garbage(host, PackageStore(roots[0]))
    assert not any((root / ("0" * 64)).exists() for root in roots)
    assert all(found.adapter.is_dir() for found in served.values())

"""An experts directory to try things in, on a base model of two layers."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hive_expert.adapters.base_model import BaseModel
from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.store import AdapterStore
from hive_expert.catalog.catalog import Catalog
from hive_expert.catalog.inventory import Inventory
from hive_expert.catalog.scan import Host
from hive_expert.package.pack import build_package
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy, TrustStore
from tests.adapters import tiny
from tests.catalog.test_scan import BASE, expert
from tests.package.samples import key, trusting


def write_sources(folder: Path) -> Path:
    """One unpacked expert, to be packed with changes; needs no base."""
    expert(folder, "lora")
    return folder


@dataclass
class Site:
    """An experts directory, what is put there, and a clock that is moved by hand."""

    directory: Path
    inventory: Inventory
    sources: Path
    now: float = 0.0

    def put(
        self, name: str = "expert-lora", version: str = "0.1.0", *, file: str = "", **more: Any
    ) -> Path:
        """Pack an expert and put it into the directory by one rename, as one should."""
        made = self.packed(name, version, **more)
        place = self.directory / (file or made.name)
        made.rename(place)
        return place

    def packed(self, name: str, version: str, *, signer: str = "Ann", **more: Any) -> Path:
        source = self.directory.parent / "source"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(self.sources / "expert-lora", source)
        manifest = json.loads((source / "manifest.json").read_text())
        manifest |= {"name": name, "version": version, **more}
        (source / "manifest.json").write_text(json.dumps(manifest))
        output = self.directory.parent / "packed"
        return build_package(source, model=None, output=output, signer=key(signer)).path

    def look(self, **options: Any) -> Catalog:
        self.inventory.refresh(**{"settle_s": 0} | options)
        return self.inventory.catalog()

    def ready(self) -> Catalog:
        """As `look`, with everything verified."""
        self.look()
        self.inventory.verify_ahead()
        return self.inventory.catalog()

    def find(self, name: str) -> str:
        """The version that a request would get."""
        catalog = self.inventory.catalog()
        while (entry := catalog.pending(name)) is not None:
            self.inventory.verify(entry)
            catalog = self.inventory.catalog()
        return catalog.find(name).version

    @classmethod
    def at(cls, root: Path, sources: Path) -> Site:
        """An empty one below `root`, where Ann is trusted. HIVE_HOME must be set."""
        base = tiny.save_base(root / "base")
        host = Host(BaseModel((BASE,), base), BaseWeights(base), AdapterStore.default(), 16)
        directory = root / "experts"
        directory.mkdir()
        trusting("Ann").save(root / "trust.json")
        trust = TrustStore.load(root / "trust.json")
        store = PackageStore(root / "store")
        site = cls(directory, Inventory(directory, host, store, trust, Policy.ENFORCE), sources)
        site.inventory.clock = lambda: site.now
        return site


def damage(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0xFF
    path.write_bytes(data)

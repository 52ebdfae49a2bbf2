"""Manifests for the router's tests: small ones to say one thing, and the four that ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import parse_manifest
from hive_expert.router.embeddings import load_embeddings
from hive_expert.router.index import RoutingIndex, build_index
from hive_expert.router.policy import shipped_policy

ROOT = Path(__file__).parents[2]
DATA = ROOT / "hive_expert" / "router" / "data"

USERS = "Find all users older than 25. Schema: users(id, name, age)"
ACTORS = "Who acted in The Matrix? Schema: (:Person {name})-[:ACTED_IN]->(:Movie {title})"
CAPITAL = "What is the capital of France?"


def manifest(name: str = "expert-a", **fields: Any) -> Manifest:
    """The smallest manifest of this name, with more fields."""
    adapter = {"type": "lora", "r": 8, "alpha": 8, "target_modules": ["q_proj"], "path": "w/"}
    document = {
        "name": name,
        "version": "1.0.0",
        "schema_version": "2.0",
        "base_models": [{"name": "base", "adapters": [adapter]}],
        **fields,
    }
    return parse_manifest(json.dumps(document).encode(), f"{name}.json")


def four_manifests() -> list[Manifest]:
    """expert-json, -sql, -neo4j and -typescript, as the policy was trained for."""
    paths = sorted((ROOT / "experts").glob("*/manifest.json"))
    return [parse_manifest(path.read_bytes(), str(path)) for path in paths]


def index_of(*manifests: Manifest) -> RoutingIndex:
    return build_index(manifests, load_embeddings(), shipped_policy())

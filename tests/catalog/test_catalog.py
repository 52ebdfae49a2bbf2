"""Names find the expert that is meant, or an error that helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hive_expert.catalog.catalog import Catalog, Expert, Unavailable, assemble
from hive_expert.decoding.contract import Contract
from hive_expert.errors import CatalogError, Problem, UnknownExpertError
from hive_expert.manifest.parse import parse_manifest


def expert(name: str = "expert-sql", version: str = "0.1.0", digest: str = "ab" * 32) -> Expert:
    adapter = {"type": "lora", "r": 8, "alpha": 16, "target_modules": ["q_proj"], "path": "w/"}
    document = {
        "schema_version": "2.0",
        "name": name,
        "version": version,
        "base_models": [{"name": "org/Tiny", "adapters": [adapter]}],
    }
    manifest = parse_manifest(json.dumps(document).encode())
    return Expert(manifest, digest, Path("/store") / digest, Contract(), rank=8)


OLD = expert(version="0.9.0", digest="11" * 32)
NEW = expert(version="0.10.0", digest="22" * 32)
CATALOG = assemble([NEW, OLD, expert("expert-json", digest="33" * 32)])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("expert-sql", NEW),
        ("expert-sql@0.9.0", OLD),
        ("expert-sql@0.10.0", NEW),
        ("expert-sql#111111", OLD),
        (f"expert-sql#{NEW.digest}", NEW),
    ],
)
def test_find(name: str, found: Expert) -> None:
    assert CATALOG.find(name) is found


@pytest.mark.parametrize(
    "name",
    ["", "expert-sq", "expert-sql@0.9.1", "expert-sql@", "expert-sql#", "expert-sql#11111", "sql"],
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(UnknownExpertError) as caught:
        CATALOG.find(name)
    assert "does not exist" in str(caught.value)


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(UnknownExpertError, match="did you mean expert-json"):
        CATALOG.find("expert-jsn")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SmolLM2-135M", "SmolLM2-135M-Instruct"),
        ("smollm2-135m-instruct", "SmolLM2-135M-Instruct"),
        ("atuo", "auto"),
        ("expert-jsn", "expert-json"),
    ],
)
def test_so_is_one_that_is_no_expert(name: str, meant: str) -> None:
    with pytest.raises(UnknownExpertError, match=f"did you mean {meant}"):
        CATALOG.find(name, ("SmolLM2-135M-Instruct", "auto"))


def test_versions_compare_as_versions_not_as_text() -> None:
    assert [e.version for e in CATALOG.versions if e.name == "expert-sql"] == ["0.9.0", "0.10.0"]


def test_two_versions_never_share_an_engine_name() -> None:
    assert OLD.engine_name != NEW.engine_name
    assert OLD.engine_name.startswith("expert-sql@")


@pytest.mark.parametrize(
    "entry",
    [
        Unavailable("a.expert", "expert-cypher", (Problem("signature", "does not verify"),)),
        Unavailable("expert-cypher-tiny.v1.0.0.expert", None, (Problem("gzip", "damaged"),)),
    ],
    ids=["verified name", "file name only"],
)
def test_an_unavailable_expert_says_why(entry: Unavailable) -> None:
    with pytest.raises(CatalogError) as caught:
        Catalog(unavailable=(entry,)).find("expert-cypher")
    assert not isinstance(caught.value, UnknownExpertError)
    assert entry.problems[0].what in str(caught.value)


def test_a_sound_expert_wins_over_a_broken_file_of_its_name() -> None:
    broken = Unavailable("expert-sql-tiny.v1.expert", None, (Problem("gzip", "damaged"),))
    assert assemble([NEW], [broken]).find("expert-sql") is NEW

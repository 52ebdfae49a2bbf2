"""hive model path and fingerprint, for people and for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hive_expert.adapters.base_model import BaseModel
from hive_expert.cli.hive import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the base `tiny` lies, whose weights are known by `abc`."""
    found = BaseModel(("tiny", "acme/tiny"), tmp_path)
    monkeypatch.setattr("hive_expert.adapters.base_model.resolve_base", lambda *_, **__: found)
    monkeypatch.setattr("hive_expert.adapters.base_model.fingerprint", lambda _: "abc")
    return tmp_path


def test_people_get_the_bare_value(folder: Path) -> None:
    for command, value in (("path", str(folder)), ("fingerprint", "abc")):
        result = CliRunner().invoke(main, ["model", command, "acme/tiny"])
        assert (result.exit_code, result.stdout) == (0, f"{value}\n")


def test_scripts_get_json(folder: Path) -> None:
    known = {"name": "tiny", "path": str(folder)}
    for command, value in (("path", known), ("fingerprint", known | {"fingerprint": "abc"})):
        result = CliRunner().invoke(main, ["model", command, "acme/tiny", "--json"])
        assert json.loads(result.stdout) == value

"""hive route, as a shell sees it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hive_expert.cli.hive import main
from hive_expert.cli.hive_route import newest
from tests.router.experts import CAPITAL, ROOT, USERS
from tests.router.experts import manifest as manifest_of

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))

    def invoke(*arguments: object, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(main, ["route", *map(str, arguments)])
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


@pytest.fixture
def experts(tmp_path: Path) -> Path:
    """A folder with the manifests of the four experts."""
    directory = tmp_path / "experts"
    for manifest in (ROOT / "experts").glob("*/manifest.json"):
        place = directory / manifest.parent.name
        place.mkdir(parents=True)
        shutil.copy(manifest, place)
    return directory


def test_help_has_examples(run: Run) -> None:
    text = run("--help").output
    assert "hive route" in text
    assert "--json" in text


def test_the_first_line_is_the_model(run: Run, experts: Path) -> None:
    lines = run(USERS, "--experts-dir", experts).stdout.splitlines()
    assert lines[0] == "expert-sql"
    assert "probability" in lines[1]


def test_the_base_is_told_as_such(run: Run, experts: Path) -> None:
    assert run(CAPITAL, "--experts-dir", experts).stdout.splitlines()[0] == "base model"


def test_json_is_the_whole_decision(run: Run, experts: Path) -> None:
    decision = json.loads(run(USERS, "--experts-dir", experts, "--json").stdout)
    assert decision["model"] == "expert-sql"
    assert decision["candidates"]


def test_a_system_message_counts(run: Run, experts: Path) -> None:
    arguments = ("the oldest ones", "--experts-dir", experts, "--json")
    system = "Dialect: cypher\nSchema:\n(:Person {name, age})-[:KNOWS]->(:Person)"
    decision = json.loads(run(*arguments, "--system", system).stdout)
    assert decision["model"] == "expert-neo4j"


def test_a_broken_expert_is_left_out_and_noted(run: Run, experts: Path) -> None:
    (experts / "expert-sql" / "manifest.json").write_text("{")
    result = run(USERS, "--experts-dir", experts, "--json")
    assert json.loads(result.stdout)["model"] is None
    assert "left out: expert-sql" in result.stderr


def test_a_strange_key_is_told_as_it_is_written(run: Run, experts: Path) -> None:
    path = experts / "expert-sql" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"[/b]": 1}))
    assert "[/b]" in run(USERS, "--experts-dir", experts).stderr


def test_of_several_versions_the_highest_counts(run: Run, experts: Path) -> None:
    document = json.loads((experts / "expert-sql" / "manifest.json").read_text())
    document |= {"version": "99.0.0", "routing": {"exclude_keywords": ["users"]}}
    newer = experts / "newer"
    newer.mkdir()
    (newer / "manifest.json").write_text(json.dumps(document))
    decision = json.loads(run(USERS, "--experts-dir", experts, "--json").stdout)
    assert decision["model"] is None


def test_a_folder_without_experts_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run(USERS, "--experts-dir", tmp_path / "empty", exit_code=1)
    assert "has no experts" in result.stderr


def test_a_wrong_option_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    run(USERS, "--experts-dir", tmp_path / "absent", exit_code=2)
    run(USERS, "--max-experts", 0, exit_code=2)


def test_it_needs_neither_torch_nor_vllm(experts: Path) -> None:
    code = (
        "import sys; from hive_expert.cli.hive import main\n"
        f"main(['route', {USERS!r}, '--experts-dir', {str(experts)!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'vllm', 'transformers', 'wordllama'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_of_several_versions_the_highest_by_semantic_versioning_counts() -> None:
    versions = ["1.0.0-x.7", "1.0.0-x.11", "1.0.0-x.2"]
    (found,) = newest(manifest_of(version=version) for version in versions)
    assert found.version == "1.0.0-x.11"
    (found,) = newest(manifest_of(version=version) for version in [*versions, "1.0.0", "0.9.0"])
    assert found.version == "1.0.0"

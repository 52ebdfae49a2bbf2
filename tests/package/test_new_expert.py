"""A new expert's folder: what is in it, and that each step of its README works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hive_expert.cli.build import main
from hive_expert.errors import ManifestError, PackageError
from hive_expert.manifest.guidance import advice
from hive_expert.manifest.parse import parse_manifest
from hive_expert.package.new_expert import KINDS, new_expert
from hive_expert.package.starter_rows import TASKS, Task, starter_cases, starter_rows
from tests.docs.test_commands import our_lines, parse, shell_blocks
from tests.training.openai_server import openai_server

ROOT = Path(__file__).parents[2]

PROMISED = {
    "README.md", "manifest.json", "LICENSE", "preprocess.py", "grammar.gbnf", ".gitignore",
    "tests/test_expert.py", "tests/test_hard.py", "tests/test_comparison.py",
    "tests/test_cases.json",
}  # fmt: skip


def environment(path: Path) -> dict[str, str]:
    """Ours, with the commands that tests run under on PATH, and no server named."""
    command = path / "bin" / "hive-train"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(
        f"#!{sys.executable}\nfrom hive_expert.cli.train import main\nmain()\n", encoding="utf-8"
    )
    command.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k != "HIVE_ENDPOINT"}
    return kept | {"PATH": f"{command.parent}:{kept['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("task", TASKS)
def test_all_that_is_promised_is_there(tmp_path: Path, task: Task) -> None:
    made = new_expert(tmp_path / "x", "expert-x", task=task)
    files = {str(p.relative_to(made)) for p in made.rglob("*") if p.is_file()}
    assert files >= PROMISED
    for folder in ("datasets/raw", "datasets/processed", "weights", "scripts", "docs"):
        assert (made / folder).is_dir()
    assert not any("$name" in (made / f).read_text(encoding="utf-8") for f in files)


@pytest.mark.parametrize("task", TASKS)
def test_the_generated_tests_pass_and_the_data_is_prepared(tmp_path: Path, task: Task) -> None:
    made = new_expert(tmp_path / "expert", "expert-x", task=task)
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    run = subprocess.run(
        tests, cwd=made, env=environment(tmp_path), check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout
    assert "6 passed, 2 skipped" in run.stdout
    prepared = subprocess.run(
        [sys.executable, "preprocess.py"],
        cwd=made, env=environment(tmp_path), check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert prepared.returncode == 0, prepared.stderr
    for split in ("train", "validation", "test"):
        assert (made / f"datasets/processed/{split}.jsonl").read_text(encoding="utf-8"), split


def test_with_a_server_the_expert_is_asked_and_judged(tmp_path: Path) -> None:
    made = new_expert(tmp_path / "expert", "expert-x", task="json")
    right = {c["messages"][1]["content"]: c["expected"] for c in starter_cases("json")["cases"]}

    def reply(body: dict[str, Any]) -> str:
        return right[body["messages"][-1]["content"]] if body["model"] == "expert-x" else "Hm."

    with openai_server(reply) as server:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
            cwd=made, env=environment(tmp_path) | {"HIVE_ENDPOINT": server.endpoint},
            check=False, capture_output=True, text=True,
        )  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert "8 passed" in run.stdout


def test_its_readme_and_its_scripts_say_what_our_commands_understand(tmp_path: Path) -> None:
    made = new_expert(tmp_path / "expert", "expert-x", task="json")
    scripts = [path.read_text(encoding="utf-8") for path in (made / "scripts").iterdir()]
    texts = [text.replace("&&", "\n").replace('"$@"', "") for text in scripts]
    lines = our_lines("\n".join([shell_blocks(made / "README.md"), *texts]))
    for line in lines:
        parse(line)
    called = {" ".join(line.split()[:2]) for line in lines}
    assert called >= {"hive-build package", "hive-train run", "hive-train evaluate"}
    # The package that they make is not signed.
    serving = [line for line in lines if "--experts-dir" in line]
    assert len(serving) == 3
    base = parse_manifest((made / "manifest.json").read_bytes()).base_models[0].name
    assert all(f"--base {base} --trust off" in line for line in serving)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_follows_the_guidance(tmp_path: Path, kind: str) -> None:
    result = CliRunner().invoke(
        main, ["new", "expert-k", "--kind", kind, "--directory", str(tmp_path / "k"), "--json"]
    )
    assert result.exit_code == 0, result.output
    assert "manifest.json" in json.loads(result.stdout)["files"]
    manifest = parse_manifest((tmp_path / "k" / "manifest.json").read_bytes())
    assert manifest.base_models[0].adapters[0].type == kind
    told = [one.path for one in advice(manifest)]
    assert told == (["base_models[0].adapters[0].type"] if kind == "ia3" else [])


@pytest.mark.parametrize("task", TASKS)
def test_no_row_to_start_from_is_a_case(task: Task) -> None:
    rows, held_out = starter_rows(task)
    assert {row.group for row in rows}.isdisjoint(row.group for row in held_out)
    assert len(rows) == 40
    assert len(held_out) == 10


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(PackageError, match="not empty"):
        new_expert(tmp_path, "expert-x", task="json")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["invoices", "expert-", "expert-A", "expert-x/../y"])
def test_a_name_that_no_expert_may_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError):
        new_expert(tmp_path / "x", name, task="json")
    assert not (tmp_path / "x").exists()

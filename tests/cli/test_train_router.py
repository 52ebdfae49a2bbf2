"""hive-train router, as a shell sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from hive_expert.cli.train import main
from hive_expert.manifest.parse import dump_manifest
from hive_expert.router.policy import SHIPPED, parse_policy
from hive_expert.training.router_policy import routed_by
from tests.training.test_router_policy import ALPHA, BETA, some


def run(*arguments: object, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["router", *map(str, arguments)])
    assert result.exit_code == exit_code, result.output
    return result


def prepare(folder: Path) -> list[Any]:
    """The required options, for files written here."""
    for manifest in (ALPHA, BETA):
        place = folder / "experts" / manifest.name
        place.mkdir(parents=True)
        (place / "manifest.json").write_bytes(dump_manifest(manifest))
    for name, number in (("train", 8), ("dev", 5)):
        rows = [
            {
                "experts": sorted(query.experts),
                "slice": query.kind,
                "messages": [{"role": "user", "content": turn.text} for turn in query.turns],
            }
            for query in some(number)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "--queries", folder / "train.jsonl", "--held-out", folder / "dev.jsonl",
        "--experts-dir", folder / "experts",
    ]  # fmt: skip


def test_help_has_examples() -> None:
    assert "hive-train router --queries" in run("--help").output


def test_a_policy_is_fitted_and_written_with_its_origin(tmp_path: Path) -> None:
    shipped = SHIPPED.read_bytes()
    output = tmp_path / "policy.json"
    result = json.loads(run(*prepare(tmp_path), "--output", output, "--json").stdout)
    policy = parse_policy(output.read_bytes(), "policy.json")
    assert result["threshold"] == policy.threshold
    assert list(result["experts"]) == ["expert-alpha", "expert-beta"]
    assert result["experts"]["expert-alpha"] == routed_by(ALPHA) != routed_by(BETA)
    assert result["queries"] == 24
    assert result["held_out_accuracy"] == 1
    assert json.loads(output.read_bytes())["notes"]["sha256"] == result["sha256"]
    assert SHIPPED.read_bytes() == shipped


def test_broken_queries_are_told_by_line(tmp_path: Path) -> None:
    options = prepare(tmp_path)
    (tmp_path / "train.jsonl").write_text("{}\n[]\n")
    result = run(*options, "--output", tmp_path / "policy.json", exit_code=1)
    assert "train.jsonl:1" in result.stderr
    assert "train.jsonl:2" in result.stderr
    assert not (tmp_path / "policy.json").exists()


def test_missing_options_are_wrong_usage() -> None:
    run(exit_code=2)

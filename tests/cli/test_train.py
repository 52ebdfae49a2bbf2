from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hive_expert.cli.train import _entry_name, main
from hive_expert.errors import UsageError
from hive_expert.manifest.parse import manifest_from
from hive_expert.serving.local_server import LocalServer
from tests.training.conftest import (
    base_directory,
    manifest_document,
    one_thread,
    tiny_llama,
    tokenizer,
)
from tests.training.openai_server import RecordingServer, openai_server

__all__ = ["base_directory", "one_thread", "tiny_llama", "tokenizer"]  # fixtures


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def expert(tmp_path: Path) -> Path:
    """An expert's directory: manifest, data, test cases, grammar."""
    rows = [
        {"input": "S", "instruction": f"say {n % 2}", "response": f"SELECT {n % 2};"}
        for n in range(8)
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "train.jsonl").write_text(data)
    (tmp_path / "validation.jsonl").write_text(data)
    document = manifest_document(batch_size=4, bf16=False, logging_steps=1)
    document["training"]["decoding"] = {"use_grammar": True, "grammar_file": "grammar.gbnf"}
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    (tmp_path / "grammar.gbnf").write_text('root ::= "SELECT " [0-9] ";"')
    (tmp_path / "tests").mkdir()
    cases = [
        {
            "id": str(n),
            "category": "say",
            "messages": [{"role": "user", "content": f"say {n}"}],
            "expected": f"SELECT {n};",
            "fixture": "empty",
        }
        for n in range(4)
    ]
    suite = {"format": 1, "metric": "sql_execution", "fixtures": {"empty": ""}, "cases": cases}
    (tmp_path / "tests" / "test_cases.json").write_text(json.dumps(suite))
    return tmp_path


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    """The expert answers as asked, the base with a 0 always."""

    def reply(body: dict[str, Any]) -> str:
        number = body["messages"][-1]["content"].split()[1]
        return f"SELECT {number};" if body["model"] == "expert-tiny" else "SELECT 0;"

    with openai_server(reply) as recording:
        yield recording


def test_run_trains_into_the_adapters_path(expert: Path, base_directory: Path) -> None:
    result = invoke(
        "run", "--manifest", expert / "manifest.json", "--base", base_directory, "--json"
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["steps"], report["base"]) == (2, "acme/tiny")
    assert (expert / "weights" / "adapter_model.safetensors").is_file()
    assert "step 2/2" in result.stderr


def test_run_takes_other_data_output_and_steps(expert: Path, base_directory: Path) -> None:
    other = expert / "other.jsonl"
    other.write_text((expert / "train.jsonl").read_text() * 3)
    result = invoke(
        *("run", "--manifest", expert / "manifest.json", "--base", base_directory),
        *("--dataset", other, "--output", expert / "out", "--max-steps", 1),
    )
    assert result.exit_code == 0, result.output
    assert "trained 1 steps" in result.stderr
    report = json.loads((expert / "out" / "training_report.json").read_text())
    assert report["data"]["train"]["rows"] == 24


def test_run_reads_other_data_in_its_own_format(expert: Path, base_directory: Path) -> None:
    rows = [json.loads(line) for line in (expert / "train.jsonl").read_text().splitlines()]
    (expert / "other.json").write_text(json.dumps(rows[:4]))
    document = json.loads((expert / "manifest.json").read_text())
    del document["training"]["dataset"]["path"]
    (expert / "manifest.json").write_text(json.dumps(document))
    line = ["run", "--manifest", expert / "manifest.json", "--base", base_directory]
    assert "training.dataset.path: is missing" in invoke(*line).stderr
    result = invoke(*line, "--dataset", expert / "other.json", "--max-steps", 1, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["data"]
    assert (told["train"]["rows"], told["validation"]["rows"]) == (4, 8)


def test_run_refuses_other_weights_than_the_pinned(expert: Path, base_directory: Path) -> None:
    document = json.loads((expert / "manifest.json").read_text())
    document["base_models"][0]["sha256"] = "0" * 64
    (expert / "manifest.json").write_text(json.dumps(document))
    result = invoke("run", "--manifest", expert / "manifest.json", "--base", base_directory)
    assert result.exit_code == 1
    assert "holds other weights" in result.stderr


@pytest.mark.parametrize(
    ("base", "names", "entry"),
    [
        ("acme/tiny", ("acme/tiny",), "acme/tiny"),
        ("tiny-1b", ("Tiny", "acme/tiny", "tiny-1b"), "acme/tiny"),
        (".", ("somewhere",), None),
    ],
)
def test_base_may_go_by_another_name(base: str, names: tuple[str, ...], entry: str | None) -> None:
    assert _entry_name(manifest_from(manifest_document()), base, names) == entry


def test_base_that_the_manifest_does_not_name() -> None:
    with pytest.raises(UsageError, match="the manifest names: acme/tiny"):
        _entry_name(manifest_from(manifest_document()), "acme/another", ("acme/another",))


def test_run_chooses_the_entry_by_the_directory_name(expert: Path, base_directory: Path) -> None:
    document = json.loads((expert / "manifest.json").read_text())
    document["base_models"].append(document["base_models"][0] | {"name": "acme/other"})
    (expert / "manifest.json").write_text(json.dumps(document))
    other = expert / "copy" / "other"
    shutil.copytree(base_directory, other)
    result = invoke(
        *("run", "--manifest", expert / "manifest.json", "--base", other),
        *("--max-steps", 1, "--json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["base"] == "acme/other"


def test_run_names_every_bad_row(expert: Path, base_directory: Path) -> None:
    (expert / "train.jsonl").write_text("{}\nnonsense\n")
    result = invoke("run", "--manifest", expert / "manifest.json", "--base", base_directory)
    assert result.exit_code == 1
    assert "train.jsonl:1" in result.stderr
    assert "train.jsonl:2" in result.stderr


def test_run_on_a_device_that_is_not_there(expert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = invoke("run", "--manifest", expert / "manifest.json", "--device", "cuda")
    assert result.exit_code == 2
    assert "no CUDA device" in result.stderr


def evaluate(expert: Path, server: RecordingServer, *more: object) -> Result:
    return invoke(
        *("evaluate", "--test-cases", expert / "tests" / "test_cases.json"),
        *("--endpoint", server.endpoint, "--models", "expert-tiny,tiny", *more),
    )


def test_evaluate_prints_a_table(expert: Path, server: RecordingServer) -> None:
    result = evaluate(expert, server)
    assert result.exit_code == 0, result.output
    assert "100.0%" in result.stdout
    assert "3 won, 0 lost, 1 equal" in result.stdout
    # The manifest's grammar is what the base is sent.
    grammars = [body["structured_outputs"] for body, _ in server.requests[4:8]]
    assert grammars == [{"grammar": 'root ::= "SELECT " [0-9] ";"'}] * 4


def test_evaluate_writes_report_and_manifest(expert: Path, server: RecordingServer) -> None:
    result = evaluate(
        *(expert, server, "--variants", "no-grammar", "--output", expert / "report.json"),
        *("--write-manifest", expert / "manifest.json", "--json"),
    )
    assert result.exit_code == 0, result.output
    written = json.loads((expert / "report.json").read_text())
    assert written == json.loads(result.stdout)
    quality = json.loads((expert / "manifest.json").read_text())["quality_metrics"]
    assert quality["benchmark_score"] == 1
    assert quality["base_model_score"] == 0.25
    assert quality["test_queries"] == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--models", "expert-tiny", "--perf"), "--perf: needs an expert and a base model"),
        (("--models", "tiny", "--perf"), "--perf: needs an expert and a base model"),
        (("--models", "expert-tiny", "--write-manifest"), "needs expert-tiny and a base model"),
        (("--models", "expert-other,tiny", "--write-manifest"), "needs expert-tiny and a base"),
    ],
)
def test_evaluate_asks_nothing_for_what_it_cannot_write(
    expert: Path, server: RecordingServer, options: tuple[str, ...], said: str
) -> None:
    manifest = [expert / "manifest.json"] if "--write-manifest" in options else []
    result = evaluate(expert, server, *options, *manifest)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert not server.requests


def test_evaluate_claims_nothing_where_an_answer_was_lost(expert: Path) -> None:
    def reply(body: dict[str, Any]) -> str | int:
        return 503 if body["messages"][-1]["content"] == "say 2" else "SELECT 0;"

    before = (expert / "manifest.json").read_bytes()
    with openai_server(reply) as server:
        result = evaluate(
            *(expert, server, "--variants", "no-grammar", "--output", expert / "new" / "r.json"),
            *("--write-manifest", expert / "manifest.json"),
        )
    assert result.exit_code == 1
    assert "2 questions got no answer" in " ".join(result.stderr.split())
    assert (expert / "manifest.json").read_bytes() == before
    written = json.loads((expert / "new" / "r.json").read_text())
    assert [(s["errors"], s["lost"]) for s in written["standings"]] == [(1, 1), (1, 1)]


def test_evaluate_keeps_its_report_when_the_time_cannot_be_measured(expert: Path) -> None:
    def reply(body: dict[str, Any]) -> str | int:
        return 400 if body["max_tokens"] == 1 else "SELECT 0;"

    with openai_server(reply) as server:
        result = evaluate(
            *(expert, server, "--variants", "no-grammar", "--output", expert / "report.json"),
            *("--page", expert / "page.html", "--perf", "--json"),
            *("--write-manifest", expert / "manifest.json"),
        )
    assert result.exit_code == 1
    assert "BadRequestError" in result.stderr
    assert json.loads((expert / "report.json").read_text()) == json.loads(result.stdout)
    assert (expert / "page.html").is_file()
    written = json.loads((expert / "manifest.json").read_text())
    assert written["quality_metrics"]["benchmark_score"] == 0.25
    assert "perf" not in written


def amended(expert: Path, **fields: Any) -> Path:
    path = expert / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return path


@pytest.mark.parametrize(("least", "code"), [(1.0, 0), (1.1, 1)])
def test_evaluate_fails_below_a_threshold_when_all_is_written(
    expert: Path, server: RecordingServer, least: float, code: int
) -> None:
    evaluation = {"metrics": ["correct"], "thresholds": {"sql_execution": least}}
    manifest = amended(expert, evaluation=evaluation)
    result = evaluate(
        *(expert, server, "--output", expert / "report.json", "--page", expert / "page.md"),
        *("--write-manifest", manifest),
    )
    assert result.exit_code == code, result.output
    assert ("below" in result.stdout) == bool(code)
    assert "clean" not in result.stdout
    (found,) = json.loads((expert / "report.json").read_text())["thresholds"]
    wanted = {"metric": "sql_execution", "least": least, "value": 1.0, "met": not code}
    assert found == wanted
    assert "Thresholds of the manifest" in (expert / "page.md").read_text()
    assert json.loads(manifest.read_text())["quality_metrics"]["benchmark_score"] == 1


@pytest.mark.parametrize("name", ["bleu", "fields", "json_schema"])
def test_evaluate_refuses_thresholds_of_what_the_cases_do_not_measure(
    expert: Path, server: RecordingServer, name: str
) -> None:
    amended(expert, evaluation={"metrics": ["valid"], "thresholds": {name: 0.5}})
    result = evaluate(expert, server)
    assert result.exit_code == 1
    assert f"evaluation.thresholds: {name} is not measured" in " ".join(result.stderr.split())
    assert not server.requests


def test_evaluate_asks_the_test_split_where_there_are_no_cases(
    expert: Path, server: RecordingServer
) -> None:
    (expert / "tests" / "test_cases.json").unlink()
    dataset = json.loads((expert / "manifest.json").read_text())["training"]
    dataset["dataset"]["test_path"] = "validation.jsonl"
    manifest = amended(expert, training=dataset)
    line = ("evaluate", "--manifest", manifest, "--endpoint", server.endpoint)
    line = (*line, "--models", "expert-tiny,tiny", "--variants", "no-grammar", "--json")
    for more in ((), ("--dataset", expert / "train.jsonl")):
        result = invoke(*line, *more)
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        assert (report["metric"], report["cases"]) == ("exact_match", 8)
        assert [s["correct"]["value"] for s in report["standings"]] == [1.0, 0.5]
    assert report["standings"][0]["outcomes"][0]["case"] == "train.jsonl:1"
    assert server.requests[0][0]["messages"][0] == {"role": "system", "content": "S"}


def test_evaluate_with_nothing_to_ask(expert: Path) -> None:
    (expert / "tests" / "test_cases.json").unlink()
    result = invoke("evaluate", "--manifest", expert / "manifest.json", "--models", "expert-tiny")
    assert result.exit_code == 2
    assert "there is nothing to ask" in result.stderr


def test_evaluate_limits_cases(expert: Path, server: RecordingServer) -> None:
    result = evaluate(expert, server, "--limit", 2, "--variants", "no-grammar", "--json")
    assert json.loads(result.stdout)["cases"] == 2
    assert len(server.requests) == 4


def test_evaluate_unknown_variant(expert: Path, server: RecordingServer) -> None:
    result = evaluate(expert, server, "--variants", "grammer")
    assert result.exit_code == 2
    assert "use grammar, plain-grammar, no-grammar" in result.stderr


def test_evaluate_without_a_server(expert: Path) -> None:
    result = invoke(
        *("evaluate", "--test-cases", expert / "tests" / "test_cases.json", "--limit", 1),
        *("--endpoint", "http://127.0.0.1:1/v1", "--models", "expert-tiny"),
    )
    assert result.exit_code == 1
    assert "no request succeeded" in result.stderr


def test_evaluate_tells_the_server_that_it_starts_whom_to_trust(
    expert: Path, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[object, ...]] = []

    def local_server(*arguments: object) -> Any:
        started.append(arguments)
        url = server.endpoint.removesuffix("/v1")
        return nullcontext(LocalServer(url, process=None, log=None))  # type: ignore[arg-type]

    monkeypatch.setattr("hive_expert.serving.local_server.local_server", local_server)
    for more in ((), ("--trust", "off", "--base", "/models/b")):
        result = evaluate(expert, server, "--experts-dir", expert, "--limit", 1, *more)
        assert result.exit_code == 0, result.output
    assert started == [(expert,), (expert, "--trust", "off", "--base", "/models/b")]


def test_evaluate_does_not_pass_over_a_trust_policy(expert: Path, server: RecordingServer) -> None:
    result = evaluate(expert, server, "--trust", "off")
    assert result.exit_code == 2
    assert "give --experts-dir" in result.stderr
    assert not server.requests


@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_help_shows_examples(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"hive-train {command} " in result.stdout


def test_import_is_light() -> None:
    heavy = "import sys, hive_expert.cli.train; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

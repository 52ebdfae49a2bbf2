"""`hive jobs run`, as a shell sees it, against a server of jobs in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jobs_crash_subjects import PipelineServer
from jobs_deaths import doomed

from hive_expert.cli.hive import main
from hive_expert.cli.hive_jobs_run import run_command
from hive_expert.client.jobs import JobsClient

README = Path(__file__).parents[2] / "README.md"
PIPELINE = """
name: test
steps:
  - name: a
    model: fake
    prompt: "{{document.text}}"
  - name: b
    model: fake
    prompt: "again {{steps.a}}"
"""

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with doomed(PipelineServer(folder).server()) as server:
        yield server.url


@pytest.fixture
def run(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HIVE_URL", url)
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(PIPELINE)

    def invoke(*arguments: object, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(main, ["jobs", "run", "p.yaml", *map(str, arguments)])
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


def documents(*texts: str, name: str = "d.jsonl") -> str:
    lines = ({"id": n, "text": text} for n, text in enumerate(texts))
    Path(name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return name


def asked(folder: Path, word: str) -> int:
    """How often the model has heard of a word."""
    path = folder / "jobs" / "asked"
    return sum(word in line for line in path.read_text().splitlines()) if path.exists() else 0


def test_results_are_on_stdout_in_the_order_of_the_documents(run: Run) -> None:
    result = run("--input", documents(*(f"order {n}" for n in range(30))))
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["line"] for line in lines] == list(range(1, 31))
    assert [line["id"] for line in lines] == list(range(30))
    assert lines[3]["output"] == "you said again you said order 3"
    assert "30 done, 0 failed, of 30" in result.stderr


def test_the_same_command_again_asks_nothing(run: Run, folder: Path) -> None:
    source = documents("twice 1", "twice 2")
    first = run("--input", source).stdout
    before = asked(folder, "twice")
    assert before == 4
    assert run("--input", source).stdout == first
    assert asked(folder, "twice") == before
    run("--input", source, "--fresh")
    assert asked(folder, "twice") == 2 * before


def test_a_run_that_was_submitted_is_fetched_later(run: Run, folder: Path) -> None:
    source = documents("later")
    submitted = json.loads(run("--input", source, "--no-wait", "--json").stdout)
    fetched = json.loads(run("--input", source, "--json", "--output", "out.jsonl").stdout)
    assert fetched["run"] == submitted["run"] and fetched["batches"] == submitted["batches"]
    assert fetched["completed"] == fetched["documents"] == 1
    assert json.loads(Path("out.jsonl").read_text())["output"] == "you said again you said later"
    assert asked(folder, "later") == 2


def test_what_was_uploaded_before_is_not_sent_again(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, client = documents("sent"), JobsClient(url)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(JobsClient, "make", killed)
        run("--input", source, exit_code=130)
    before = [file["id"] for file in client.files()]
    run("--input", source)
    inputs = [file for file in client.files() if file["filename"].startswith("test-")]
    assert [file["id"] for file in inputs if file["id"] not in before] == []


def test_a_run_that_was_cancelled_goes_on(run: Run, url: str, folder: Path) -> None:
    source = documents(*(f"rest {n}" for n in range(400)))
    submitted = json.loads(run("--input", source, "--no-wait", "--json").stdout)
    client = JobsClient(url)
    (batch,) = submitted["batches"]
    for seen in client.watch(batch):
        if seen["request_counts"]["completed"]:
            break
    client.cancel(batch)
    found = json.loads(run("--input", source, "--json", "--output", "out.jsonl").stdout)
    assert (found["completed"], found["failed"]) == (400, 0)
    assert len(found["batches"]) == 2
    lines = [json.loads(line)["line"] for line in Path("out.jsonl").read_text().splitlines()]
    assert lines == list(range(1, 401))


def test_documents_that_fail_are_told_and_can_be_asked_again(run: Run, folder: Path) -> None:
    source = documents("fine", "refuse me")
    result = run("--input", source, "--output", "out.jsonl", exit_code=1)
    assert "line 2: step 'a': refuse me" in result.stderr
    assert len(Path("out.jsonl").read_text().splitlines()) == 1
    run("--input", source, exit_code=1)
    assert asked(folder, "refuse me") == 1
    result = run("--input", source, "--retry-failed", "--errors", "errors.jsonl", exit_code=1)
    assert asked(folder, "refuse me") == 2
    error = json.loads(Path("errors.jsonl").read_text())
    assert (error["line"], error["error"]["code"]) == (2, 400)


def test_many_parts_are_one_run(run: Run) -> None:
    source = documents(*(f"part {n}" for n in range(20)))
    line = ("--input", source, "--part-documents", 7, "--json", "--output", "out.jsonl")
    found = json.loads(run(*line).stdout)
    assert len(found["batches"]) == 3
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == list(range(20))


def test_a_dry_run_shows_the_plan_and_asks_nothing(run: Run, folder: Path) -> None:
    result = run("--input", documents("dry"), "--dry-run", "--url", "http://127.0.0.1:9")
    assert "b: fake, after a  (the output)" in result.stdout
    plan = json.loads(run("--input", documents("dry"), "--dry-run", "--json").stdout)
    assert [step["step"] for step in plan["steps"]] == ["a", "b"]
    assert asked(folder, "dry") == 0


def test_all_that_is_wrong_with_a_pipeline_is_told(run: Run) -> None:
    source = documents("x")
    Path("p.yaml").write_text(PIPELINE.replace("steps.a", "steps.c").replace("model", "modle"))
    told = run("--input", source, exit_code=1).stderr
    for what in ("line 5: steps[0].modle", "line 8: steps[1].modle", "there is no step 'c'"):
        assert what in told


def test_all_broken_documents_are_told(run: Run) -> None:
    Path("d.jsonl").write_text('{"text": "x"}\n{\n{"txt": "y"}\n')
    told = run("--input", "d.jsonl", exit_code=1).stderr
    assert "d.jsonl line 2: is no JSON" in told
    assert "d.jsonl line 3: {{document.text}} of step 'a': the document has no 'text'" in told


def test_models_that_are_not_served_are_told_before_anything_is_sent(
    run: Run, folder: Path
) -> None:
    Path("p.yaml").write_text(PIPELINE.replace("model: fake", "model: expert-nowhere"))
    told = run("--input", documents("unsent"), exit_code=1).stderr
    assert "p.yaml: steps[0].model: expert-nowhere is not served here" in told
    assert "p.yaml: steps[1].model" in told
    assert asked(folder, "unsent") == 0


def test_what_is_asked_again_is_said() -> None:
    told = " ".join(str(run_command.help).split())
    assert "asks no document again that has a result" in told
    for text in (told, " ".join(README.read_text().split())):
        assert "begins at its first step again" in text


def test_wrong_usage_exits_with_2(run: Run) -> None:
    run("--input", "nowhere.jsonl", exit_code=2)
    run("--input", documents("x"), "--metadata", "novalue", exit_code=2)

"""The worked examples are sound, their documents fit, and what does not ship is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hive_expert.jobs.pipelines.documents import survey
from hive_expert.jobs.pipelines.parse import load_pipeline, parse_pipeline

ROOT = Path(__file__).parents[2]
PIPELINES = sorted((ROOT / "configs" / "pipelines").glob("*.yaml"))
SHIPPED = {
    path.parents[1].name for path in ROOT.glob("experts/*/weights/adapter_model.safetensors")
}


def test_there_are_four_and_all_run_with_what_ships() -> None:
    lacking = [path.stem for path in PIPELINES if missing(path)]
    assert len(PIPELINES) == 4 and lacking == []


def missing(path: Path) -> set[str]:
    """Experts of an example that do not ship."""
    models = {step.model for step in load_pipeline(path).steps}
    return models - SHIPPED - {"auto", "base"}


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_an_example_says_how_it_is_run_and_what_does_not_ship(path: Path) -> None:
    text, pipeline = path.read_text(), load_pipeline(path)
    found = re.search(r"^#   hive jobs run (\S+) --input (\S+)", text, re.MULTILINE)
    assert found is not None and ROOT / found[1] == path
    assert survey(ROOT / found[2], pipeline).documents >= 3
    for name in missing(path):
        assert name in (pipeline.description or "") and "not ship" in (pipeline.description or "")


def test_the_one_in_the_readme_is_sound() -> None:
    (text,) = re.findall(r"```yaml\n(name: .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [step.name for step in parse_pipeline(text.encode(), "README.yaml").steps] == [
        "facts", "query", "urgency",
    ]  # fmt: skip


def test_the_one_in_the_help_is_sound() -> None:
    from hive_expert.cli.hive_jobs_run import EXAMPLES

    text = EXAMPLES.partition("A pipeline:\n")[2]
    assert len(parse_pipeline(text.encode(), "help.yaml").steps) == 2


def test_the_readme_names_every_field_of_a_step() -> None:
    from hive_expert.jobs.pipelines.model import Step

    text = (ROOT / "README.md").read_text()
    chapter = text.partition("### Pipelines")[2].partition("### Watch it")[0]
    assert [name for name in Step.model_fields if f"`{name}`" not in chapter] == []

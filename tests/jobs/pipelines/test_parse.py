"""A pipeline's file becomes a pipeline, or all that is wrong with it is told at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import PipelineError
from hive_expert.jobs.pipelines.limits import MAX_CHAIN, MAX_FILE_BYTES, MAX_STEPS
from hive_expert.jobs.pipelines.parse import load_pipeline, parse_pipeline, pipeline_from
from tests.jobs.pipelines.conftest import pipeline, step, values

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}

GOOD = b"""
name: orders
steps:
  - name: facts
    model: expert-json
    prompt: "{{document.text}}"
    format: json
  - name: query
    model: expert-sql:0.7+expert-json:0.3
    prompt: "{{steps.facts.product}}"
    retries: 3
"""


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def problems_of(value: Any) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        pipeline_from(value, "p.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_yaml_and_json_say_the_same() -> None:
    read = parse_pipeline(GOOD, "p.yaml")
    again = parse_pipeline(read.canonical.encode(), "p.json")
    assert again == read
    assert [s.name for s in read.order] == ["facts", "query"]
    assert read.result == "query"
    assert read.chains == {"facts": 2, "query": 2}


def test_the_order_is_that_of_needs_and_then_of_the_file() -> None:
    steps = (step("d", "{{steps.b}}{{steps.c}}"), step("c", "{{steps.a}}"), step("b"), step("a"))
    read = pipeline(*steps, output="d")
    assert [s.name for s in read.order] == ["b", "a", "c", "d"]
    assert read.chains == {"a": 3, "b": 2, "c": 3, "d": 3}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (values(), "p.yaml: steps: [] is not valid"),
        (values(step("a", modell="x")), "steps[0].modell: unknown key (did you mean model?)"),
        (values({"name": "a", "model": "m"}), "steps[0].prompt: is missing"),
        (values(step("a"), step("a")), "steps[1].name: another step is named 'a' already"),
        (values(step("A")), 'steps[0].name: "A" is not'),
        (
            values(step("facts"), step("b", "{{steps.fact}}")),
            "there is no step 'fact' (did you mean facts?)",
        ),
        (values(step("a", "{{steps.a}}")), "in a circle: a → a"),
        (
            values(step("a", "{{steps.c}}"), step("b", "{{steps.a}}"), step("c", "{{steps.b}}")),
            "in a circle: a → c → b → a",
        ),
        (
            values(step("a"), step("b", "{{steps.a.name}}")),
            "the answer of 'a' is a text without fields",
        ),
        (
            values(step("a", json_schema=SCHEMA), step("b", "{{steps.a.nam}}")),
            "the json_schema of 'a' has no 'nam' (did you mean name?)",
        ),
        (values(step("a"), output="b"), "output: there is no step 'b' (known here: a)"),
        (values(step("a", "{{7*7}}")), "steps[0].prompt: {{7*7}} is no place for a value"),
        (values(step("a", retries=9)), "steps[0].retries: 9 is not valid"),
        (values(step("a", temperature=3.0)), "steps[0].temperature: 3.0 is not valid"),
        (values(step("a", choices=["x"])), "steps[0].choices: are fewer than two"),
        (values(step("a", choices=["x", "x"])), "appears more than once"),
        (values(step("a", choices=["x", "y"], format="json")), "of format json has none"),
        (values(step("a", json_schema=SCHEMA, format="sql")), "of format sql has none"),
        (values(step("a", dialect="sqlite")), "is for answers of format sql"),
        (values(step("a", format="sql", dialect="sqlit")), "'sqlit' is not known"),
        (values(step("a", format="xml")), "steps[0].format"),
        (values(step("a", json_schema={"type": "objekt"})), "is no schema for an answer"),
        (values(step("a", json_schema={"not": {}})), "the compiler does not enforce not"),
        (values(step("a", json_schema={"anyOf": [{}] * 3000})), "more than 2000 values"),
        (values(step("a", json_schema=nested(100))), "or 32 levels"),
        (values(step("a", system=None)), "steps[0].system: null is not a value"),
        ([], "p.yaml: is not a JSON object"),
        (values(*(step(f"s{n}") for n in range(MAX_STEPS + 1))), "steps: "),
    ],
)
def test_one_thing_that_is_wrong(value: Any, problem: str) -> None:
    found = problems_of(value)
    assert any(problem in each for each in found), found


def test_a_chain_may_be_so_long_and_no_longer() -> None:
    steps = [step("s0"), *(step(f"s{n}", f"{{{{steps.s{n - 1}}}}}") for n in range(1, 12))]
    assert pipeline(*steps[:MAX_CHAIN]).chains["s0"] == MAX_CHAIN
    assert problems_of(values(*steps[: MAX_CHAIN + 1])) == [
        "p.yaml: steps: 11 steps stand behind one another (at most 10 may)"
    ]


def test_everything_is_told_at_once_with_its_line() -> None:
    text = b"""name: p
steps:
  - name: facts
    modle: expert-json
    model: expert-json
    prompt: "{{document.text}}"
  - name: query
    model: m
    prompt: "{{steps.fcts}}"
  - name: query
    model: m
    prompt: "{{open('x')}}"
"""
    with pytest.raises(PipelineError) as caught:
        parse_pipeline(text, "p.yaml")
    assert [problem.where for problem in caught.value.problems] == [
        "p.yaml: line 4: steps[0].modle",
        "p.yaml: line 12: steps[2].prompt",
        "p.yaml: line 10: steps[2].name",
        "p.yaml: line 9: steps[1].prompt",
    ]


def test_a_step_that_is_no_object_hides_no_other_problem() -> None:
    found = problems_of(values("step", step("a", "{{steps.b}}")))  # type: ignore[arg-type]  # that is the corruption
    assert len(found) == 2


def test_json_is_as_strict() -> None:
    with pytest.raises(PipelineError, match="more than once"):
        parse_pipeline(b'{"name": "a", "name": "b", "steps": []}', "p.json")
    with pytest.raises(PipelineError, match="allowed"):
        parse_pipeline(b" " * (MAX_FILE_BYTES + 1), "p.json")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="cannot be read"):
        load_pipeline(tmp_path)
    path = tmp_path / "p.json"
    path.write_text(json.dumps(values(step("a"))))
    assert load_pipeline(path).name == "test"

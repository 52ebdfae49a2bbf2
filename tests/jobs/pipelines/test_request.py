"""A line for `/v1/pipelines` is sound, or all that is wrong with it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hive_expert.errors import PipelineError
from hive_expert.jobs.limits import MOST_PROBLEMS
from hive_expert.jobs.line import Line, LineProblem, read_line
from hive_expert.jobs.pipelines.graph import nearest
from hive_expert.jobs.pipelines.limits import MAX_COMPARED
from hive_expert.jobs.pipelines.request import ENDPOINT, lacking, read_order
from tests.jobs.pipelines.conftest import pipeline, step, values

PIPELINE = values(step("a", "{{document.text}} {{document.title?}} {{document.who.name}}"))


def test_an_order_has_both() -> None:
    document = {"text": "x", "who": {"name": "Ann"}}
    order = read_order({"pipeline": PIPELINE, "document": document})
    assert order.pipeline.name == "test" and order.document == document


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"pipeline": PIPELINE}, "document: is missing"),
        ({"document": {}}, "pipeline: is missing"),
        ({"pipeline": PIPELINE, "document": {}, "docment": {}}, "did you mean document?"),
        ({"pipeline": PIPELINE, "document": []}, "is no JSON object"),
        ({"pipeline": [], "document": {}}, "is not a JSON object"),
        ({"pipeline": values(step("a", "x" * 200_000)), "document": {}}, "more than 131,072"),
        ({"pipeline": values(step("a", "{{steps.b}}")), "document": {}}, "no step 'b'"),
        (
            {"pipeline": PIPELINE, "document": {"txt": "x", "who": {"name": "A"}}},
            "{{document.text}} of step 'a': the document has no 'text' (did you mean txt?)",
        ),
        ({"pipeline": PIPELINE, "document": {"text": "x", "who": "Ann"}}, "has no 'name'"),
    ],
)
def test_what_is_wrong_is_told(body: dict[str, Any], what: str) -> None:
    with pytest.raises(PipelineError) as caught:
        read_order(body)
    assert any(what in str(problem) for problem in caught.value.problems)


def test_a_line_of_a_batch_is_held_against_its_pipeline() -> None:
    line = {"custom_id": "1", "method": "POST", "url": ENDPOINT}
    good = {"pipeline": PIPELINE, "document": {"text": "x", "who": {"name": "A"}}}
    assert isinstance(read_line(json.dumps({**line, "body": good}).encode(), 3, ENDPOINT), Line)
    bad = {**good, "document": {}}
    found = read_line(json.dumps({**line, "body": bad}).encode(), 3, ENDPOINT)
    assert isinstance(found, list)
    assert [(p.code, p.line, type(p)) for p in found] == [("invalid_pipeline", 3, LineProblem)] * 2


def test_a_name_is_compared_with_the_first_of_many() -> None:
    names = (f"n{n}" for n in range(10_000))
    assert nearest("other", names).startswith("known here: n0, n1")
    assert next(names) == f"n{MAX_COMPARED}"


def test_long_names_are_shown_by_their_beginning() -> None:
    assert len(nearest("other", ["n" * 100_000] * 20)) < 2000


def test_no_more_missing_places_are_looked_for_than_are_reported() -> None:
    prompts = ["".join(f"{{{{document.p{s}-{n}}}}}" for n in range(60)) for s in range(4)]
    wide = pipeline(*(step(f"s{s}", prompt) for s, prompt in enumerate(prompts)))
    assert len(list(lacking(wide, {}))) == MOST_PROBLEMS


def test_no_more_unknown_fields_are_looked_at_than_are_reported() -> None:
    with pytest.raises(PipelineError) as caught:
        read_order({f"k{n}": 0 for n in range(1000)})
    assert len(caught.value.problems) <= MOST_PROBLEMS + 2

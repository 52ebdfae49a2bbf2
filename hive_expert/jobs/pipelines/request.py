"""One document and its pipeline, as the body of a batch's request for `/v1/pipelines`.

The pipeline stands in each line: a file of requests then says all that will be done, whoever has
written it, and each of its lines can be asked again by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from hive_expert.errors import PipelineError, Problem
from hive_expert.jobs.limits import MOST_PROBLEMS
from hive_expert.jobs.pipelines.graph import nearest
from hive_expert.jobs.pipelines.limits import MAX_CANONICAL_CHARACTERS
from hive_expert.jobs.pipelines.model import Pipeline
from hive_expert.jobs.pipelines.parse import pipeline_from
from hive_expert.jobs.pipelines.template import DOCUMENT, Path, parse_template, value_at

ENDPOINT = "/v1/pipelines"
_FIELDS = ("pipeline", DOCUMENT)


@dataclass(frozen=True, slots=True)
class Order:
    """What a request asks for. Law: the document has all that the pipeline's templates name."""

    pipeline: Pipeline
    document: Mapping[str, Any]


def read_order(body: Mapping[str, Any]) -> Order:
    """The order in a request's body.

    Raises:
        PipelineError: everything that is wrong with it.
    """
    strangers = islice((str(key) for key in body if key not in _FIELDS), MOST_PROBLEMS)
    problems = [
        Problem(key[:40], "is no field of a request for a pipeline", nearest(key, _FIELDS))
        for key in strangers
    ]
    problems += [Problem(key, "is missing") for key in _FIELDS if key not in body]
    if problems:
        raise PipelineError(*problems)
    pipeline = _pipeline(json.dumps(body["pipeline"], ensure_ascii=False, sort_keys=True))
    problems = list(lacking(pipeline, body[DOCUMENT]))
    if problems:
        raise PipelineError(*problems)
    return Order(pipeline, body[DOCUMENT])


def lacking(pipeline: Pipeline, document: Any) -> Iterator[Problem]:
    """What the templates of a pipeline name, and a document does not have: as far as reported."""
    return islice(_lacking(pipeline, document), MOST_PROBLEMS)


def _lacking(pipeline: Pipeline, document: Any) -> Iterator[Problem]:
    if not isinstance(document, dict):
        yield Problem(DOCUMENT, "is no JSON object")
        return
    for step, path in places_in(pipeline):
        _, missing = value_at(document, path)
        if missing is not None:
            shown = ".".join((DOCUMENT, *path))
            what = f"{{{{{shown}}}}} of step {step!r}: the document has no {missing!r}"
            yield Problem(DOCUMENT, what, nearest(missing, document))


def places_in(pipeline: Pipeline) -> tuple[tuple[str, Path], ...]:
    """The values of a document that steps cannot do without, each with a step that names it."""
    found: dict[Path, str] = {}
    for step in pipeline.steps:
        for text in (step.system, step.prompt):
            for reference in parse_template(text).references if text else ():
                if reference.step is None and reference.path and not reference.optional:
                    found.setdefault(reference.path, step.name)
    return tuple((step, path) for path, step in found.items())


@lru_cache(maxsize=16)
def _pipeline(text: str) -> Pipeline:
    """Of its JSON: the lines of a file all have the same."""
    if len(text) > MAX_CANONICAL_CHARACTERS:
        what = f"has more than {MAX_CANONICAL_CHARACTERS:,} characters"
        raise PipelineError(Problem("pipeline", what))
    return pipeline_from(json.loads(text), "pipeline")

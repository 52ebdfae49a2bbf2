"""From a pipeline's file to a `Pipeline`, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hive_expert.errors import PipelineError, Problem
from hive_expert.jobs.pipelines.graph import Node, faults_of
from hive_expert.jobs.pipelines.limits import MAX_FILE_BYTES, MAX_STEPS, MAX_VALUES
from hive_expert.jobs.pipelines.model import Pipeline
from hive_expert.jobs.pipelines.template import Template, parse_template
from hive_expert.jobs.pipelines.yaml_reader import Document, read_yaml
from hive_expert.manifest.strict_json import first_problems, join, located, read_json
from hive_expert.manifest.validation import build

Place = Callable[[str], str]
"""What to show of a path."""


def load_pipeline(path: Path) -> Pipeline:
    """Read a pipeline: JSON where the name ends in `.json`, YAML otherwise.

    Raises:
        PipelineError: everything that is wrong with it, or that it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PipelineError(Problem(str(path), f"cannot be read: {error.strerror}")) from error
    return parse_pipeline(data, path.name)


def parse_pipeline(data: bytes, where: str) -> Pipeline:
    """The pipeline of a file's bytes; `where` is the file's name. Raises as `load_pipeline`."""
    if where.endswith(".json"):
        value = read_json(
            data, where, error=PipelineError, max_bytes=MAX_FILE_BYTES, max_values=MAX_VALUES
        )
        return pipeline_from(value, where)
    document = read_yaml(data, where)
    return pipeline_from(document.value, where, _with_lines(document))


def pipeline_from(value: Any, where: str, place: Place = str) -> Pipeline:
    """The pipeline of plain values. Raises PipelineError: everything that is wrong with them."""
    try:
        return build(Pipeline, value, where, error=PipelineError, place=place)
    except PipelineError as error:
        # A step that is wrong in itself keeps the model from looking at how steps hang together.
        more = (
            Problem(located(where, place(_path(fault.at))), fault.what, fault.remedy)
            for fault in _faults(value)
        )
        found = dict.fromkeys((*error.problems, *more))
        raise PipelineError(*first_problems(found, where)) from error


def _with_lines(document: Document) -> Place:
    def shown(path: str) -> str:
        near = path
        while near and near not in document.lines:
            near = near[: max(near.rfind("."), near.rfind("["), 0)]
        line = document.lines.get(near)
        return path if line is None else f"line {line}: {path}".removesuffix(": ")

    return shown


def _path(at: tuple[str | int, ...]) -> str:
    path = ""
    for step in at:
        path = join(path, step)
    return path


def _faults(value: Any) -> Iterator[Any]:
    """What is wrong between the steps, as far as they can be told apart."""
    steps = value.get("steps") if isinstance(value, dict) else None
    if not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
        return
    nodes = [_node(step, place) for place, step in enumerate(steps)]
    output = value.get("output")
    yield from faults_of(nodes, output if isinstance(output, str) else None)


def _node(step: Any, place: int) -> Node:
    step = step if isinstance(step, dict) else {}
    name, schema = step.get("name"), step.get("json_schema")
    texts = {field: step.get(field) for field in ("system", "prompt")}
    return Node(
        name if isinstance(name, str) else f"steps[{place}]",
        {field: _template(text) for field, text in texts.items() if isinstance(text, str)},
        step.get("format", "json") == "json" and ("format" in step or schema is not None),
        schema if isinstance(schema, dict) else {},
    )


def _template(text: str) -> Template:
    try:
        return parse_template(text)
    except PipelineError:
        return Template(())

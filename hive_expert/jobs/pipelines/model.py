"""A pipeline and its steps, as a file says them. SPEC section 14."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import AfterValidator, Field, Strict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from hive_expert.decoding.schema_limits import limit_problems
from hive_expert.decoding.validators import SQL_DIALECTS
from hive_expert.errors import PipelineError
from hive_expert.jobs.pipelines.graph import Node, chains_of, faults_of, order_of
from hive_expert.jobs.pipelines.limits import (
    MAX_CHOICES,
    MAX_RETRIES,
    MAX_SCHEMA_DEPTH,
    MAX_SCHEMA_VALUES,
    MAX_STEPS,
    MAX_TEMPLATE_CHARACTERS,
)
from hive_expert.jobs.pipelines.template import parse_template
from hive_expert.manifest.record import Contradiction, Line, Positive, Real, Record, Text


def _template(text: str) -> str:
    try:
        parse_template(text)
    except PipelineError as error:
        raise PydanticCustomError(
            "contradiction",
            "{what}",
            {
                "what": "; ".join(problem.what for problem in error.problems),
                "remedy": error.problems[0].remedy,
            },
        ) from error
    return text


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    if _too_large(schema):
        reasons = [f"more than {MAX_SCHEMA_VALUES} values, or {MAX_SCHEMA_DEPTH} levels"]
    else:
        try:
            Draft202012Validator.check_schema(schema)
            reasons = [str(problem) for problem in limit_problems(schema)]
        except SchemaError as error:
            reasons = [f"{error.json_path}: {error.message[:160]}"]
    if reasons:
        raise PydanticCustomError(
            "contradiction",
            "{what}",
            {"what": f"is no schema for an answer: {'; '.join(reasons)}", "remedy": ""},
        )
    return schema


def _too_large(schema: Any) -> bool:
    count, level, depth = 0, [schema], 0
    while level:
        depth += 1
        count += len(level)
        if depth > MAX_SCHEMA_DEPTH or count > MAX_SCHEMA_VALUES:
            return True
        inner = (
            v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)
        )
        level = list(chain.from_iterable(inner))
    return False


Name = Annotated[str, Strict(), Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
TemplateText = Annotated[
    Text, Field(min_length=1, max_length=MAX_TEMPLATE_CHARACTERS), AfterValidator(_template)
]
JsonSchema = Annotated[dict[str, Any], AfterValidator(_schema)]

Format = Literal["text", "json", "sql", "cypher", "typescript"]


class Step(Record):
    """One question to one model, asked of each document.

    Law: `dialect`, `json_schema` and `choices` stand only where its `format` has use for them.
    """

    name: Name
    """How later steps refer to its answer."""
    model: Line
    """An expert, a composition (`expert-a:0.7+expert-b`), the base, or `auto`."""
    system: TemplateText | None = None
    """The system message; none if nothing stands in it for a document."""
    prompt: TemplateText
    """The user message."""
    format: Format | None = None
    """What the answer must be; `text` unless a `json_schema` is given."""
    json_schema: JsonSchema | None = None
    """The answer is generated and checked under it."""
    choices: Annotated[tuple[Line, ...], Field(max_length=MAX_CHOICES)] | None = None
    """The answer is one of these texts, and generated so: a classifier."""
    dialect: Line | None = None
    """Of SQL, such as sqlite or postgres."""
    retries: Annotated[int, Strict(), Field(ge=0, le=MAX_RETRIES)] = 1
    """How often an answer is asked for again that fails its check."""
    on_invalid: Literal["fail", "keep"] = "fail"
    """After the last try: the document fails, or goes on with the answer as it is."""
    temperature: Annotated[Real, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Real, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Strict(), Field(ge=-1)] | None = None
    min_p: Annotated[Real, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Real, Field(gt=0, le=2)] | None = None
    max_tokens: Positive | None = None
    seed: Annotated[int, Strict(), Field(ge=0)] | None = None
    stop: Annotated[tuple[Line, ...], Field(max_length=16)] | None = None

    @property
    def kind(self) -> Format:
        """What its answer is."""
        return self.format or ("text" if self.json_schema is None else "json")

    @property
    def node(self) -> Node:
        """It, as a part of the graph."""
        texts = {"system": self.system, "prompt": self.prompt}
        templates = {name: parse_template(text) for name, text in texts.items() if text is not None}
        return Node(self.name, templates, self.kind == "json", self.json_schema or {})

    def contradictions(self) -> Iterable[Contradiction]:
        if self.json_schema is not None and self.kind != "json":
            yield Contradiction("json_schema", f"an answer of format {self.kind} has none")
        if self.choices is not None and self.kind != "text":
            yield Contradiction("choices", f"an answer of format {self.kind} has none")
        if self.choices is not None and len(self.choices) < 2:
            yield Contradiction("choices", "are fewer than two")
        if self.choices is not None and len(set(self.choices)) != len(self.choices):
            yield Contradiction("choices", "one of them appears more than once")
        if self.dialect is not None and self.kind != "sql":
            yield Contradiction("dialect", "is for answers of format sql")
        elif self.dialect is not None and self.dialect not in SQL_DIALECTS:
            known = ", ".join(sorted(SQL_DIALECTS))
            yield Contradiction("dialect", f"{self.dialect!r} is not known", f"one of {known}")


class Pipeline(Record):
    """Steps over a document.

    Laws:

    - each step has a name of its own, and each name in a template is that of a step;
    - no step needs its own answer, directly or through others;
    - no chain of steps is longer than ten;
    - `order` has every step once, behind all steps it needs;
    - what `canonical` writes, `parse` reads as an equal pipeline.
    """

    name: Name
    description: Text | None = None
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=MAX_STEPS)]
    output: Name | None = None
    """The step whose answer is the document's result; the last in the file if none is said."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Pipeline:
        faults = [
            InitErrorDetails(
                type=PydanticCustomError(
                    "contradiction", "{what}", {"what": fault.what, "remedy": fault.remedy}
                ),
                loc=fault.at,
                input=None,
            )
            for fault in faults_of([step.node for step in self.steps], self.output)
        ]
        if faults:
            raise ValidationError.from_exception_data(type(self).__name__, faults)
        return self

    @cached_property
    def order(self) -> tuple[Step, ...]:
        """The steps as they are asked."""
        return tuple(self.steps[place] for place in order_of([s.node for s in self.steps]))

    @cached_property
    def chains(self) -> dict[str, int]:
        """Step → how many steps the longest chain has that it stands in."""
        return chains_of([step.node for step in self.steps])

    @property
    def result(self) -> str:
        """The step whose answer is the result."""
        return self.output or self.steps[-1].name

    @property
    def canonical(self) -> str:
        """The same text for equal pipelines: compact JSON."""
        document = self.model_dump(mode="json", exclude_unset=True)
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

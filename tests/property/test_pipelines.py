"""What holds of pipelines whatever comes: order, round trip, substitution, hostile files."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_expert.errors import PipelineError
from hive_expert.jobs.pipelines.graph import Node, chains_of, order_of
from hive_expert.jobs.pipelines.limits import MAX_CHAIN
from hive_expert.jobs.pipelines.parse import parse_pipeline, pipeline_from
from hive_expert.jobs.pipelines.template import Reference, Template, Values, parse_template

NAMES = tuple(f"s{n}" for n in range(8))
TEXTS = st.text(max_size=40) | st.sampled_from(
    ("{{steps.s0}}", "{{document.secret}}", "{{", "}}", "\\{{", "{% raw %}", "${HOME}", "%s")
)


@st.composite
def pipelines(draw: st.DrawFn) -> dict[str, Any]:
    """Steps in a random order, each with needs among those that were made before it."""
    steps = []
    for place, name in enumerate(draw(st.permutations(NAMES[: draw(st.integers(1, 8))]))):
        before = [step["name"] for step in steps[:place]]
        needs = draw(st.sets(st.sampled_from(before))) if before else set()
        prompt = "{{document.text}}" + "".join(f" {{{{steps.{need}}}}}" for need in sorted(needs))
        step: dict[str, Any] = {"name": name, "model": "m", "prompt": prompt}
        optional = {
            "system": "Be kind.", "format": "sql", "retries": 0, "on_invalid": "keep",
            "temperature": 0.5, "top_k": 3, "max_tokens": 7, "seed": 1, "stop": [";"],
        }  # fmt: skip
        for key in draw(st.sets(st.sampled_from(sorted(optional)))):
            step[key] = optional[key]
        steps.append(step)
    return {"name": "p", "steps": draw(st.permutations(steps))}


@given(pipelines())
def test_every_step_comes_once_behind_what_it_needs(value: dict[str, Any]) -> None:
    pipeline = pipeline_from(value, "p")
    seen: set[str] = set()
    for step in pipeline.order:
        assert set(step.node.needs) <= seen
        seen.add(step.name)
    assert len(pipeline.order) == len(pipeline.steps) == len(seen)
    assert all(1 <= length <= MAX_CHAIN for length in pipeline.chains.values())


@given(pipelines())
def test_what_is_written_is_read_as_it_was(value: dict[str, Any]) -> None:
    pipeline = pipeline_from(value, "p")
    again = parse_pipeline(pipeline.canonical.encode(), "p.json")
    assert again == pipeline
    assert again.canonical == pipeline.canonical
    assert parse_pipeline(pipeline.canonical.encode(), "p.yaml") == pipeline


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=30))
def test_either_all_steps_have_an_order_or_there_is_a_circle(edges: list[tuple[int, int]]) -> None:
    needs = {n: sorted({b for a, b in edges if a == n}) for n in range(8)}
    prompts = {n: " ".join(f"{{{{steps.s{b}}}}}" for b in needs[n]) + "x" for n in range(8)}
    value = {
        "name": "p",
        "steps": [{"name": f"s{n}", "model": "m", "prompt": prompts[n]} for n in range(8)],
    }
    reachable = {n: set(needs[n]) for n in range(8)}
    for _ in range(8):
        for n in range(8):
            reachable[n] |= {c for b in reachable[n] for c in needs[b]}
    if any(n in reachable[n] for n in range(8)):
        with pytest.raises(PipelineError, match="circle"):
            pipeline_from(value, "p")
    else:
        assert len(pipeline_from(value, "p").order) == 8


@given(st.lists(TEXTS | st.sampled_from((None, "step", "field")), max_size=8), TEXTS, TEXTS, TEXTS)
def test_a_template_is_its_parts_and_no_value_is_a_template(
    parts: list[str | None], text: str, answer: str, field: str
) -> None:
    values = Values({"text": text, "secret": "S"}, {"a": answer, "j": json.dumps({"f": field})})
    places = {
        None: (Reference(None, ("text",)), text),
        "step": (Reference("a", ()), answer),
        "field": (Reference("j", ("f",)), field),
    }
    built = [places.get(part, (part, part)) for part in parts]
    template = Template(tuple(part for part, _ in built))  # type: ignore[misc]  # a key of None is a place
    assert template.fill(values) == "".join(str(value) for _, value in built)


TEMPLATE_PIECES = st.text(max_size=5) | st.sampled_from(
    ("{{document}}", "{{document.a}}", "{{ document.b? }}", "{{steps.s0}}", "{{steps.s1.a}}",
     "{{document.", "{{", "}}", "\\{{", "{", "}", "\\", "?", ".", " ", "document", "steps.s0")
)  # fmt: skip


@given(
    st.lists(TEMPLATE_PIECES, max_size=12).map("".join),
    st.dictionaries(st.sampled_from(("a", "b")), TEXTS),
)
def test_a_text_is_a_template_or_is_refused(text: str, document: dict[str, str]) -> None:
    unescaped = text.replace("\\{{", "")
    try:
        template = parse_template(text)
    except PipelineError:
        assert "{{" in unescaped
        return
    references = [*template.references]
    if not references:
        assert template.fill(Values(document, {})) == text.replace("\\{{", "{{")
        return
    assert "{{" in unescaped
    answers = {reference.step: '{"a": "A"}' for reference in references if reference.step}
    values = Values(document, answers)
    try:
        filled = template.fill(values)
    except PipelineError:
        assert any(reference.path and not reference.optional for reference in references)
        return
    assert filled == "".join(p if isinstance(p, str) else values.text(p) for p in template.parts)


@given(st.binary(max_size=300))
def test_bytes_are_no_more_than_refused(data: bytes) -> None:
    for where in ("p.yaml", "p.json"):
        with pytest.raises(PipelineError) as caught:
            parse_pipeline(data, where)
        assert caught.value.problems


YAML_PIECES = st.sampled_from(
    ("name: p\n", "steps:\n", "  - name: a\n", "    model: m\n", "    prompt: x\n", "&a ", "*a",
     "- ", "{", "}", "[", "]", "!!python/object:os.system ", "<<: ", "? ", ": ", "|\n", ">-\n", "'",
     '"', "---\n", "\t", "#", "\n", "  ", "{{steps.a}}", "a: ", "1e999", "~")
)  # fmt: skip


@given(st.lists(YAML_PIECES, max_size=40))
def test_pieces_of_yaml_are_read_or_refused(pieces: list[str]) -> None:
    try:
        parse_pipeline("".join(pieces).encode(), "p.yaml")
    except PipelineError as error:
        assert error.problems


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ("name", "steps", "model", "prompt", "output", "format", "json_schema")
                )
                | st.text(max_size=5),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_values_are_a_pipeline_or_refused_with_reasons(value: Any) -> None:
    try:
        pipeline_from(value, "p")
    except PipelineError as error:
        assert error.problems


def test_an_order_of_many_steps_takes_no_time() -> None:
    nodes = [Node(f"s{n}", {"prompt": Template((Reference(f"s{n + 1}", ()),))}) for n in range(31)]
    nodes.append(Node("s31", {}))
    assert order_of(nodes) == tuple(reversed(range(32)))
    assert chains_of(nodes)["s0"] == 32

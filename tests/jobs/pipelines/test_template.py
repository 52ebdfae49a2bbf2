"""Templates are filled, and nothing else is done with them."""

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.errors import PipelineError
from hive_expert.jobs.pipelines.limits import MAX_FILLED_CHARACTERS, MAX_REFERENCES
from hive_expert.jobs.pipelines.template import Values, parse_template


def filled(text: str, document: Any = None, **answers: str) -> str:
    return parse_template(text).fill(Values({} if document is None else document, answers))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{document.text}}", "Hello"),
        ("a {{ document.text }} b", "a Hello b"),
        ("{{document.list.1}}", "y"),
        ("{{document.deep.n}}", "1.5"),
        ("{{document.deep}}", '{"n":1.5,"é":null}'),
        ("{{document.none?}}-", "-"),
        ("{{steps.facts}}", '{"name": "Ann", "age": 3}'),
        ("{{steps.facts.name}} {{steps.facts.age}}", "Ann 3"),
        ("{{steps.facts.city?}}", ""),
        (r"\{{document.text}}", "{{document.text}}"),
        ('{"a":{"b":{}}}', '{"a":{"b":{}}}'),
    ],
)
def test_places_are_filled(text: str, expected: str) -> None:
    document = {"text": "Hello", "list": ["x", "y"], "deep": {"n": 1.5, "é": None}}
    assert filled(text, document, facts='{"name": "Ann", "age": 3}') == expected


@pytest.mark.parametrize("value", ["{{steps.other}}", "{{document.secret}}", r"\{{x}}", "{% x %}"])
def test_what_fills_a_place_is_no_template(value: str) -> None:
    document = {"text": value, "secret": "s3cret"}
    assert filled("<{{document.text}}>", document, other="private") == f"<{value}>"
    assert filled("<{{steps.a}}>", document, a=value, other="private") == f"<{value}>"


@pytest.mark.parametrize(
    "text",
    [
        "{{7*7}}",
        "{{document.__class__()}}",
        "{{document['text']}}",
        "{{document.text|upper}}",
        "{{config.items()}}",
        "{{request}}",
        "{{steps}}",
        "{{}}",
        "{{document.text",
        "{{document.a b}}",
        "{{document.text}} {{" + "x" * 500 + "}}",
        "{{document.text}}" * (MAX_REFERENCES + 1),
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(PipelineError):
        parse_template(text)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(PipelineError) as caught:
        parse_template("{{a}} {{b}} {{c")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    "path", ["__class__", "__dict__", "keys", "text.upper", "list.9", "list.-1"]
)
def test_no_attribute_is_a_field(path: str) -> None:
    with pytest.raises(PipelineError, match="there is no"):
        filled(f"{{{{document.{path}}}}}", {"text": "x", "list": [1]})


def test_an_answer_that_is_no_json_has_no_fields() -> None:
    with pytest.raises(PipelineError, match=r"steps\.a\.name: there is no 'name'"):
        filled("{{steps.a.name}}", a="not json")


def test_a_text_named_often_is_not_multiplied_without_end() -> None:
    document = {"text": "x" * (MAX_FILLED_CHARACTERS // 10)}
    with pytest.raises(PipelineError, match="more than"):
        filled("{{document.text}}" * 20, document)

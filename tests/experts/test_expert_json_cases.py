"""The grammar and the test cases of expert-json."""

from __future__ import annotations

import json
from collections import Counter

import jsonschema
import pytest
from text_to_json import cases

from hive_expert.decoding.binding import SchemaInPrompt, bind
from hive_expert.decoding.prompt import messages_of
from tests.experts.grammars import accepts, compiled_grammar, compiler, refused
from tests.experts.json_rows import DATA, EXPERT, case_document, leaves, sample


def test_the_grammar_accepts_every_answer_of_the_data() -> None:
    answers = {e.response for split in ("train", "validation", "test") for e in sample(split)}
    answers |= {c["expected"] for c in case_document()["cases"]}
    assert refused(EXPERT, answers) == []


def test_every_prompt_s_schema_compiles_and_accepts_the_expected_answer() -> None:
    wrong = []
    for case in case_document()["cases"]:
        bound = bind(SchemaInPrompt(), None, messages_of(case))
        assert bound.structure is not None, (case["id"], bound.note)
        compiled = compiler().compile_json_schema(
            bound.structure.text, any_whitespace=False, separators=(",", ":")
        )
        if not accepts(compiled, case["expected"]):
            wrong.append(case["id"])
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"a": 1, "b": [1, 2]}',
        '{"a":[],"b":{}}',
        '{"a":"24\\" monitor","b":"caf\\u00e9"}',
        '{"ä":"日本"}',
        '{"a":{"b":{"c":1}}}',
        '{"a":[{"b":true},{"b":null}]}',
        '{"a":-0.5e+3,"b":1200,"c":0}',
    ],
)
def test_the_grammar_accepts_other_objects(text: str) -> None:
    assert accepts(compiled_grammar(EXPERT), text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[1]",
        '"a"',
        '{"a":1',
        '{"a":1}\n',
        '{"a":1} ',
        ' {"a":1}',
        '{ "a":1}',
        '{"a":  1}',
        '{"a":\n1}',
        '{"a":1,}',
        '{"a":[1,]}',
        '{"a":01}',
        '{"a":.5}',
        '{"a":True}',
        '{"a":"x\ny"}',
        '{"a":"\\x"}',
        "{'a':1}",
        "{a:1}",
        '{"a":1}{"b":2}',
        'Here it is: {"a":1}',
        '```json\n{"a":1}\n```',
        '{"a":1} I hope this helps.',
        '{"a":{"b":{"c":{"d":1}}}}',
    ],
)
def test_the_grammar_refuses_all_else(text: str) -> None:
    assert not accepts(compiled_grammar(EXPERT), text)


def test_the_committed_cases_are_what_the_generator_writes() -> None:
    made = cases.generated_cases(sample("test"))
    made += cases.hand_written_cases(DATA / "hand-written.toml")
    text = (EXPERT / "tests/test_cases.json").read_text(encoding="utf-8")
    assert cases.document(made) == text


def test_there_are_enough_cases_of_each_kind() -> None:
    counts = Counter(c["category"] for c in case_document()["cases"])
    assert sum(counts.values()) >= 250
    assert sum(n for category, n in counts.items() if category.startswith("other-hand/")) >= 40
    kinds = ("flat", "nested", "array", "enum", "optional", "one-message")
    assert all(counts[kind] >= 15 for kind in kinds)
    assert len({json.dumps(c["schema"]) for c in case_document()["cases"]}) >= 12


def test_every_expected_answer_is_valid_under_its_schema() -> None:
    for case in case_document()["cases"]:
        jsonschema.Draft202012Validator.check_schema(case["schema"])
        jsonschema.validate(json.loads(case["expected"]), case["schema"])
        assert case["schema"]["additionalProperties"] is False


def test_hand_written_answers_copy_their_text() -> None:
    for case in case_document()["cases"]:
        if not case["category"].startswith("other-hand/"):
            continue
        text = case["messages"][-1]["content"]
        enums = {v for p in case["schema"]["properties"].values() for v in p.get("enum", [])}
        for value in leaves(json.loads(case["expected"])):
            is_copied = isinstance(value, str) and value not in enums
            is_date = is_copied and str(value)[:2] == "20" and str(value).count("-") == 2
            assert not is_copied or is_date or value in text, case

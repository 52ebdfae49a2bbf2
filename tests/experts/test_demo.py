"""What `make demo` asks, and that its checks tell right answers from wrong ones."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

EXPERTS = Path(__file__).parents[2] / "experts"


@pytest.fixture(scope="module")
def demo() -> Any:
    spec = importlib.util.spec_from_file_location("demo", EXPERTS / "demo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["demo"]


def test_each_expert_and_the_base_are_asked_one_question(demo: Any) -> None:
    asked = [question.model for question in demo.QUESTIONS]
    assert sorted(asked) == sorted([*demo.EXPERTS, demo.BASE])


@pytest.mark.parametrize("name", ["expert-neo4j", "expert-typescript"])
def test_what_is_asked_is_a_held_out_case_that_the_expert_answers_rightly(
    demo: Any, name: str
) -> None:
    (question,) = (q for q in demo.QUESTIONS if q.model == name)
    asked = [
        {"role": "system", "content": question.system},
        {"role": "user", "content": question.user},
    ]
    suite = json.loads((EXPERTS / name / "tests" / "test_cases.json").read_bytes())
    (case,) = (case for case in suite["cases"] if case["messages"] == asked)
    report = json.loads((EXPERTS.parent / f"benchmarks/results/{name}.json").read_bytes())
    assert [
        outcome["correct"]
        for standing in report["standings"]
        if (standing["model"], standing["variant"]) == (name, "grammar")
        for outcome in standing["outcomes"]
        if outcome["case"] == case["id"]
    ] == [True]
    assert "right" in question.check(case["expected"])
    for wrong in ("", "I think so.", case["expected"].replace("Teff", "Rye").replace("To", "2")):
        with pytest.raises(demo.WRONG):
            question.check(wrong)

"""The data generator, grammar and test cases of expert-typescript."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import xgrammar
from text_to_typescript import cases, expressions, functions, phrasing, pipelines
from text_to_typescript.dataset import tasks, train_examples, validation_examples
from text_to_typescript.entities import entities
from text_to_typescript.functions import parse_families
from text_to_typescript.proof import prove
from text_to_typescript.task import Task, third_person

from hive_expert.decoding.validators import Check, validate
from hive_expert.errors import DatasetError
from hive_expert.manifest.parse import parse_manifest
from hive_expert.training.cases import TestSuite, parse_test_cases
from hive_expert.training.config import plan_training
from hive_expert.training.generated import Example, cases_document
from hive_expert.training.typescript_checks import Program
from tests.experts.grammars import accepts, compiled_grammar, refused

EXPERT = Path(__file__).parents[2] / "experts" / "expert-typescript"
SAMPLE = 1500


@cache
def train_sample() -> tuple[tuple[Task, Example], ...]:
    return tuple(tasks(7, "train", SAMPLE))


@cache
def suite() -> TestSuite:
    return parse_test_cases((EXPERT / "tests/test_cases.json").read_bytes())


def generate(output: Path, hash_seed: str) -> dict[str, bytes]:
    command = [sys.executable, str(EXPERT / "generate.py"), "--seed=3", "--train=150"]
    command += ["--validation=30", "--test=40", f"--output={output}"]
    command += [f"--test-cases={output / 'cases.json'}"]
    # Without Node on the PATH nothing is proven, which is not what this is about.
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PATH": "/nowhere"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return {path.name: path.read_bytes() for path in output.iterdir()}


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    first = generate(tmp_path / "first", hash_seed="1")
    assert set(first) == {"train.jsonl", "validation.jsonl", "test.jsonl", "cases.json"}
    assert generate(tmp_path / "second", hash_seed="2") == first


def test_asking_for_more_rows_keeps_the_first_ones() -> None:
    assert train_examples(7, 100) == [row for _, row in train_sample()[:100]]


def test_there_are_enough_families_and_entities_and_none_is_in_two_splits() -> None:
    splits = (functions.TRAIN, functions.VALIDATION, functions.TEST)
    assert len(functions.TRAIN) >= 100
    assert len(functions.TEST) >= 20
    assert sum(map(len, splits)) == len({name for split in splits for name in split})
    names = [e.name for split in ("train", "validation", "test") for e in entities(split)]
    assert len(names) == len(set(names)) >= 50


def test_every_answer_parses_and_is_no_more_than_code() -> None:
    rows = [*(row for _, row in train_sample()), *validation_examples(7, 60)]
    for row in rows:
        assert validate(Check("typescript", None, None), row.response) is None, row
        assert "@" not in row.response.replace("@]", "").replace("+@[", ""), row


def test_every_request_shows_or_tells_the_signature_that_its_answer_has() -> None:
    told_in_words = 0
    for task, row in train_sample():
        if not task.wanted:
            continue
        assert row.response.startswith(task.wanted)
        if task.wanted.removeprefix("function ") not in row.instruction:
            told_in_words += 1
            told = phrasing.SIGNATURE.fullmatch(task.wanted)
            assert told
            parameters = told["parameters"].split(", ")
            assert all(t in row.instruction for t in (told["name"], *parameters, told["result"]))
    assert 50 < told_in_words < 300


def test_no_request_comes_twice() -> None:
    asked = Counter(row.instruction for _, row in train_sample())
    assert asked.most_common(1)[0][1] == 1


def test_expressions_differ_and_have_nothing_of_the_unseen_families() -> None:
    rng = random.Random(3)
    codes = [expressions.task(rng, "train").code for _ in range(1500)]
    bodies = [re.split(r"return |=> ", code, maxsplit=1)[1] for code in codes]
    assert len(set(codes)) > 1300
    ranges = re.compile(r"(\w+) >=? (\d+) && \1 <=? ")
    unseen = re.compile(r"endsWith|String\(|1\.609|\* \(1 \+|replaceAll|\.length - 1")
    assert [body for body in bodies if ranges.search(body) or unseen.search(body)] == []


@pytest.mark.node
def test_answers_type_check_and_pass_their_tests(tmp_path: Path) -> None:
    made = [task for task, _ in tasks(11, "train", 150)]
    programs = [(task.family, Program(task.code, task.program_tests)) for task in made]
    prove(programs, tmp_path / "proven.txt")


def test_every_family_is_used() -> None:
    used = {task.family for task, _ in tasks(7, "train", 4000)}
    assert set(functions.TRAIN) <= used


def combination(family: str, code: str) -> str:
    """Of an operation and its parts, on numbers or on strings."""
    kind = code.split("[]", 1)[0].rpartition(" ")[2]
    return f"{kind} {family.removeprefix('pipeline/')}"


def test_a_held_out_combination_is_not_in_training() -> None:
    trained = {
        combination(task.family, task.code)
        for task, _ in train_sample()
        if task.family.startswith("pipeline/")
    }
    tested = {
        combination(case.group, case.expected)
        for case in cases.drawn_cases(7, 300)
        if case.category == "pipeline"
    }
    assert len(trained) > 60
    assert len(tested) > 15
    assert not trained & tested
    assert all(map(pipelines.is_held_out, tested))


_SHARES = (("expression", 20, 28), ("pipeline", 12, 20), ("record", 9, 17), ("type", 9, 17))


def test_kinds_have_their_share() -> None:
    counts = Counter(task.family.split("/")[0] for task, _ in train_sample())
    for kind, least, most in _SHARES:
        assert least <= 100 * counts[kind] / SAMPLE <= most, kind


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("## a/b\nnames: f\nsig: (): number\ndo: x\n= return @y;\nt:  => 1", "uses @y"),
        ("## a/b\nnames: f\nsig: (): number\ndo: x\n= return 1;", "no tests"),
        ("## a/b\nnames: f\ndo: x\n= return 1;\nt:  => 1", "no 'sig'"),
        ("## a/b\nnamed: f", "families.txt:2: not understood"),
        ("names: f", "families.txt:1: not understood"),
    ],
)
def test_a_mistake_in_a_family_is_named(text: str, complaint: str) -> None:
    with pytest.raises(DatasetError) as raised:
        parse_families(text, "families.txt")
    assert complaint in str(raised.value)


@pytest.mark.parametrize(
    ("base", "third"),
    [
        ("return the sum", "returns the sum"),
        ("check x", "checks x"),
        ("copy x", "copies x"),
        ("pass it on", "passes it on"),
        ("be a guard", "is a guard"),
    ],
)
def test_verbs_in_the_third_person(base: str, third: str) -> None:
    assert third_person(base) == third


# test cases and grammar


def test_the_test_cases_are_what_the_generator_writes() -> None:
    made = [*cases.drawn_cases(7, 300), *cases.written_cases()]
    written = (EXPERT / "tests/test_cases.json").read_text(encoding="utf-8")
    assert cases_document("typescript_tests", made) == written


def test_there_are_enough_cases_and_each_can_fail() -> None:
    counts = Counter(case.category.split("/")[0] for case in suite().cases)
    assert sum(counts.values()) >= 300
    assert counts["other-hand"] >= 60
    assert counts["unseen"] >= 50
    for case in suite().cases:
        assert case.tests
        assert "expect" in case.tests or "Equal<" in case.tests


def test_no_case_asks_about_a_training_entity_or_in_training_s_words() -> None:
    asked = {row.instruction for _, row in train_sample()}
    names = {entity.name for entity in entities("train")}
    for case in suite().cases:
        assert case.messages[-1]["content"] not in asked
        if case.category in ("record", "type"):
            shown = {word.strip(":;{}<>[]()") for word in case.expected.split()}
            assert not shown & names, case.id


def test_the_grammar_accepts_every_answer_of_the_data() -> None:
    answers = {row.response for _, row in train_sample()} | {c.expected for c in suite().cases}
    assert refused(EXPERT, answers) == []


@pytest.mark.parametrize(
    "text",
    [
        "Sure! function f() {}",
        "```ts\nfunction f() {}\n```",
        "function f() {",
        "function f() { return 'a; }",
        "function f() { return (1]; }",
        "function f() {}\nThis adds two numbers.",
    ],
)
def test_the_grammar_refuses_what_is_open_or_talks(text: str) -> None:
    assert not accepts(compiled_grammar(EXPERT), text)


def test_an_adapter_and_a_soft_prompt_are_trained_together() -> None:
    plan = plan_training(
        parse_manifest((EXPERT / "manifest.json").read_bytes()), None, device="cpu"
    )
    assert plan.adapter is not None
    assert plan.adapter.type == "dora"
    assert plan.soft_prompt is not None


def test_few_tokens_have_to_be_tried_one_by_one() -> None:
    """A rule that could end anywhere would leave open each of those with a closing bracket."""
    marks = ["".join(p) for n in (2, 3) for p in itertools.product(")]}({[;, .a", repeat=n)]
    vocabulary = [bytes([i]) for i in range(256)] + [mark.encode() for mark in marks]
    tokenizer = xgrammar.TokenizerInfo(vocabulary, stop_token_ids=[0])
    text = (EXPERT / "grammar.gbnf").read_text(encoding="utf-8")
    compiled = xgrammar.GrammarCompiler(tokenizer, max_threads=1).compile_grammar(text)
    masks = json.loads(compiled.serialize_json())["adaptive_token_mask_cache"]
    assert len(masks) > 100
    assert max(len(mask["uncertain_indices"]) for _, mask in masks) < 250

"""The data generator, grammar and test cases of expert-neo4j."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import xgrammar
from text_to_cypher import cases, translate
from text_to_cypher.corpus import HELD_OUT, TEST, TRAIN, VALIDATION
from text_to_cypher.dataset import train_examples, validation_examples
from text_to_cypher.draw import Draw
from text_to_cypher.examples import FAMILIES, ask
from text_to_cypher.graph import parse_graphs, third_person

from hive_expert.decoding.cypher import parse_cypher
from hive_expert.decoding.prompt import messages_of
from hive_expert.training.cases import TestCase, TestSuite, parse_test_cases
from hive_expert.training.generated import Example, cases_document
from hive_expert.training.scoring import check_expected, score_case
from tests.experts.grammars import (
    accepts,
    bound_grammars,
    compiled_grammar,
    compiler,
    refused,
    refused_when_bound,
)

EXPERT = Path(__file__).parents[2] / "experts" / "expert-neo4j"
SAMPLE = 1500


@cache
def train_sample() -> tuple[Example, ...]:
    return tuple(train_examples(7, SAMPLE))


@cache
def suite() -> TestSuite:
    return parse_test_cases((EXPERT / "tests/test_cases.json").read_bytes())


def as_case(example: Example) -> TestCase:
    system = ({"role": "system", "content": example.input},) if example.input else ()
    user = {"role": "user", "content": example.instruction}
    return TestCase("x", example.category, (*system, user), example.response)


def generate(output: Path, seed: int, hash_seed: str) -> dict[str, bytes]:
    command = [sys.executable, str(EXPERT / "generate.py"), f"--seed={seed}", "--train=200"]
    command += ["--validation=30", "--test=40", f"--output={output}"]
    command += [f"--test-cases={output / 'cases.json'}"]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return {path.name: path.read_bytes() for path in output.iterdir()}


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    first = generate(tmp_path / "first", seed=3, hash_seed="1")
    assert set(first) == {"train.jsonl", "validation.jsonl", "test.jsonl", "cases.json"}
    assert generate(tmp_path / "second", seed=3, hash_seed="2") == first


def test_asking_for_more_rows_keeps_the_first_ones() -> None:
    assert train_examples(7, 100) == list(train_sample()[:100])


def test_there_are_enough_graphs_in_every_split() -> None:
    assert len(TRAIN) + len(VALIDATION) + len(TEST) >= 60
    assert len(VALIDATION) >= 4
    assert len(TEST) >= 16


def test_no_training_graph_has_a_held_out_label() -> None:
    for example in train_sample():
        text = example.input or example.instruction
        assert not set(re.findall(r"\(:(\w+)", text)) & HELD_OUT, example


def test_every_answer_parses_and_fits_the_schema_in_its_prompt() -> None:
    for example in (*train_sample(), *validation_examples(7, 60)):
        case = as_case(example)
        score = score_case(case, case.expected)
        assert score.correct, (example, score.reason)
        assert score.clean, example


def test_every_relationship_of_an_answer_points_as_in_the_schema() -> None:
    for example in train_sample():
        schema = example.input or example.instruction
        known = set(re.findall(r"\(:(\w+)[^()]*\)-\[:(\w+)[^\]]*\]->\(:(\w+)", schema))
        labels = dict(re.findall(r"\((\w+):(\w+)\)", example.response))

        def label(node: str, labels: dict[str, str] = labels) -> str:
            name, _, given = node.partition(":")
            return given or labels[name]

        walk = re.findall(
            r"(?=\((\w*:?\w*)\)(<?)-\[\w*:(\w+)[^\]]*\]-(>?)\((\w*:?\w*)\))", example.response
        )
        for left, back, kind, forth, right in walk:
            ends = (label(right), kind, label(left)) if back else (label(left), kind, label(right))
            assert ends in known or not (back or forth), example


def test_rows_of_a_group_share_their_system_message_and_stand_together() -> None:
    systems = defaultdict(set)
    for example in train_sample():
        systems[example.group].add(example.input)
    assert all(len(inputs) == 1 for inputs in systems.values())
    shared = [e.group for e in train_sample() if e.input]
    changes = sum(a != b for a, b in itertools.pairwise(shared))
    assert changes == len(set(shared)) - 1


def test_no_question_is_asked_twice_of_one_graph() -> None:
    asked = Counter((e.input, e.instruction.lower()) for e in train_sample())
    assert asked.most_common(1)[0][1] == 1


def test_every_pattern_is_used() -> None:
    draws = [Draw(graph, random.Random(name)) for name, graph in TRAIN.items()]
    for family, patterns in FAMILIES.items():
        asked = [ask(draw, family) for draw in draws for _ in range(3)]
        assert len({q.category for q in asked if q}) >= 3, family
        assert all(weight > 0 for _, weight in patterns)


@pytest.mark.parametrize(
    ("form", "least", "most"),
    [
        (r"^Dialect: cypher\nSchema:\n\(:\w+ \{\w+", 80, 97),
        (r"\{\w+: (STRING|INTEGER|FLOAT)", 2, 9),
        (r"^$", 5, 12),
    ],
)
def test_schemas_come_in_every_form(form: str, least: int, most: int) -> None:
    count = sum(bool(re.search(form, e.input)) for e in train_sample())
    assert least <= 100 * count / SAMPLE <= most


def test_asking_what_a_graph_cannot_answer_ends() -> None:
    graph = parse_graphs("alone\nStone: name'thing, weight#1-90\nStone NEAR Stone: touch, -, near")
    assert ask(Draw(graph["alone"], random.Random(1)), "hop") is None


@pytest.mark.parametrize(
    ("base", "single"),
    [("work at", "works at"), ("study", "studies"), ("watch", "watches"), ("play in", "plays in")],
)
def test_verbs_of_one_subject(base: str, single: str) -> None:
    assert third_person(base) == single


@pytest.mark.parametrize(
    ("sql", "cypher"),
    [
        ("a.x BETWEEN 1 AND 3", "a.x >= 1 AND a.x <= 3"),
        ("a.x LIKE 'Al%'", "a.x STARTS WITH 'Al'"),
        ("a.x LIKE '%l%' OR a.y IS NOT NULL", "a.x CONTAINS 'l' OR a.y IS NOT NULL"),
        ("a.x IN ('u', 'v') AND a.is_done = 1", "a.x IN ['u', 'v'] AND a.is_done = true"),
    ],
)
def test_filters_are_translated(sql: str, cypher: str) -> None:
    assert translate.condition(sql) == cypher


def test_groups_sort_by_what_they_return() -> None:
    graph = parse_graphs("one\nMovie: title'title, genre{a|b}")["one"]
    sql = "SELECT movie.genre FROM movie GROUP BY movie.genre ORDER BY COUNT(*) DESC LIMIT 1"
    assert translate.query(sql, graph.nodes[0]) == (
        "MATCH (movie:Movie) RETURN movie.genre, count(movie) ORDER BY count(movie) DESC LIMIT 1"
    )


# test cases and grammar


def test_the_test_cases_are_what_the_generator_writes() -> None:
    made = [*cases.pattern_cases(7, 300), *cases.free_cases()]
    written = cases_document("cypher_structure", made)
    assert (EXPERT / "tests/test_cases.json").read_text(encoding="utf-8") == written


def test_there_are_enough_cases_and_each_accepts_its_own_answer() -> None:
    assert len(suite().cases) >= 300
    assert sum(case.category.startswith("other-hand/") for case in suite().cases) >= 60
    check_expected(suite())


def test_no_case_shows_a_training_graph() -> None:
    train = frozenset().union(*(graph.labels for graph in TRAIN.values()))
    for case in suite().cases:
        text = " ".join(message["content"] for message in case.messages)
        assert not set(re.findall(r"\(:(\w+)", text)) & train, case.id


def test_the_grammar_accepts_every_answer_of_the_data() -> None:
    answers = {e.response for e in (*train_sample(), *validation_examples(7, 100))}
    answers |= {case.expected for case in suite().cases}
    assert refused(EXPERT, answers) == []


@cache
def bound() -> Mapping[str, list[str]]:
    return bound_grammars(
        EXPERT,
        (
            (messages_of({"messages": [dict(m) for m in case.messages]}), case.expected)
            for case in suite().cases
        ),
    )


def test_bound_to_its_schema_the_grammar_accepts_every_expected_answer() -> None:
    assert refused_when_bound(bound()) == []


def test_bound_to_its_schema_the_grammar_names_no_stranger() -> None:
    for text in bound():
        grammar = compiler().compile_grammar(xgrammar.Grammar.from_ebnf(text))
        assert not accepts(grammar, "MATCH (x:NoSuchLabel) RETURN x")


def test_nowhere_are_all_words_left_open_until_an_answer_comes_there() -> None:
    """Where they are, a new schema takes the compiler a second, and the mask there milliseconds."""
    words = [f"{blank}w{i}" for i in range(500) for blank in ("", " ")]
    vocabulary = [bytes([i]) for i in range(256)] + [word.encode() for word in words]
    tokenizer = xgrammar.TokenizerInfo(vocabulary, stop_token_ids=[0])
    compiled = xgrammar.GrammarCompiler(tokenizer, max_threads=1).compile_grammar(
        next(iter(bound()))
    )
    masks = json.loads(compiled.serialize_json())["adaptive_token_mask_cache"]
    assert len(masks) > 100
    assert max(len(mask["uncertain_indices"]) for _, mask in masks) < 50


@pytest.mark.parametrize(
    "text",
    [
        "MATCH (a:A)-[r:R|S*1..3 {x: 1}]-(b) WHERE NOT (a)--(b) RETURN a",
        "MATCH (a:A) WHERE EXISTS { (a)-[:R]->(:B) } RETURN a.x AS y ORDER BY y SKIP 1 LIMIT 2",
        "MATCH (a:A) OPTIONAL MATCH (a)-[:R]->(b:B) RETURN a.x, count(DISTINCT b)",
    ],
)
def test_the_grammar_accepts_other_queries_that_parse(text: str) -> None:
    parse_cypher(text)
    assert accepts(compiled_grammar(EXPERT), text.replace("--", "-[]-"))


@pytest.mark.parametrize(
    "text",
    [
        "CREATE (a:A) RETURN a",
        "MATCH (a:A) DETACH DELETE a",
        "MATCH (a:A)  RETURN a",
        "MATCH (a:A) RETURN a;",
        "MATCH (a:A) SET a.x = 1 RETURN a",
        "Sure! MATCH (a:A) RETURN a",
    ],
)
def test_the_grammar_refuses_what_writes_or_talks(text: str) -> None:
    assert not accepts(compiled_grammar(EXPERT), text)

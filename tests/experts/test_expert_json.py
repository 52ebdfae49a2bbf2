"""The data of expert-json: its rows, domains and values."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest
from text_to_json import cases, contrast, values
from text_to_json.domains import Domain, load_domains
from text_to_json.phrasing import compose
from text_to_json.schemas import make_schema

from hive_expert.errors import DatasetError
from tests.experts.json_rows import (
    DATA,
    EXPERT,
    SAMPLE,
    case_document,
    domains,
    domains_of,
    examples,
    leaves,
    sample,
)


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


def test_another_seed_writes_other_examples() -> None:
    assert [e.row() for e in examples("train", 20, 1)] != [
        e.row() for e in examples("train", 20, 2)
    ]


def test_asking_for_more_rows_keeps_the_first_ones() -> None:
    assert [e.row() for e in examples("train", 100)] == [e.row() for e in sample("train")[:100]]


# splits


def test_there_are_enough_domains_in_every_split() -> None:
    assert len(domains()["train"]) >= 60
    assert len(domains()["validation"]) >= 4
    assert len(domains()["test"]) >= 12


def test_no_schema_of_training_is_in_another_split() -> None:
    held_out = {e.schema.text for split in ("validation", "test") for e in sample(split)}
    held_out |= {json.dumps(c["schema"]) for c in case_document()["cases"]}
    for example in sample("train"):
        assert example.schema.text not in held_out
        assert json.dumps(example.schema.document) not in held_out


def test_names_of_training_are_not_in_another_split() -> None:
    training = values.load_pools(DATA / "pools.toml", held_out=False).entries
    held_out = values.load_pools(DATA / "pools.toml", held_out=True).entries
    assert training.keys() == held_out.keys()
    for pool in training:
        assert held_out[pool]
        assert not set(training[pool]) & set(held_out[pool]), pool


# rows


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_answer_is_valid_under_the_schema_that_its_prompt_shows(split: str) -> None:
    for example in sample(split):
        row = example.row()
        head, _, shown = row["input"].partition("Schema:\n")
        if row["input"]:
            assert head == "Dialect: json\n"
            assert json.loads(shown) == example.schema.document
        else:
            assert example.schema.text in row["instruction"]
        jsonschema.validate(json.loads(row["response"]), example.schema.document)


def test_answers_are_compact_and_in_schema_order() -> None:
    for example in sample("train"):
        answer = json.loads(example.response)
        assert example.response == json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        order = [name for name in example.schema.document["properties"] if name in answer]
        assert list(answer) == order


def test_a_string_of_an_answer_stands_in_the_text() -> None:
    for example in sample("train"):
        converted = {
            p.name
            for q in example.schema.properties
            for p in (q, *q.members)
            if p.field and p.field.kind in ("enum", "date")
        }
        flat = dict(example.answer)
        for nested in [v for v in flat.values() if isinstance(v, dict)]:
            flat |= nested
        for name, value in flat.items():
            if name not in converted and not isinstance(value, dict):
                for string in [v for v in leaves(value) if isinstance(v, str)]:
                    assert string in example.text.text, example


def test_what_the_text_does_not_say_is_left_out() -> None:
    partial = [e for e in sample("train") if not e.schema.wanted <= e.text.mentioned]
    assert 0.4 < len(partial) / SAMPLE < 0.7
    for example in partial:
        assert example.schema.required_fields <= example.text.mentioned


def test_twins_differ_in_one_fact() -> None:
    """Counted by texts that follow one of the same schema and share most of its words."""
    twins = 0
    for one, other in itertools.pairwise(sample("train")):
        if one.schema.id != other.schema.id or one.answer == other.answer:
            continue
        first, second = set(one.text.text.split()), set(other.text.text.split())
        shared = len(first & second) / len(first | second)
        differing = [
            k for k in {*one.answer, *other.answer} if one.answer.get(k) != other.answer.get(k)
        ]
        twins += shared > 0.6 and len(differing) <= 2
    assert 0.15 < twins / SAMPLE < 0.5


def test_a_twin_leaves_unsaid_what_may_be_left_unsaid() -> None:
    pools = values.load_pools(DATA / "pools.toml", held_out=False)
    rng = Random(1)
    for domain in domains()["train"]:
        facts: dict[str, values.Fact] = {}
        for key, field in domain.fields.items():
            facts[key] = values.KINDS[field.kind].draw(
                values.Draw(rng, pools, field.options, facts)
            )
        for _ in range(5):
            made = contrast.twin(rng, domain, pools, facts, frozenset(domain.fields))
            if made is None:
                continue
            changed = [key for key in facts if made.facts[key] != facts[key]]
            assert (len(changed), bool(made.unsaid)) in ((0, True), (1, False), (2, False))
            assert made.unsaid not in domain.core
            chance = rng.getrandbits(64)
            text = compose(Random(chance), domain, made.facts, domain.core, made.unsaid)
            plain = compose(Random(chance), domain, facts, domain.core)
            assert made.unsaid not in text.mentioned or text == plain


def test_texts_say_more_than_the_schema_asks_for() -> None:
    distracting = [e for e in sample("train") if e.text.mentioned - e.schema.wanted]
    assert len(distracting) / SAMPLE > 0.5


def test_no_text_comes_twice() -> None:
    texts = Counter(e.text.text for split in ("train", "test") for e in sample(split))
    assert texts.most_common(1)[0][1] == 1


def test_rows_of_a_group_share_their_system_message_and_stand_together() -> None:
    systems = defaultdict(set)
    rows = [e.row() for e in sample("train")]
    for row in rows:
        systems[row["group"]].add(row["input"])
    assert all(len(inputs) == 1 for inputs in systems.values())
    changes = sum(a["group"] != b["group"] for a, b in itertools.pairwise(rows))
    assert changes == len(systems) - 1
    assert 5 <= len(rows) / len(systems) <= 8


@pytest.mark.parametrize(
    ("category", "least", "most"),
    [("nested", 13, 26), ("array", 8, 18), ("enum", 10, 22), ("flat", 5, 15),
     ("optional", 26, 42), ("one-message", 5, 11)],
)  # fmt: skip
def test_categories_have_their_share_of_the_training_data(
    category: str, least: int, most: int
) -> None:
    count = sum(e.category == category for e in sample("train"))
    assert least <= 100 * count / SAMPLE <= most


def test_every_training_domain_has_schemas_that_differ() -> None:
    texts = defaultdict(set)
    for example in sample("train"):
        texts[example.schema.domain.name].add(example.schema.text)
    written = {domain.name for domain in domains()["train"]}
    assert written < texts.keys()
    assert all(len(texts[name]) >= 2 for name in written)
    # A composed domain is there for one schema and comes no second time.
    composed = texts.keys() - written
    assert len(composed) > len(written)
    assert all(len(texts[name]) == 1 for name in composed)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_schema_can_be_answered_by_the_texts_of_its_domain(split: str) -> None:
    """The law of Schema, on many more schemas than the data has."""
    pools = values.load_pools(DATA / "pools.toml", held_out=False)
    for domain in domains_of(split, seed=7)(0):
        rng = Random(domain.name)
        for number in range(20):
            schema = make_schema(rng, domain, number)
            facts: dict[str, values.Fact] = {}
            for key, field in domain.fields.items():
                draw = values.Draw(rng, pools, field.options, facts)
                facts[key] = values.KINDS[field.kind].draw(draw)
            text = compose(rng, domain, facts, schema.wanted)
            assert schema.required_fields <= domain.core <= text.mentioned
            jsonschema.validate(schema.answer(facts, text.mentioned), schema.document)


# values


def draw(kind: str, seed: int, **options: Any) -> values.Fact:
    pools = values.load_pools(DATA / "pools.toml", held_out=False)
    return values.KINDS[kind].draw(values.Draw(Random(seed), pools, options, {}))


def test_dates_are_iso_whatever_the_text_writes() -> None:
    facts = [draw("date", seed) for seed in range(60)]
    assert any(f.surface != f.data for f in facts)
    for fact in facts:
        year, month, day = fact.data.split("-")
        assert year in fact.surface
        assert str(int(day)) in fact.surface
        assert len(month) == len(day) == 2


def test_a_leading_article_is_not_part_of_a_value() -> None:
    assert draw("pick", 1, **{"from": "(an) SD card slot"}) == values.Fact(
        "SD card slot", "an SD card slot", "SD card slot"
    )


def test_amounts_lose_their_separators() -> None:
    facts = [draw("number", seed, low=1000, high=9000) for seed in range(60)]
    assert any("," in f.surface for f in facts)
    assert all(float(f.surface.replace(",", "")) == f.data for f in facts)


# domain files


GOOD_DOMAIN = """
[shop]
leads = ["{name} opened in {year}."]
[shop.fields]
name = { kind = "company" }
year = { kind = "integer", low = 1900, high = 2020 }
"""


def load(tmp_path: Path, text: str) -> dict[str, tuple[Domain, ...]]:
    (tmp_path / "train.toml").write_text(text)
    return load_domains(tmp_path)


def test_a_sound_domain_file_is_read(tmp_path: Path) -> None:
    (domain,) = load(tmp_path, GOOD_DOMAIN)["train"]
    assert domain.core == {"name", "year"}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('kind = "company"', 'kind = "firm"', "unknown kind 'firm'"),
        ("{name}", "{brand}", "unknown field 'brand'"),
        ("{year}.", "{year", "stray brackets"),
        (" in {year}", "", "'year' is in no template"),
        ("low = 1900, ", "", "lacks 'low'"),
        ('"company"', '"company", names = "year"', "two fields may be called 'year'"),
        ("leads", "leed", "unknown key 'leed'"),
    ],
)
def test_a_mistake_in_a_domain_file_is_named(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    with pytest.raises(DatasetError) as raised:
        load(tmp_path, GOOD_DOMAIN.replace(old, new, 1))
    assert complaint in str(raised.value)


def test_a_hand_written_answer_that_its_schema_refuses_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hand.toml"
    path.write_text(
        """
[shop]
category = "flat"
schema = '{"type":"object","properties":{"year":{"type":"integer"}}}'
[[shop.cases]]
text = "Since 1900."
expected = '{"year":"1900"}'
"""
    )
    with pytest.raises(DatasetError) as raised:
        cases.hand_written_cases(path)
    assert [p.where for p in raised.value.problems] == ["hand.toml: shop 1"]

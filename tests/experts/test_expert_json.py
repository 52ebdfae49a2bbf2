"""The data generator, grammar, manifest and test cases of expert-json."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest
import xgrammar

from hive_expert.decoding.binding import SchemaInPrompt, bind
from hive_expert.decoding.grammar import decode_grammar
from hive_expert.decoding.prompt import messages_of
from hive_expert.errors import DatasetError
from hive_expert.manifest.fields import field_status
from hive_expert.manifest.parse import parse_manifest

EXPERT = Path(__file__).parents[2] / "experts" / "expert-json"
DATA = EXPERT / "text_to_json" / "data"
sys.path.insert(0, str(EXPERT))

# The expert's own package is found by the path above; it is not part of hive_expert.
from text_to_json import cases, contrast, values  # noqa: E402
from text_to_json.domains import Domain, load_domains  # noqa: E402
from text_to_json.examples import Example, make_examples  # noqa: E402
from text_to_json.phrasing import compose  # noqa: E402
from text_to_json.schemas import make_schema  # noqa: E402

SAMPLE = 1400


@cache
def domains() -> dict[str, tuple[Domain, ...]]:
    return load_domains(DATA / "domains")


def examples(split: str, count: int, seed: int = 7) -> tuple[Example, ...]:
    pools = values.load_pools(DATA / "pools.toml", held_out=split != "train")
    return tuple(make_examples(seed, split, domains()[split], pools, count))


@cache
def sample(split: str) -> tuple[Example, ...]:
    return examples(split, {"train": SAMPLE, "validation": 150, "test": 264}[split])


@cache
def case_document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EXPERT / "tests/test_cases.json").read_bytes())
    return document


def prompt(case: dict[str, Any]) -> str:
    return "\n".join(m["content"] for m in case["messages"])


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


def leaves(value: object) -> Iterator[object]:
    """The values at the ends of an answer."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    else:
        yield value


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
    [("nested", 13, 26), ("array", 8, 18), ("enum", 10, 22), ("flat", 6, 15),
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
    assert len(texts) == len(domains()["train"])
    assert all(len(schemas) >= 2 for schemas in texts.values())


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_schema_can_be_answered_by_the_texts_of_its_domain(split: str) -> None:
    """The law of Schema, on many more schemas than the data has."""
    pools = values.load_pools(DATA / "pools.toml", held_out=False)
    for domain in domains()[split]:
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


# grammar


@cache
def compiled_grammar() -> xgrammar.CompiledGrammar:
    """The grammar over a vocabulary of single bytes, which spells every text."""
    tokenizer = xgrammar.TokenizerInfo([bytes([i]) for i in range(256)], stop_token_ids=[0])
    text = (EXPERT / "grammar.gbnf").read_text(encoding="utf-8")
    return xgrammar.GrammarCompiler(tokenizer).compile_grammar(xgrammar.Grammar.from_ebnf(text))


def accepts(text: str) -> bool:
    matcher = xgrammar.GrammarMatcher(compiled_grammar(), terminate_without_stop_token=True)
    return bool(matcher.accept_string(text)) and bool(matcher.is_terminated())


def test_the_grammar_passes_the_servers_check_without_a_warning() -> None:
    grammar = decode_grammar((EXPERT / "grammar.gbnf").read_bytes(), "grammar.gbnf")
    assert grammar.warnings == ()


def test_the_grammar_accepts_every_answer_of_the_data() -> None:
    answers = {e.response for split in ("train", "validation", "test") for e in sample(split)}
    answers |= {c["expected"] for c in case_document()["cases"]}
    assert [answer for answer in sorted(answers) if not accepts(answer)] == []


def test_every_prompt_s_schema_compiles_and_accepts_the_expected_answer() -> None:
    tokenizer = xgrammar.TokenizerInfo([bytes([i]) for i in range(256)], stop_token_ids=[0])
    compiler = xgrammar.GrammarCompiler(tokenizer, max_threads=1)
    refused = []
    for case in case_document()["cases"]:
        bound = bind(SchemaInPrompt(), None, messages_of(case))
        assert bound.structure is not None, (case["id"], bound.note)
        compiled = compiler.compile_json_schema(
            bound.structure.text, any_whitespace=False, separators=(",", ":")
        )
        matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
        if not (matcher.accept_string(case["expected"]) and matcher.is_terminated()):
            refused.append(case["id"])
    assert refused == []


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
    assert accepts(text)


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
    assert not accepts(text)


# manifest


def test_no_field_of_the_manifest_is_refused() -> None:
    manifest = parse_manifest((EXPERT / "manifest.json").read_bytes())
    refused = [row for row in field_status(manifest) if row.status == "refused"]
    assert refused == []


def test_files_that_the_manifest_names_are_there() -> None:
    manifest = parse_manifest((EXPERT / "manifest.json").read_bytes())
    assert manifest.training and manifest.training.decoding and manifest.evaluation
    for name in (manifest.training.decoding.grammar_file, manifest.evaluation.test_cases):
        assert name and (EXPERT / name).is_file()


def test_the_license_is_the_repositorys() -> None:
    assert (EXPERT / "LICENSE").read_bytes() == (EXPERT.parents[1] / "LICENSE").read_bytes()


# test cases


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
    assert (EXPERT / "tests/test_cases.json").stat().st_size < 400_000


def test_case_ids_are_unique_and_messages_well_formed() -> None:
    rows = case_document()["cases"]
    assert len({c["id"] for c in rows}) == len(rows)
    for case in rows:
        roles = [m["role"] for m in case["messages"]]
        assert roles in (["system", "user"], ["user"])
        assert "Schema:" in prompt(case) or roles == ["user"]


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

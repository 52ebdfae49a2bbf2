"""The decoding contract: from the manifest, and against flags and a request."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pytest
import xgrammar
from xgrammar.testing import _is_grammar_accept_string

from hive_expert.decoding.admission import Structure
from hive_expert.decoding.binding import Bound, GrammarSlots, SchemaInPrompt
from hive_expert.decoding.contract import Contract, contract_of
from hive_expert.decoding.effective import (
    MAX_DESCRIPTION,
    Effective,
    Explicit,
    Setting,
    resolve,
)
from hive_expert.decoding.grammar_slots import Slot
from hive_expert.decoding.sampling_fields import FIELDS
from hive_expert.decoding.validators import Rule
from hive_expert.errors import DecodingError, GrammarError, Problem
from hive_expert.manifest.training_model import Decoding, Validation

GRAMMAR = 'root ::= "yes" | "no"'
SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "number"}}}
COMPACT = '{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"number"}}}'


def _no_files(name: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory", name)


def _contract(files: Mapping[str, bytes] = {}, **section: Any) -> Contract:
    def read(name: str) -> bytes:
        return files[name] if name in files else _no_files(name)

    return contract_of(Decoding(**section), read)


def _problems(files: Mapping[str, bytes] = {}, **section: Any) -> list[Problem]:
    with pytest.raises(DecodingError) as refused:
        _contract(files, **section)
    return list(refused.value.problems)


# From the manifest


def test_no_section_is_the_empty_contract() -> None:
    assert contract_of(None, _no_files) == Contract.EMPTY == Contract()


def test_every_sampling_field_is_a_field_of_the_contract_and_of_the_manifest() -> None:
    names = [field.name for field in FIELDS]
    assert names == [field.name for field in dataclasses.fields(Contract)][: len(names)]
    assert set(names) <= Decoding.model_fields.keys()


def test_the_manifest_s_values_are_taken_over() -> None:
    contract = _contract(
        temperature=0.1,
        top_p=0.9,
        top_k=50,
        min_p=0.05,
        repetition_penalty=1.1,
        max_tokens=64,
        stop_sequences=(";", "\n\n"),
    )
    assert contract == Contract(0.1, 0.9, 50, 0.05, 1.1, 64, (";", "\n\n"))


def test_a_grammar_file_is_read_and_checked() -> None:
    contract = _contract({"g.gbnf": GRAMMAR.encode()}, use_grammar=True, grammar_file="g.gbnf")
    assert contract == Contract(grammar=GRAMMAR)


def test_a_schema_in_the_manifest_is_made_compact_and_keeps_its_order() -> None:
    assert _contract(use_grammar=True, json_schema=SCHEMA) == Contract(json_schema=COMPACT)


def test_a_schema_that_would_not_be_enforced_is_refused_with_all_its_places() -> None:
    properties = {"a": {"not": {}}, "b": {"allOf": [{"type": "string"}]}}
    schema = {"type": "object", "properties": properties}
    found = _problems(use_grammar=True, json_schema=schema)
    where = {problem.where for problem in found}
    prefix = "training.decoding.json_schema: properties"
    assert where == {f"{prefix}.a.not", f"{prefix}.b.allOf"}
    assert all("validation.json_schema" in problem.remedy for problem in found)
    # Nobody claims that it constrains anything, or a check that knows all keywords has it.
    assert _contract(use_grammar=False, json_schema=schema) == Contract.EMPTY
    checked = Validation(type="json", json_schema=schema)
    assert _contract(validation=checked).validation is not None


def test_what_the_compiler_lets_through_is_put_in_words_it_keeps_to() -> None:
    """Alone it writes a tab in a text that is counted, and a 31 June."""
    code = {"type": "string", "minLength": 1, "maxLength": 8}
    properties = {"code": code, "due": {"type": "string", "format": "date"}}
    schema = {"type": "object", "properties": properties, "required": ["code", "due"]}
    stated = _contract(use_grammar=True, json_schema=schema).json_schema
    assert stated is not None

    def allowed(written: str, answer: str) -> bool:
        grammar = xgrammar.Grammar.from_json_schema(written)
        return bool(_is_grammar_accept_string(grammar, answer))

    good = '{"code":"A-1","due":"2026-06-30"}'
    for broken in (good.replace("-1", "\t1"), good.replace("30", "31")):
        assert allowed(json.dumps(schema), broken)
        assert not allowed(stated, broken)
    assert allowed(stated, good)


def test_a_reference_into_a_schema_that_is_put_in_other_words_is_followed() -> None:
    items = {"type": "object", "properties": {"under": {"$ref": "#/properties/a"}}}
    schema = {"properties": {"a": {"type": ["array", "null"], "items": items}}}
    stated = _contract(use_grammar=True, json_schema=schema).json_schema
    assert stated is not None
    grammar = xgrammar.Grammar.from_json_schema(stated)
    assert _is_grammar_accept_string(grammar, '{"a":[{"under":[{"under":null}]}]}')
    assert not _is_grammar_accept_string(grammar, '{"a":[{"under":[3]}]}')


def test_a_schema_file_is_read() -> None:
    files = {"s.json": json.dumps(SCHEMA, indent=2).encode()}
    assert _contract(files, use_grammar=True, json_schema="s.json") == Contract(json_schema=COMPACT)


def test_grammar_type_says_which_of_two_is_meant() -> None:
    files = {"g.gbnf": GRAMMAR.encode()}
    both = {"use_grammar": True, "grammar_file": "g.gbnf", "json_schema": SCHEMA}
    assert _contract(files, grammar_type="gbnf", **both) == Contract(grammar=GRAMMAR)
    assert _contract(files, grammar_type="json_schema", **both) == Contract(json_schema=COMPACT)


@pytest.mark.parametrize("use_grammar", [{}, {"use_grammar": False}])
def test_a_grammar_that_is_off_is_not_even_read(use_grammar: dict[str, bool]) -> None:
    assert _contract(grammar_file="g.gbnf", **use_grammar) == Contract.EMPTY


def test_a_schema_in_the_prompt_may_have_a_grammar_for_prompts_without() -> None:
    contract = _contract(use_grammar=True, grammar_type="prompt_json_schema")
    assert (contract.binding, contract.structure) == (SchemaInPrompt(), None)
    assert contract.constrains
    files = {"g.gbnf": GRAMMAR.encode()}
    contract = _contract(
        files, use_grammar=True, grammar_type="prompt_json_schema", grammar_file="g.gbnf"
    )
    assert (contract.binding, contract.grammar) == (SchemaInPrompt(), GRAMMAR)


SLOTS = {"grammar_slots": ({"rule": "root", "extract": "sql_tables"},)}


def test_slots_are_read_with_their_grammar() -> None:
    files = {"g.gbnf": GRAMMAR.encode()}
    section = {"grammar_type": "gbnf_template", "grammar_file": "g.gbnf", **SLOTS}
    contract = _contract(files, use_grammar=True, **section)
    assert contract.binding == GrammarSlots((Slot("root", "sql_tables"),))
    assert contract.grammar == GRAMMAR
    assert not _contract(files, use_grammar=False, **section).constrains


def test_a_slot_for_no_rule_and_a_pattern_that_is_none_are_named() -> None:
    slots = ({"rule": "missing", "extract": "sql_tables"}, {"rule": "root", "pattern": "("})
    problems = _problems(
        {"g.gbnf": GRAMMAR.encode()},
        use_grammar=True,
        grammar_type="gbnf_template",
        grammar_file="g.gbnf",
        grammar_slots=slots,
    )
    assert [p.where.removeprefix("training.decoding.grammar_slots") for p in problems] == [
        "[0].rule",
        "[1].pattern",
    ]


def test_the_check_of_answers_is_read() -> None:
    for kind in ("json", "cypher", "typescript"):
        assert _contract(validation=kind).validation == Rule(kind)
    stated = Validation(type="sql", dialect="postgres")
    assert _contract(validation=stated).validation == Rule("sql", "postgres")
    stated = Validation(type="json", json_schema="s.json")
    files = {"s.json": json.dumps(SCHEMA).encode()}
    assert _contract(files, validation=stated).validation == Rule("json", None, COMPACT)


@pytest.mark.parametrize(
    "validation",
    [
        Validation(type="sql", dialect="klingon"),
        Validation(type="cypher", dialect="postgres"),
        Validation(type="typescript", json_schema={}),
        Validation(type="json", dialect="sqlite"),
        Validation(type="sql", json_schema={}),
        Validation(type="json", json_schema={"type": 3}),
    ],
)
def test_a_check_that_cannot_be_made_is_refused(validation: Any) -> None:
    (problem,) = _problems(validation=validation)
    assert problem.where.startswith("training.decoding.validation")


def test_a_missing_grammar_file_is_named() -> None:
    (problem,) = _problems(use_grammar=True, grammar_file="g.gbnf")
    assert problem.where == "training.decoding.grammar_file"
    assert problem.what == "g.gbnf cannot be read: No such file or directory"


def test_a_bad_grammar_is_a_grammar_error_in_its_file() -> None:
    with pytest.raises(GrammarError, match=r"g\.gbnf:1:10: there is no rule named missing"):
        _contract({"g.gbnf": b"root ::= missing"}, use_grammar=True, grammar_file="g.gbnf")


def test_a_bad_schema_is_named_by_its_path() -> None:
    (problem,) = _problems(use_grammar=True, json_schema={"properties": {"a": {"type": "text"}}})
    assert problem.where == "training.decoding.json_schema: properties.a.type"


def test_everything_wrong_is_reported_at_once() -> None:
    # The manifest's own model refuses such values; a section built past it is refused here.
    section = Decoding.model_construct(
        temperature=3.0,
        max_tokens=0,
        stop_sequences=("",),
        use_grammar=True,
        grammar_file="g.gbnf",
        validation=Validation(type="cypher", dialect="x"),
    )
    with pytest.raises(DecodingError) as refused:
        contract_of(section, lambda name: b"root ::= missing")
    assert [problem.where for problem in refused.value.problems] == [
        "training.decoding.temperature",
        "training.decoding.max_tokens",
        "training.decoding.stop_sequences[0]",
        "training.decoding.validation.dialect",
        "g.gbnf:1:10",
    ]


def test_a_contract_holds_no_value_out_of_range() -> None:
    with pytest.raises(DecodingError, match=r"top_p: 1\.5 is out of range"):
        Contract(top_p=1.5)


def test_a_contract_holds_no_two_structures() -> None:
    with pytest.raises(DecodingError, match="there is a json_schema as well"):
        Contract(grammar=GRAMMAR, json_schema=COMPACT)


# Against flags and a request


def test_what_nobody_sets_is_the_base_s() -> None:
    base = {"temperature": 0.6, "top_p": 0.9, "top_k": 20}
    explicit, contract = Explicit({"top_k": 5}), Contract(temperature=0.1)
    effective = resolve(explicit, {}, contract, base=base)
    assert effective.describe() == (
        "temperature=0.1 (manifest); top_p=0.9 (base); top_k=5 (request); grammar=none"
    )
    ignored = resolve(explicit, {}, contract, ignore_manifest=True, base=base)
    assert Setting("temperature", 0.6, "base") in ignored.values


def _resolve(
    explicit: Explicit | None = None,
    flags: Mapping[str, Any] | None = None,
    contract: Contract = Contract.EMPTY,
) -> Effective:
    return resolve(explicit or Explicit(), flags or {}, contract)


def test_nobody_sets_anything() -> None:
    effective = _resolve()
    assert effective.values == ()
    assert effective.stop == ()
    assert effective.describe() == "grammar=none"


def test_precedence_of_one_field() -> None:
    contract = Contract(temperature=0.1)
    flags = {"temperature": 0.5}
    explicit = Explicit({"temperature": 0.0})
    assert _resolve(contract=contract).values == (Setting("temperature", 0.1, "manifest"),)
    assert _resolve(None, flags, contract).values == (Setting("temperature", 0.5, "flag"),)
    assert _resolve(explicit, flags, contract).values == (Setting("temperature", 0.0, "request"),)


def test_null_in_a_request_is_silence() -> None:
    effective = _resolve(Explicit({"temperature": None}), contract=Contract(temperature=0.1))
    assert effective.values == (Setting("temperature", 0.1, "manifest"),)


def test_the_manifest_s_stops_do_not_cut_calls_of_tools() -> None:
    contract = Contract(stop=(";",))
    calls = _resolve(Explicit(stop=("x",), own_structure="tools"), contract=contract)
    assert (calls.stop, calls.stop_source) == (("x",), "request")
    assert _resolve(Explicit(own_structure="response_format"), contract=contract).stop == (";",)


def test_stops_add_up_without_duplicates_the_request_s_first() -> None:
    effective = _resolve(Explicit(stop=("x", ";")), contract=Contract(stop=(";", "\n\n")))
    assert effective.stop == ("x", ";", "\n\n")
    assert effective.stop_source == "request+manifest"


@pytest.mark.parametrize(
    ("explicit", "source", "holds"),
    [
        (Explicit(), "manifest", True),
        (Explicit(own_structure="response_format"), "request: response_format", False),
        (Explicit(own_structure="tools"), "request: tools", False),
        (Explicit(grammar_off=True), "off: request header", False),
        (Explicit(own_structure="tools", grammar_off=True), "request: tools", False),
    ],
)
@pytest.mark.parametrize("contract", [Contract(grammar=GRAMMAR), Contract(json_schema=COMPACT)])
def test_a_request_overrides_the_manifest_s_structure(
    explicit: Explicit, source: str, holds: bool, contract: Contract
) -> None:
    effective = _resolve(explicit, contract=contract)
    assert effective.grammar_source == source
    assert effective.grammar_overridden is not holds
    kept = (contract.grammar, contract.json_schema) if holds else (None, None)
    assert (effective.grammar, effective.json_schema) == kept


def test_nothing_is_overridden_where_the_manifest_has_no_grammar() -> None:
    assert not _resolve(Explicit(own_structure="tools")).grammar_overridden


def test_ignoring_the_manifest_drops_all_of_it() -> None:
    contract = Contract(temperature=0.1, stop=(";",), grammar=GRAMMAR)
    explicit = Explicit({"max_tokens": 5}, stop=("x",))
    effective = resolve(explicit, {"top_p": 0.5}, contract, ignore_manifest=True)
    assert effective == resolve(explicit, {"top_p": 0.5}, Contract.EMPTY)
    assert (
        effective.describe()
        == "top_p=0.5 (flag); max_tokens=5 (request); stop=1 (request); grammar=none"
    )


def test_the_description_reads_well() -> None:
    contract = Contract(temperature=0.1, max_tokens=100, stop=(";",), grammar=GRAMMAR)
    effective = _resolve(Explicit({"max_tokens": 64}, stop=("x",)), contract=contract)
    assert effective.describe() == (
        "temperature=0.1 (manifest); max_tokens=64 (request); "
        "stop=2 (request+manifest); grammar=manifest"
    )
    assert _resolve(contract=Contract(json_schema=COMPACT)).describe() == "json_schema=manifest"


def test_the_description_is_fit_for_a_header() -> None:
    text = _resolve(Explicit(own_structure="a\r\nset-cookie: \u00e9" + "x" * 5000)).describe()
    assert text.startswith("grammar=request: a??set-cookie: ?xxx")
    assert len(text) == MAX_DESCRIPTION
    odd = Bound(None, False, "a\nb" + "x" * 5000)
    told = resolve(Explicit(), {}, Contract.EMPTY, bound=odd).describe_grammar()
    assert told.startswith("none (prompt: a?bxxx")
    assert len(told) == MAX_DESCRIPTION


# What the messages say


BOUND = Bound(Structure("grammar", GRAMMAR), True, "2 table")


def test_what_is_bound_holds_and_is_told() -> None:
    contract = Contract(grammar='root ::= "plain"')
    effective = resolve(Explicit(), {}, contract, bound=BOUND)
    assert effective.grammar == GRAMMAR
    assert effective.describe() == "grammar=prompt: 2 table"
    plain = Bound(contract.structure, False, "no table found")
    effective = resolve(Explicit(), {}, contract, bound=plain)
    assert effective.grammar == 'root ::= "plain"'
    assert effective.describe() == "grammar=manifest (prompt: no table found)"
    effective = resolve(Explicit(), {}, Contract.EMPTY, bound=Bound(None, False, "no schema found"))
    assert effective.describe() == "grammar=none (prompt: no schema found)"


def test_the_request_s_own_structure_wins_over_what_is_bound() -> None:
    explicit = Explicit(own_structure="tools")
    effective = resolve(explicit, {}, Contract(grammar=GRAMMAR), bound=BOUND)
    assert (effective.grammar, effective.grammar_source) == (None, "request: tools")
    ignored = resolve(Explicit(), {}, Contract(), ignore_manifest=True, bound=BOUND)
    assert ignored.grammar is None

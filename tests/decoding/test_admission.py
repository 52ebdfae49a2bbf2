"""Structures are tried once, in a child, and what does not fit is refused with its reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import xgrammar
from vllm.v1.structured_output.backend_types import StructuredOutputOptions
from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

from hive_expert.decoding import admission as admission_module
from hive_expert.decoding.admission import Admission, Structure
from hive_expert.decoding.child import BusyError, Child, ChildError, CrashedError, TooSlowError
from hive_expert.errors import DecodingError

LIMIT = 20.0


class Scripted:
    """Answers each text as a script says."""

    def __init__(self, **script: Any) -> None:
        self.script = script
        self.asked: list[str] = []

    async def ask(self, message: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]:
        self.asked.append(message["text"])
        await asyncio.sleep(0)
        outcome = self.script[message["text"]]
        if isinstance(outcome, ChildError):
            raise outcome
        return {"compile_s": 0.1, "mask_s": 0.001, "dead_end": False, **outcome}


def grammar(text: str) -> Structure:
    return Structure("grammar", text)


async def test_equal_structures_are_tried_once_however_many_ask() -> None:
    compiler = Scripted(a={}, b={})
    admission = Admission(compiler)
    verdicts = await asyncio.gather(*(admission.verdict(grammar(t)) for t in "aabab"))
    assert all(v.ok for v in verdicts)
    assert sorted(compiler.asked) == ["a", "b"]
    assert (admission.tried, admission.remembered) == (2, 3)


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        (TooSlowError("took more than 5 s"), "too slow", "5 s"),
        (CrashedError("the process died of it"), "crashed", "died"),
        ({"refused": "no such rule"}, "refused", "no such rule"),
        ({"mask_s": 0.5}, "too slow", "0.50 s"),
        ({"dead_end": True}, "refused", "no token"),
    ],
    ids=lambda value: str(value),
)
async def test_what_is_unfit_is_refused_with_its_reason_and_remembered(
    outcome: Any, status: str, reason: str
) -> None:
    compiler = Scripted(x=outcome)
    admission = Admission(compiler)
    for _ in range(2):
        verdict = await admission.verdict(grammar("x"))
        assert verdict.status == status
        assert reason in verdict.reason
    assert compiler.asked == ["x"]
    with pytest.raises(DecodingError, match=reason):
        await admission.require(grammar("x"), "grammar.gbnf", limit_s=LIMIT)


def test_half_a_character_has_a_digest_too() -> None:
    assert grammar("\ud83d").digest != grammar("\ude00").digest


async def test_busy_says_nothing_of_the_structure() -> None:
    compiler = Scripted(x=BusyError("later"))
    admission = Admission(compiler)
    assert (await admission.verdict(grammar("x"))).status == "busy"
    compiler.script["x"] = {}
    assert (await admission.verdict(grammar("x"))).ok


async def test_one_client_that_leaves_takes_the_answer_from_nobody() -> None:
    admission = Admission(Scripted(x={}))
    leaving = asyncio.ensure_future(admission.verdict(grammar("x")))
    staying = asyncio.ensure_future(admission.verdict(grammar("x")))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).ok


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "MAX_REMEMBERED", 2)
    compiler = Scripted(a={}, b={}, c={})
    admission = Admission(compiler)
    for text in "abca":
        await admission.verdict(grammar(text))
    assert compiler.asked == ["a", "b", "c", "a"]


def test_a_schema_and_a_grammar_of_one_text_differ() -> None:
    assert Structure("grammar", "{}").digest != Structure("json_schema", "{}").digest


SALTED = {
    "grammar": 'root ::= "a"',
    "lark": 'start: "a"',
    "json_schema": '{"const": "a", "$comment": "theirs"}',
}


@pytest.mark.parametrize("kind", SALTED)
def test_a_salt_makes_another_text(kind: Any) -> None:
    plain = Structure(kind, SALTED[kind])
    texts = {plain.salted(salt).digest for salt in (None, "one", "two")}
    assert len(texts) == 3
    assert plain.salted(None) is plain


@pytest.mark.parametrize(
    ("kind", "text"),
    [("regex", "a"), ("structural_tag", "{}"), ("json_schema", "true"), ("json_schema", "{")],
)
def test_what_has_no_place_for_one_stays(kind: Any, text: str) -> None:
    assert Structure(kind, text).salted("one") == Structure(kind, text)


@pytest.fixture(scope="module")
def tokenizer_info() -> str:
    bytes_and_end = [bytes([b]) for b in range(256)] + [b"<end>"]
    return xgrammar.TokenizerInfo(
        bytes_and_end, vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[256]
    ).serialize_json()


@pytest.fixture
async def real(tokenizer_info: str) -> AsyncIterator[Admission]:
    child = Child(
        "hive_expert.decoding.compile_child",
        {"tokenizer_info": tokenizer_info, "compact_json": True},
    )
    yield Admission(child)
    await child.close()


async def test_the_real_compiler_judges_and_survives(real: Admission) -> None:
    async def status(kind: Any, text: str, limit_s: float = LIMIT) -> str:
        return (await real.verdict(Structure(kind, text), limit_s=limit_s)).status

    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}
    assert await status("grammar", 'root ::= "a"{1,9} "b"') == "ok"
    assert await status("json_schema", json.dumps(schema)) == "ok"
    assert await status("grammar", "root ::= missing") == "refused"
    assert await status("json_schema", '{"type": 3}') == "refused"
    # A run of optional elements: every way through it is followed, for seconds.
    slow = "root ::= " + " ".join(["[a-z]?"] * 8000)
    assert await status("grammar", slow, limit_s=1.0) == "too slow"
    assert await status("grammar", 'root ::= "after" " the storm"') == "ok"


ITEM = {"begin": "<a>", "schema": {"type": "object"}, "end": "</a>"}
HARMLESS = {"type": "structural_tag", "format": {"type": "any_text"}}
TAGS: dict[str, tuple[dict[str, Any], str]] = {
    "newer": (HARMLESS, "ok"),
    "older": ({"structures": [ITEM], "triggers": ["<a"]}, "ok"),
    "older, no trigger fits": ({"structures": [ITEM], "triggers": ["<b"]}, "refused"),
    "both, and the older is not sound": (
        {**HARMLESS, "structures": [ITEM], "triggers": ["<b"]},
        "refused",
    ),
    "older, of no parts": ({"structures": [{}], "triggers": ["<a"]}, "refused"),
    "older, without triggers": ({"structures": [ITEM]}, "refused"),
    "older, of a number": ({"structures": 3, "triggers": ["<a"]}, "refused"),
}


@pytest.fixture
def engine_s(tokenizer_info: str) -> XgrammarBackend:
    """vLLM's own compiler for this vocabulary."""
    backend: XgrammarBackend = object.__new__(XgrammarBackend)
    tokens = xgrammar.TokenizerInfo.deserialize_json(tokenizer_info)
    backend.compiler = xgrammar.GrammarCompiler(tokens, max_threads=1)
    backend.vocab_size, backend.num_speculative_tokens = tokens.vocab_size, 0
    backend.disable_any_whitespace = True
    return backend


async def test_a_structural_tag_is_tried_in_the_form_that_the_engine_takes_it_for(
    real: Admission, engine_s: XgrammarBackend
) -> None:
    for name, (tag, status) in TAGS.items():
        text = json.dumps(tag)
        assert ((await real.verdict(Structure("structural_tag", text))).status) == status, name
        taken = True
        try:
            engine_s.compile_grammar(StructuredOutputOptions.STRUCTURAL_TAG, text)
        except (RuntimeError, ValueError, KeyError, TypeError):
            taken = False
        assert taken is (status == "ok"), name


def test_a_salted_structure_constrains_as_the_plain_one_does(engine_s: XgrammarBackend) -> None:
    for name, text in SALTED.items():
        option = "JSON" if name == "json_schema" else "GRAMMAR"
        for structure in (plain := Structure(name, text), plain.salted("one")):  # type: ignore[arg-type]  # a Kind
            grammar = engine_s.compile_grammar(StructuredOutputOptions[option], structure.text)
            wanted = b'"a"' if name == "json_schema" else b"a"
            assert grammar.accept_tokens("", [*wanted, 256]), name
            grammar.reset()
            assert not grammar.accept_tokens("", [*b"b"]), name

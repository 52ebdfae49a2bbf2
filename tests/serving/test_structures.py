"""What constrains an answer is bound to its messages and tried before the engine sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import xgrammar
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest

from hive_expert.decoding.admission import Admission, Structure
from hive_expert.decoding.binding import Bound, GrammarSlots, SchemaInPrompt
from hive_expert.decoding.child import BusyError, TooSlowError
from hive_expert.decoding.contract import Contract
from hive_expert.decoding.grammar_slots import Slot
from hive_expert.decoding.prompt import Message
from hive_expert.decoding.turns import OWNER
from hive_expert.errors import CatalogError, EngineError, RequestError
from hive_expert.serving import structures as structures_module
from hive_expert.serving.structures import Structures, own_structures

TEMPLATE = 'root ::= table\ntable ::= "plain"\n'
FILLED = 'root ::= table\ntable ::= "users"\n'
SLOTS = Contract(grammar=TEMPLATE, binding=GrammarSlots((Slot("table", "sql_tables"),)))
MESSAGES = (Message("system", "Schema:\nusers(id)"),)
SCHEMA = {"type": "object"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}


class Compiler:
    """Takes every structure but those it is told of."""

    def __init__(self, **bad: Exception) -> None:
        self.bad = bad
        self.asked: list[tuple[str, str]] = []

    async def ask(self, message: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]:
        self.asked.append((message["kind"], message["text"]))
        for part, error in self.bad.items():
            if part in message["text"]:
                raise error
        return {"compile_s": 0.1, "mask_s": 0.001, "dead_end": False}


def over(compiler: Compiler) -> Structures:
    return Structures(Admission(compiler))


async def test_a_filled_grammar_is_tried_and_used() -> None:
    compiler = Compiler()
    structures = over(compiler)
    for cost in ("compiled in 100.0 ms", "known"):
        bound = await structures.bound("expert-a", SLOTS, MESSAGES)
        assert bound == Bound(Structure("grammar", FILLED), True, f"1 table; {cost}")
    assert compiler.asked == [("grammar", FILLED)]


async def asked_by(structures: Structures, tenant: str | None) -> Bound:
    token = OWNER.set(tenant)
    try:
        return await structures.bound("expert-a", SLOTS, MESSAGES)
    finally:
        OWNER.reset(token)


async def test_no_tenant_is_told_what_another_has_asked() -> None:
    """Whoever asks about the same tables first in his own name waits for a compiler of his own."""
    compiler = Compiler()
    structures = over(compiler)
    for tenant in ("victim", "attacker", None):
        found = [await asked_by(structures, tenant) for _ in range(2)]
        costs = [bound.note.rpartition("; ")[2] for bound in found]
        assert costs == ["compiled in 100.0 ms", "known"]
        assert found[0].structure == found[1].structure
        assert found[0].structure is not None
        assert found[0].structure.text.endswith(FILLED)
    # Three texts, so that neither compiler, the child's and the engine's, knows one by another.
    assert len({text for _, text in compiler.asked}) == len(compiler.asked) == 3


async def test_nor_what_structures_its_requests_bring() -> None:
    compiler = Compiler()
    structures = over(compiler)
    for tenant in ("victim", "attacker"):
        token = OWNER.set(tenant)
        await structures.require_own(chat(structured_outputs={"json": SCHEMA}))
        OWNER.reset(token)
    first, second = (text for _, text in compiler.asked)
    assert first != second
    assert json.loads(first).items() > SCHEMA.items()


async def test_an_expert_s_own_grammar_is_everybody_s() -> None:
    compiler = Compiler()
    structures = over(compiler)
    for tenant in ("one", "other"):
        token = OWNER.set(tenant)
        await structures.bound("expert-a", Contract(grammar=TEMPLATE), ())
        OWNER.reset(token)
    assert compiler.asked == [("grammar", TEMPLATE)]


async def test_a_filled_grammar_that_fails_gives_way_to_the_plain_one() -> None:
    compiler = Compiler(users=TooSlowError("took more than 5 s"))
    bound = await over(compiler).bound("expert-a", SLOTS, MESSAGES)
    assert bound.structure == Structure("grammar", TEMPLATE)
    assert (bound.from_prompt, bound.note) == (False, "1 table: too slow: took more than 5 s")


async def test_an_expert_whose_own_grammar_fails_is_not_served() -> None:
    compiler = Compiler(root=TooSlowError("took more than 30 s"))
    with pytest.raises(CatalogError, match=r"expert-a.*too slow: took more than 30 s"):
        await over(compiler).bound("expert-a", Contract(grammar=TEMPLATE), ())


async def test_a_busy_compiler_is_no_verdict() -> None:
    with pytest.raises(EngineError, match="later"):
        await over(Compiler(root=BusyError("later"))).bound("e", Contract(grammar=TEMPLATE), ())


STATED = (Message("system", 'Schema:\n{"type":"object"}'),)


@pytest.mark.parametrize(
    ("contract", "messages"), [(SLOTS, MESSAGES), (Contract(binding=SchemaInPrompt()), STATED)]
)
async def test_a_busy_compiler_drops_no_constraint(
    contract: Contract, messages: tuple[Message, ...]
) -> None:
    busy = Compiler(users=BusyError("later"), object=BusyError("later"))
    with pytest.raises(EngineError, match="later"):
        await over(busy).bound("expert-a", contract, messages)
    # It was no verdict: with time to try, the same structure holds.
    assert (await over(Compiler()).bound("expert-a", contract, messages)).from_prompt


async def test_without_any_structure_nobody_is_asked() -> None:
    compiler = Compiler()
    assert await over(compiler).bound("base", Contract.EMPTY, ()) == Bound(None, False)
    bound = await over(compiler).bound("e", Contract(binding=SchemaInPrompt()), ())
    assert bound == Bound(None, False, "no schema found")
    assert compiler.asked == []


def chat(**fields: Any) -> ChatCompletionRequest:
    body = {"messages": [{"role": "user", "content": "hi"}], **fields}
    return ChatCompletionRequest.model_validate(body)


@pytest.mark.parametrize(
    ("fields", "structure"),
    [
        ({"structured_outputs": {"json": SCHEMA}}, ("json_schema", json.dumps(SCHEMA))),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, ("grammar", 'root ::= "a"')),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, ("lark", 'start: "a"')),
        ({"structured_outputs": {"regex": "a+"}}, ("regex", "a+")),
        ({"structured_outputs": {"choice": ["a", "b"]}}, ("grammar", 'root ::= "a" | "b"')),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA},
                }
            },
            ("json_schema", json.dumps(SCHEMA)),
        ),
        ({"tools": [TOOL], "tool_choice": "required"}, ("json_schema", json.dumps(SCHEMA))),
    ],
)
async def test_whatever_a_request_brings_is_tried(
    fields: dict[str, Any], structure: tuple[str, str]
) -> None:
    compiler = Compiler()
    await over(compiler).require_own(chat(**fields))
    assert compiler.asked == [structure]


@pytest.mark.parametrize("reference", ["https://example.org/s.json", "file:///s.json", "#anchor"])
@pytest.mark.parametrize("name", ["a", "default"])
async def test_a_schema_that_the_compiler_would_not_follow_is_refused(
    reference: str, name: str
) -> None:
    """It takes any value in the place of such a reference."""
    schema = {"type": "object", "properties": {name: {"$ref": reference}}}
    named = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    with pytest.raises(
        RequestError, match=rf"response_format: properties\.{name}\.\$ref is not followed"
    ):
        await over(Compiler()).require_own(chat(response_format=named))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "text"}},
        {"tools": [TOOL], "tool_choice": "none"},
    ],
)
def test_what_constrains_nothing_is_not_tried(fields: dict[str, Any]) -> None:
    assert list(own_structures(chat(**fields))) == []


async def test_a_request_s_own_that_fails_is_the_client_s_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = chat(structured_outputs={"regex": "(a+)+"})
    with pytest.raises(RequestError, match="structured_outputs cannot constrain"):
        await over(Compiler(a=TooSlowError("took more than 5 s"))).require_own(request)
    with pytest.raises(EngineError):
        await over(Compiler(a=BusyError("later"))).require_own(request)
    monkeypatch.setattr(structures_module, "MAX_CHARACTERS", 3)
    with pytest.raises(RequestError, match="longer than"):
        await over(Compiler()).require_own(request)


def test_the_child_compiles_for_the_engine_s_own_tokenizer() -> None:
    tokenizer = byte_level_tokenizer()
    config = SimpleNamespace(
        structured_outputs_config=SimpleNamespace(disable_any_whitespace=True),
        model_config=SimpleNamespace(
            hf_config=SimpleNamespace(model_type="llama"), get_vocab_size=lambda: 300
        ),
        speculative_config=None,
    )
    greeting = structures_module._greeting(config, tokenizer)
    told = xgrammar.TokenizerInfo.deserialize_json(greeting["tokenizer_info"])
    wanted = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=300)
    assert told.decoded_vocab == wanted.decoded_vocab
    assert (told.vocab_size, told.stop_token_ids) == (300, wanted.stop_token_ids)
    assert greeting["compact_json"] is True


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = models.BPE({c: i for i, c in enumerate([*alphabet, "<end>"])}, [])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def test_a_responses_request_brings_its_format_and_its_tools() -> None:
    body = {
        "input": "hi",
        "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
    }
    found = list(own_structures(ResponsesRequest.model_validate(body)))
    schema = Structure("json_schema", json.dumps(SCHEMA))
    assert found == [("text.format", schema), ("tools", schema)]

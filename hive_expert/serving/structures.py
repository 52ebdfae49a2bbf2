"""What constrains an answer on this server: bound to its messages, and tried before the engine.

vLLM parses a grammar in the server's own process and compiles it in the engine's, both without a
limit: a crafted one stops them for minutes or takes them down. So every structure, whoever brings
it, first passes a child process that may be killed (SPEC section 7).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend
from vllm.v1.structured_output.utils import choice_as_grammar, grammar_is_likely_lark

from hive_expert.catalog.catalog import Expert
from hive_expert.decoding.admission import LOAD_LIMIT_S, Admission, Structure, Verdict
from hive_expert.decoding.binding import Bound, bind
from hive_expert.decoding.child import Child
from hive_expert.decoding.contract import Contract
from hive_expert.decoding.json_schema import is_followed, references
from hive_expert.decoding.lanes import Lanes
from hive_expert.decoding.prompt import Message
from hive_expert.decoding.turns import OWNER
from hive_expert.errors import CatalogError, EngineError, Problem, RequestError
from hive_expert.serving.cache_salt import CacheSalts

log = logging.getLogger("hive_expert.serving")

MAX_CHARACTERS = 64 * 1024
"""Of one structure that a request brings."""
NICENESS = 5
"""Of what takes long to compile: a third of the engine's claim to a core that both want."""
MAX_OWN = 32
"""Structures that one request brings: its own, or one for each tool."""


class Structures:
    """Binds and admits structures. Used by all requests of a server at once.

    Law: what a tenant's prompts or requests bring is tried, remembered and (of prompts) compiled
    apart from what other tenants' bring, however equal it is: nobody learns from the time it takes,
    or from being told that it was known, that another has asked about the same schema.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._salts = CacheSalts()

    async def bound(self, name: str, contract: Contract, messages: Sequence[Message]) -> Bound:
        """What constrains this answer under this contract; `name` is who answers, for messages.

        A structure taken from the messages that is not fit gives way to the contract's own. One
        that nobody had the time to try does not: the contract may have none of its own, and what
        constrains an answer is no matter of how busy the server is.

        Raises:
            CatalogError: the contract's own is not fit either.
            EngineError: nobody could tell in time.
        """
        plain = contract.structure
        bound = Bound(plain, from_prompt=False)
        if contract.binding is not None:
            # Long messages take milliseconds of pure Python.
            bound = await asyncio.to_thread(bind, contract.binding, plain, messages)
        if bound.from_prompt and bound.structure is not None:
            own = bound.structure.salted(self._salt())
            verdict = await self._admission.verdict(own)
            if verdict.ok:
                return replace(bound, structure=own, note=f"{bound.note}; {_cost(verdict)}")
            _require_time("grammar", verdict)
            bound = Bound(plain, from_prompt=False, note=f"{bound.note}: {_in_words(verdict)}")
        if plain is not None:
            await self._require(name, plain)
        return bound

    async def require_expert(self, expert: Expert) -> None:
        """Raise CatalogError unless the expert's own structure, if it has one, is fit."""
        if expert.contract.structure is not None:
            await self._require(expert.name, expert.contract.structure)

    async def fits(self, structure: Structure) -> bool:
        """Whether it is fit, and then known to be; the limit is that of a request."""
        return (await self._admission.verdict(structure)).ok

    async def require_own(self, request: Any) -> None:
        """Try what the request itself brings.

        Raises:
            RequestError: it is too large, or not fit.
        """
        for place, structure in own_structures(request):
            if len(structure.text) > MAX_CHARACTERS:
                raise RequestError(Problem(place, f"{place}: longer than {MAX_CHARACTERS}"))
            verdict = await self._admission.verdict(structure.salted(self._salt()))
            _require_time(place, verdict)
            if not verdict.ok:
                what = f"{place} cannot constrain an answer: {_in_words(verdict)}"
                raise RequestError(Problem(place, what))
            _require_followed(place, structure)

    def _salt(self) -> str | None:
        """Of the tenant on whose behalf this runs; None where nobody has to say who he is."""
        return self._salts.salt(OWNER.get(), None)

    async def _require(self, name: str, structure: Structure) -> None:
        verdict = await self._admission.verdict(structure, limit_s=LOAD_LIMIT_S)
        _require_time("grammar", verdict)
        if not verdict.ok:
            what = f"its {structure.kind.replace('_', ' ')} does not compile: {_in_words(verdict)}"
            raise CatalogError(Problem("model", f"The model `{name}` is not served: {what}"))


def own_structures(request: Any) -> Iterator[tuple[str, Structure]]:
    """The structures that a request brings, each with the name of its place.

    Tools count where the model has to call one, since their parameters then become a grammar.

    Raises:
        RequestError: there are more than ``MAX_OWN``.
    """
    held = vars(request)  # a model takes long to say that it lacks a field
    asked = held.get("structured_outputs")
    if asked is not None:
        yield from (("structured_outputs", s) for s in _of_parameters(asked))
    answer = held.get("response_format")
    if answer is not None and answer.type == "json_schema" and answer.json_schema is not None:
        yield "response_format", _schema(answer.json_schema.json_schema or {})
    elif answer is not None and answer.type == "structural_tag":
        yield "response_format", Structure("structural_tag", answer.model_dump_json(by_alias=True))
    text = getattr(held.get("text"), "format", None)
    if text is not None and text.type == "json_schema":
        yield "text.format", _schema(text.schema_ or {})
    tools = held.get("tools") or []
    if held.get("tool_choice") not in (None, "none"):
        if len(tools) > MAX_OWN:
            raise RequestError(Problem("tools", f"tools: more than {MAX_OWN}"))
        for tool in tools:
            # A chat's tools keep their function in a field of its own.
            function = getattr(tool, "function", tool)
            yield "tools", _schema(getattr(function, "parameters", None) or {})


def _of_parameters(asked: Any) -> Iterator[Structure]:
    if asked.json is not None:
        yield (
            Structure("json_schema", asked.json)
            if isinstance(asked.json, str)
            else _schema(asked.json)
        )
    if asked.grammar is not None:
        kind: Any = "lark" if grammar_is_likely_lark(asked.grammar) else "grammar"
        yield Structure(kind, asked.grammar)
    if asked.regex is not None:
        yield Structure("regex", asked.regex)
    if asked.choice is not None:
        yield Structure("grammar", choice_as_grammar(asked.choice))
    if asked.structural_tag is not None:
        yield Structure("structural_tag", asked.structural_tag)


def _schema(value: Any) -> Structure:
    try:
        return Structure("json_schema", json.dumps(value))
    except RecursionError as error:
        raise RequestError(Problem("json_schema", "json_schema: nested too deep")) from error


def _require_followed(place: str, structure: Structure) -> None:
    """Raise RequestError if a schema refers to what the compiler would take any value for."""
    if structure.kind != "json_schema":
        return
    for path, reference in references(json.loads(structure.text)):
        if not is_followed(reference):
            what = f"{place}: {path} is not followed: only references such as #/$defs/NAME are"
            raise RequestError(Problem(place, what))


def _require_time(place: str, verdict: Verdict) -> None:
    """Raise EngineError where nobody had the time to try a structure."""
    if verdict.status == "busy":
        raise EngineError(Problem(place, verdict.reason, "try again"))


def _cost(verdict: Verdict) -> str:
    return "known" if verdict.known else f"compiled in {1000 * verdict.compile_s:.1f} ms"


def _in_words(verdict: Verdict) -> str:
    return f"{verdict.status}: {verdict.reason}" if verdict.reason else verdict.status


async def start_structures(engine_client: Any) -> Structures:
    """The server's structures, with children that compile as its engine does."""
    greeting = await asyncio.to_thread(
        _greeting, engine_client.vllm_config, engine_client.get_tokenizer()
    )
    program = "hive_expert.decoding.compile_child"
    # The second is started when there is something for it.
    long = Child(program, greeting | {"niceness": NICENESS})
    return Structures(Admission(Lanes(Child(program, greeting), long)))


def _greeting(config: Any, tokenizer: Any) -> dict[str, Any]:
    """vLLM's own view of the tokenizer and its options, so that what is tried is what runs."""
    size = config.model_config.get_vocab_size()
    backend = XgrammarBackend(config, tokenizer=tokenizer, vocab_size=size)
    return {
        # Only what it has compiled tells which tokenizer it was given.
        "tokenizer_info": backend.compiler.compile_grammar(
            'root ::= "x"'
        ).tokenizer_info.serialize_json(),
        "compact_json": backend.disable_any_whitespace,
    }

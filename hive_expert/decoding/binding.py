"""What constrains one request's answer, where the messages have a say. SPEC section 7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hive_expert.decoding.admission import Structure
from hive_expert.decoding.grammar_slots import Slot, fill
from hive_expert.decoding.prompt import Message
from hive_expert.decoding.prompt_schema import prompt_schema


@dataclass(frozen=True, slots=True)
class SchemaInPrompt:
    """The answer's JSON Schema is the one in the messages (`prompt_json_schema`)."""


@dataclass(frozen=True, slots=True)
class GrammarSlots:
    """Rules of the grammar are filled from the messages (`gbnf_template`)."""

    slots: tuple[Slot, ...]


Binding: TypeAlias = SchemaInPrompt | GrammarSlots


@dataclass(frozen=True, slots=True)
class Bound:
    """What constrains one answer; None: nothing does.

    ``note`` is what people are told of it: where it came from, or why it is only the plain one.
    Law: ``from_prompt`` is false where the structure is the manifest's own.
    """

    structure: Structure | None
    from_prompt: bool
    note: str = ""

    def fallback(self, plain: Structure | None, reason: str) -> Bound:
        """The plain structure instead, and why."""
        return Bound(plain, False, reason)


def bind(binding: Binding, plain: Structure | None, messages: Sequence[Message]) -> Bound:
    """The structure for these messages. Pure; a few milliseconds for long ones."""
    match binding:
        case SchemaInPrompt():
            found = prompt_schema(messages)
            if found.schema is None:
                return Bound(plain, False, found.reason)
            return Bound(Structure("json_schema", found.schema), True, "its schema")
        case GrammarSlots(slots=slots):
            assert plain is not None  # the contract has seen to it
            filled = fill(plain.text, slots, messages)
            if not filled.counts:
                return Bound(plain, False, filled.reason)
            counts = ", ".join(f"{count} {rule}" for rule, count in filled.counts.items())
            return Bound(Structure("grammar", filled.grammar), True, counts)

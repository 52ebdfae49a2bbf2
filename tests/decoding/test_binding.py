"""What constrains an answer when the messages have a say."""

from __future__ import annotations

from hive_expert.decoding.admission import Structure
from hive_expert.decoding.binding import Bound, GrammarSlots, SchemaInPrompt, bind
from hive_expert.decoding.grammar_slots import Slot
from hive_expert.decoding.prompt import Message

PLAIN = Structure("grammar", 'root ::= table\ntable ::= "x"')
SLOTS = GrammarSlots((Slot("table", "sql_tables"),))


def test_a_schema_in_the_prompt_wins_over_the_plain_structure() -> None:
    messages = [Message("system", 'Schema: {"type": "boolean"}')]
    assert bind(SchemaInPrompt(), PLAIN, messages) == Bound(
        Structure("json_schema", '{"type":"boolean"}'), True, "its schema"
    )


def test_without_one_the_plain_structure_holds_if_there_is_one() -> None:
    for plain in (PLAIN, None):
        assert bind(SchemaInPrompt(), plain, []) == Bound(plain, False, "no schema found")


def test_slots_fill_the_plain_grammar() -> None:
    bound = bind(SLOTS, PLAIN, [Message("system", "Schema:\nusers(id)")])
    assert bound.structure == Structure("grammar", 'root ::= table\ntable ::= "users"\n')
    assert (bound.from_prompt, bound.note) == (True, "1 table")
    assert bind(SLOTS, PLAIN, []) == Bound(PLAIN, False, "no table found")

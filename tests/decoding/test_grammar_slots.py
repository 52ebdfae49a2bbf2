"""Rules are filled with what the messages hold, or stay as they are and say why."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from hive_expert.decoding import grammar_slots as slots_module
from hive_expert.decoding.grammar import check_grammar
from hive_expert.decoding.grammar_slots import EXTRACTORS, Slot, fill
from hive_expert.decoding.prompt import MAX_CHARACTERS, Message
from hive_expert.decoding.turns import OWNER
from hive_expert.manifest.training_model import Extractor

TEMPLATE = r"""# a comment with column ::= in it
root   ::= "SELECT " column " FROM " table ";"
table  ::= name
# columns
column ::= name "." name |
           "*"
name   ::= [a-z]{1,20}
"""
TABLES = Slot("table", "sql_tables")
COLUMNS = Slot("column", "sql_table_columns")
MESSAGES = (Message("system", "Dialect: sql\nSchema:\nusers(id, name)\norders(id, total)"),)


def test_rules_are_filled_and_the_others_stay() -> None:
    filled = fill(TEMPLATE, [TABLES, COLUMNS], MESSAGES)
    assert filled.counts == {"table": 2, "column": 4}
    assert 'table  ::= "users" | "orders"\n' in filled.grammar
    assert '"users.id" | "users.name" | "orders.id" | "orders.total"' in filled.grammar
    assert '"*"' not in filled.grammar
    assert "name   ::= [a-z]{1,20}" in filled.grammar
    assert check_grammar(filled.grammar, "g").rules == ("root", "table", "column", "name")


def test_without_a_schema_the_template_holds_and_the_reason_is_told() -> None:
    filled = fill(TEMPLATE, [TABLES, COLUMNS], [Message("user", "Find all users.")])
    assert (filled.grammar, filled.counts) == (TEMPLATE, {})
    assert filled.reason == "no table found; no column found"


def test_more_than_a_slot_takes_leaves_its_rule_alone() -> None:
    filled = fill(TEMPLATE, [TABLES, Slot("column", "sql_columns", None, 2)], MESSAGES)
    assert filled.counts == {"table": 2}
    many = ", ".join(f"c{i}" for i in range(10_000))
    filled = fill(TEMPLATE, [COLUMNS], [Message("system", f"Schema:\nt({many})")])
    assert filled.counts == {}
    assert filled.reason == "column: 10000 found, more than 1024"


def test_a_filled_grammar_beyond_the_limits_leaves_the_template() -> None:
    long = ", ".join(f"{'c' * 120}{i}" for i in range(1000))
    filled = fill(TEMPLATE, [COLUMNS], [Message("system", f"Schema:\nt({long})")])
    assert filled.counts == {}
    assert "larger than" in filled.reason


def test_a_pattern_finds_its_first_group_wherever_it_matches() -> None:
    slot = Slot("table", pattern=r"@(\w+)")
    filled = fill(TEMPLATE, [slot], [Message("user", "ask @users and @orders, @users!")])
    assert 'table  ::= "users" | "orders"\n' in filled.grammar


def test_a_pattern_that_runs_away_is_stopped() -> None:
    slot = Slot("table", pattern=r"(x+x+)+y")
    started = time.monotonic()
    filled = fill(TEMPLATE, [slot], [Message("user", "x" * 5000)])
    assert time.monotonic() - started < 2
    assert filled.reason == "table: its pattern took too long"


@pytest.mark.parametrize("name", ['a"b', "a\\b", "größe", "表", "😀", "a]b"])
def test_a_name_is_escaped_so_that_it_is_nothing_but_itself(name: str) -> None:
    slot = Slot("table", pattern=r"<(.+?)>")
    filled = fill(TEMPLATE, [slot], [Message("user", f"<{name}>")])
    assert filled.counts == {"table": 1}
    assert check_grammar(filled.grammar, "g").root == "root"


def test_messages_too_long_together_are_not_searched() -> None:
    half = Message("user", "<users>" + "x" * (MAX_CHARACTERS // 2))
    filled = fill(TEMPLATE, [Slot("table", pattern=r"<(.+?)>")], [half, half])
    assert filled.reason == "table: messages too long to be searched"


def test_all_messages_together_have_a_pattern_s_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 1.0])
    monkeypatch.setattr(slots_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    filled = fill(TEMPLATE, [Slot("table", pattern=r"<(.+?)>")], [Message("user", "<users>")] * 2)
    assert filled.reason == "table: its pattern took too long"


def test_a_filled_grammar_is_remembered_for_its_owner_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[str | None] = []
    monkeypatch.setattr(slots_module, "check_grammar", lambda *_: checked.append(OWNER.get()))
    messages = [Message("system", "Schema:\nremembered(id)")]
    for owner in ("one", "one", "other", None, "one"):
        token = OWNER.set(owner)
        assert fill(TEMPLATE, [TABLES], messages).counts == {"table": 1}
        OWNER.reset(token)
    assert checked == ["one", "other", None]


@pytest.mark.parametrize("name", ["a\u202eb", "a\x00b", "x" * 300])
def test_a_name_that_no_grammar_should_hold_is_refused(name: str) -> None:
    filled = fill(TEMPLATE, [Slot("table", pattern=r"<(.+?)>")], [Message("user", f"<{name}>")])
    assert filled.counts == {}


def test_the_manifest_may_name_every_extractor() -> None:
    assert set(Extractor.__args__) == set(EXTRACTORS)  # type: ignore[attr-defined]

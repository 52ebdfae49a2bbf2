"""Grammars whose rules are filled from a request's messages. SPEC section 7 (`gbnf_template`).

A template is a grammar like any other, fit to be used as it is. A slot names one of its rules and
says what the messages may replace the rule's body with: a list of literal texts, such as the
tables of the schema in the system message. A slot that finds nothing leaves its rule alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import regex

from hive_expert.decoding import extract_cypher, extract_sql
from hive_expert.decoding.gbnf import parse_rules, rule_spans
from hive_expert.decoding.grammar import check_grammar
from hive_expert.decoding.prompt import MAX_CHARACTERS, Message, schema_texts
from hive_expert.decoding.turns import OWNER
from hive_expert.errors import DecodingError, GrammarError, Problem

MAX_ITEMS = 1024
"""Texts that fill one slot, unless the manifest says fewer."""
MAX_ITEM_CHARACTERS = 256
MAX_PATTERN_S = 0.05
"""For all matches of a manifest's own pattern in one request."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One rule that is filled: by a named extractor, or by a regular expression's matches.

    ``pattern`` is searched for in all messages; its first group counts, or the whole match.
    """

    rule: str
    extract: str | None = None
    pattern: str | None = None
    max_items: int = MAX_ITEMS


def slot_problems(slots: Sequence[Slot], grammar: str, where: str) -> list[Problem]:
    """Slots that could never be filled: no such rule, or a pattern that is none."""
    rules = {rule.name for rule in parse_rules(grammar, _nobody)}
    problems = []
    for position, slot in enumerate(slots):
        here = f"{where}[{position}]"
        if slot.rule not in rules:
            problems.append(Problem(f"{here}.rule", f"the grammar has no rule {slot.rule}"))
        if slot.pattern is not None:
            try:
                regex.compile(slot.pattern)
            except regex.error as error:
                what = f"is no regular expression: {error}"
                problems.append(Problem(f"{here}.pattern", what))
    return problems


@dataclass(frozen=True, slots=True)
class Filled:
    """What came of filling: the grammar, and how many texts each filled rule got.

    Law: where ``counts`` is empty, ``grammar`` is the template itself and ``reason`` says why.
    """

    grammar: str
    counts: Mapping[str, int]
    reason: str = ""


def fill(template: str, slots: Sequence[Slot], messages: Sequence[Message]) -> Filled:
    """Put what the messages hold into the template's rules.

    All or nothing: where the filled grammar breaks a limit, the template stays as it is.
    """
    found, reasons = {}, []
    for slot in slots:
        try:
            items = _items(slot, messages)
        except DecodingError as error:
            reasons.append(f"{slot.rule}: {error.problems[0].what}")
            continue
        if items:
            found[slot.rule] = items
        else:
            reasons.append(f"no {slot.rule} found")
    if not found:
        return Filled(template, {}, "; ".join(reasons))
    items_by_rule = tuple((rule, tuple(items)) for rule, items in found.items())
    return _filled(template, items_by_rule, OWNER.get())


@lru_cache(maxsize=128)
def _filled(
    template: str, found: tuple[tuple[str, tuple[str, ...]], ...], owner: str | None
) -> Filled:
    """Remembered, since many questions are asked of one schema, and checking a grammar takes
    longer than finding the names: at most 128 texts of grammars' largest size.

    Each ``owner`` (`turns.OWNER`) has his own, so that nobody learns from the time it takes what
    another has asked about.
    """
    text = _replace_bodies(template, dict(found))
    try:
        check_grammar(text, "filled grammar")
    except GrammarError as error:
        return Filled(template, {}, f"the filled grammar: {error.problems[0].what}")
    return Filled(text, {rule: len(items) for rule, items in found})


def _items(slot: Slot, messages: Sequence[Message]) -> Sequence[str]:
    """Distinct texts for one slot, in order.

    Raises:
        DecodingError: more than the slot takes, a text no grammar should hold, or a pattern that
            ran too long.
    """
    items = _matched(slot, messages) if slot.pattern else _extracted(slot, messages)
    if len(items) > slot.max_items:
        raise DecodingError(f"{len(items)} found, more than {slot.max_items}")
    for item in items:
        if len(item) > MAX_ITEM_CHARACTERS or not item.isprintable():
            raise DecodingError("a name that is too long or not printable")
    return items


def _extracted(slot: Slot, messages: Sequence[Message]) -> Sequence[str]:
    extract = EXTRACTORS[slot.extract or ""]
    for text in schema_texts(messages):
        if items := extract(text):
            return items
    return ()


def _matched(slot: Slot, messages: Sequence[Message]) -> Sequence[str]:
    pattern = regex.compile(slot.pattern or "")
    found: dict[str, None] = {}
    if sum(len(message.text) for message in messages) > MAX_CHARACTERS:
        raise DecodingError("messages too long to be searched")
    end = time.monotonic() + MAX_PATTERN_S
    for message in messages:
        left = end - time.monotonic()
        if left <= 0:
            raise DecodingError("its pattern took too long")
        try:
            # Its own engine backtracks like any; the time limit is what makes it safe.
            matches = pattern.finditer(message.text, timeout=left, concurrent=True)
            for match in islice(matches, slot.max_items + 1):
                text = match[1] if pattern.groups else match[0]
                if text:
                    found[text] = None
        except TimeoutError as error:
            raise DecodingError("its pattern took too long") from error
    return tuple(found)


def _sql_columns(text: str) -> Sequence[str]:
    tables = extract_sql.tables_in(text)
    return tuple(dict.fromkeys(column for columns in tables.values() for column in columns))


def _sql_table_columns(text: str) -> Sequence[str]:
    tables = extract_sql.tables_in(text)
    return tuple(f"{table}.{column}" for table, columns in tables.items() for column in columns)


EXTRACTORS: Mapping[str, Callable[[str], Sequence[str]]] = {
    "sql_tables": lambda text: tuple(extract_sql.tables_in(text)),
    "sql_columns": _sql_columns,
    "sql_table_columns": _sql_table_columns,
    "cypher_labels": extract_cypher.labels_in,
    "cypher_relationships": extract_cypher.relationship_types_in,
    "cypher_properties": extract_cypher.properties_in,
}
"""The extractors that a manifest may name. Each reads what follows `Schema:`."""


def _replace_bodies(template: str, found: Mapping[str, Sequence[str]]) -> str:
    pieces, at = [], 0
    for name, start, end in rule_spans(template):
        if name in found:
            pieces += [template[at:start], " ", " | ".join(map(_literal, found[name])), "\n"]
            at = end
    return "".join([*pieces, template[at:]])


def _literal(text: str) -> str:
    """GBNF of a text. Everything but plain ASCII is escaped: notations differ in the rest."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if " " <= character <= "~":
        return character
    code = ord(character)
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _nobody(at: int, what: str, remedy: str) -> None:
    """Takes problems that were reported when the grammar was checked."""

"""What a manifest says about decoding, read and checked. SPEC section 7.

How it meets a request and the server's flags is told in `effective.py`. Files are read by the
caller.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hive_expert.decoding.admission import Structure
from hive_expert.decoding.binding import Binding, GrammarSlots, SchemaInPrompt
from hive_expert.decoding.bounds import Bounds
from hive_expert.decoding.enforceable import enforceable
from hive_expert.decoding.grammar import decode_grammar
from hive_expert.decoding.grammar_slots import MAX_ITEMS, Slot, slot_problems
from hive_expert.decoding.json_schema import compact_json_schema
from hive_expert.decoding.sampling_fields import (
    FIELDS,
    Number,
    range_problems,
    stop_problems,
)
from hive_expert.decoding.schema_limits import LONGEST_COUNTED, unenforced
from hive_expert.decoding.templates import Template
from hive_expert.decoding.validators import Rule, sql_dialect
from hive_expert.errors import DecodingError, Problem
from hive_expert.manifest.strict_json import located
from hive_expert.manifest.training_model import Decoding, Validation

SECTION = "training.decoding"
_AS_STATED = Bounds(longest_text=LONGEST_COUNTED)
"""An author's schema is not bounded where it says nothing."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What one expert's manifest asks for; None where it is silent.

    Laws: every value is in the range of its field; at most one of ``grammar`` (GBNF) and
    ``json_schema`` (compact JSON) is there; slots have a grammar to fill. The base model's
    contract is ``Contract.EMPTY``.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    grammar: str | None = None
    json_schema: str | None = None
    binding: Binding | None = None
    """What the messages of a request say about its structure; the two above are then what holds
    where they say nothing."""
    validation: Rule | None = None
    """The check of the finished answer."""
    template: str | None = None
    """One of ``TEMPLATES`` that renders the messages, if it is not the base model's own."""

    EMPTY: ClassVar[Contract]

    def __post_init__(self) -> None:
        problems = [*range_problems(self._values(), ""), *stop_problems(self.stop, "stop")]
        if self.grammar is not None and self.json_schema is not None:
            problems.append(Problem("grammar", "there is a json_schema as well", "keep one"))
        if isinstance(self.binding, GrammarSlots) and self.grammar is None:
            problems.append(Problem("binding", "there is no grammar whose rules could be filled"))
        if problems:
            raise DecodingError(*problems)

    @property
    def structure(self) -> Structure | None:
        """What constrains an answer, the messages aside."""
        if self.grammar is not None:
            return Structure("grammar", self.grammar)
        return Structure("json_schema", self.json_schema) if self.json_schema is not None else None

    @property
    def constrains(self) -> bool:
        """Whether it constrains the answers of some request."""
        return self.structure is not None or self.binding is not None

    def value(self, name: str) -> Number | None:
        """The value of one of ``FIELDS``."""
        value: Number | None = getattr(self, name)
        return value

    def _values(self) -> dict[str, Number | None]:
        return {f.name: getattr(self, f.name) for f in FIELDS}


Contract.EMPTY = Contract()


def contract_of(
    decoding: Decoding | None, read: Callable[[str], bytes], *, template: Template | None = None
) -> Contract:
    """Build the contract that a manifest's `training.decoding` section states.

    ``read`` returns the bytes of a package member and raises OSError where there is none. The
    grammar or schema is read and checked only while `use_grammar` is true.

    Raises:
        GrammarError: the grammar file is all that is wrong; places are `grammar.gbnf:3:1`.
        DecodingError: anything else, or both; places are JSON paths in the manifest.
    """
    named = template.name if template else None
    if decoding is None:
        return Contract(template=named)
    values = {f.name: getattr(decoding, f.name) for f in FIELDS}
    problems = [
        *range_problems(values, SECTION),
        *stop_problems(decoding.stop_sequences, f"{SECTION}.stop_sequences"),
    ]
    grammar: str | None = None
    schema: str | None = None
    rule: Rule | None = None
    binding: Binding | None = None
    try:
        rule = _validation(decoding.validation, read)
    except DecodingError as error:
        problems.extend(error.problems)
    only_grammar = not problems
    try:
        grammar, schema = _structure(decoding, read)
        binding = _binding(decoding, grammar)
    except DecodingError as error:
        if only_grammar:
            raise
        problems.extend(error.problems)
    if problems:
        raise DecodingError(*problems)
    return Contract(
        **values,
        stop=decoding.stop_sequences,
        grammar=grammar,
        json_schema=schema,
        binding=binding,
        validation=rule,
        template=named,
    )


def _structure(decoding: Decoding, read: Callable[[str], bytes]) -> tuple[str | None, str | None]:
    """The checked grammar or the checked schema; the manifest's model sees to it that a grammar
    that is asked for is there and that at most one is meant.
    """
    if not decoding.use_grammar:
        return None, None
    by_fields = "grammar" if decoding.grammar_file is not None else "json_schema"
    chosen = {"gbnf": "grammar", "gbnf_template": "grammar", "json_schema": "json_schema"}
    kind = chosen.get(decoding.grammar_type or "", by_fields)
    if kind == "grammar" and decoding.grammar_file is not None:
        data = _member(read, decoding.grammar_file, f"{SECTION}.grammar_file")
        return decode_grammar(data, decoding.grammar_file).text, None
    schema = _schema(decoding.json_schema, read, f"{SECTION}.json_schema")
    if schema is not None:
        return None, _enforced(schema, f"{SECTION}.json_schema")
    if decoding.grammar_type == "prompt_json_schema":
        return None, None
    raise DecodingError(
        Problem(f"{SECTION}.use_grammar", "there is no grammar", "add grammar_file or json_schema")
    )


def _enforced(schema: str, where: str) -> str:
    """The schema in words that its grammar keeps to.

    Raises DecodingError if there are none: answers that follow the grammar could break the schema.
    """
    parsed = json.loads(schema)
    remedy = "leave it out, or have it checked: validation.json_schema"
    problems = [
        Problem(located(where, found.where), found.what, remedy) for found in unenforced(parsed)
    ]
    if problems:
        raise DecodingError(*problems)
    return json.dumps(enforceable(parsed, _AS_STATED), separators=(",", ":"))


def _member(read: Callable[[str], bytes], name: str, where: str) -> bytes:
    try:
        return read(name)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DecodingError(Problem(where, f"{name} cannot be read: {reason}")) from error


def _binding(decoding: Decoding, grammar: str | None) -> Binding | None:
    if not decoding.use_grammar:
        return None
    if decoding.grammar_type == "prompt_json_schema":
        return SchemaInPrompt()
    if decoding.grammar_type != "gbnf_template":
        return None
    slots = tuple(
        Slot(slot.rule, slot.extract, slot.pattern, slot.max_items or MAX_ITEMS)
        for slot in decoding.grammar_slots
    )
    problems = slot_problems(slots, grammar or "", f"{SECTION}.grammar_slots")
    if problems:
        raise DecodingError(*problems)
    return GrammarSlots(slots)


def _validation(stated: str | Validation | None, read: Callable[[str], bytes]) -> Rule | None:
    """The checked rule."""
    if stated is None:
        return None
    where = f"{SECTION}.validation"
    rule = stated if isinstance(stated, Validation) else Validation(type=stated)
    if rule.dialect is not None and (rule.type != "sql" or sql_dialect(rule.dialect) is None):
        raise DecodingError(Problem(f"{where}.dialect", f"sqlglot knows no dialect {rule.dialect}"))
    if rule.json_schema is not None and rule.type != "json":
        raise DecodingError(Problem(f"{where}.json_schema", "goes with json alone"))
    schema = _schema(rule.json_schema, read, f"{where}.json_schema")
    return Rule(rule.type, rule.dialect, schema)


def _schema(
    source: str | Mapping[str, Any] | None, read: Callable[[str], bytes], where: str
) -> str | None:
    """A schema that is given as a file's name or as itself."""
    if isinstance(source, str):
        return compact_json_schema(_member(read, source, where), source)
    return compact_json_schema(source, where) if source is not None else None

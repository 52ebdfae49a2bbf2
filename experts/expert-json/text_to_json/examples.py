"""Turn schemas into examples: system message, user message, answer.

Examples of one exact schema come in groups, because the trainer encodes the system
message that a group shares only once. Some groups carry the schema in the user message
instead, as people do who write everything in one go.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema

from hive_expert.errors import DatasetError
from text_to_json.domains import Domain
from text_to_json.phrasing import Text, compose
from text_to_json.schemas import COMPACT, Schema, make_schema
from text_to_json.values import KINDS, Draw, Fact, Pools

# The trainer gains from large groups, a test from many different schemas.
GROUP_SIZES = {"train": (5, 6, 7, 8), "validation": (4, 5), "test": (3, 4)}
ONE_MESSAGE_SHARE = 0.08
MAX_TRIES = 200

ONE_MESSAGE_FORMS = (
    'Extract JSON from: "{text}" Schema: {schema}',
    'Extract JSON from: "{text}" Schema: {schema}',
    "Extract JSON from: {text}\nSchema: {schema}",
    "{text}\n\nSchema: {schema}",
    "Schema: {schema}\n\nText: {text}",
    "Turn this text into JSON.\nSchema: {schema}\n{text}",
    'Fill in this schema: {schema} Text: "{text}"',
    "Give me the data as JSON: {text} Schema: {schema}",
)


@dataclass(frozen=True, slots=True)
class Example:
    """One text with its schema and the answer, and how the three are put to the model."""

    schema: Schema
    text: Text
    answer: Mapping[str, Any]
    one_message_form: str | None

    @property
    def system(self) -> str:
        return "" if self.one_message_form else f"Dialect: json\nSchema:\n{self.schema.text}"

    @property
    def user(self) -> str:
        if self.one_message_form is None:
            return self.text.text
        # Not str.format: the schema and the text are full of braces.
        form = self.one_message_form.replace("{schema}", self.schema.text)
        return form.replace("{text}", self.text.text)

    @property
    def response(self) -> str:
        return json.dumps(self.answer, ensure_ascii=False, separators=COMPACT)

    @property
    def category(self) -> str:
        """What is hard about it; the hardest thing counts."""
        values = list(self.answer.values())
        leaves = [p for p in self.schema.properties if p.field]
        if self.one_message_form:
            return "one-message"
        if any(p.field is None for p in self.schema.properties):
            return "nested"
        if any(isinstance(v, list) for v in values):
            return "array"
        if len(self.answer) < len(self.schema.properties):
            return "optional"
        if any(p.enum or (p.field and p.field.kind == "boolean") for p in leaves):
            return "enum"
        return "flat"

    def row(self) -> dict[str, str]:
        return {
            "input": self.system,
            "instruction": self.user,
            "response": self.response,
            "group": self.schema.id,
            "category": self.category,
        }


def make_examples(
    seed: int, split: str, domains: tuple[Domain, ...], pools: Pools, count: int
) -> list[Example]:
    """Exactly ``count`` examples, dealt evenly over the domains, group by group.

    Raises :class:`DatasetError` when a domain has not enough to say.
    """
    taken_schemas: set[str] = set()
    taken_texts: set[str] = set()
    groups: list[list[Example]] = []
    made = number = 0
    while made < count:
        rng = random.Random(f"{seed}/{split}/order/{number}")
        for domain in rng.sample(domains, len(domains)):
            if made >= count:
                break
            rng = random.Random(f"{seed}/{split}/{domain.name}/{number}")
            schema = _new_schema(rng, domain, number, taken_schemas)
            size = min(rng.choice(GROUP_SIZES[split]), count - made)
            groups.append(list(_group(rng, schema, pools, size, taken_texts)))
            made += size
        number += 1
    return [example for group in groups for example in group]


def _new_schema(rng: random.Random, domain: Domain, number: int, taken: set[str]) -> Schema:
    for _ in range(MAX_TRIES):
        schema = make_schema(rng, domain, number)
        if schema.text not in taken:
            taken.add(schema.text)
            jsonschema.Draft202012Validator.check_schema(schema.document)
            return schema
    raise DatasetError(f"domain {domain.name}: no new schema in {MAX_TRIES} tries")


def _group(
    rng: random.Random, schema: Schema, pools: Pools, size: int, taken: set[str]
) -> Iterator[Example]:
    one_message = rng.random() < ONE_MESSAGE_SHARE
    validator = jsonschema.Draft202012Validator(schema.document)
    for _ in range(size):
        for _ in range(MAX_TRIES):
            facts = _draw_facts(rng, schema.domain, pools)
            text = compose(rng, schema.domain, facts, schema.wanted)
            answer = schema.answer(facts, text.mentioned)
            if len(answer) >= 2 - (len(schema.properties) < 3) and text.text not in taken:
                break
        else:
            raise DatasetError(f"schema {schema.id}: no new text in {MAX_TRIES} tries")
        taken.add(text.text)
        _check(schema, validator, text, facts, answer)
        yield Example(schema, text, answer, _one_message_form(rng, text) if one_message else None)


def _one_message_form(rng: random.Random, text: Text) -> str:
    quotable = '"' not in text.text and "\n" not in text.text
    return rng.choice([f for f in ONE_MESSAGE_FORMS if quotable or '"{text}"' not in f])


def _draw_facts(rng: random.Random, domain: Domain, pools: Pools) -> dict[str, Fact]:
    """One fact for each field. No two fields get the same name of a person, place or firm."""
    facts: dict[str, Fact] = {}
    for key, field in domain.fields.items():
        for _ in range(MAX_TRIES):
            fact = KINDS[field.kind].draw(Draw(rng, pools, field.options, facts))
            same = [f for k, f in facts.items() if domain.fields[k].kind == field.kind]
            if field.kind in ("enum", "boolean", "integer", "number", "member"):
                break
            if all(fact.data != f.data for f in same):
                break
        else:
            raise DatasetError(f"domain {domain.name}: field {key} always repeats another one")
        facts[key] = fact
    return facts


def _check(
    schema: Schema,
    validator: jsonschema.Draft202012Validator,
    text: Text,
    facts: Mapping[str, Fact],
    answer: Mapping[str, Any],
) -> None:
    """The answer is valid under the schema, and each value of it stands in the text."""
    wrong = [e.message for e in validator.iter_errors(answer)]
    for key in sorted(schema.wanted & text.mentioned):
        fact, kind = facts[key], schema.domain.fields[key].kind
        copied = _copied_strings(fact.data) if kind not in ("enum", "date") else []
        wrong += [f"{key}: {s!r} is not in the text" for s in copied if s not in text.text]
        if kind not in ("list", "people") and not _said(fact, text.text):
            wrong.append(f"{key}: neither {fact.surface!r} nor {fact.plain!r} is in the text")
    if re.search(r"[{}]|\[\[|\]\]", text.text):
        wrong.append(f"an unfilled slot: {text.text!r}")
    if wrong:
        raise DatasetError(*(f"schema {schema.id}: {w}" for w in wrong))


def _copied_strings(data: object) -> list[str]:
    if isinstance(data, str):
        return [data]
    return [s for s in data if isinstance(s, str)] if isinstance(data, list) else []


def _said(fact: Fact, text: str) -> bool:
    """A hurried text may end without its full stop."""
    return fact.surface.rstrip(".") in text or fact.plain in text

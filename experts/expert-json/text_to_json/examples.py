"""Turn schemas into examples: system message, user message, answer.

Examples of one exact schema come in groups, because the trainer encodes the system
message that a group shares only once. Some groups carry the schema in the user message
instead, as people do who write everything in one go.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema

from hive_expert.errors import DatasetError
from text_to_json import contrast
from text_to_json.domains import Domain
from text_to_json.phrasing import Text, compose
from text_to_json.schemas import COMPACT, Schema, make_schema
from text_to_json.values import KINDS, Draw, Fact, Pools

# The trainer gains from large groups, a test from many different schemas.
GROUP_SIZES = {"train": (8,), "validation": (4, 5), "test": (3, 4)}
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
    seed: int,
    split: str,
    domains_of: Callable[[int], tuple[Domain, ...]],
    pools: Pools,
    count: int,
) -> list[Example]:
    """Exactly ``count`` examples, dealt evenly over the domains of each round, group by group.

    Raises :class:`DatasetError` when a domain has not enough to say.
    """
    taken_schemas: set[str] = set()
    taken_texts: set[str] = set()
    groups: list[list[Example]] = []
    made = number = 0
    while made < count:
        domains = domains_of(number)
        rng = random.Random(f"{seed}/{split}/order/{number}")
        for domain in rng.sample(domains, len(domains)):
            if made >= count:
                break
            rng = random.Random(f"{seed}/{split}/{domain.name}/{number}")
            schema = _new_schema(rng, domain, number, taken_schemas)
            size = min(rng.choice(GROUP_SIZES[split]), count - made)
            group = _group(rng, schema, pools, taken_texts, twins=split == "train")
            groups.append(list(itertools.islice(group, size)))
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
    rng: random.Random, schema: Schema, pools: Pools, taken: set[str], *, twins: bool
) -> Iterator[Example]:
    """Texts for a schema without end, some of them followed by a twin."""
    one_message = rng.random() < ONE_MESSAGE_SHARE
    while True:
        for text, facts in _texts(rng, schema, pools, taken, twins=twins):
            taken.add(text.text)
            answer = schema.answer(facts, text.mentioned)
            _check(schema, text, facts, answer)
            form = _one_message_form(rng, text) if one_message else None
            yield Example(schema, text, answer, form)


def _texts(
    rng: random.Random, schema: Schema, pools: Pools, taken: set[str], *, twins: bool
) -> Iterator[tuple[Text, Mapping[str, Fact]]]:
    """A new text with its facts, and by chance its twin."""
    domain, wanted = schema.domain, schema.wanted
    for _ in range(MAX_TRIES):
        facts = _draw_facts(rng, domain, pools)
        chance = rng.getrandbits(64) if twins else None
        text = compose(random.Random(chance) if twins else rng, domain, facts, wanted)
        if _is_good(schema, facts, text, taken):
            break
    else:
        raise DatasetError(f"schema {schema.id}: no new text in {MAX_TRIES} tries")
    yield text, facts
    if twins and rng.random() < contrast.SHARE:
        other = contrast.twin(rng, domain, pools, facts, text.mentioned & wanted)
        if other is not None:
            changed = compose(random.Random(chance), domain, other.facts, wanted, other.unsaid)
            if _is_good(schema, other.facts, changed, taken):
                yield changed, other.facts


def _is_good(schema: Schema, facts: Mapping[str, Fact], text: Text, taken: set[str]) -> bool:
    """Whether the text is new and its answer holds something."""
    least = 2 - (len(schema.properties) < 3)
    return text.text not in taken and len(schema.answer(facts, text.mentioned)) >= least


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
    text: Text,
    facts: Mapping[str, Fact],
    answer: Mapping[str, Any],
) -> None:
    """The answer is valid under the schema, and each value of it stands in the text."""
    validator = jsonschema.Draft202012Validator(schema.document)
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

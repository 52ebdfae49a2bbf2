"""Whatever follows the grammar of an admitted JSON Schema is valid under that schema.

That is the promise of `prompt_json_schema`, and it rests on the compiler: here texts are drawn by
chance instead of written by a model, so they go ways that no model would.
"""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
import xgrammar

from hive_expert.decoding.prompt import Message
from hive_expert.decoding.prompt_schema import prompt_schema
from hive_expert.decoding.schema_limits import FORMATS, limit_problems
from tests.e2e.prompt_bound.json_schemas import cases

WIDE = ("\u00e9", "\u65e5", "\U0001f600")
TOKENS = [bytes([i]) for i in range(128)] + [character.encode() for character in WIDE]
END = len(TOKENS)
SCHEMAS = 60
WALKS = 2
MOST_STEPS = 4_000
ENDINGS = b'"]},:'


@pytest.fixture(scope="module")
def compiler() -> xgrammar.GrammarCompiler:
    """With a vocabulary of single characters and an end token."""
    tokens = xgrammar.TokenizerInfo(
        [*TOKENS, b"<end>"], vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[END]
    )
    return xgrammar.GrammarCompiler(tokens, max_threads=1)


def walk(
    compiled: xgrammar.CompiledGrammar,
    draw: random.Random,
    hurry: float = 0.4,
    most_steps: int = MOST_STEPS,
) -> bytes | None:
    """A text by chance, in a hurry to end, or with none at all (below 0); None: it did not."""
    matcher = xgrammar.GrammarMatcher(compiled)
    mask = xgrammar.allocate_token_bitmask(1, END + 1)
    text = bytearray()
    for _ in range(most_steps):
        matcher.fill_next_token_bitmask(mask)
        bits = mask.numpy()[0].view("uint32")
        allowed = [t for t in range(END + 1) if bits[t // 32] >> (t % 32) & 1]
        if END in allowed:
            return bytes(text)
        endings = [t for t in allowed if t in ENDINGS]
        others = [t for t in allowed if t not in ENDINGS] if hurry < 0 else []
        chosen = draw.choice(endings if endings and draw.random() < hurry else others or allowed)
        assert matcher.accept_token(chosen)
        text += TOKENS[chosen]
    return None


ODD = (
    {"maxLength": 3},
    {"minimum": 5},
    {"pattern": "^[a-c]$"},
    {"items": {"type": "integer"}},
    {"required": ["a"]},
    {"properties": {"a": {"type": "integer"}}},
    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"type": ["string", "null"], "maxLength": 3},
    {"type": ["integer", "null"], "minimum": 5, "maximum": 9},
    {"type": ["integer", "string"], "minimum": 5, "maxLength": 2},
    {"type": "object", "required": ["a"]},
    {"type": "object", "required": ["b"], "properties": {"a": {"type": "integer"}}},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object", "additionalProperties": {"type": "integer"}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": True},
    {"type": "array", "minItems": 2, "maxItems": 3},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}]},
    {"type": "array", "prefixItems": [{"type": "integer"}], "minItems": 2, "items": False},
    {"type": "array", "prefixItems": [{"type": "integer"}], "minItems": 3, "maxItems": 3},
    {"type": "array", "items": {"type": "integer"}, "minItems": 3},
    {"type": "array", "minItems": 3, "maxItems": 2},
    {"type": "integer", "minimum": 0.5, "maximum": 3.5},
    {"type": "integer", "minimum": -3, "exclusiveMaximum": -1},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.01},
    {"type": "number", "minimum": -1.5, "maximum": 2.25},
    {"type": "number", "minimum": 1e3},
    {"type": "string", "pattern": "b"},
    {"type": "string", "pattern": "^a"},
    {"type": "string", "pattern": "a|b$"},
    {"type": "string", "pattern": "^(a|b)c?[x-z]{1,2}.$"},
    {"type": "string", "pattern": "^\\w\\s\\D$"},
    {"type": "string", "enum": ["a", 3]},
    {"type": "integer", "const": "a"},
    {"enum": ["a", {"b": [1, None]}]},
    {"const": {"b": [1, "c"]}},
    {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "array", "maxItems": 1}]},
    *({"type": "string", "format": f} for f in sorted(FORMATS)),
    {"$defs": {"text_0_3": {"type": "null"}}, "type": "string", "maxLength": 3},
    {"$defs": {"a": {"type": "string", "maxLength": 2}}, "type": "array", "maxItems": 2,
     "items": {"$ref": "#/$defs/a"}},
    {"definitions": {"a": {"type": "null"}}, "$ref": "#/definitions/a"},
    {},
    {"title": "anything"},
)  # fmt: skip


@pytest.mark.parametrize("schema", ODD, ids=json.dumps)
def test_an_odd_schema_is_refused_or_kept_to(
    compiler: xgrammar.GrammarCompiler, schema: dict[str, Any]
) -> None:
    outer = {"type": "object", "properties": {"v": schema}, "required": ["v"]}
    for key in ("$defs", "definitions"):
        if key in schema:
            outer[key] = schema[key]
            outer["properties"] = {"v": {k: v for k, v in schema.items() if k != key}}
    if limit_problems(outer):
        return
    assert broken_walks(compiler, outer, random.Random(0), 12)[0] == []


def broken_walks(
    compiler: xgrammar.GrammarCompiler, schema: dict[str, Any], draw: random.Random, walks: int
) -> tuple[list[str], int]:
    """Texts under the schema's grammar that it forbids, with the reason; how many texts ended."""
    found = prompt_schema([Message("system", f"Schema: {json.dumps(schema)}")])
    assert found.schema is not None, found.reason
    try:
        compiled = compiler.compile_json_schema(
            found.schema, any_whitespace=False, separators=(",", ":")
        )
    except RuntimeError:
        return [], 0  # it is refused after all, by the compiler
    kind = jsonschema.Draft202012Validator
    validator = kind(schema, format_checker=kind.FORMAT_CHECKER)
    broken, ended = [], 0
    for _ in range(walks):
        text = walk(compiled, draw)
        if text is None:
            continue
        ended += 1
        try:
            error = next(validator.iter_errors(json.loads(text)), None)
        except ValueError as not_json:
            broken.append(f"{text!r}: {not_json}")
            continue
        if error is not None:
            broken.append(f"{text!r}: {error.message}")
    return broken, ended


ENDLESS = (
    {"type": "string"},
    {"type": "integer"},
    {"type": "integer", "minimum": 3},
    {"type": "number"},
    {"type": "number", "exclusiveMaximum": 0},
    {"type": "string", "minLength": 3},
    {"type": "string", "maxLength": 200},
    *({"type": "string", "format": f} for f in sorted(FORMATS - {"uri"})),
    {"type": "array", "items": {"type": "integer"}},
    {"type": "array", "items": {"type": "integer"}, "prefixItems": [{"type": "string"}]},
    {"type": ["string", "null"]},
    {"type": "object"},
    {"type": "object", "additionalProperties": {"type": "string"}},
    {"type": "array"},
    {},
)  # fmt: skip


@pytest.mark.parametrize("schema", ENDLESS, ids=json.dumps)
def test_who_never_wants_to_end_comes_to_an_end(
    compiler: xgrammar.GrammarCompiler, schema: dict[str, Any]
) -> None:
    outer = {"type": "object", "properties": {"v": schema}, "required": ["v"]}
    found = prompt_schema([Message("user", f"Three words here. Schema: {json.dumps(outer)}")])
    assert found.schema is not None, found.reason
    compiled = compiler.compile_json_schema(
        found.schema, any_whitespace=False, separators=(",", ":")
    )
    for seed in range(2):
        text = walk(compiled, random.Random(seed), hurry=-1, most_steps=10 * MOST_STEPS)
        assert text is not None
        kind = jsonschema.Draft202012Validator
        kind(outer, format_checker=kind.FORMAT_CHECKER).validate(json.loads(text))


def test_what_follows_the_grammar_is_valid_under_the_schema(
    compiler: xgrammar.GrammarCompiler,
) -> None:
    draw, ended, broken = random.Random(0), 0, []
    for schema, _ in cases(SCHEMAS):
        wrong, count = broken_walks(compiler, schema, draw, WALKS)
        broken += [f"{line} under {json.dumps(schema)}" for line in wrong]
        ended += count
    assert broken == []
    assert ended > SCHEMAS * WALKS * 0.9

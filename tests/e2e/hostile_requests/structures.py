"""What a request may ask its answer to be, made to hang or crash who compiles it or follows it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from tests.decoding.grammars import SOUND
from tests.decoding.test_grammar_hostile import HOSTILE
from tests.e2e.prompt_bound.hostile import JSON_SCHEMAS

MUTATIONS = 240
_TOKENS = ("*", "+", "?", "|", "(", ")", "[", "]", '"', "{9}", "{0,}", "{256}", "root", "\\", "::=")

LONG = 40_000

REGEXES = (
    *(f"({inner}{a}){b}" for inner in ("a", ".", "[a-z]", "a|a") for a in "*+" for b in "*+"),
    *(f"(a{{1,{n}}}){{1,{n}}}" for n in (9, 99, 999)),
    "((a{1,99}){1,99}){1,99}",
    *("a" * n + "{1,999}" for n in (1, 99)),
    *(f"(?:{'|'.join(f'word{i}' for i in range(n))})*" for n in (100, 2_000)),
    *(f".{{{n}}}" for n in (1_000, 100_000, 10**9, 10**30)),
    *("(" * n + "a" + ")*" * n for n in (20, 200, 5_000)),
    *("a?" * n + "a" * n for n in (30, 2_000)),
    "(a|b|ab)*c" * 50,
    "(?=a)b", "(?<=a)b", "(?!a)", "(a)\\1", "(?P<x>a)(?P=x)", "(?i)a", "\\b",
    "\\p{L}+", "\\u{110000}",
    "[", "(", ")", "*", "+a", "a{2,1}", "a{", "[z-a]", "\\", "[^]", "$^", "^$", "", "\0", "\ud83d",
    "[\\x00-\\U0010FFFF]*", "(?:)*", "(?:a*)*", "(|a)+", "x" * LONG, "." * LONG, "(a" * LONG,
)  # fmt: skip

LARKS = (
    "start: ",
    "start: missing",
    "start: start",
    'start: start "a" | "b"',
    "start: a*\na: b*\nb: a*",
    "start: /(a+)+$/",
    "start: /(/",
    "start: /.*/ /.*/ /.*/",
    'start: ("a"?)~1000',
    'start: "a"~1000000000',
    'start: ("a"~1000)~1000',
    "%import common.WORD\nstart: WORD",
    "%import ..secrets\nstart: secrets",
    "%import /etc/passwd\nstart: x",
    '%ignore /.*/\nstart: "a"',
    '%declare X\nstart: X',
    'start: "a" | ' * 5_000 + '"b"',
    "start: " + "(" * 5_000 + '"a"' + ")" * 5_000,
    "\n".join(f"r{i}: r{i + 1} r{i + 1}" for i in range(60)) + '\nr60: "a"\nstart: r0',
    "\n".join(f'r{i}: r{i + 1}? "a"' for i in range(400)) + '\nr400: "a"\nstart: r0',
    "start: A\nA: /a{1,9999999}/",
    "start: %json {",
    'start: %json {"$ref":"#"}',
    'start: %json {"type":"object","properties":{"a":{"pattern":"(a+)+$"}}}',
    'start: %regex { "substring_chars": "' + "a" * 20_000 + '" }',
    "start[capture]: /a*/",
    'start: "\\ud800"',
    "start: <[0-999999999]>",
    "start: " + "!" * 1_000,
    'START: "a"\nstart: START' + "\n" * 20_000,
)  # fmt: skip

CHOICES: tuple[Any, ...] = (
    [],
    [""],
    ["", ""],
    ["a"] * 10_000,
    [f"choice {i}" for i in range(10_000)],
    ["x" * LONG],
    ['"'],
    ["\\"],
    ["\n", "\r", "\0", "\x1b"],
    ["root ::= x"],
    ['" | "'],
    ["\u202e", "\U0001f600", "日本"],
    [None],
    [1, 2],
    [["a"]],
    "abc",
    {"a": 1},
)

TAGS = (
    "",
    "{",
    "[]",
    "null",
    '{"type":"structural_tag"}',
    '{"type":"structural_tag","format":{}}',
    '{"type":"structural_tag","format":{"type":"any_text"}}',
    '{"type":"structural_tag","format":{"type":"json_schema","json_schema":{"$ref":"#"}}}',
    '{"type":"structural_tag","format":{"type":"regex","pattern":"(a{1,999}){1,999}"}}',
    '{"type":"structural_tag","format":{"type":"grammar","grammar":"root ::= root"}}',
    '{"structures":[],"triggers":[]}',
    '{"structures":[{"begin":"","schema":{},"end":""}],"triggers":[""]}',
    '{"structures":[{"begin":"<a>","schema":{"$ref":"#"},"end":"</a>"}],"triggers":["<a"]}',
    '{"structures":[{"begin":"<b>","schema":{},"end":"</b>"}],"triggers":["<a"]}',
    json.dumps(
        {
            "type": "structural_tag",
            "format": {
                "type": "sequence",
                "elements": [{"type": "const_string", "value": "a"}] * 5_000,
            },
        }
    ),
    json.dumps(
        {
            "structures": [{"begin": f"<{i}>", "schema": {}, "end": ""} for i in range(2_000)],
            "triggers": ["<"],
        }
    ),
)


def structures(seed: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what it is, fields of a chat request)."""
    for name, grammar in HOSTILE.items():
        yield f"grammar: {name}", {"structured_outputs": {"grammar": grammar}}
    for position, grammar in enumerate(_mutated(random.Random(seed))):
        yield f"mutated grammar {position}", {"structured_outputs": {"grammar": grammar}}
    for regex in REGEXES:
        yield f"regex: {regex[:60]}", {"structured_outputs": {"regex": regex}}
    for lark in LARKS:
        yield f"lark: {lark[:60]}", {"structured_outputs": {"grammar": lark}}
    for choice in CHOICES:
        yield f"choice: {str(choice)[:60]}", {"structured_outputs": {"choice": choice}}
    for tag in TAGS:
        yield f"structural tag: {tag[:60]}", {"structured_outputs": {"structural_tag": tag}}
    for name, schema in JSON_SCHEMAS.items():
        written = schema.removeprefix("PRE") if isinstance(schema, str) else json.dumps(schema)
        yield f"schema: {name}", {"structured_outputs": {"json": written}}
        if not isinstance(schema, str):
            form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
            yield f"response_format: {name}", {"response_format": form}
            tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
            yield f"tool: {name}", {"tools": [tool], "tool_choice": "required"}


def _mutated(draw: random.Random) -> Iterator[str]:
    """Sound grammars with pieces cut out, doubled, exchanged and put in."""
    sound = [grammar.text for grammar in SOUND.values()]
    for _ in range(MUTATIONS):
        text = draw.choice(sound)
        for _ in range(draw.randrange(1, 6)):
            at = draw.randrange(len(text) + 1)
            end = min(len(text), at + draw.randrange(12))
            piece = draw.choice(
                [
                    "",
                    draw.choice(_TOKENS),
                    text[at:end] * draw.randrange(2, 50),
                    chr(draw.randrange(1, 0x300)),
                    draw.choice(sound)[:80],
                ]
            )
            text = (text[:at] + piece + text[end:])[:60_000]
        yield text

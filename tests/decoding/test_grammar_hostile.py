"""Grammars made to hang, crash or fool a compiler: each ends soon, and with a verdict."""

from __future__ import annotations

import time

import pytest

from hive_expert.decoding.grammar import MAX_BYTES, MAX_PROBLEMS, Grammar, check_grammar
from hive_expert.errors import GrammarError

SECONDS = 15.0
"""Processor time. The slowest takes one; what grows faster than its text would take minutes."""


def _rules(count: int, body: str, last: str = '"z"') -> str:
    """``count`` rules r0, r1, ... of ``body``, where N stands for the next rule."""
    chain = "\n".join(f"r{i} ::= " + body.replace("N", f"r{i + 1}") for i in range(count))
    return f"root ::= r0\n{chain}\nr{count} ::= {last}\n"


def _fill(unit: str, *, before: str = "root ::= ", after: str = "", size: int = MAX_BYTES) -> str:
    """``unit`` as often as fits the size limit."""
    return before + unit * ((size - len(before) - len(after)) // len(unit)) + after


HOSTILE = {
    "empty": "",
    "a NUL": "\0",
    "NULs": "\0" * MAX_BYTES,
    "NUL inside a literal": 'root ::= "a\0b"',
    "NUL after a sound grammar": 'root ::= "a"\n\0 evil ::= "b"',
    "only line breaks": "\n" * MAX_BYTES,
    "only carriage returns": "\r" * MAX_BYTES,
    "only spaces": " " * MAX_BYTES,
    "only tabs and returns": "\t\r" * (MAX_BYTES // 2),
    "only comment signs": "#" * MAX_BYTES,
    "short comments": "#\n" * (MAX_BYTES // 2),
    "a million characters": 'root ::= "a"\n' + "#" * 1_000_000,
    "a million parentheses": "root ::= " + "(" * 1_000_000,
    "a million astral characters": "root ::= " + "\U0001f600" * 1_000_000,
    "astral characters to four times the limit": "root ::= " + "\U0001f600" * 60_000,
    "lone surrogates": "root ::= " + "\ud800" * 60_000,
    "lone surrogates within the limit": "root ::= " + "\udfff" * 20_000,
    "byte order mark": '\ufeffroot ::= "a"',
    "right-to-left override": 'root ::= "a" # \u202e "b" ::= toor',
    "every control character": "root ::= " + "".join(map(chr, range(32))) * 100,
    "C1 controls": "root ::= " + "\x85\x9b" * 10_000,
    "no-break spaces": _fill("\u00a0", size=30_000),
    "line separators": 'root ::= "a"\u2028b ::= "c"',
    "assignments only": _fill("::=", before=""),
    "colons": _fill(":", before=""),
    "names only": _fill("a ", before=""),
    "one long name": _fill("a", before=""),
    "one long rule name": _fill("a", before="", after=' ::= "a"'),
    "a name of hyphens": _fill("-", before="", after=' ::= "a"'),
    "lines of spaces before ::=": _fill(" ", before="root", after='::= "a"'),
    "lines that nearly start rules": _fill("a :\n", before=""),
    "open groups": _fill("("),
    "open groups with line breaks": _fill("(\n"),
    "closed groups": _fill(")"),
    "open and close": _fill("()"),
    "deep nesting, well formed": "root ::= " + "(" * 10_000 + '"a"' + ")" * 10_000,
    "deep nesting of repetitions": "root ::= " + "(" * 10_000 + '"a"' + ")*" * 10_000,
    "deep nesting in every rule": "\n".join(f"r{i} ::= " + "(" * 100 for i in range(500)),
    "nesting at the limit, doubled": "root ::= " + "(" * 32 + '"a"' + ' | "b")' * 32,
    "alternations": _fill('"a"|', after='"a"'),
    "empty alternations": _fill("|"),
    "empty texts": _fill('""'),
    "nested alternations of the same": "root ::= " + '("a" | ' * 31 + '"a"' + ")" * 31,
    "exponential: every rule twice the next": _rules(500, "N N"),
    "exponential alternatives": _rules(500, 'N "a" | N "b" | N "c" | N'),
    "exponential nullable": _rules(500, "N? N?"),
    "exponential repetition": _rules(500, "N{256}"),
    "long chain of nullable rules": _rules(500, "N?"),
    "long chain of optional heads": _rules(500, '"a"? N'),
    "long run of optional parts": _fill('"a"? '),
    "long run of stars": _fill("[^a]* "),
    "long run of optional rules": _rules(1, "N? " * 10_000),
    "all rules begin with all": "\n".join(
        f"r{i} ::= " + " | ".join(f"r{j}" for j in range(0, 500, 20)) for i in range(400)
    ),
    "all rules may be empty and begin with all": "\n".join(
        f'r{i} ::= "" | ' + " ".join(f"r{j}" for j in range(0, 500, 20)) for i in range(400)
    ),
    "one huge cycle": "\n".join(f"r{i} ::= r{(i + 1) % 511}" for i in range(511)),
    "many small cycles": "\n".join(f"a{i} ::= b{i}\nb{i} ::= a{i}" for i in range(256)),
    "each rule left recursive": "\n".join(f'r{i} ::= r{i} "a" | "b"' for i in range(512)),
    "left recursion behind empty parts": _rules(300, '"" N', last='"" r0'),
    "endless rules": _rules(500, '"a" N', last='"b" r0'),
    "thousands of rules": "\n".join(f'r{i} ::= "a"' for i in range(4_500)),
    "thousands of roots": 'root ::= "a"\n' * 5_000,
    "one long undefined name": _fill("undefined", before="root ::= "),
    "many undefined names": "root ::= " + " ".join(f"u{i}" for i in range(9_000)),
    "near misses of many rules": "\n".join(
        f"rule-number-{i} ::= rule-numbre-{i}" for i in range(512)
    ),
    "unterminated literal": _fill("a", before='root ::= "'),
    "unterminated literals": _fill('"\n'),
    "unterminated literal of backslashes": _fill("\\", before='root ::= "'),
    "unterminated literal of escaped quotes": _fill('\\"', before='root ::= "'),
    "unterminated class": _fill("a", before="root ::= ["),
    "unterminated classes": _fill("["),
    "unterminated class of escaped brackets": _fill("\\]", before="root ::= ["),
    "class of hyphens": _fill("-", before="root ::= [", after="]"),
    "class of ranges": _fill("a-z", before="root ::= [", after="]"),
    "class of carets": _fill("^", before="root ::= [", after="]"),
    "class without end of the code points": r"root ::= [\U00000000-\UFFFFFFFF]",
    "negated class of everything": r"root ::= [^\u0000-\U0010FFFF]",
    "bad escapes": _fill("\\q", before='root ::= "', after='"'),
    "cut hex escapes": _fill("\\x", before='root ::= "', after='"'),
    "escapes of surrogates": _fill("\\uD800", before='root ::= "', after='"'),
    "a long literal": _fill("a", before='root ::= "', after='"'),
    "open brace": _fill("{", before='root ::= "a"'),
    "braces of zeros": _fill("0", before='root ::= "a"{', after="}"),
    "braces of digits": _fill("9", before='root ::= "a"{', after="}"),
    "braces of spaces": _fill(" ", before='root ::= "a"{1', after="x}"),
    "braces of commas": _fill(",", before='root ::= "a"{', after="}"),
    "huge repetition": 'root ::= "a"{999999999999999999999}',
    "negative repetition": 'root ::= "a"{-1,-2}',
    "nested repetitions": "root ::= " + "(" * 31 + '"a"' + "){256}" * 31,
    "nested repetitions side by side": _fill('(("a"{256}){256}){256} '),
    "nested unbounded repetitions": "root ::= " + "(" * 31 + '"a"' + ")+" * 31,
    "nested unbounded repetitions of rules": _rules(500, "N+", last="[^a]"),
    "repetitions of repetitions": _fill("*", before='root ::= "a"'),
    "repetition of an empty text": 'root ::= ""*',
    "tokens": _fill("<[0]>"),
    "negated tokens": _fill("!<a>"),
    "Lark": "start: /(a+)+$/\n" * 1_000,
    "a macro": 'root ::= TagDispatch(("a", root), stop_eos=false)',
    "lookahead": 'root ::= "a" (="b")',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_gets_a_verdict_in_time(text: str) -> None:
    started = time.process_time()
    try:
        verdict: Grammar | GrammarError = check_grammar(text, "grammar.gbnf")
    except GrammarError as error:
        verdict = error
    assert time.process_time() - started < SECONDS
    if isinstance(verdict, GrammarError):
        assert 1 <= len(verdict.problems) <= MAX_PROBLEMS + 1
        assert all(len(str(problem)) < 2_000 for problem in verdict.problems)


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 60

"""The laws of the grammar check, for any text and for grammars built to be sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import xgrammar
from hypothesis import given, settings
from hypothesis import strategies as st

from hive_expert.decoding.gbnf import Choice, Element, Reference, Repeat, Terminal, parse_rules
from hive_expert.decoding.grammar import Grammar, check_grammar
from hive_expert.decoding.grammar_analysis import MAX_SHORTEST_TEXT, shortest_texts
from hive_expert.errors import GrammarError

FRAGMENTS = [
    *("root ::= ", "a ::= ", "b ::= ", "root", "a", "b", "\n", " ", "\r\n", "\t", "# c\n"),
    *("(", ")", "|", "*", "+", "?", "{2}", "{0,3}", "{1,}", "{", "}", ".", "<t>", "::="),
    *('"x"', '""', '"', "[a-z]", "[^a]", "[", "]", "^", "-", r'"\x41"', r"[\n\]]", "\\", "é"),
]
SOUP = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join)


def _verdict(text: str) -> Grammar | GrammarError:
    try:
        return check_grammar(text, "g")
    except GrammarError as error:
        assert error.problems
        return error


@given(st.text() | SOUP | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_any_text_gets_a_verdict(text: str) -> None:
    _verdict(text)


WHOLE = ['"x" ', '"" ', "[a-z] ", "a ", '("x" | "y") ', "(", ")", "|", "?", "+", "{2} ", "\n"]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(WHOLE), max_size=8).map("".join))
def test_what_is_accepted_compiles(body: str) -> None:
    text = f'root ::= {body}\na ::= "b"'
    if isinstance(_verdict(text), Grammar):
        xgrammar.Grammar.from_ebnf(text)


# Grammars that are sound by construction: rule number i refers to rules after it only, and what
# is repeated takes a character and ends with one.

Expression: TypeAlias = tuple[str, bool]
"""GBNF of an element, and whether it may be empty."""

LITERALS = st.sampled_from(['"x"', r'"\n\"é"', "[a-z]", r"[^\]\\]", "[-+]", r'"\u0041b"'])
SIGNS = st.sampled_from(["*", "?", "{0,4}", "+", "{3}", "{2,}", "{1,5}"])


def _repeated(inner: Expression, sign: str) -> Expression:
    text, empty = inner
    body = text if not empty else f'({text} "!")'
    return f"({body} [;])" + sign, sign in ("*", "?", "{0,4}")


def _sequence(parts: list[Expression]) -> Expression:
    return " ".join(f"({text})" for text, _ in parts), all(empty for _, empty in parts)


def _choice(parts: list[Expression]) -> Expression:
    return "(" + " | ".join(text for text, _ in parts) + ")", any(empty for _, empty in parts)


def _expressions(
    names: list[str], may_be_empty: Mapping[str, bool]
) -> st.SearchStrategy[Expression]:
    leaves = LITERALS.map(lambda text: (text, False))
    if names:
        leaves |= st.sampled_from(names).map(lambda name: (name, may_be_empty[name]))
    return st.recursive(
        leaves,
        lambda inner: (
            st.builds(_repeated, inner, SIGNS)
            | st.lists(inner, min_size=1, max_size=3).map(_sequence)
            | st.lists(inner, min_size=1, max_size=3).map(_choice)
        ),
        max_leaves=6,
    )


@st.composite
def sound_grammars(draw: st.DrawFn) -> str:
    names: list[str] = []
    may_be_empty: dict[str, bool] = {}
    lines: list[str] = []
    for name in ["d", "c-1", "b_", "root"]:
        text, empty = draw(_expressions(names, may_be_empty))
        lines.insert(0, f"{name} ::= {text}")
        names.append(name)
        may_be_empty[name] = empty
    return "\n".join(lines)


@given(sound_grammars())
def test_sound_grammars_are_accepted_and_compile(text: str) -> None:
    assert isinstance(_verdict(text), Grammar)
    xgrammar.Grammar.from_ebnf(text)


@given(sound_grammars(), st.data())
def test_a_loop_at_the_left_is_found_wherever_it_closes(text: str, data: st.DataObject) -> None:
    lines = text.split("\n")
    chain = [line.split(" ")[0] for line in lines]
    closing = data.draw(st.integers(0, len(lines) - 1))
    # Each rule of the chain begins with the next, up to one that begins with the root.
    looped = [
        f"{line} | {chain[i + 1]} [.]" if i < closing else line for i, line in enumerate(lines)
    ]
    looped[closing] += " | root [.]"
    error = _verdict("\n".join(looped))
    assert isinstance(error, GrammarError)
    assert any("left recursion" in problem.what for problem in error.problems)


# The shortest texts, against the plain fixed point.

RECURSIVE = ["root", "a", "b", '"x"', '"yz"', '""', "(", ")", "|", "*", "?", "{3}", "{2,}", " "]


@settings(max_examples=300)
@given(
    st.lists(st.lists(st.sampled_from(RECURSIVE), max_size=12).map("".join), min_size=3, max_size=3)
)
def test_shortest_texts_are_the_least_fixed_point(lines: list[str]) -> None:
    text = "\n".join(
        f"{name} ::= {body}" for name, body in zip(["root", "a", "b"], lines, strict=True)
    )
    rules = parse_rules(text, lambda at, what, remedy: None)
    bodies = {rule.name: rule.body for rule in rules if rule.body is not None}
    expected: dict[Element, int] = {}
    while expected != (expected := _one_round(bodies, expected)):
        pass
    assert shortest_texts(bodies) == expected


def _one_round(bodies: Mapping[str, Choice], known: dict[Element, int]) -> dict[Element, int]:
    lengths: dict[Element, int] = {}

    def measure(element: Element) -> int | None:
        length: int | None = None
        match element:
            case Terminal(length=length):
                pass
            case Reference(name=name):
                length = known.get(bodies[name]) if name in bodies else 1
            case Repeat(body=body, low=low):
                inner = measure(body)
                length = 0 if low == 0 else None if inner is None else low * inner
            case Choice(alternatives=alternatives):
                totals = [[measure(part) for part in sequence] for sequence in alternatives]
                ending = [sum(n for n in t if n is not None) for t in totals if None not in t]
                length = min(ending, default=None)
        if length is not None:
            lengths[element] = length = min(length, MAX_SHORTEST_TEXT + 1)
        return length

    for body in bodies.values():
        measure(body)
    return lengths

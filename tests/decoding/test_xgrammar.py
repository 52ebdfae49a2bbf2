"""What our check accepts, vLLM's compiler takes, and in the same sense.

The differences that `gbnf.py` lists are held to be differences here, so that a new version of
xgrammar that mends one is noticed.
"""

from __future__ import annotations

import time

import pytest
import xgrammar

from hive_expert.decoding.gbnf import RESERVED_NAMES
from hive_expert.decoding.grammar import check_grammar
from hive_expert.errors import GrammarError
from tests.decoding.grammars import SOUND, Sound
from tests.decoding.test_grammar_hostile import HOSTILE

END = 256


@pytest.fixture(scope="module")
def compiler() -> xgrammar.GrammarCompiler:
    """With a vocabulary of the 256 bytes and an end token."""
    bytes_and_end = [bytes([b]) for b in range(256)] + [b"<end>"]
    tokens = xgrammar.TokenizerInfo(
        bytes_and_end, vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[END]
    )
    return xgrammar.GrammarCompiler(tokens, max_threads=1)


def _matches(compiler: xgrammar.GrammarCompiler, grammar: str, text: str) -> bool:
    matcher = xgrammar.GrammarMatcher(compiler.compile_grammar(grammar))
    return all(matcher.accept_token(b) for b in text.encode()) and matcher.accept_token(END)


@pytest.mark.parametrize("sound", SOUND.values(), ids=SOUND)
def test_the_compiler_reads_a_sound_grammar_as_meant(
    compiler: xgrammar.GrammarCompiler, sound: Sound
) -> None:
    grammar = check_grammar(sound.text, "grammar.gbnf").text
    assert [t for t in sound.matches if not _matches(compiler, grammar, t)] == []
    assert [t for t in sound.misses if _matches(compiler, grammar, t)] == []


@pytest.mark.parametrize(
    ("grammar", "meant", "read"),
    [
        (r'root ::= "\x41B"', "AB", "\u041b"),
        (r"root ::= [\x00a]", "a", "\n"),
        ("root ::= [^]", "", "a"),
        ('root ::= "a"\n | "b"', "", "b"),
    ],
)
def test_refused_since_the_compiler_reads_something_else(
    compiler: xgrammar.GrammarCompiler, grammar: str, meant: str, read: str
) -> None:
    assert not _matches(compiler, grammar, meant)
    assert _matches(compiler, grammar, read)
    with pytest.raises(GrammarError):
        check_grammar(grammar, "grammar.gbnf")


@pytest.mark.parametrize(
    "grammar",
    [
        "root ::= .",
        "root ::= <think>",
        'root ::= "a" |',
        'root ::= | "a"',
        'root ::= "a"*?',
        "root ::= [z-a]",
        r'root ::= "\["',
        r"root ::= [\d]",
        'root ::= "a\nb"',
        'root ::= "a"{,2}',
        'root ::= "a"{2,1}',
        'root ::= 1a\n1a ::= "x"',
        "root ::= missing",
        'a ::= "x"',
        'root ::= "a"\nroot ::= "b"',
        'a ::= "x" root ::= a',
        *(f'root ::= {name}\n{name} ::= "x"' for name in sorted(RESERVED_NAMES)),
    ],
)
def test_refused_since_the_compiler_refuses_it(grammar: str) -> None:
    with pytest.raises(RuntimeError):
        xgrammar.Grammar.from_ebnf(grammar)
    with pytest.raises(GrammarError):
        check_grammar(grammar, "grammar.gbnf")


@pytest.mark.parametrize(
    "grammar",
    [
        r'root ::= "\ud800"',
        r'root ::= "\U00110000"',
        "root ::= []",
        'root ::= "a" root',
        'root ::= root "a" | "b"',
        'root ::= ("a"?)*',
        "root ::= (([^a]+)+)+",
    ],
)
def test_refused_though_the_compiler_takes_it(grammar: str) -> None:
    xgrammar.Grammar.from_ebnf(grammar)
    with pytest.raises(GrammarError):
        check_grammar(grammar, "grammar.gbnf")


def test_what_passes_of_the_hostile_compiles_soon(compiler: xgrammar.GrammarCompiler) -> None:
    passed = 0
    for name, text in HOSTILE.items():
        try:
            grammar = check_grammar(text, "grammar.gbnf").text
        except GrammarError:
            continue
        passed += 1
        started = time.process_time()
        _matches(compiler, grammar, "aaaa")
        assert time.process_time() - started < 5, name
    assert passed >= 3

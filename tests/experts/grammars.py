"""The grammars of shipped experts over a vocabulary of single bytes, which spells every text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import xgrammar

from hive_expert.decoding.binding import bind
from hive_expert.decoding.contract import contract_of
from hive_expert.decoding.prompt import Message
from hive_expert.manifest.parse import parse_manifest


@cache
def compiler() -> xgrammar.GrammarCompiler:
    vocabulary = [bytes([i]) for i in range(256)]
    tokenizer = xgrammar.TokenizerInfo(vocabulary, stop_token_ids=[0])
    return xgrammar.GrammarCompiler(tokenizer, max_threads=1)


@cache
def compiled_grammar(expert: Path) -> xgrammar.CompiledGrammar:
    text = (expert / "grammar.gbnf").read_text(encoding="utf-8")
    return compiler().compile_grammar(xgrammar.Grammar.from_ebnf(text))


def accepts(grammar: xgrammar.CompiledGrammar, text: str) -> bool:
    """Whether the whole text is one that the grammar writes."""
    matcher = xgrammar.GrammarMatcher(grammar, terminate_without_stop_token=True)
    return bool(matcher.accept_string(text)) and bool(matcher.is_terminated())


def refused(expert: Path, answers: Iterable[str]) -> list[str]:
    """The answers that the expert's grammar would not write."""
    grammar = compiled_grammar(expert)
    return [answer for answer in sorted(set(answers)) if not accepts(grammar, answer)]


def bound_grammars(
    expert: Path, cases: Iterable[tuple[Sequence[Message], str]]
) -> Mapping[str, list[str]]:
    """The expert's grammar as each case's messages fill it, with the answers expected under it."""
    decoding = parse_manifest((expert / "manifest.json").read_bytes()).training.decoding  # type: ignore[union-attr]  # it has one
    contract = contract_of(decoding, lambda name: (expert / name).read_bytes())
    assert contract.binding is not None
    found = defaultdict(list)
    for messages, expected in cases:
        bound = bind(contract.binding, contract.structure, messages)
        assert bound.from_prompt and bound.structure, (messages, bound.note)
        found[bound.structure.text].append(expected)
    return found


def refused_when_bound(grammars: Mapping[str, Sequence[str]]) -> list[str]:
    """The answers that the grammar of their own case would not write."""
    found = []
    for text, answers in grammars.items():
        grammar = compiler().compile_grammar(xgrammar.Grammar.from_ebnf(text))
        found += [answer for answer in answers if not accepts(grammar, answer)]
    return found

"""A grammar is checked here before any compiler sees it. SPEC section 7.

vLLM accepts grammars that then produce nothing or take minutes to compile, and names at most the
first mistake of the others. This check names all of them, in time linear in the text, and holds
the text to what llama.cpp's notation and vLLM's compiler both understand (`gbnf.py` has the table
of differences). It cannot judge every ambiguity, so a compiler still deserves a time limit.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass

from hive_expert.decoding.gbnf import Rule, parse_rules
from hive_expert.decoding.grammar_analysis import ROOT, check_rules
from hive_expert.errors import GrammarError, Problem

MAX_BYTES = 64 * 1024
MAX_PROBLEMS = 50
"""Problems that are reported of one grammar; a hostile one has thousands."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar that passed every check; only :func:`check_grammar` makes one.

    Laws: ``root`` is among ``rules``; some finite text matches; xgrammar compiles ``text``.
    ``warnings`` name rules that are never used, and counted choices, which slow answers down.
    """

    text: str
    rules: tuple[str, ...]
    root: str
    warnings: tuple[Problem, ...]


def check_grammar(text: str, where: str) -> Grammar:
    """Parse and check a GBNF grammar.

    ``where`` names the text in messages, as in `grammar.gbnf:3:14: there is no rule named col`.

    Raises:
        GrammarError: with every problem, in the order of the text: size, characters, syntax,
            duplicate and undefined rules, left recursion, rules that never end, and limits.
    """
    _check_size(text, where)
    problems = _Findings(text, where)
    warnings = _Findings(text, where)
    _check_characters(text, problems)
    parsed = parse_rules(text, problems.add)
    rules = _first_definitions(parsed, problems)
    if not problems.full:
        check_rules(rules, problems.add, warnings.add)
    if problems:
        raise GrammarError(*problems.in_order())
    return Grammar(text, tuple(rules), ROOT, warnings.in_order())


def decode_grammar(data: bytes, where: str) -> Grammar:
    """:func:`check_grammar` of a file's bytes, which must be UTF-8."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GrammarError(Problem(where, f"is not UTF-8 at byte {error.start}")) from error
    return check_grammar(text, where)


class _Findings:
    """Problems by their place in a text, up to a limit."""

    def __init__(self, text: str, where: str) -> None:
        self._where = where
        self._line_starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self._found: set[tuple[int, str, str]] = set()
        self._left_out = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def full(self) -> bool:
        return len(self._found) >= MAX_PROBLEMS

    def add(self, at: int, what: str, remedy: str) -> None:
        if self.full:
            self._left_out += 1
        else:
            self._found.add((at, what, remedy))

    def in_order(self) -> tuple[Problem, ...]:
        found = [Problem(self._place(at), what, remedy) for at, what, remedy in sorted(self._found)]
        if self._left_out:
            found.append(Problem(self._where, f"and at least {self._left_out} more"))
        return tuple(found)

    def _place(self, at: int) -> str:
        line = bisect_right(self._line_starts, at)
        return f"{self._where}:{line}:{at - self._line_starts[line - 1] + 1}"


def _check_size(text: str, where: str) -> None:
    # The first test spares a hostile million of characters the second's copy.
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise GrammarError(Problem(where, f"is larger than {MAX_BYTES} bytes"))


# Everything but printable ASCII, tabs and line breaks is looked at.
_UNUSUAL = re.compile(r"[^\t\n\x20-\x7e]")
# Characters that change what a reader sees: bidirectional controls and a byte order mark.
_DECEPTIVE = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
)


def _check_characters(text: str, problems: _Findings) -> None:
    for found in _UNUSUAL.finditer(text):
        character = found[0]
        if character == "\r" and text[found.end() : found.end() + 1] == "\n":
            continue
        name = f"U+{ord(character):04X}"
        if unicodedata.category(character) in ("Cc", "Cs"):
            problems.add(found.start(), f"the control character {name}", "write an escape")
        elif character in _DECEPTIVE:
            problems.add(found.start(), f"the invisible character {name}", "write an escape")


def _first_definitions(parsed: list[Rule], problems: _Findings) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for rule in parsed:
        if rules.setdefault(rule.name, rule) is not rule:
            problems.add(rule.at, f"{rule.name} is defined a second time", "give it another name")
    return rules

r"""GBNF text to a tree of rules, with every syntax problem found on the way.

The notation is llama.cpp's (its `grammars/README.md`), held to what the compiler behind vLLM,
xgrammar, reads in the same sense. Where the two differ, the construct is refused and the problem
says what to write instead:

======================================  ==========================  ===========================
construct                               llama.cpp                   xgrammar
======================================  ==========================  ===========================
``.`` and ``<token>``                   any character, a token      not known
``"\x41B"``: hex digit after ``\xHH``   ``A`` then ``B``            one character, U+041B
``"a" |`` with nothing after the bar    empty text                  error; ``""`` is understood
``[]`` and ``[^]``                      empty text                  nothing; any character
``[z-a]``, ``\uD800``, over U+10FFFF    accepted                    error, or matches nothing
``"\["``, ``"\]"``, ``"\-"``            the character               error outside a class
``"a"*?``                               repetition of a repetition  error
rules ``1st``, ``true``, ``Regex``      names                       a number, keywords, macros
``|`` at the start of a line            error                       continues the rule
a line break in ``"..."`` or ``[...]``  part of the text            error
a lone carriage return                  line break                  vLLM takes it for Lark
======================================  ==========================  ===========================

Parsing is one pass over the text. Rules are told apart first: a line that starts with `name ::=`
starts one wherever it stands, since no literal or class spans lines, so that one broken rule
does not hide the next. Groups nest at most ``MAX_NESTING`` deep, which bounds the recursion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from hive_expert.decoding.gbnf_characters import Report, check_class, literal_length, shown

MAX_RULES = 512
MAX_NESTING = 32
MAX_REPETITIONS = 256
MAX_NAME_CHARACTERS = 128

RESERVED_NAMES = frozenset(
    {"true", "false"}
    | {"TagDispatch", "TokenTagDispatch", "Token", "ExcludeToken", "Regex", "Substring"}
)
"""Keywords and macros of xgrammar's dialect."""


# Identity, not content, tells two elements apart: the same text may stand in two places.
@dataclass(frozen=True, slots=True, eq=False)
class Terminal:
    """A literal or a character class, known by how many characters it takes.

    ``wide``: a class that takes most letters.
    """

    at: int
    length: int
    wide: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The name of a rule, standing for its body."""

    at: int
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Alternatives, each a sequence of elements: a rule's body or a group."""

    at: int
    alternatives: tuple[tuple[Element, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """An element ``low`` to ``high`` times; ``high`` None is without end."""

    at: int
    body: Element
    low: int
    high: int | None


Element: TypeAlias = Terminal | Reference | Choice | Repeat


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One `name ::= body`; ``body`` is None where the syntax was broken."""

    at: int
    name: str
    body: Choice | None


def parse_rules(text: str, report: Report) -> list[Rule]:
    """Read all rules, in order, duplicates included. Problems go to ``report``.

    A rule whose name is refused is left out; past ``MAX_RULES`` only the names are read.
    """
    starts = list(_RULE_START.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    _RuleParser(text, 0, starts[0].start() if starts else len(text), report).nothing_but_space()
    if len(starts) > MAX_RULES:
        at = starts[MAX_RULES].start("name")
        report(at, f"there are {len(starts)} rules", f"at most {MAX_RULES} are allowed")
    rules: list[Rule] = []
    # Without any rule there is still the end of the text, hence not strict.
    for number, (start, end) in enumerate(zip(starts, ends, strict=False)):
        body = _body(text, start, end, report) if number < MAX_RULES else None
        if _is_name(start["name"], start.start("name"), report):
            rules.append(Rule(start.start("name"), start["name"], body))
    return rules


def rule_spans(text: str) -> list[tuple[str, int, int]]:
    """Each rule's name and where its body starts and ends, comments after it included."""
    starts = list(_RULE_START.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    # Without any rule there is still the end of the text, hence not strict.
    return [(start["name"], start.end(), end) for start, end in zip(starts, ends, strict=False)]


_RULE_START = re.compile(r'^[ \t]*+(?P<name>[^\s:"#\[\](){}|<>*+?]++)[ \t]*+::=', re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*+")
_SPACE = re.compile(r"(?:[ \t\r]|#[^\n]*+)*+")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*+)*+")
_LITERAL = re.compile(r'"((?:[^"\\\n]|\\[^\n])*+)"')
_CLASS = re.compile(r"\[(\^?)((?:[^\]\\\n]|\\[^\n])*+)\]")
_BRACES = re.compile(r"\{([^{}\n]*+)\}")
_BOUNDS = re.compile(r"[ \t]*([0-9]++)[ \t]*(?:(,)[ \t]*(?:([0-9]++)[ \t]*)?)?")


class _SyntaxError(Exception):
    """Ends the parse of one rule; never leaves this module."""

    def __init__(self, at: int, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.at, self.what, self.remedy = at, what, remedy


def _body(text: str, start: re.Match[str], end: int, report: Report) -> Choice | None:
    try:
        return _RuleParser(text, start.end(), end, report).body()
    except _SyntaxError as error:
        report(error.at, error.what, error.remedy)
        return None


def _is_name(name: str, at: int, report: Report) -> bool:
    if not _NAME.fullmatch(name):
        remedy = "use letters, digits, - and _, a letter or _ first"
        report(at, f"{shown(name)} is not a rule name", remedy)
    elif name in RESERVED_NAMES:
        report(at, f"{name} is a reserved word of the compiler", "name the rule otherwise")
    elif len(name) > MAX_NAME_CHARACTERS:
        report(at, f"the name is longer than {MAX_NAME_CHARACTERS} characters", "shorten it")
    else:
        return True
    return False


class _RuleParser:
    """Recursive descent over one rule's stretch of the text."""

    def __init__(self, text: str, start: int, end: int, report: Report) -> None:
        self._text = text
        self._at = start
        self._end = end
        self._report = report
        self._depth = 0

    def body(self) -> Choice:
        self._skip(lines=True)
        choice = self._choice(self._at)
        self._skip(lines=True)
        if self._at < self._end:
            raise self._unexpected_after_body()
        return choice

    def nothing_but_space(self) -> None:
        """What stands before the first rule."""
        self._skip(lines=True)
        if self._at < self._end:
            self._report(
                self._at, f"{self._next_shown()} is outside of any rule", "write name ::= body"
            )

    def _choice(self, at: int) -> Choice:
        alternatives = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            self._skip(lines=True)
            alternatives.append(self._sequence())
        return Choice(at, tuple(alternatives))

    def _sequence(self) -> tuple[Element, ...]:
        start = self._at
        elements: list[Element] = []
        while (element := self._element()) is not None:
            self._skip(lines=self._depth > 0)
            elements.append(self._repeated(element))
            self._skip(lines=self._depth > 0)
        if elements:
            return tuple(elements)
        if self._peek() in ("", "\n", "|", ")"):
            self._report(start, "an alternative is empty", 'write "" for the empty text')
        return (Terminal(start, 1),)

    def _element(self) -> Element | None:
        """The next element, or None where no element begins."""
        match self._peek():
            case '"':
                return self._literal()
            case "[":
                return self._class()
            case "(":
                return self._group()
            case ".":
                self._report(
                    self._at,
                    "the compiler does not know .",
                    r"write [^\n], or [\u0000-\U0010FFFF] for any character",
                )
                self._at += 1
                return Terminal(self._at - 1, 1)
            case "<" | "!":
                raise _SyntaxError(self._at, "tokens cannot be named", "write the text instead")
            case "'":
                raise _SyntaxError(self._at, "texts stand in double quotes", "")
            case "*" | "+" | "?" | "{":
                raise _SyntaxError(self._at, f"{self._peek()} has nothing to repeat", "")
        if name := _NAME.match(self._text, self._at, self._end):
            at, self._at = self._at, name.end()
            known = _is_name(name[0], at, self._report)
            return Reference(at, name[0]) if known else Terminal(at, 1)
        return None

    def _group(self) -> Choice:
        at = self._at
        if self._depth == MAX_NESTING:
            raise _SyntaxError(at, f"groups are nested more than {MAX_NESTING} deep")
        self._depth += 1
        self._at += 1
        self._skip(lines=True)
        choice = self._choice(at)
        if self._peek() != ")":
            found = f"{self._next_shown()} where" if self._at < self._end else "the rule ends where"
            raise _SyntaxError(self._at, f"{found} the group needs ) or another element", "")
        self._depth -= 1
        self._at += 1
        return choice

    def _literal(self) -> Terminal:
        at = self._at
        found = _LITERAL.match(self._text, at, self._end)
        if found is None:
            raise _SyntaxError(at, "the text has no closing quote on its line")
        self._at = found.end()
        return Terminal(at, literal_length(self._text, found.span(1), self._report))

    def _class(self) -> Terminal:
        at = self._at
        found = _CLASS.match(self._text, at, self._end)
        if found is None:
            raise _SyntaxError(at, "the character class has no ] on its line")
        self._at = found.end()
        wide = check_class(self._text, found.span(2), self._report, negated=bool(found[1]))
        return Terminal(at, 1, wide)

    def _repeated(self, element: Element) -> Element:
        at, sign = self._at, self._peek()
        if sign and sign in "*+?":
            self._at += 1
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        elif sign == "{":
            low, high = self._bounds()
        else:
            return element
        self._skip(lines=self._depth > 0)
        again = self._peek()
        if again and again in "*+?{":
            raise _SyntaxError(self._at, "a repetition of a repetition", "put ( ) around the first")
        return Repeat(at, element, low, high)

    def _bounds(self) -> tuple[int, int | None]:
        at = self._at
        braces = _BRACES.match(self._text, at, self._end)
        bounds = _BOUNDS.fullmatch(braces[1]) if braces else None
        if braces is None or bounds is None:
            raise _SyntaxError(at, "not a repetition", "write {m}, {m,} or {m,n} in digits")
        self._at = braces.end()
        low = _number(bounds[1])
        high = low if bounds[2] is None else _number(bounds[3]) if bounds[3] else None
        if max(low, high or 0) > MAX_REPETITIONS:
            self._report(at, f"the repetition exceeds {MAX_REPETITIONS} times", "")
        elif high == 0:
            self._report(at, "the repetition is of nothing", "leave the element out")
        elif high is not None and low > high:
            self._report(at, "the lower bound is above the upper one", "")
        return low, high

    def _unexpected_after_body(self) -> _SyntaxError:
        here = self._text[self._at]
        if here == "|":
            return _SyntaxError(
                self._at, "a line starts with |", "put the | at the end of the line before"
            )
        if here == ")":
            return _SyntaxError(self._at, ") closes no group")
        line = self._text[self._text.rfind("\n", 0, self._at) + 1 : self._at]
        if not line.strip():
            return _SyntaxError(
                self._at, "the rule goes on in a new line", "put ( ) around its body"
            )
        return _SyntaxError(
            self._at, f"{self._next_shown()} is unexpected", "a rule starts on a line of its own"
        )

    def _peek(self) -> str:
        return self._text[self._at] if self._at < self._end else ""

    def _next_shown(self) -> str:
        piece = re.compile(r"[^ \t\r\n]{1,20}").match(self._text, self._at, self._end)
        return shown(piece[0] if piece else "")

    def _skip(self, *, lines: bool) -> None:
        space = (_SPACE_AND_LINES if lines else _SPACE).match(self._text, self._at, self._end)
        self._at = space.end() if space else self._at


def _number(digits: str) -> int:
    """A repetition's bound; huge ones only stay huge, since int() of many digits is refused."""
    return int(digits.lstrip("0")[:9] or "0")

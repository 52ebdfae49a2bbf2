"""check_grammar: what is accepted, what is refused, and how the refusal reads."""

from __future__ import annotations

import dataclasses

import pytest

from hive_expert.decoding.gbnf import MAX_NAME_CHARACTERS, MAX_NESTING, MAX_REPETITIONS, MAX_RULES
from hive_expert.decoding.gbnf_characters import MAX_CLASS_ENTRIES, MAX_LITERAL_CHARACTERS
from hive_expert.decoding.grammar import MAX_BYTES, MAX_PROBLEMS, check_grammar, decode_grammar
from hive_expert.decoding.grammar_cost import MAX_OPTIONAL_RUN
from hive_expert.errors import GrammarError, Problem
from tests.decoding.grammars import SOUND, Sound


def _problems(text: str) -> list[str]:
    with pytest.raises(GrammarError) as refused:
        check_grammar(text, "g")
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize("sound", SOUND.values(), ids=SOUND)
def test_sound_grammars_are_accepted_as_they_are(sound: Sound) -> None:
    grammar = check_grammar(sound.text, "grammar.gbnf")
    assert grammar.text == sound.text
    assert grammar.root == "root"
    assert grammar.root in grammar.rules
    assert grammar.warnings == ()


# One mistake each: the grammar, its place, a part of the message.
MISTAKES = {
    # characters
    "NUL": ('root ::= "a\0"', "1:12", "control character U+0000"),
    "escape character": ('root ::= "\x1b[1m"', "1:11", "control character U+001B"),
    "lone carriage return": ('root ::= "a"\r', "1:13", "control character U+000D"),
    "lone surrogate": ('root ::= "\ud800"', "1:11", "control character U+D800"),
    "bidirectional control": ('root ::= "a" # \u202e', "1:16", "invisible character U+202E"),
    # rules
    "no rules": ("# nothing", "1:1", "no rule named root"),
    "no root": ('start ::= "a"', "1:1", "no rule named root"),
    "text before the first rule": ('hello\nroot ::= "a"', "1:1", "'hello' is outside of any rule"),
    "sign on the next line": ('root ::= "a"\nb\n::= "c"', "2:1", "goes on in a new line"),
    "two rules on a line": ('root ::= "a" b ::= "c"', "1:16", "'::=' is unexpected"),
    "duplicate": ('root ::= "a"\nroot ::= "b"', "2:1", "root is defined a second time"),
    "undefined": ("root ::= colunm\ncolumn ::= [a-z]", "1:10", "no rule named colunm (did you"),
    "name that starts with a digit": ('root ::= "a"\n1st ::= "b"', "2:1", "'1st' is not a rule"),
    "name with a dot": ('root ::= "a"\na.b ::= "b"', "2:1", "'a.b' is not a rule name"),
    "name beyond ASCII": ('root ::= "a"\n\u00e4 ::= "b"', "2:1", r"'\xe4' is not a rule name"),
    "reserved name": ('root ::= "a"\nRegex ::= "b"', "2:1", "Regex is a reserved word"),
    "long name": ('root ::= "a"\n' + "b" * 129 + ' ::= "b"', "2:1", "longer than 128"),
    # bodies
    "empty body": ("root ::=", "1:9", 'an alternative is empty (write ""'),
    "empty alternative at the end": ('root ::= "a" |', "1:15", "an alternative is empty"),
    "empty alternative at the start": ('root ::= | "a"', "1:10", "an alternative is empty"),
    "empty group": ('root ::= "a" ()', "1:15", "an alternative is empty"),
    "bar at the start of a line": ('root ::= "a"\n  | "b"', "2:3", "a line starts with |"),
    "new line without a group": ('root ::= "a"\n  "b"', "2:3", "put ( ) around its body"),
    "open group": ('root ::= ("a"', "1:14", "the group needs )"),
    "open group before a rule": ('root ::= ("a"\nb ::= "c"', "2:1", "the rule ends where"),
    "closed group": ('root ::= "a")', "1:13", ") closes no group"),
    "unknown sign": ('root ::= "a" & "b"', "1:14", "'&' is unexpected"),
    "any character": ('root ::= "a" .', "1:14", "the compiler does not know ."),
    "token": ('root ::= "a" <think>', "1:14", "tokens cannot be named"),
    "negated token": ('root ::= "a" !<[7]>', "1:14", "tokens cannot be named"),
    "single quotes": ("root ::= 'a'", "1:10", "texts stand in double quotes"),
    "lookahead": ('root ::= "a" (="b")', "1:15", "'=\"b\")' where the group needs )"),
    # literals
    "unterminated literal": ('root ::= "a', "1:10", "no closing quote"),
    "literal over two lines": ('root ::= "a\nb"', "1:10", "no closing quote"),
    "literal that escapes its end": (r'root ::= "a\"', "1:10", "no closing quote"),
    "unknown escape": (r'root ::= "\d"', "1:11", r"\d is no escape here"),
    "class escape in a literal": (r'root ::= "\["', "1:11", r"\[ is no escape here"),
    "short hex escape": (r'root ::= "\x4"', "1:11", r"\x is no escape here"),
    "short unicode escape": (r'root ::= "\u12G4"', "1:11", r"\u is no escape here"),
    "hex digit after a hex escape": (r'root ::= "\x41B"', "1:11", r"(write \u0041)"),
    "escaped surrogate": (r'root ::= "\uD800"', "1:11", "U+D800 is not a character"),
    "past the last code point": (r'root ::= "\U00110000"', "1:11", "U+110000 is not a character"),
    # classes
    "unterminated class": ("root ::= [a", "1:10", "no ] on its line"),
    "class over two lines": ("root ::= [a\nb]", "1:10", "no ] on its line"),
    "empty class": ('root ::= "a" []', "1:15", "the character class is empty"),
    "empty negated class": ('root ::= "a" [^]', "1:16", "the character class is empty"),
    "backward range": ("root ::= [z-a]", "1:11", "the range runs backwards"),
    "class of words": (r"root ::= [\w]", "1:11", r"\w is no escape here"),
    "hex digit after a hex escape in a class": (r"root ::= [\x00a]", "1:11", r"\u0000"),
    "everything excluded": (r"root ::= [^\u0000-\U0010FFFF]", "1:12", "excludes every character"),
    "everything excluded in pieces": (
        r"root ::= [^\u0000-\uD7FF\uE000-\uFFFF\U00010000-\U0010FFFF]",
        "1:12",
        "excludes every character",
    ),
    # repetitions
    "nothing to repeat": ('root ::= *"a"', "1:10", "* has nothing to repeat"),
    "nothing to repeat in a group": ('root ::= (+ "a")', "1:11", "+ has nothing to repeat"),
    "repetition of a repetition": ('root ::= "a"+?', "1:14", "a repetition of a repetition"),
    "no bounds": ('root ::= "a"{}', "1:13", "not a repetition"),
    "no lower bound": ('root ::= "a"{,2}', "1:13", "not a repetition"),
    "negative bound": ('root ::= "a"{-1}', "1:13", "not a repetition"),
    "unclosed bounds": ('root ::= "a"{2', "1:13", "not a repetition"),
    "no times": ('root ::= "b" "a"{0}', "1:17", "the repetition is of nothing"),
    "crossed bounds": ('root ::= "a"{3,2}', "1:13", "the lower bound is above the upper one"),
    "empty repeated": ('root ::= ("a"?)* "b"', "1:16", "what is repeated here may be empty"),
    "empty rule repeated": ('root ::= (ws)+ "a"\nws ::= " "*', "1:14", "may be empty"),
    "empty repeated with bounds": ('root ::= ("" | "a"){2,3} "b"', "1:20", "may be empty"),
    "nested endless repetition": ("root ::= ([a-z]+)+", "1:18", "nothing but a repetition"),
    "nested endless repetition of a rule": ("root ::= a{2}\na ::= [a-z]+", "1:11", "but a repet"),
    "nested endless repetition and an option": (
        'root ::= ("x" | [a-z]+ "b"?)+',
        "1:29",
        "nothing but a repetition",
    ),
    "deep bounded repetition": (
        'root ::= ((("a"? "b"){0,256} "c"){0,256} "d"){0,2}',
        "1:22",
        "more than 65536 in all",
    ),
    # what can be generated
    "left recursion": ('root ::= root "a" | "b"', "1:1", "root begins with root"),
    "indirect left recursion": (
        'root ::= "x" a\na ::= b "y" | "z"\nb ::= a "w"',
        "2:1",
        "a begins with b begins with a",
    ),
    "left recursion behind an option": ('root ::= "-"? root | "b"', "1:1", "root begins with root"),
    "left recursion behind an empty rule": (
        'root ::= ws root "a" | "b"\nws ::= " "*',
        "1:1",
        "root begins with root",
    ),
    "left recursion in a repetition": ('root ::= (root "a")* "b"', "1:1", "root begins with root"),
    "endless rule": ('root ::= "a" root', "1:1", "root can never end"),
    "endless rule aside": ('root ::= "a" | b\nb ::= "(" b ")"', "2:1", "b can never end"),
    "only the empty text": ('root ::= "" a\na ::= ""', "1:1", "the only answer is the empty text"),
    "no answer short enough": (
        'root ::= a{256}\na ::= b{256}\nb ::= "xy"',
        "1:1",
        "more than 65536 characters",
    ),
    "no answer short enough by doubling": (
        "root ::= r0\n"
        + "".join(f"r{i} ::= r{i + 1} r{i + 1}\n" for i in range(20))
        + 'r20 ::= "a"',
        "1:1",
        "more than 65536 characters",
    ),
}


@pytest.mark.parametrize(("text", "place", "part"), MISTAKES.values(), ids=MISTAKES)
def test_one_mistake_is_one_problem_at_its_place(text: str, place: str, part: str) -> None:
    (problem,) = _problems(text)
    assert problem.startswith(f"g:{place}: ")
    assert part in problem


def test_all_mistakes_are_reported_in_the_order_of_the_text() -> None:
    text = "\n".join(
        [
            r'root ::= "\d" missing',
            'a ::= ("b"',
            "b ::= [z-a]",
            'c ::= c "x" | "y"',
            'd ::= "x" d',
            'b ::= "again"',
        ]
    )
    assert [problem.split(" ")[0] for problem in _problems(text)] == [
        "g:1:11:",
        "g:1:15:",
        "g:3:1:",
        "g:3:8:",
        "g:4:1:",
        "g:5:1:",
        "g:6:1:",
    ]


def test_a_broken_rule_hides_no_other_and_counts_as_defined() -> None:
    assert _problems('root ::= a b\na ::= ("x"\nb ::= "y" | &') == [
        "g:3:1: the rule ends where the group needs ) or another element",
        "g:3:13: '&' is unexpected (a rule starts on a line of its own)",
    ]


def test_several_left_recursions_are_all_reported() -> None:
    text = 'root ::= a | b | c\na ::= a "x" | "x"\nb ::= c "y" | "y"\nc ::= b "z"'
    assert [p.split(" (")[0] for p in _problems(text)] == [
        "g:2:1: left recursion: a begins with a",
        "g:3:1: left recursion: b begins with c begins with b",
    ]


def test_the_number_of_problems_is_limited() -> None:
    problems = _problems("root ::= " + " ".join(f"u{i}" for i in range(MAX_PROBLEMS + 7)))
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1] == "g: and at least 7 more"


def test_unused_rules_are_warnings() -> None:
    grammar = check_grammar('root ::= "a"\nb ::= c\nc ::= "d"', "g")
    assert grammar.rules == ("root", "b", "c")
    assert grammar.warnings == (
        Problem("g:2:1", "b is never used"),
        Problem("g:3:1", "c is never used"),
    )


@pytest.mark.parametrize(
    "grammar",
    [
        """root ::= "'" ( [^'\\n] | "''" ){0,160} "'\"""",
        'root ::= ( [^x\\\\] | "\\\\" [^\\n] ){1,8} "."',
        'root ::= ( [a-z] | [A-Z] ){40} "."',
        'root ::= ( "-" | [a-n] ){8,} "."',
        'root ::= one{0,64} "."\none ::= ( two | "-" )\ntwo ::= ( [A-Z0-9] )',
        'root ::= part+ "."\npart ::= "(" ( [^()] | "()" ){0,64} ")"',
    ],
)
def test_a_counted_choice_is_warned_of(grammar: str) -> None:
    (warning,) = check_grammar(grammar, "g").warnings
    assert "a choice is counted here" in warning.what


@pytest.mark.parametrize(
    "grammar",
    [
        """root ::= "'" ( [^'\\n] | "''" )* "'\"""",
        """root ::= "'" ( [^'\\n] | "''" ){0,7} "'\"""",
        """root ::= "'" [^'\\n]* ( "''" [^'\\n]* )* "'\"""",
        'root ::= [a-z]{0,160} "."',
        'root ::= one{0,160} "."\none ::= ( [a-z] )',
        'root ::= ( [0-9] | ".." ){0,160} ";"',
        'root ::= ( [a-f] | "--" ){0,160} ";"',
        'root ::= ( "and " | "the " | "of " ){0,160} "."',
        'root ::= ( [a-z]+ " " ){0,160} "."',
    ],
)
def test_counts_and_choices_that_cost_nothing_are_not(grammar: str) -> None:
    assert check_grammar(grammar, "g").warnings == ()


@pytest.mark.parametrize(
    ("fits", "exceeds", "part"),
    [
        pytest.param(
            'root ::= "a"'.ljust(MAX_BYTES),
            'root ::= "a"'.ljust(MAX_BYTES + 1),
            "larger than 65536 bytes",
            id="size",
        ),
        pytest.param(
            'root ::= "a" #' + "\u00e4" * (MAX_BYTES // 2 - 7),
            'root ::= "a" #' + "\u00e4" * (MAX_BYTES // 2 - 6),
            "larger than 65536 bytes",
            id="size in bytes",
        ),
        pytest.param(
            'root ::= "a"\n' + "".join(f'r{i} ::= "a"\n' for i in range(MAX_RULES - 1)),
            'root ::= "a"\n' + "".join(f'r{i} ::= "a"\n' for i in range(MAX_RULES)),
            "there are 513 rules",
            id="rules",
        ),
        pytest.param(
            f'root ::= {"(" * MAX_NESTING}"a"{")" * MAX_NESTING}',
            f'root ::= {"(" * (MAX_NESTING + 1)}"a"{")" * (MAX_NESTING + 1)}',
            "nested more than 32 deep",
            id="nesting",
        ),
        pytest.param(
            f'root ::= "{"a" * MAX_LITERAL_CHARACTERS}"',
            f'root ::= "{"a" * (MAX_LITERAL_CHARACTERS + 1)}"',
            "a text of 1025 characters",
            id="literal",
        ),
        pytest.param(
            f"root ::= [{'a' * MAX_CLASS_ENTRIES}]",
            f"root ::= [{'a' * (MAX_CLASS_ENTRIES + 1)}]",
            "1025 entries in a class",
            id="class",
        ),
        pytest.param(
            f'root ::= "a"{{0,{MAX_REPETITIONS}}}',
            f'root ::= "a"{{0,{MAX_REPETITIONS + 1}}}',
            "the repetition exceeds 256 times",
            id="upper bound",
        ),
        pytest.param(
            f'root ::= "a"{{{MAX_REPETITIONS},}}',
            f'root ::= "a"{{{MAX_REPETITIONS + 1},}}',
            "the repetition exceeds 256 times",
            id="lower bound",
        ),
        pytest.param(
            'root ::= ("a"{0,256} "b"){0,256}',
            'root ::= (("a" "c"{0,2}){0,256} "b"){0,256}',
            "nested repetitions make more than 65536 in all",
            id="product of repetitions",
        ),
        pytest.param(
            'root ::= "x" ' + '"a"? ' * MAX_OPTIONAL_RUN,
            'root ::= "x" ' + '"a"? ' * (MAX_OPTIONAL_RUN + 1),
            "more than 64 elements in a row may all be missing",
            id="optional run",
        ),
        pytest.param(
            'root ::= "x" a a "y"\na ::= ' + '"a"? ' * (MAX_OPTIONAL_RUN // 2),
            'root ::= "x" a a "z"? "y"\na ::= ' + '"a"? ' * (MAX_OPTIONAL_RUN // 2),
            "more than 64 elements in a row may all be missing",
            id="optional run through rules",
        ),
        pytest.param(
            f'root ::= "a" {"b" * MAX_NAME_CHARACTERS}\n{"b" * MAX_NAME_CHARACTERS} ::= "c"',
            f'root ::= "a"\n{"b" * (MAX_NAME_CHARACTERS + 1)} ::= "c"',
            "longer than 128 characters",
            id="name",
        ),
        pytest.param(
            'root ::= a{256}\na ::= "x"{256}',
            'root ::= "y" a{256}\na ::= "x"{256}',
            "the shortest answer has more than 65536 characters",
            id="shortest text",
        ),
    ],
)
def test_limits_are_where_they_are_said_to_be(fits: str, exceeds: str, part: str) -> None:
    check_grammar(fits, "g")
    (problem,) = _problems(exceeds)
    assert part in problem


def test_a_grammar_cannot_be_changed() -> None:
    grammar = check_grammar('root ::= "a"', "g")
    with pytest.raises(dataclasses.FrozenInstanceError):
        grammar.text = "root ::= root"  # type: ignore[misc]  # the point of the test


def test_a_file_is_utf_8() -> None:
    assert decode_grammar('root ::= "\u00e4"'.encode(), "g").text == 'root ::= "\u00e4"'
    with pytest.raises(GrammarError, match="g: is not UTF-8 at byte 10"):
        decode_grammar('root ::= "\u00e4"'.encode("latin-1"), "g")


def test_a_byte_order_mark_is_refused() -> None:
    with pytest.raises(GrammarError, match=r"g:1:1: the invisible character U\+FEFF"):
        decode_grammar(b'\xef\xbb\xbfroot ::= "a"', "g")

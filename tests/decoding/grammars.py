"""Sound grammars, each with texts it matches and texts it does not."""

from __future__ import annotations

from typing import NamedTuple


class Sound(NamedTuple):
    text: str
    matches: tuple[str, ...]
    misses: tuple[str, ...]


SOUND = {
    "literal": Sound('root ::= "abc"', ("abc",), ("", "ab", "abcd")),
    "no space around the sign": Sound('root::="a"', ("a",), ("b",)),
    "indented rules": Sound('  root ::= a\n\ta ::= "x"', ("x",), ("a",)),
    "alternatives": Sound('root ::= "a" | "b"|"c"', ("a", "c"), ("d", "ab")),
    "empty alternative": Sound('root ::= "a" ("b" | "") "c"', ("ac", "abc"), ("ab",)),
    "rules": Sound('root ::= a b\na ::= "x"\nb ::= "y"', ("xy",), ("yx", "x")),
    "names": Sound('root ::= a-b_C1 _d\na-b_C1 ::= "x"\n_d ::= "y"', ("xy",), ("x",)),
    "escapes": Sound(r'root ::= "\n\t\r\\\""', ('\n\t\r\\"',), ("n",)),
    "hex escapes": Sound(r'root ::= "\x41\u00e9\U0001F600g"', ("A\u00e9\U0001f600g",), ("A",)),
    "a digit after a four digit escape": Sound(r'root ::= "\u00411"', ("A1",), ("A",)),
    "text as itself": Sound(
        'root ::= "\u00e9\u65e5\U0001f600\t\'[]-"', ("\u00e9\u65e5\U0001f600\t'[]-",), ("e",)
    ),
    "class": Sound("root ::= [abc]", ("a", "c"), ("d", "ab")),
    "ranges": Sound("root ::= [a-cx0-9]", ("b", "x", "7"), ("d", "-")),
    "negated class": Sound(r'root ::= [^"\\\x7F\x00-\x1F]', ("a", "\u00e9"), ('"', "\x1f", "\\")),
    "hyphens": Sound("root ::= [-a] [b-] [a-b-c] [+\\-.]", ("--c-", "ab-+"), ("b---",)),
    "brackets": Sound(r'root ::= [[] [\[\]] ["]', ('[]"', '[["'), (']]"',)),
    "caret": Sound("root ::= [a^] [^^]", ("^a", "ab"), ("a^",)),
    "code points": Sound("root ::= [\u3041-\u309f] [\\u0000-\\U0010FFFF]", ("\u3042\n",), ("a\n",)),
    "group": Sound('root ::= ("a" | "b") "c"', ("ac", "bc"), ("c",)),
    "star": Sound('root ::= "a"* "b"', ("b", "aab"), ("a",)),
    "plus": Sound("root ::= [a-z]+", ("a", "zz"), ("",)),
    "question mark": Sound('root ::= "a"? "b"', ("b", "ab"), ("aab",)),
    "space before the sign": Sound('root ::= "a" * "b" ?', ("", "aab"), ("bb",)),
    "exact repetition": Sound('root ::= "a"{3}', ("aaa",), ("aa", "aaaa")),
    "open repetition": Sound('root ::= "a"{2,}', ("aa", "aaaaa"), ("a",)),
    "bounded repetition": Sound('root ::= "a"{ 1 , 3 }', ("a", "aaa"), ("", "aaaa")),
    "longest repetition": Sound('root ::= "a"{256}', ("a" * 256,), ("a" * 255,)),
    "nested repetition": Sound('root ::= ([a-z]{1,8} ","){2,3}', ("a,bc,",), ("a,", "a,,")),
    "optional optional": Sound('root ::= ("a"?)? "b"', ("b", "ab"), ("aa",)),
    "bounded repetition of an optional whole": Sound('root ::= ("a" "b"?){2}', ("aab",), ("b",)),
    "comments": Sound('# c ::= d\nroot ::= "a" # | "b"\n# end', ("a",), ("b",)),
    "hash signs": Sound('root ::= "#" [#]', ("##",), ("#",)),
    "bar before a new line": Sound('root ::= "a" |\n  "b"', ("a", "b"), ("ab",)),
    "body on a new line": Sound('root ::=\n  "a"', ("a",), ("",)),
    "lines in a group": Sound('root ::= (\n "a" # x\n | "b"\n "c"\n)\n', ("a", "bc"), ("b",)),
    "carriage returns": Sound('root ::= a |\r\n "b"\r\n\r\na ::= "c"\r\n', ("b", "c"), ("a",)),
    "right recursion": Sound('root ::= "a" root | "b"', ("b", "aab"), ("a",)),
    "nested recursion": Sound('root ::= "(" root? ")"', ("()", "(())"), ("(", "())")),
    "recursion after an optional part": Sound('root ::= "a"? "x" root?', ("xax",), ("aa",)),
    "rule used before its definition": Sound('root ::= z\nz ::= "a"', ("a",), ("z",)),
    "word-like rule names": Sound('root ::= in null\nin ::= "a"\nnull ::= "b"', ("ab",), ("a",)),
    "json": Sound(
        r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws
array  ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9]{1,15})? ws
ws     ::= "" | " " | "\n" [ \t]{0,20}
""",
        ('{"a": [1, "x\\n"], "b": {}}', "{}"),
        ("[1]", '{"a" 1}', '{"a": tru}'),
    ),
    "sql": Sound(
        r"""
root   ::= "SELECT " column (", " column)* " FROM " name where? ";"
where  ::= " WHERE " column (" = " | " > ") ([0-9]{1,6} | "'" [^']{0,64} "'")
column ::= name ("." name)?
name   ::= [a-z_] [a-z0-9_]{0,30}
""",
        ("SELECT a, t.b FROM t WHERE a > 5;", "SELECT a FROM t;"),
        ("SELECT a FROM t", "DROP TABLE t;"),
    ),
}

"""The form of a request: schemas, patterns, code and data that it carries, words that it uses.

Cues belong to no expert. The policy learns which of them speak for which task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from hive_expert.router.embeddings import Vector
from hive_expert.router.generic import CUES as GENERIC
from hive_expert.router.generic import generic_cues, is_generic
from hive_expert.router.turns import Request

_COLUMN_TYPE = (
    r"(?: (?:int|integer|text|varchar|real|date|bool|numeric|serial|float|primary)[^,()]*)?"
)
_ANNOTATED = (
    r"(?:string|number|boolean|void|unknown|never|any|date|promise|record|array|map|set|partial"
    r"|t|k)"
)

# Something to work on: with one of these, a question is not a general one.
_MATERIAL: Mapping[str, re.Pattern[str]] = {
    "table with columns": re.compile(
        rf"\b[a-z_]\w* ?\([a-z_]\w*{_COLUMN_TYPE}(?:, ?[a-z_]\w*(?: [a-z ]{{1,40}})?)+"
        r"(?:, ?…|, ?\.\.\.)?\)"
    ),
    "create table": re.compile(r"\bcreate (?:temp(?:orary)? )?table\b"),
    "node pattern": re.compile(r"\(\w{0,20} ?: ?`?[a-z]\w*"),
    "relationship pattern": re.compile(r"-\[[^\]]{0,80}\]-|\)--?>?\("),
    "json schema": re.compile(r'"(?:type|properties|required|items|enum)" ?: ?["\[{]'),
    "json value": re.compile(r'\{\s{0,8}"?\w{1,40}"?\s{0,4}:'),
    "names in braces": re.compile(r"\{ ?\w{1,40}(?: ?, ?\w{1,40}){0,20} ?\}"),
    "type annotation": re.compile(rf': ?(?:readonly )?{_ANNOTATED}\b(?!,? ?")|=>|\w<\w|\w\[\]'),
    "code declaration": re.compile(
        r"\b(?:function|interface|class|enum|const|let|type) \w+ ?[(=<{]"
    ),
    "sql statement": re.compile(r"\bselect\b.{1,200}\bfrom\b|\binsert into\b", re.DOTALL),
    "cypher statement": re.compile(r"\bmatch ?\(|\bmerge ?\("),
    "code block": re.compile(r"```|^\s{4}\w.{0,200}[;{]$", re.MULTILINE),
}
_FORM: Mapping[str, re.Pattern[str]] = {
    "text after colon": re.compile(r"[:\n—-]\s{0,4}\S{1,30}(?:\s{1,4}\S{1,30}){6}"),
    "quoted text": re.compile(
        r'"[^"\n]{20,}"|“[^”\n]{20,}”|«[^»\n]{20,}»|„[^“”\n]{20,}[“”]|\'[^\'\n]{25,}\''
    ),
    "numbers": re.compile(r"\d"),
    "question mark": re.compile("\\?\\s*$|\uff1f"),
}
# Read with their capitals: what is written so is a name or a word of a language.
_SPELLED: Mapping[str, re.Pattern[str]] = {
    "snake case": re.compile(r"\b[a-z]+_[a-z_]*[a-z]\b"),
    "capital name": re.compile(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b|:[A-Z]\w+"),
    "capital SQL": re.compile(
        r"\b(?:SELECT|FROM|WHERE|JOIN|GROUP BY|ORDER BY|HAVING|COUNT|DISTINCT|CREATE TABLE)\b"
    ),
    "capital Cypher": re.compile(r"\b(?:MATCH|MERGE|RETURN)\b"),
    "camel case": re.compile(r"\b[a-z]+[A-Z]\w*\b"),
}
_IN_SYSTEM = ("table with columns", "node pattern", "json schema", "type annotation")


def _words(*alternatives: str) -> re.Pattern[str]:
    """Any of these as whole words. ASCII: a Chinese letter beside a Latin word ends the word."""
    return re.compile(rf"\b(?:{'|'.join(alternatives)})\b", re.ASCII)


def _opening(*alternatives: str) -> re.Pattern[str]:
    """A request that opens with any of these."""
    return re.compile(rf"\A\W*(?:please )?(?:{'|'.join(alternatives)})\b", re.ASCII)


_WORDS: Mapping[str, re.Pattern[str]] = {
    "says sql": _words(r"\w*sql\w*", r"postgres\w*", "duckdb", "mariadb", "oracle database"),
    "says table": _words(
        "tables?", "columns?", "rows?", "database", "schema", "records", "joins?", "select",
        "where clause",
    ),
    "says cypher": _words("cypher", "neo4j"),
    "says graph": _words(
        "graph", "nodes?", "relationships?", "edges?", "shortest path", "hops?", "connected",
        "degrees",
    ),
    "says json": _words("json"),
    "says extract": _words(
        "extract", "parse", "pull", "fields?", "structured?", "convert", "key.value", "object",
        "fill", "capture", "schema",
    ),
    "says typescript": _words("typescript", "tsx?", "tsconfig"),
    "says code": _words(
        "functions?", "interface", "types?", "class", "generic", "method", "implement", "code",
        "async", "promise", "enum", "signature", "helper", "hook", "typed", "union", "array",
        "module", "export(?:ed)?", "snippet", "parameter", "arguments?",
    ),
    "other language": _words(
        "python", "java", "javascript", "rust", "golang", "in go", "ruby", "php", "kotlin",
        "swift", "bash", "shell", "haskell", "perl", "scala", "matlab", "pandas", "numpy",
        "powershell", "assembly", "lua", "elixir", "fortran", "cobol", "excel", "vba", "in [cr]",
        r"c\+\+(?=\W|$)(?:)", "c#(?:)",
    ),
    "other format": _words(
        "mongo(?:db)?", "regex", "regular expression", "html", "css", "ya?ml", "xml", "csv",
        "markdown", "toml", "graphql", "redis", "sparql", "gremlin", "elasticsearch",
        "dockerfile", "latex", "protobuf", "spreadsheet", "table of contents",
    ),
    "prose": _words(
        "poem", "story", "joke", "essay", "song", "rap", "haiku", "limerick", "letter", "speech",
        "translate", "recipe", "birthday", "slogan", "advice", "announcement", "paragraph",
        "summary", "summari[sz]e", "e-?mail to", "blog", "review of", "proofread", "rewrite this",
        "rephrase", "grammar",
    ),
    "greets": _opening(
        "hi", "hello", "hey", "thanks", "thank you", "good (?:morning|evening|night)", "bye",
        "sorry", "cool", "great", "nice", "ok",
    ),
    "asks for data": _opening(
        "how many", "how much", "which", "who", "list", "show", "find", "get", "give me",
        "return", "count", "fetch", "retrieve", "display", "what(?:'s| is| are|) the",
    ),
    "asks to make": _opening(
        "write", "create", "implement", "build", "make", "define", "declare", "add", "generate",
        "code", "type", "need", "i need",
    ),
    "asks to turn": _opening(
        "extract", "parse", "convert", "turn", "pull", "transform", "fill", "read", "capture",
        "structure", "map", "take", "output", "return",
    ),
    "query": _words("quer(?:y|ies)"),
    "changes data": _words(
        "insert", "update", "delete", "drop", "alter", "truncate", "grant", "revoke", "migrate",
        "erase", "wipe", "empty the", "clear the", "remove (?:all|every|the|each|any)",
        "set (?:the|all|every)", "create (?:a )?(?:new )?table",
    ),
    "runs or debugs": _words(
        "error", "install", "debug", "fix", "slow", "optimi[sz]e", "performance", "crash",
        "version", "server", "backup", "index(?:es|ing)?", "connect to", "port", "driver",
        "docker", "license", "company", "salary of a", "career", "job",
    ),
}  # fmt: skip
_DIALECT = re.compile(r"^\s*dialect\s*:\s*([\w+#.-]{1,40})", re.IGNORECASE | re.MULTILINE)

GENERAL_QUESTION = "general question"
NAMES: tuple[str, ...] = (
    *_MATERIAL,
    *_FORM,
    *_SPELLED,
    *(f"system: {name}" for name in _IN_SYSTEM),
    *_WORDS,
    *GENERIC,
    GENERAL_QUESTION,
    "short",
    "long",
    "not ASCII",
)


def cues_of(request: Request) -> Vector:
    """0 or 1 for each of NAMES."""
    text, instruction = request.text.lower(), request.instruction.lower()
    system = request.system.lower()
    material = [pattern.search(text) is not None for pattern in _MATERIAL.values()]
    words = {name: pattern.search(instruction) is not None for name, pattern in _WORDS.items()}
    generic = generic_cues(instruction)
    at_work = any(material) or words["asks to make"] or words["asks to turn"]
    found = [
        *material,
        *(pattern.search(text) is not None for pattern in _FORM.values()),
        *(pattern.search(request.text) is not None for pattern in _SPELLED.values()),
        *(bool(system) and _MATERIAL[name].search(system) is not None for name in _IN_SYSTEM),
        *words.values(),
        *generic.values(),
        is_generic(generic) and not at_work,
        len(instruction) < 40,
        len(text) > 250,
        not instruction.isascii(),
    ]
    return np.array(found, np.float32)


def declared_dialect(request: Request) -> str | None:
    """The word after `Dialect:` in the system message, or in a request written in one message."""
    for text in (request.system, request.text):
        if found := _DIALECT.search(text):
            return found[1].casefold()
    return None

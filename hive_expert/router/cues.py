"""The form of a request: schemas, patterns, code and data that it carries, words that it uses.

Cues belong to no expert. The policy learns which of them speak for which task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hive_expert.router.cue_words import PHRASES, word_cues
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
_DECLARED = ("function", "interface", "class", "enum", "const", "let", "type")
_SQL = ("SELECT", "FROM", "WHERE", "JOIN", "GROUP BY", "ORDER BY", "HAVING", "COUNT", "DISTINCT")


@dataclass(frozen=True, slots=True)
class Shape:
    """A pattern and what a text cannot match it without, which is quicker to look for.

    Law: every match contains one of `needs`.
    """

    pattern: re.Pattern[str]
    needs: tuple[str, ...] = ()

    def is_in(self, text: str) -> bool:
        for needed in self.needs:
            if needed in text:
                break
        else:
            if self.needs:
                return False
        return self.pattern.search(text) is not None


def _shape(pattern: str, *needs: str, flags: re.RegexFlag = re.NOFLAG) -> Shape:
    return Shape(re.compile(pattern, flags), needs)


# Something to work on: with one of these, a question is not a general one.
_MATERIAL: Mapping[str, Shape] = {
    "table with columns": _shape(
        rf"\b[a-z_]\w* ?\([a-z_]\w*{_COLUMN_TYPE}(?:, ?[a-z_]\w*(?: [a-z ]{{1,40}})?)+"
        r"(?:, ?…|, ?\.\.\.)?\)",
        "(",
    ),
    "create table": _shape(r"\bcreate (?:temp(?:orary)? )?table\b", "create "),
    "node pattern": _shape(r"\(\w{0,20} ?: ?`?[a-z]\w*", "("),
    "relationship pattern": _shape(r"-\[[^\]]{0,80}\]-|\)--?>?\(", "-[", ")-"),
    "json schema": _shape(r'"(?:type|properties|required|items|enum)" ?: ?["\[{]', '"'),
    "json value": _shape(r'\{\s{0,8}"?\w{1,40}"?\s{0,4}:', "{"),
    "names in braces": _shape(r"\{ ?\w{1,40}(?: ?, ?\w{1,40}){0,20} ?\}", "{"),
    "type annotation": _shape(
        rf': ?(?:readonly )?{_ANNOTATED}\b(?!,? ?")|=>|\w<\w|\w\[\]', ":", "=>", "<", "[]"
    ),
    "code declaration": _shape(rf"\b(?:{'|'.join(_DECLARED)}) \w+ ?[(=<{{]", *_DECLARED),
    "sql statement": _shape(
        r"\bselect\b.{1,200}\bfrom\b|\binsert into\b", "select", "insert", flags=re.DOTALL
    ),
    "cypher statement": _shape(r"\bmatch ?\(|\bmerge ?\(", "match", "merge"),
    "code block": _shape(r"```|^\s{4}\w.{0,200}[;{]$", "```", ";", "{", flags=re.MULTILINE),
}
_FORM: Mapping[str, Shape] = {
    "text after colon": _shape(r"[:\n—-]\s{0,4}\S{1,30}(?:\s{1,4}\S{1,30}){6}"),
    "quoted text": _shape(
        r'"[^"\n]{20,}"|“[^”\n]{20,}”|«[^»\n]{20,}»|„[^“”\n]{20,}[“”]|\'[^\'\n]{25,}\'',
        *"\"“«„'",
    ),
    "numbers": _shape(r"\d"),
    "question mark": _shape("\\?\\s*$|\uff1f", "?", "\uff1f"),
}
# Read with their capitals: what is written so is a name or a word of a language.
_SPELLED: Mapping[str, Shape] = {
    "snake case": _shape(r"\b[a-z]+_[a-z_]*[a-z]\b", "_"),
    "capital name": _shape(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b|:[A-Z]\w+", "_", ":"),
    "capital SQL": _shape(rf"\b(?:{'|'.join(_SQL)}|CREATE TABLE)\b", *_SQL, "CREATE TABLE"),
    "capital Cypher": _shape(r"\b(?:MATCH|MERGE|RETURN)\b", "MATCH", "MERGE", "RETURN"),
    "camel case": _shape(r"\b[a-z]+[A-Z]\w*\b"),
}
SHAPES = {**_MATERIAL, **_FORM, **_SPELLED}
_IN_SYSTEM = ("table with columns", "node pattern", "json schema", "type annotation")


def _opening(*alternatives: str) -> re.Pattern[str]:
    """A request that opens with any of these; to be matched at its start."""
    return re.compile(rf"\W*(?:please )?(?:{'|'.join(alternatives)})\b", re.ASCII)


_OPENS: Mapping[str, re.Pattern[str]] = {
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
}  # fmt: skip
_DIALECT = re.compile(r"^\s*dialect\s*:\s*([\w+#.-]{1,40})", re.IGNORECASE | re.MULTILINE)

GENERAL_QUESTION = "general question"
NAMES: tuple[str, ...] = (
    *_MATERIAL,
    *_FORM,
    *_SPELLED,
    *(f"system: {name}" for name in _IN_SYSTEM),
    *PHRASES,
    *_OPENS,
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
    material = [shape.is_in(text) for shape in _MATERIAL.values()]
    words = word_cues(instruction)
    opens = {name: pattern.match(instruction) is not None for name, pattern in _OPENS.items()}
    generic = generic_cues(instruction)
    at_work = any(material) or opens["asks to make"] or opens["asks to turn"]
    found = [
        *material,
        *(shape.is_in(text) for shape in _FORM.values()),
        *(shape.is_in(request.text) for shape in _SPELLED.values()),
        *(bool(system) and _MATERIAL[name].is_in(system) for name in _IN_SYSTEM),
        *(name in words for name in PHRASES),
        *opens.values(),
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

"""English for the names in a schema: singular and plural, articles, comparatives, verbs."""

from __future__ import annotations

from text_to_sql import resources

_VOCABULARY = resources.toml("english.toml")

PEOPLE = frozenset(_VOCABULARY["people"])
PLACES = frozenset(_VOCABULARY["places"])
ADJECTIVAL = frozenset(_VOCABULARY["adjectival"])
COMPARATIVES: dict[str, tuple[str, str, str, str]] = {
    noun: tuple(forms) for noun, forms in _VOCABULARY["comparatives"].items()
}
"""By the last word of a numeric column: more than, less than, most, least."""

_SINGULARS: dict[str, str] = _VOCABULARY["irregular"]
_PLURALS = {one: many for many, one in _SINGULARS.items()}
_UNCOUNTABLE = frozenset(_VOCABULARY["uncountable"])
_NOT_PLURAL = frozenset(_VOCABULARY["not_plural"])


def spoken(name: str) -> str:
    """How people say an identifier: ``opened_on`` is the opening date."""
    return str(_VOCABULARY["spoken"].get(name, name.replace("_", " ")))


def singular(phrase: str) -> str:
    *head, last = phrase.split()
    if last in _SINGULARS:
        one = _SINGULARS[last]
    elif last.endswith("ies"):
        one = last[:-3] + "y"
    elif last.endswith(("ches", "shes", "xes", "sses")):
        one = last[:-2]
    else:
        one = last.removesuffix("s")
    return " ".join([*head, one])


def plural(phrase: str) -> str:
    if " of " in phrase:
        noun, _, rest = phrase.partition(" of ")
        return f"{plural(noun)} of {rest}"
    *head, last = phrase.split()
    if last in _PLURALS:
        many = _PLURALS[last]
    elif is_countable(phrase) or last.endswith("ings") or last in _UNCOUNTABLE:
        many = last
    elif last.endswith("y") and last[-2] not in "aeiou":
        many = last[:-1] + "ies"
    elif last.endswith(("ch", "sh", "x", "ss", "us")):
        many = last + "es"
    else:
        many = last + "s"
    return " ".join([*head, many])


def is_countable(phrase: str) -> bool:
    """Whether a column counts things ("pages", "goals"): then one says *more than 3 goals*."""
    last = phrase.split()[-1]
    return last.endswith("s") and not last.endswith("ss") and last not in _NOT_PLURAL


def with_article(phrase: str) -> str:
    if is_countable(phrase) or phrase.split()[-1] in _UNCOUNTABLE:
        return phrase
    vowel = phrase.startswith(("a", "e", "i", "o", "hour", "un"))
    if phrase.startswith(("unit", "one", "euro", "use")):
        vowel = False
    return ("an " if vowel else "a ") + phrase


def comparative(phrase: str) -> tuple[str, str, str, str] | None:
    """*older, younger, oldest, youngest* for a column that has such words."""
    return COMPARATIVES.get(phrase.split()[-1])


def participle(column: str) -> str:
    """What happened at a year or date column (``release_year``: released), or ''."""
    stem = column
    for suffix in ("_year", "_date", "_on", "_at"):
        stem = stem.removesuffix(suffix)
    stem = stem.removeprefix("year_")
    guess = stem if stem.endswith("ed") and "_" not in stem else ""
    return str(_VOCABULARY["verbs"].get(stem, guess))


def is_active(verb: str) -> bool:
    """Whether rows do it themselves, so that it takes *who*: *members who joined*."""
    return verb in _VOCABULARY["active_verbs"]


def happened(verb: str) -> str:
    return f"who {verb}" if is_active(verb) else verb

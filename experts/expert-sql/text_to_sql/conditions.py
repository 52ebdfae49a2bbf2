"""Filters: one WHERE term and the words for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from text_to_sql import english
from text_to_sql.draw import Draw, Unsuitable, either
from text_to_sql.schema import Column, Table
from text_to_sql.sql import literal, ref

ATTEMPTS = 6


@dataclass(frozen=True)
class Condition:
    """A filter on `column`: `after` says it behind the noun, `before`, where it may, in front."""

    column: Column
    sql: str
    after: str
    before: str = ""

    def applied(self, noun: str) -> str:
        return f"{self.before} {noun}" if self.before else f"{noun} {self.after}"


def condition(draw: Draw, table: Table, *kinds: str, but: Column | None = None) -> Condition:
    """A filter on a column of `kinds` (all by default) that keeps some rows and drops others.

    Raises Unsuitable where a few tries find none.
    """
    wanted = kinds or tuple(_BY_KIND)
    columns = [c for c in table.columns if c.kind in wanted and c != but]
    for _ in range(ATTEMPTS):
        column = draw.pick(columns)
        made = _BY_KIND[column.kind](draw, table, column)
        kept = draw.database.count(table, made.sql)
        if 0 < kept < len(draw.database.rows[table.name]):
            return made
    raise Unsuitable


def equals_label(draw: Draw, table: Table, column: Column) -> Condition:
    value = str(draw.value(table, column))
    ways = ["whose {c} is", "with the {c}", "with {c}", "where the {c} is"]
    if column.phrase == "name":
        ways += ["named", "called"]
    after = draw.say(either(*ways) + " {v}", c=column.phrase, v=draw.quoted(value))
    return Condition(column, f"{ref(table, column)} = {literal(value)}", after)


def like(draw: Draw, table: Table, column: Column) -> Condition:
    value = str(draw.value(table, column))
    where = draw.pick(["start", "start", "contain", "contain", "end"])
    size = draw.rng.randint(1, 3)
    word = draw.pick(value.split())
    if where == "start":
        part, pattern, verb = value[:size], value[:size] + "%", "[starts|begins] with"
    elif where == "end":
        part, pattern, verb = value[-size:], "%" + value[-size:], "ends [with|in]"
    else:
        part = word if len(value.split()) > 1 and draw.chance(0.6) else value[1 : 2 + size].strip()
        pattern, verb = f"%{part}%", "[contains|includes]"
    if not part.strip() or part != part.strip():
        raise Unsuitable
    quoted = draw.pick([f"'{part}'", f'"{part}"', part, part])
    after = draw.say(f"[whose|where the] {{c}} {verb} {{v}}", c=column.phrase, v=quoted)
    return Condition(column, f"{ref(table, column)} LIKE {literal(pattern)}", after)


def one_of(draw: Draw, table: Table, column: Column) -> Condition:
    present = sorted({str(v) for v in draw.database.column(table, column) if v is not None})
    first, second = draw.some(present, 2)
    after = draw.say(
        "whose {c} is [either |]{a} or {b}",
        "with {c} {a} or {b}",
        "where the {c} is {a} or {b}",
        "whose {c} is one of {a}, {b}",
        "with {c} in {a}, {b}",
        c=column.phrase,
        a=first,
        b=second,
    )
    sql = f"{ref(table, column)} IN ({literal(first)}, {literal(second)})"
    return Condition(column, sql, after)


def missing(draw: Draw, table: Table, column: Column) -> Condition:
    ways: tuple[str, ...]
    if draw.chance(0.6):
        test = "IS NULL"
        ways = (
            "without {ac}",
            "with no {c}",
            "whose {c} is [missing|unknown|not set|empty]",
            "that have no {c}",
        )
    else:
        test = "IS NOT NULL"
        ways = (
            "that have {ac}",
            "with a known {c}",
            "whose {c} is [known|set|not empty|recorded]",
        )
    after = draw.say(*ways, c=column.phrase, ac=english.with_article(column.phrase))
    return Condition(column, f"{ref(table, column)} {test}", after)


def between(draw: Draw, table: Table, column: Column) -> Condition:
    # Compared as text: 1000 and 500 come out reversed, keep no row, and are drawn anew.
    low, high = sorted((_threshold(draw, table, column), _threshold(draw, table, column)))
    if low == high:
        raise Unsuitable
    verb = english.participle(column.name)
    if column.kind == "year" and verb:
        slots = {"v": english.happened(verb), "a": low, "b": high}
        after = draw.say("{v} [between {a} and {b}|from {a} to {b}]", **slots)
    else:
        after = draw.say(
            "with {ac} between {a} and {b}",
            "whose {c} {be} between {a} and {b}",
            "where the {c} {be} between {a} and {b}",
            "with {ac} from {a} to {b}",
            "whose {c} {be} from {a} to {b}",
            "with {c} in the range {a} to {b}",
            **_column_slots(column),
            a=low,
            b=high,
        )
    return Condition(column, f"{ref(table, column)} BETWEEN {low} AND {high}", after)


def _choice(draw: Draw, table: Table, column: Column) -> Condition:
    value = str(draw.value(table, column))
    if draw.chance(0.12):
        after = draw.say(
            "whose {c} is not {v}",
            "with a {c} other than {v}",
            "where the {c} is not {v}",
            "whose {c} isn't {v}",
            "not having the {c} {v}",
            c=column.phrase,
            v=value,
        )
        return Condition(column, f"{ref(table, column)} <> {literal(value)}", after)
    sql = f"{ref(table, column)} = {literal(value)}"
    last = column.phrase.split()[-1]
    if last in english.PLACES and draw.chance(0.35):
        return Condition(column, sql, draw.say("[from|in|located in|based in] {v}", v=value))
    if last in english.ADJECTIVAL and draw.chance(0.2):
        return Condition(column, sql, f"with {column.phrase} {value}", before=value)
    after = draw.say(
        "[whose {c} is|with {c}|with the {c}|where the {c} is|where {c} is|having {c}|of {c}"
        "|whose {c} equals] {v}",
        c=column.phrase,
        v=draw.quoted(value),
    )
    return Condition(column, sql, after)


def _flag(draw: Draw, table: Table, column: Column) -> Condition:
    yes = draw.chance(0.6)
    word = column.phrase.removeprefix("is ")
    after = f"that are {word}" if yes else draw.say("that are [not|not yet] {w}", w=word)
    in_front = not draw.chance(0.5)
    before = word if yes and in_front else ""
    return Condition(column, f"{ref(table, column)} = {int(yes)}", after, before)


_COUNTED = {
    ">": "[more than|over] {n}",
    "<": "[fewer than|less than|under] {n}",
    ">=": "[at least {n}|{n} or more]",
    "<=": "[at most {n}|no more than {n}]",
    "=": "[exactly|] {n}",
}
_UNDER = "[below|under|less than|lower than|smaller than]"
_OF = {
    ">": "[above|over|greater than|more than|higher than|larger than|exceeding]",
    "<": _UNDER,
    ">=": "[of at least|of no less than]",
    "<=": "[of at most|of no more than]",
    "=": "[of|equal to|of exactly]",
}
_IS = {
    ">": "[above|over|greater than|more than|higher than|bigger than]",
    "<": _UNDER,
    ">=": "[at least|no less than]",
    "<=": "[at most|no more than]",
    "=": "[equal to|exactly|]",
}


def _number(draw: Draw, table: Table, column: Column) -> Condition:
    if draw.chance(0.12):
        return between(draw, table, column)
    value = _threshold(draw, table, column)
    operator = draw.rng.choices([">", "<", ">=", "<=", "="], [38, 30, 14, 10, 8])[0]
    if column.kind == "real" and operator == "=":
        operator = ">"
    if operator == "=":
        value = str(draw.value(table, column))
    slots = _column_slots(column) | {"n": value}
    comparative = english.comparative(column.phrase)
    if operator in "<>" and comparative and draw.chance(0.45):
        after = f"{comparative[operator == '<']} than {value}"
    elif english.is_countable(column.phrase) and draw.chance(0.65):
        after = draw.say(f"[with|that have|having] {_COUNTED[operator]} {{c}}", **slots)
    elif draw.chance(0.5):
        nouns = ("with {ac}", "with {c}", "that have {ac}", "having {ac}")
        after = draw.say(either(*(f"{n} {_OF[operator]}" for n in nouns)) + " {n}", **slots)
    else:
        subject = "[whose {c} {be}|where the {c} {be}|where {c} {be}]"
        after = draw.say(f"{subject} {_IS[operator]} {{n}}", **slots)
    return Condition(column, f"{ref(table, column)} {operator} {value}", after)


def _year(draw: Draw, table: Table, column: Column) -> Condition:
    if draw.chance(0.12):
        return between(draw, table, column)
    value = str(draw.value(table, column))
    operator = draw.rng.choices([">", "<", ">=", "="], [35, 30, 10, 25])[0]
    verb = english.participle(column.name)
    if verb and draw.chance(0.75):
        when = {">": "after", "<": "before", ">=": "[in or after|since]", "=": "in"}[operator]
        after = draw.say(f"{{v}} {when} {{n}}", v=english.happened(verb), n=value)
    else:
        when = {
            ">": "[after|later than|greater than]",
            "<": "[before|earlier than|less than]",
            ">=": "[at least|no earlier than]",
            "=": "",
        }[operator]
        subject = "[whose {c} is|where the {c} is]"
        after = draw.say(f"{subject} {when} {{n}}", c=column.phrase, n=value)
    return Condition(column, f"{ref(table, column)} {operator} {value}", after)


def _date(draw: Draw, table: Table, column: Column) -> Condition:
    day = str(draw.value(table, column))
    verb = english.participle(column.name)
    said = english.happened(verb) if verb and draw.chance(0.75) else f"whose {column.phrase} is"
    kind = draw.rng.choices(["after", "before", "year", "on", "between"], [32, 26, 26, 6, 10])[0]
    target = ref(table, column)
    if kind == "year":
        year = day[:4]
        after = draw.say("{s} [in|in|in|during|in the year] {y}", s=said, y=year)
        return Condition(column, f"{target} BETWEEN '{year}-01-01' AND '{year}-12-31'", after)
    if kind == "between":
        low, high = sorted((day, str(draw.value(table, column))))
        after = draw.say("{s} between {a} and {b}", s=said, a=low, b=high)
        return Condition(column, f"{target} BETWEEN '{low}' AND '{high}'", after)
    if kind != "on" and draw.chance(0.4):
        day = day[:8] + "01" if draw.chance(0.6) else day[:5] + "01-01"
    operator = {"after": draw.pick([">", ">", ">", ">="]), "before": "<", "on": "="}[kind]
    when = {
        ">": "[after|later than]",
        ">=": "[since|on or after]",
        "<": "[before|earlier than]",
        "=": "on",
    }[operator]
    after = draw.say(f"{{s}} {when} {{d}}", s=said, d=_day_text(draw, day))
    return Condition(column, f"{target} {operator} '{day}'", after)


def _day_text(draw: Draw, day: str) -> str:
    if draw.chance(0.85):
        return day
    when = date.fromisoformat(day)
    if draw.chance(0.6):
        return f"{when:%B} {when.day}, {when.year}"
    return f"{when.day} {when:%B} {when.year}"


def _threshold(draw: Draw, table: Table, column: Column) -> str:
    """A round number from the middle of the column's values."""
    values = sorted(v for v in draw.database.column(table, column) if isinstance(v, int | float))
    value = draw.pick(values[len(values) // 6 : -max(1, len(values) // 6)])
    if column.kind == "year":
        return str(value)
    spread = column.high - column.low
    step = next(s for s in (1000, 500, 100, 50, 10, 5, 1) if s * 8 <= spread or s == 1)
    return str(max(1, int(value) // step * step))


def _column_slots(column: Column) -> dict[str, str]:
    phrase = column.phrase
    be = "are" if english.is_countable(phrase) else "is"
    return {"c": phrase, "ac": english.with_article(phrase), "be": be}


_BY_KIND: dict[str, Callable[[Draw, Table, Column], Condition]] = {
    "choice": _choice,
    "int": _number,
    "real": _number,
    "year": _year,
    "date": _date,
    "bool": _flag,
}


def perhaps(
    draw: Draw, table: Table, probability: float, but: Column | None = None
) -> tuple[str, str]:
    """The noun for a table's rows with its WHERE: filtered at times, else all rows and ''."""
    if not draw.chance(probability):
        return table.plural, ""
    made = condition(draw, table, but=but)
    return made.applied(table.plural), made.sql


_PREDICATES = (
    ("with ", "have "),
    ("that have ", "have "),
    ("having ", "have "),
    ("that are ", "are "),
    ("who ", ""),
    ("without ", "are without "),
)


def predicate(after: str) -> str:
    """*with a price over 5* as *have a price over 5*; '' where it can't follow *which books*."""
    for start, verb in _PREDICATES:
        if after.startswith(start):
            return verb + after.removeprefix(start)
    if after.startswith(("whose ", "where ", "of ", "not ")):
        return ""
    return f"are {after}"

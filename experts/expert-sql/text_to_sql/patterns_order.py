"""Questions about order in one table: sorted rows, the first, the first few."""

from __future__ import annotations

from text_to_sql import english
from text_to_sql.conditions import condition
from text_to_sql.draw import Draw, Question, either, label, phrases
from text_to_sql.schema import Column, Table
from text_to_sql.sql import by, query, ref, refs

_DIRECTIONS = {
    # (kind of column, downwards): ways to say so
    ("label", False): (
        "[alphabetically by {c}|sorted by {c}|ordered by {c} from A to Z"
        "|in alphabetical order of {c}]"
    ),
    ("label", True): "[sorted by {c} in descending order|ordered by {c} from Z to A]",
    ("time", False): "[, oldest first|, earliest first|]",
    ("time", True): "[, newest first|, latest first|descending]",
    ("number", False): ("[[from lowest to highest|in ascending order|ascending|, lowest first]|]"),
    ("number", True): "[from highest to lowest|in descending order|descending|, highest first]",
}
_BY = "[sorted by|ordered by|in order of|sort by] [the |their |]{c}"
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def filled(table: Table, *kinds: str) -> list[Column]:
    """Columns without NULL: databases differ in where they sort it."""
    return [c for c in table.of_kind(*kinds) if not c.nullable]


def _order(draw: Draw, table: Table) -> tuple[Column, str, str]:
    """A column to sort by, the words for it, and the ORDER BY."""
    column = draw.pick(filled(table, "int", "real", "date", "year", "label"))
    down = draw.chance(0.5)
    if column.kind == "label":
        down = draw.chance(0.3)
        template = _DIRECTIONS["label", down]
    elif column.kind in ("date", "year"):
        template = f"{_BY} {_DIRECTIONS['time', down]}"
    elif down or draw.chance(0.7):
        template = f"{_BY} {_DIRECTIONS['number', down]}"
    else:
        template = _BY
    comparative = english.comparative(column.phrase)
    if column.is_number and comparative and draw.chance(0.3):
        most, least = comparative[2:]
        template = f"from {most} to {least}" if down else f"from {least} to {most}"
    return column, draw.say(template, c=column.phrase), by(ref(table, column), down)


def ordered(draw: Draw) -> Question:
    table = draw.table()
    _, said, order = _order(draw, table)
    if draw.chance(0.35):
        text = draw.say("LIST all {ns} {o}", ns=table.plural, o=said)
        return Question(text, query("*", table.name, tail=order), "single/order")
    chosen = draw.shown(table, draw.pick([1, 1, 2]))
    text = draw.say(
        "SHOW the {c} of [all |the |]{ns} {o}",
        c=phrases(chosen, many=draw.chance(0.6)),
        ns=table.plural,
        o=said,
    )
    return Question(text, query(refs(table, chosen), table.name, tail=order), "single/order")


def filtered_ordered(draw: Draw) -> Question:
    table = draw.table()
    column, said, order = _order(draw, table)
    made = condition(draw, table, but=column)
    chosen = draw.shown(table, draw.pick([1, 1, 2]))
    text = draw.say(
        "SHOW the {c} of {r}, {o}",
        c=phrases(chosen, many=draw.chance(0.6)),
        r=made.applied(table.plural),
        o=said.removeprefix(", "),
    )
    answer = query(refs(table, chosen), table.name, made.sql, order)
    return Question(text, answer, "single/order")


def extreme(draw: Draw, column: Column, down: bool) -> tuple[str, bool]:
    """Words for the first by a column, and whether they stand before the noun."""
    comparative = english.comparative(column.phrase)
    if column.kind in ("date", "year"):
        verb = english.participle(column.name)
        if verb and not english.is_active(verb) and draw.chance(0.4):
            return f"{'most recently' if down else 'earliest'} {verb}", True
        end = "[latest|most recent]" if down else "[earliest|oldest]"
        return draw.say(f"with the {end} {{c}}", c=column.phrase), False
    if comparative and draw.chance(0.55):
        return comparative[2 if down else 3], True
    if english.is_countable(column.phrase):
        return f"with the {'most' if down else 'fewest'} {column.phrase}", False
    end = "[highest|largest|greatest]" if down else "[lowest|smallest]"
    return draw.say(f"with the {end} {{c}}", c=column.phrase), False


def superlative(draw: Draw) -> Question:
    table = draw.table(labelled=True)
    column = draw.pick(filled(table, "int", "real", "date", "year"))
    down = draw.chance(0.6)
    said, before = extreme(draw, column, down)
    chosen = [label(table)] if draw.chance(0.7) else draw.shown(table)
    ways = ["What is the {c} of the {r}?", "SHOW the {c} of the {r}"]
    if chosen == [label(table)]:
        which = "Which {n} is the {s}?" if before else "Which {n} has {s}?"
        ways = [which, which, *ways]
    text = draw.say(
        either(*ways),
        r=f"{said} {table.singular}" if before else f"{table.singular} {said}",
        c=phrases(chosen),
        n=table.singular,
        s=said.removeprefix("with "),
    )
    order = by(ref(table, column), down)
    answer = query(refs(table, chosen), table.name, tail=f"{order} LIMIT 1")
    ties = query(ref(table, column), table.name, tail=f"{order} LIMIT 2")
    return Question(text, answer, "single/top", ties)


def top(draw: Draw) -> Question:
    table = draw.table()
    column = draw.pick(filled(table, "int", "real", "date", "year"))
    number = draw.rng.choice([2, 3, 3, 4, 5, 5, 6, 7, 8, 10])
    down = draw.chance(0.7)
    said, before = extreme(draw, column, down)
    count = draw.pick([str(number), (*_NUMBER_WORDS, "ten")[number]])
    rows = f"{count} {said} {table.plural}" if before else f"{count} {table.plural} {said}"
    if draw.chance(0.3):
        text, what = draw.say("LIST the {r}", r=rows), "*"
    else:
        chosen = draw.shown(table, draw.pick([1, 1, 2]))
        ways = ["SHOW the {c} of the {r}", "What are the {c} of the {r}?"]
        if column.is_number and down and draw.chance(0.35):
            ways = ["SHOW the {c} of the top {k} {ns} by {o}"]
        text = draw.say(
            *ways,
            c=phrases(chosen, many=True),
            r=rows,
            k=count,
            ns=table.plural,
            o=column.phrase,
        )
        what = refs(table, chosen)
    order = by(ref(table, column), down)
    answer = query(what, table.name, tail=f"{order} LIMIT {number}")
    ties = query(ref(table, column), table.name, tail=f"{order} LIMIT {number + 1}")
    return Question(text, answer, "single/top", ties)

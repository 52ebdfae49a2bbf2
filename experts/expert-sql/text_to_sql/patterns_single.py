"""Questions about one table: its columns, its filters, one row of it, distinct values."""

from __future__ import annotations

from dataclasses import replace

from text_to_sql import english
from text_to_sql.conditions import (
    Condition,
    between,
    condition,
    equals_label,
    like,
    missing,
    one_of,
    perhaps,
    predicate,
)
from text_to_sql.draw import Draw, Question, be, either, label, phrases, telling
from text_to_sql.schema import Table
from text_to_sql.sql import literal, query, ref, refs


def columns(draw: Draw) -> Question:
    table = draw.table()
    chosen = draw.shown(table, draw.rng.choices([1, 2, 3], [45, 40, 15])[0])
    many = draw.chance(0.6)
    text = draw.say(
        "SHOW the {c} of [all|every one of the|all the|the] {ns}",
        "What {be} the {c} of [all |the |]{ns}?",
        "SHOW the {c} [for each {n}|of each {n}|of every {n}]",
        "{c} of all {ns}",
        "SHOW all {n} {cs}",
        "[For each {n}, show|For every {n}, list] the {c}",
        c=phrases(chosen, many=many),
        be=be(chosen, many),
        cs=phrases(chosen, many=True),
        n=table.singular,
        ns=table.plural,
    )
    return Question(text, query(refs(table, chosen), table.name), "single/select")


def everything(draw: Draw) -> Question:
    table = draw.table()
    text = draw.say(
        "LIST all {ns}",
        "LIST [everything|all information|all details|all data] about [the |all |]{ns}",
        "LIST all columns of [the |]{ns}",
        "LIST every {n}",
        "What {ns} are there?",
        "all {ns}",
        n=table.singular,
        ns=table.plural,
    )
    return Question(text, query("*", table.name), "single/select")


def _rows(draw: Draw, table: Table, made: Condition, category: str) -> Question:
    """Whole rows that a filter keeps."""
    text = draw.say(
        "LIST [all|all the|every one of the|all|the|] {r}",
        "LIST [all |][information|details|data] [about|on|for] {r}",
        "all {r}",
        r=made.applied(table.plural),
    )
    return Question(text, query("*", table.name, made.sql), category)


def _chosen(draw: Draw, table: Table, made: Condition, category: str) -> Question:
    """Chosen columns of the rows that a filter keeps."""
    chosen = draw.shown(table, draw.rng.choices([1, 2, 3], [55, 38, 7])[0])
    many = draw.chance(0.6)
    text = draw.say(
        "SHOW the {c} of [all |the |]{r}",
        "What {be} the {c} of {r}?",
        "SHOW the {c} of [all|] {r}",
        "SHOW {c} for [all |]{r}",
        "{c} of {r}",
        "For {r}, show the {c}",
        c=phrases(chosen, many=many),
        be=be(chosen, many),
        r=made.applied(table.plural),
    )
    return Question(text, query(refs(table, chosen), table.name, made.sql), category)


def _which(draw: Draw, table: Table, made: Condition, category: str) -> Question:
    """The labels of the rows that a filter keeps: *which books …*."""
    said = predicate(made.after)
    rest = f"{table.plural} {said}?" if said else f"are the {table.plural} {made.after}?"
    answer = query(ref(table, label(table)), table.name, made.sql)
    return Question(f"Which {rest}", answer, category)


def _any_answer(draw: Draw, table: Table, made: Condition, category: str) -> Question:
    weights = [35, 45, 20 if table.label else 0]
    return draw.rng.choices([_rows, _chosen, _which], weights)[0](draw, table, made, category)


def filtered(draw: Draw) -> Question:
    table = draw.table()
    return _any_answer(draw, table, condition(draw, table), "single/filter")


def filtered_number(draw: Draw) -> Question:
    table = draw.table()
    return _any_answer(draw, table, condition(draw, table, "int", "real"), "single/filter")


def filtered_choice(draw: Draw) -> Question:
    table = draw.table()
    return _any_answer(draw, table, condition(draw, table, "choice"), "single/filter")


def in_range(draw: Draw) -> Question:
    table = draw.table()
    column = draw.pick(table.of_kind("int", "real", "year"))
    return _any_answer(draw, table, between(draw, table, column), "single/filter")


def in_list(draw: Draw) -> Question:
    table = draw.table()
    made = one_of(draw, table, draw.pick(table.of_kind("choice")))
    return _any_answer(draw, table, made, "single/filter")


def matching_text(draw: Draw) -> Question:
    table = draw.table()
    made = like(draw, table, draw.pick(table.of_kind("label")))
    return _any_answer(draw, table, made, "single/like")


def empty_value(draw: Draw) -> Question:
    table = draw.table()
    nullable = [c for c in table.columns if c.nullable]
    return _any_answer(draw, table, missing(draw, table, draw.pick(nullable)), "single/null")


def in_time(draw: Draw) -> Question:
    table = draw.table()
    return _any_answer(draw, table, condition(draw, table, "date", "year"), "single/date")


def two_filters(draw: Draw) -> Question:
    table = draw.table()
    first = condition(draw, table)
    second = condition(draw, table, but=first.column)
    word = draw.pick(["and", "and", "or"])
    sql = f"{first.sql} {word.upper()} {second.sql}"
    if first.before and word == "and":
        chosen = draw.shown(table)
        text = draw.say(
            "SHOW the {c} of {r}",
            c=phrases(chosen, many=True),
            r=replace(second, before="").applied(f"{first.before} {table.plural}"),
        )
        answer = query(refs(table, chosen), table.name, sql)
        return Question(text, answer, "single/two-filters")
    made = Condition(first.column, sql, f"{first.after} {word} {second.after}")
    pattern = draw.pick([_rows, _chosen, _chosen])
    return pattern(draw, table, made, "single/two-filters")


def lookup(draw: Draw) -> Question:
    """A property or two of one named row."""
    table = draw.table(labelled=True)
    name = draw.name_of(table)
    others = [c for c in telling(table) if c != table.label]
    chosen = draw.some(others, 2 if len(others) > 1 and draw.chance(0.25) else 1)
    said = draw.quoted(name)
    elsewhere = [
        t
        for t in draw.schema.tables
        if t != table and t.label and any(c.name == chosen[0].name for c in t.columns)
    ]
    if elsewhere:  # other named rows have that property too: say which table is meant
        said = f"the {table.singular} {said}"
    text = draw.say(
        _lookup_template(
            one=len(chosen) == 1,
            counted=len(chosen) == 1 and english.is_countable(chosen[0].phrase),
            bare=not elsewhere,
        ),
        c=phrases(chosen),
        v=said,
        n=table.singular,
        l="named" if label(table).phrase == "name" else f"with {label(table).phrase}",
    )
    where = f"{ref(table, label(table))} = {literal(name)}"
    return Question(text, query(refs(table, chosen), table.name, where), "single/lookup")


def _lookup_template(one: bool, counted: bool, bare: bool) -> str:
    """`bare`: the name stands alone in ``{v}``, and the noun may be put before it."""
    if counted:
        plain = "How many {c} does {v} have?"
        return either(plain, "How many {c} does the {n} {v} have?") if bare else plain
    if not one:
        noun = "[the {n} |]" if bare else ""
        return either("What are the {c} of {v}?", f"SHOW the {{c}} of {noun}{{v}}")
    return either(
        "What is the {c} of {v}?",
        "What is the {c} of the {n} {v}?" if bare else "What is the {c} of {v}?",
        "SHOW the {c} of {v}",
        "SHOW the {c} of the {n} {l} {v}" if bare else "SHOW the {c} of {v}",
        "What {c} does {v} have?",
        "What's the {c} of {v}?",
    )


def named_row(draw: Draw) -> Question:
    table = draw.table(labelled=True)
    return _rows(draw, table, equals_label(draw, table, label(table)), "single/lookup")


def distinct(draw: Draw) -> Question:
    table = draw.table()
    column = draw.pick(table.of_kind("choice"))
    noun, where = perhaps(draw, table, 0.3, but=column)
    text = draw.say(
        "SHOW the [different|distinct|unique] {c} of [the |]{ns}",
        "Which [different|distinct] {c} do {ns} have?",
        "What [different|distinct|unique] {c} [are there among|exist for] [the |]{ns}?",
        "SHOW all [distinct|unique] {c} of {ns}",
        "SHOW the {c} of {ns} without [duplicates|repetition]",
        c=english.plural(column.phrase),
        ns=noun,
    )
    answer = query(f"DISTINCT {ref(table, column)}", table.name, where)
    return Question(text, answer, "single/distinct")

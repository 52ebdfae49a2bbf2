"""Questions that compare rows with a figure or a set that another query finds."""

from __future__ import annotations

from text_to_sql import english
from text_to_sql.conditions import condition, predicate
from text_to_sql.draw import Draw, Question, label, phrases
from text_to_sql.schema import Column
from text_to_sql.sql import literal, query, ref, refs


def _beside_average(draw: Draw, column: Column) -> tuple[str, str]:
    """The operator against the average, and the words for it after the noun."""
    more = draw.chance(0.65)
    operator = ">" if more else "<"
    comparative = english.comparative(column.phrase)
    if comparative and draw.chance(0.4):
        return operator, f"{comparative[not more]} than average"
    over = "[above|higher than|greater than|over]" if more else "[below|lower than|less than|under]"
    if english.is_countable(column.phrase):
        fewer = "more" if more else "fewer"
        ways = [
            f"with {fewer} {{c}} than [the |]average",
            f"that have {fewer} {{c}} than average",
            f"whose {{c}} are {over} [the |]average",
        ]
    else:
        ways = [
            f"with {{ac}} {over} [the |]average",
            f"whose {{c}} is {over} [the |]average",
            f"with {'an above' if more else 'a below'}-average {{c}}",
            f"whose {{c}} is {over} the average {{c}}",
        ]
    slots = {"c": column.phrase, "ac": english.with_article(column.phrase)}
    return operator, draw.say(*ways, **slots)


def beside_average(draw: Draw) -> Question:
    table = draw.table()
    column = draw.number(table)
    operator, said = _beside_average(draw, column)
    name = ref(table, column)
    where = f"{name} {operator} ({query(f'AVG({name})', table.name)})"
    roll = draw.rng.random()
    if roll < 0.18:
        text = draw.say(
            "How many {ns} are there {s}?", "Count the {ns} {s}", ns=table.plural, s=said
        )
        return Question(text, query("COUNT(*)", table.name, where), "subquery/average")
    if roll < 0.4:
        text = draw.say("SHOW [all |]{ns} {s}", ns=table.plural, s=said)
        return Question(text, query("*", table.name, where), "subquery/average")
    chosen = draw.shown(table, draw.pick([1, 1, 2]))
    text = draw.say(
        "SHOW the {c} of [all |the |]{ns} {s}",
        "What are the {c} of {ns} {s}?",
        "{c} of {ns} {s}",
        c=phrases(chosen, many=True),
        ns=table.plural,
        s=said,
    )
    return Question(text, query(refs(table, chosen), table.name, where), "subquery/average")


def at_extreme(draw: Draw) -> Question:
    table = draw.table()
    column = draw.number(table)
    function, end = (
        ("MAX", "[maximum|highest|largest]")
        if draw.chance(0.6)
        else ("MIN", "[minimum|lowest|smallest]")
    )
    chosen = draw.shown(table)
    text = draw.say(
        f"SHOW the {{s}} of [all |the |]{{ns}} whose {{c}} [is|equals] the {end} {{c}}",
        f"SHOW the {{s}} of all {{ns}} that [have|share] the {end} {{c}}",
        s=phrases(chosen, many=True),
        ns=table.plural,
        c=column.phrase,
    )
    name = ref(table, column)
    where = f"{name} = ({query(f'{function}({name})', table.name)})"
    return Question(text, query(refs(table, chosen), table.name, where), "subquery/extreme")


def beside_named(draw: Draw) -> Question:
    """More (or less) of something than one named row has."""
    table = draw.table(labelled=True)
    column = draw.pick(table.of_kind("int", "real", "year"))
    name = draw.name_of(table)
    more = draw.chance(0.6)
    comparative = english.comparative(column.phrase)
    verb = english.participle(column.name)
    if comparative and draw.chance(0.6):
        template = f"{comparative[not more]} than {{v}}"
    elif english.is_countable(column.phrase):
        template = f"[with|that have] {'more' if more else 'fewer'} {{c}} than {{v}}"
    elif column.kind == "year" and verb:
        template = f"{english.happened(verb)} {'after' if more else 'before'} {{v}}"
    else:
        higher = "[higher|greater|larger]" if more else "[lower|smaller]"
        template = f"with a {higher} {{c}} than {{v}}"
    chosen = [label(table)] if draw.chance(0.6) else draw.shown(table)
    said = draw.say(template, c=column.phrase, v=draw.quoted(name))
    ways = ["SHOW the {s} of [all |the |]{ns} {a}"]
    if chosen == [label(table)]:
        ways.append("Which {ns} {p}?")
    text = draw.say(*ways, s=phrases(chosen, many=True), ns=table.plural, a=said, p=predicate(said))
    compared = ref(table, column)
    inner = query(compared, table.name, f"{ref(table, label(table))} = {literal(name)}")
    where = f"{compared} {'>' if more else '<'} ({inner})"
    return Question(text, query(refs(table, chosen), table.name, where), "subquery/compare")


def without_children(draw: Draw) -> Question:
    link = draw.link()
    parent, child = link.parent, link.child
    chosen = [label(parent)] if draw.chance(0.75) else draw.shown(parent)
    where = f"{parent.name}.id NOT IN ({query(ref(child, link.key), child.name)})"
    if chosen == [label(parent)]:
        ways = [
            "Which {ps} have no {ns}?",
            "Which {ps} do not have any {ns}?",
            "SHOW the {c} of {ps} without [any |]{ns}",
            "SHOW the {c} of [all |]{ps} that have no {ns}",
        ]
    else:
        ways = [
            "SHOW the {c} of {ps} without [any |]{ns}",
            "SHOW the {c} of [all |]{ps} that [have no|don't have any] {ns}",
        ]
    slots = {"ps": parent.plural, "ns": child.plural, "c": phrases(chosen, many=True)}
    text = draw.say(*ways, **slots)
    if draw.chance(0.2):
        text = draw.say("How many {ps} [have no|do not have any] {ns}?", **slots)
        return Question(text, query("COUNT(*)", parent.name, where), "subquery/not-in")
    return Question(text, query(refs(parent, chosen), parent.name, where), "subquery/not-in")


def with_children(draw: Draw) -> Question:
    link = draw.link()
    parent, child = link.parent, link.child
    chosen = [label(parent)] if draw.chance(0.75) else draw.shown(parent)
    where = f"{parent.name}.id IN ({query(ref(child, link.key), child.name)})"
    ways = ["SHOW the {c} of {ps} [with|that have] at least one {n}"]
    if chosen == [label(parent)]:
        ways = [
            "Which {ps} have at least one {n}?",
            *ways,
            "SHOW the {c} of {ps} that have any {ns}",
        ]
    text = draw.say(
        *ways,
        ps=parent.plural,
        ns=child.plural,
        n=child.singular,
        c=phrases(chosen, many=True),
    )
    return Question(text, query(refs(parent, chosen), parent.name, where), "subquery/in")


def without_such_children(draw: Draw) -> Question:
    link = draw.link()
    parent, child = link.parent, link.child
    made = condition(draw, child, "choice", "int", "real")
    text = draw.say(
        "Which {ps} have no {r}?",
        "SHOW the {c} of {ps} [without any|that have no] {r}",
        ps=parent.plural,
        r=made.applied(child.plural),
        c=english.plural(label(parent).phrase),
    )
    inner = query(ref(child, link.key), child.name, made.sql)
    where = f"{parent.name}.id NOT IN ({inner})"
    answer = query(ref(parent, label(parent)), parent.name, where)
    return Question(text, answer, "subquery/not-in")

"""Questions that count or sum up the children of a parent, of one or of each."""

from __future__ import annotations

from text_to_sql import english
from text_to_sql.conditions import condition
from text_to_sql.draw import Draw, Question, label, their
from text_to_sql.patterns_aggregate import COUNTS, aggregate
from text_to_sql.relations import a_parent_name, is_named, named, relation
from text_to_sql.schema import Column, Link
from text_to_sql.sql import by, joined, query, ref


def count_for(draw: Draw) -> Question:
    """How many children a named or described parent has."""
    link = draw.link()
    if draw.chance(0.55):
        name = a_parent_name(draw, link)
        where = is_named(link, name)
        text = draw.say(
            "How many {ns} does {v} have?",
            "Count the {ns} of {v}",
            "How many {ns} belong to {v}?",
            "What is the number of {ns} of {v}?",
            "How many {ns} are there for {v}?",
            ns=link.child.plural,
            v=named(draw, link, name),
        )
    else:
        made = condition(draw, link.parent)
        where = made.sql
        text = draw.say(
            "How many {ns} are there {rel}?",
            "Count the {ns} {rel}",
            "What is the number of {ns} {rel}?",
            ns=link.child.plural,
            rel=relation(draw, link, made),
        )
    return Question(text, query("COUNT(*)", joined(link), where), "join/count")


def value_for(draw: Draw) -> Question:
    """An aggregate over the children of a named or described parent."""
    link = draw.link()
    column = draw.number(link.child)
    function, said = aggregate(draw, column)
    if draw.chance(0.45):
        name = a_parent_name(draw, link)
        where = is_named(link, name)
        of = draw.say("[of|whose {r} is|for]", r=link.key.phrase)
        of += " " + (draw.quoted(name) if of.startswith("whose") else named(draw, link, name))
    else:
        made = condition(draw, link.parent)
        where, of = made.sql, relation(draw, link, made)
    text = draw.say(
        "What is the {a} of [the |]{ns} {of}?",
        "SHOW the {a} of [all |the |]{ns} {of}",
        a=said,
        ns=link.child.plural,
        of=of,
    )
    what = f"{function}({ref(link.child, column)})"
    return Question(text, query(what, joined(link), where), "join/value")


def _group_column(draw: Draw, link: Link, by_label: float) -> Column:
    if draw.chance(by_label):
        return label(link.parent)
    return draw.pick(link.parent.of_kind("choice"))


def count_per(draw: Draw) -> Question:
    link = draw.link()
    group = _group_column(draw, link, by_label=0.7)
    if group == link.parent.label:
        ways = [
            "How many {ns} does each {r} have?",
            "SHOW the number of {ns} [per|for each|of each] {r}",
            "Count the {ns} of each {r}",
            "SHOW each {r} {g} [and|with] the number of {ns}",
            "For each {r}, show the {g} and [the number of {ns}|how many {ns} there are]",
        ]
    else:
        ways = [
            "How many {ns} are there per {r} {g}?",
            "SHOW the number of {ns} [for each|per|by] {g} of the {r}",
            "Count {ns} by {r} {g}",
        ]
    text = draw.say(*ways, ns=link.child.plural, r=link.key.phrase, g=group.phrase)
    name = ref(link.parent, group)
    answer = query(f"{name}, COUNT(*)", joined(link), tail=f"GROUP BY {name}")
    return Question(text, answer, "join/group")


def value_per(draw: Draw) -> Question:
    link = draw.link()
    group = _group_column(draw, link, by_label=0.65)
    column = draw.number(link.child)
    function, said = aggregate(draw, column)
    if group == link.parent.label:
        ways = [
            "What is the {a} of the {ns} of each {r}?",
            "SHOW the {a} of {ns} [per|for each|by] {r}",
            "For each {r}, show the {g} and the {a} of {t} {ns}",
            "SHOW each {r}'s {g} and the {a} of {t} {ns}",
        ]
    else:
        ways = [
            "What is the {a} of {ns} [per|for each] {r} {g}?",
            "SHOW the {a} of {ns} [by|per|for each] {g} of the {r}",
        ]
    text = draw.say(
        *ways,
        a=said,
        ns=link.child.plural,
        r=link.key.phrase,
        g=group.phrase,
        t=their(link.parent),
    )
    name = ref(link.parent, group)
    what = f"{name}, {function}({ref(link.child, column)})"
    return Question(text, query(what, joined(link), tail=f"GROUP BY {name}"), "join/group")


def having_children(draw: Draw) -> Question:
    link = draw.link()
    number = draw.rng.randint(1, 4)
    operator, said = draw.pick([*COUNTS, (">=", "{n} or more"), ("=", "exactly {n}")])
    one = number == 1 and "or more" not in said
    text = draw.say(
        f"Which {{ps}} have {said} {{ns}}?",
        f"SHOW the {{c}} of {{ps}} with {said} {{ns}}",
        f"SHOW the {{c}} of [all |]{{ps}} that have {said} {{ns}}",
        ps=link.parent.plural,
        ns=link.child.singular if one else link.child.plural,
        n=str(number),
        c=english.plural(label(link.parent).phrase),
    )
    name = ref(link.parent, label(link.parent))
    tail = f"GROUP BY {name} HAVING COUNT(*) {operator} {number}"
    return Question(text, query(name, joined(link), tail=tail), "join/having")


def most_children(draw: Draw) -> Question:
    link = draw.link()
    down = draw.chance(0.85)
    most = "most" if down else "fewest"
    text = draw.say(
        f"Which {{p}} has the {most} {{ns}}?",
        f"What is the {{c}} of the {{p}} with the {most} {{ns}}?",
        f"SHOW the {{p}} with the {most} {{ns}}",
        f"{'Who' if link.parent.is_person else 'Which {p}'} has the {most} {{ns}}?",
        p=link.parent.singular,
        ns=link.child.plural,
        c=label(link.parent).phrase,
    )
    name = ref(link.parent, label(link.parent))
    tail = f"GROUP BY {name} {by('COUNT(*)', down)} LIMIT"
    answer = query(name, joined(link), tail=f"{tail} 1")
    ties = query("COUNT(*)", joined(link), tail=f"{tail} 2")
    return Question(text, answer, "join/top", ties)

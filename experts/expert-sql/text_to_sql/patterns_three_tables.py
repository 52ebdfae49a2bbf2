"""Questions that take two foreign keys: across a bridge table, or up a chain."""

from __future__ import annotations

from text_to_sql import english
from text_to_sql.conditions import condition
from text_to_sql.draw import Draw, Question, label, their
from text_to_sql.relations import a_parent_name, is_named, relation
from text_to_sql.schema import Link
from text_to_sql.sql import joined, query, ref


def _bridge(draw: Draw) -> tuple[Link, Link]:
    """Two links of one child to different parents with labels."""
    pairs = [
        (near, far)
        for near in draw.schema.links
        for far in draw.schema.links
        if near.child == far.child and near.parent != far.parent
        if near.parent.label and far.parent.label
    ]
    return draw.pick(pairs)


def _chain(draw: Draw) -> tuple[Link, Link]:
    """A link to a parent that itself has a parent, with a label."""
    pairs = [
        (near, far)
        for near in draw.schema.links
        for far in draw.schema.links
        if near.parent == far.child and far.parent.label and near.child != far.parent
    ]
    return draw.pick(pairs)


def across(draw: Draw) -> Question:
    """Many to many: what one named row has on the other side."""
    near, far = _bridge(draw)
    name = a_parent_name(draw, near)
    column = label(far.parent) if draw.chance(0.7) else draw.attribute(far.parent)
    if column == far.parent.label:
        ways = [
            "SHOW the {c} of [the |all |]{fs} [in|from|for] the {ns} of [the {p} |]{v}",
            "Which {fs} have {ns} [with|for] [the {p} |]{v}?",
            "SHOW the {c} of [the |all |]{fs} with {ns} for [the {p} |]{v}",
        ]
    else:
        ways = ["SHOW the {c} of [the |all |]{fs} [in|from|for|with] the {ns} of [the {p} |]{v}"]
    text = draw.say(
        *ways,
        c=english.plural(column.phrase),
        fs=far.parent.plural,
        ns=near.child.plural,
        p=near.parent.singular,
        v=draw.quoted(name),
    )
    what = f"DISTINCT {ref(far.parent, column)}"
    answer = query(what, joined(near, far), is_named(near, name))
    return Question(text, answer, "join/three-tables")


def both_sides(draw: Draw) -> Question:
    """A bridge table's own column beside the labels of both sides."""
    near, far = _bridge(draw)
    own = draw.pick(near.child.of_kind("int", "real", "date", "choice"))
    first, second = (
        draw.say("[{r} {l}|{l} of the {r}]", r=k.key.phrase, l=label(k.parent).phrase)
        for k in (near, far)
    )
    text = draw.say(
        "For each {n}, show the {a}, the {b} and the {c}",
        "SHOW the {a}, the {b} and the {c} [of|for] each {n}",
        "SHOW every {n} with the {a}, the {b} and the {c}",
        n=near.child.singular,
        a=first,
        b=second,
        c=own.phrase,
    )
    labels = [ref(k.parent, label(k.parent)) for k in (near, far)]
    what = ", ".join([*labels, ref(near.child, own)])
    return Question(text, query(what, joined(near, far)), "join/three-tables")


def up_the_chain(draw: Draw) -> Question:
    """Children beside a property of their parent's parent, or by one."""
    near, far = _chain(draw)
    column = label(near.child) if near.child.label else draw.shown(near.child)[0]
    if draw.chance(0.4):
        other = draw.attribute(far.parent)
        text = draw.say(
            "SHOW the {c} of each {n} [and|with|together with] the {o} of {t} {r}'s {rr}",
            c=column.phrase,
            n=near.child.singular,
            o=other.phrase,
            t=their(near.child),
            r=near.key.phrase,
            rr=far.key.phrase,
        )
        what = f"{ref(near.child, column)}, {ref(far.parent, other)}"
        return Question(text, query(what, joined(near, far)), "join/three-tables")
    made = condition(draw, far.parent, "choice", "int", "real", "year")
    text = draw.say(
        "SHOW the {c} of [all |]{ns} of {ps} {rel}",
        c=english.plural(column.phrase),
        ns=near.child.plural,
        ps=near.parent.plural,
        rel=relation(draw, far, made),
    )
    answer = query(ref(near.child, column), joined(near, far), made.sql)
    return Question(text, answer, "join/three-tables")

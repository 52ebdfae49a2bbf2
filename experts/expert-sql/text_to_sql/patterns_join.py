"""Questions about the rows of two tables: columns side by side, filters across the key."""

from __future__ import annotations

from text_to_sql import english
from text_to_sql.conditions import condition, perhaps
from text_to_sql.draw import Draw, Question, be, either, label, phrases
from text_to_sql.patterns_order import extreme, filled
from text_to_sql.relations import (
    a_parent_name,
    is_named,
    needs_role,
    property_of_parent,
    relation,
)
from text_to_sql.sql import by, joined, literal, query, ref, refs


def side_by_side(draw: Draw) -> Question:
    """Child columns beside a column of the parent."""
    link = draw.link()
    chosen = draw.shown(link.child, draw.pick([1, 1, 1, 2]))
    parent = draw.attribute(link.parent)
    noun, where = perhaps(draw, link.child, 0.25)
    said = property_of_parent(draw, link, parent, "the" if where else "")
    one = link.child.singular
    each = draw.pick([f"each {one}", f"every {one}"])
    if where:
        ways = [
            "SHOW the {c} and the {p} of {r}",
            "For {r}, show the {c} and the {p}",
            "SHOW the {c} of {r} together with the {p}",
        ]
    else:
        ways = [
            "SHOW the {c} of {each} [together |along |]with the {p}",
            "SHOW the {c} and the {p} [of|for] {each}",
            "For {each}, show the {c} and the {p}",
            "{c} of {each} with the {p}",
            "SHOW {each} {c} and {p}",
        ]
    text = draw.say(*ways, c=phrases(chosen), p=said, each=each, r=noun)
    text = text.replace(f"each {one} {phrases(chosen)}", f"each {one}'s {phrases(chosen)}")
    what = f"{refs(link.child, chosen)}, {ref(link.parent, parent)}"
    return Question(text, query(what, joined(link), where), "join/select")


def by_named_parent(draw: Draw) -> Question:
    """Children of one parent that the question names."""
    link = draw.link()
    name = a_parent_name(draw, link)
    chosen = draw.shown(link.child, draw.pick([1, 1, 2]))
    many = draw.chance(0.7)
    ways = ["whose {r} is", "of the {r}", "of", "with the {r}", "whose {r}'s {l} is"]
    ways += ["for the {r}", "belonging to"]
    if needs_role(link):
        ways = [w for w in ways if "{r}" in w]
    of = draw.say(
        either(*ways) + " {v}",
        r=link.key.phrase,
        l=label(link.parent).phrase,
        v=draw.quoted(name),
    )
    text = draw.say(
        "SHOW the {c} of [all |the |]{ns} {of}",
        "What {be} the {c} of [the |]{ns} {of}?",
        "{c} of {ns} {of}",
        c=phrases(chosen, many=many),
        be=be(chosen, many),
        ns=link.child.plural,
        of=of,
    )
    answer = query(refs(link.child, chosen), joined(link), is_named(link, name))
    return Question(text, answer, "join/filter")


def by_parent_condition(draw: Draw) -> Question:
    link = draw.link()
    made = condition(draw, link.parent)
    chosen = draw.shown(link.child, draw.pick([1, 1, 2]))
    many = draw.chance(0.7)
    text = draw.say(
        "SHOW the {c} of [all |the |]{ns} {rel}",
        "What {be} the {c} of [the |]{ns} {rel}?",
        "{c} of {ns} {rel}",
        c=phrases(chosen, many=many),
        be=be(chosen, many),
        ns=link.child.plural,
        rel=relation(draw, link, made),
    )
    answer = query(refs(link.child, chosen), joined(link), made.sql)
    return Question(text, answer, "join/filter")


def parents_by_child(draw: Draw) -> Question:
    """Parents that have a child with a property."""
    link = draw.link()
    made = condition(draw, link.child)
    column = label(link.parent) if draw.chance(0.75) else draw.attribute(link.parent)
    who = "|who have" if link.parent.is_person else ""
    template = either(
        f"SHOW the {{c}} of [all |the |]{{ps}} [that have|with{who}] {{r}}",
        "SHOW the {c} of {ps} with [a|at least one] {r1}",
        "What are the {c} of {ps} [that have|with] {r}?",
    )
    if column == link.parent.label:
        which = "Which {ps} have {r}?"
        template = either(which, which, template)
    text = draw.say(
        template,
        c=english.plural(column.phrase),
        ps=link.parent.plural,
        r=made.applied(link.child.plural),
        r1=made.applied(link.child.singular),
    ).replace("with a a", "with an a")
    answer = query(f"DISTINCT {ref(link.parent, column)}", joined(link), made.sql)
    return Question(text, answer, "join/filter")


def parent_of_named(draw: Draw) -> Question:
    """The parent, or a property of it, of one named child."""
    link = draw.link(labelled=True)
    name = draw.name_of(link.child)
    column = draw.attribute(link.parent)
    said = draw.quoted(name)
    if column == link.parent.label and draw.chance(0.5):
        ways = [
            "{q} is the {r} of [the {n} |]{v}?",
            "SHOW the {r} of [the {n} |]{v}",
            "Which {r} does {v} [have|belong to]?",
        ]
    else:
        ways = [
            "What is the {c} of the {r} of [the {n} |]{v}?",
            "SHOW the {c} of the {r} of [the {n} |]{v}",
            "SHOW the {r}'s {c} for [the {n} |]{v}",
        ]
    text = draw.say(
        *ways,
        v=said,
        r=link.key.phrase,
        c=column.phrase,
        n=link.child.singular,
        q="Who" if link.parent.is_person else "What",
    )
    where = f"{ref(link.child, label(link.child))} = {literal(name)}"
    return Question(text, query(ref(link.parent, column), joined(link), where), "join/lookup")


def filters_on_both(draw: Draw) -> Question:
    link = draw.link()
    first, second = condition(draw, link.child), condition(draw, link.parent)
    chosen = draw.shown(link.child)
    many = draw.chance(0.7)
    text = draw.say(
        "SHOW the {c} of [all |the |]{r} [and |]{rel}",
        "What {be} the {c} of {r} [and |]{rel}?",
        c=phrases(chosen, many=many),
        be=be(chosen, many),
        r=first.applied(link.child.plural),
        rel=relation(draw, link, second),
    )
    where = f"{first.sql} AND {second.sql}"
    answer = query(refs(link.child, chosen), joined(link), where)
    return Question(text, answer, "join/two-filters")


def top_child(draw: Draw) -> Question:
    """The parent of the extreme child, or the extreme children with their parents."""
    link = draw.link()
    column = draw.pick(filled(link.child, "int", "real", "year", "date"))
    down = draw.chance(0.65)
    said, before = extreme(draw, column, down)
    parent = draw.attribute(link.parent)
    order = by(ref(link.child, column), down)
    if link.child.label and draw.chance(0.4):
        number = draw.rng.randint(2, 5)
        many = link.child.plural
        text = draw.say(
            "SHOW the {c} and the {p} of the {r}",
            c=link.child.label.phrase,
            p=property_of_parent(draw, link, parent),
            r=f"{number} {said} {many}" if before else f"{number} {many} {said}",
        )
        what = f"{ref(link.child, link.child.label)}, {ref(link.parent, parent)}"
    else:
        number = 1
        one = link.child.singular
        text = draw.say(
            "What is the {c} of the {r} of the {n}?",
            "SHOW the {c} of the {r} of the {n}",
            "SHOW the {r}'s {c} for the {n}",
            c=parent.phrase,
            r=link.key.phrase,
            n=f"{said} {one}" if before else f"{one} {said}",
        )
        what = ref(link.parent, parent)
    answer = query(what, joined(link), tail=f"{order} LIMIT {number}")
    ties = query(ref(link.child, column), joined(link), tail=f"{order} LIMIT {number + 1}")
    return Question(text, answer, "join/top", ties)


def ordered_pairs(draw: Draw) -> Question:
    link = draw.link(labelled=True)
    column = draw.pick(filled(link.child, "int", "real", "year", "date"))
    parent = draw.attribute(link.parent)
    down = draw.chance(0.5)
    way = (
        "[from highest to lowest|in descending order|descending]"
        if down
        else "[from lowest to highest|in ascending order|]"
    )
    text = draw.say(
        "SHOW the {c} of each {n} [and|with|together with] the {p}, [sorted|ordered] by {o} " + way,
        c=label(link.child).phrase,
        n=link.child.singular,
        p=property_of_parent(draw, link, parent),
        o=column.phrase,
    )
    what = f"{ref(link.child, label(link.child))}, {ref(link.parent, parent)}"
    answer = query(what, joined(link), tail=by(ref(link.child, column), down))
    return Question(text, answer, "join/order")

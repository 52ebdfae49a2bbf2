"""Questions across one relationship: by name, by property, with its own property, its absence."""

from __future__ import annotations

from text_to_sql import english
from text_to_sql.conditions import Condition, condition
from text_to_sql.database import Database
from text_to_sql.draw import Draw as TableDraw
from text_to_sql.draw import Unsuitable, either, phrases
from text_to_sql.schema import Column, Schema, Table

from text_to_cypher import translate
from text_to_cypher.draw import (
    Draw,
    End,
    Question,
    asked_for,
    is_named,
    match,
    name,
    query,
    refs,
)


def by_name(draw: Draw) -> Question:
    """Nodes related to one that the question names."""
    end = draw.end(draw.relationship())
    said, literal = draw.named(end.other)
    chosen = asked_for(draw, end.this)
    if chosen == [name(end.this)] and draw.chance(0.6):
        text = end.asked(draw, said)
    else:
        noun = f"the {end.other.singular} {said}" if draw.chance(0.3) else said
        text = draw.say(
            "SHOW the {c} of [all |the |all the |]{ns} {rel}",
            "What are the {c} of [the |]{ns} {rel}?",
            "{c} of {ns} {rel}",
            "SHOW {c} for [all |]{ns} {rel}",
            c=phrases(chosen, many=draw.chance(0.6)),
            ns=end.this.plural,
            rel=end.said(noun),
        )
    answer = query(match(end), is_named(end.other, literal), refs(end.this, chosen))
    return Question(text, answer, "hop/by-name")


def whole_by_name(draw: Draw) -> Question:
    end = draw.end(draw.relationship())
    said, literal = draw.named(end.other)
    text = draw.say(
        "LIST [all |all the |the |]{ns} {rel}",
        "LIST everything about {ns} {rel}",
        ns=end.this.plural,
        rel=end.said(said),
    )
    return Question(
        text, query(match(end), is_named(end.other, literal), end.this.name), "hop/by-name"
    )


def by_property(draw: Draw) -> Question:
    """Nodes related to those with some property."""
    end = draw.end(draw.relationship())
    made = draw.condition(end.other)
    chosen = [name(end.this)] if draw.chance(0.75) else draw.shown(end.this)
    others = made.applied(end.other.plural)
    which = "Which {ns} {v} {o}?" if end.forward else "Which {ns} are there {rel}?"
    text = draw.say(
        either(which, "SHOW the {c} of [all |the |]{ns} {rel}")
        if chosen == [name(end.this)]
        else "SHOW the {c} of [all |the |]{ns} {rel}",
        "What are the {c} of {ns} {rel}?",
        "{c} of {ns} {rel}",
        c=phrases(chosen, many=True),
        ns=end.this.plural,
        rel=end.said(others),
        v=end.relationship.plural,
        o=others,
    )
    answer = query(match(end), made.sql, f"DISTINCT {refs(end.this, chosen)}")
    return Question(text, answer, "hop/by-property")


def pairs(draw: Draw) -> Question:
    """Both ends of each relationship, all of them or with a filter on one."""
    end = draw.end(draw.relationship())
    this, other = asked_for(draw, end.this), asked_for(draw, end.other)
    where, ones = "", end.this.plural
    if draw.chance(0.3):
        made = draw.condition(end.this)
        where, ones = made.sql, made.applied(ones)
    verb, others = end.relationship.plural, end.other.plural
    if end.forward:
        ways = [
            "SHOW the {a} of {ones} and the {b} of the {others} they {verb}",
            "SHOW {ones} and the {others} they {verb}, with {a} and {b}",
            "For each of the {ones}, show the {a} and the {b} of the {others} they {verb}",
        ]
    else:
        ways = [
            "SHOW the {a} of {ones} and the {b} of the {others} {who} {verb} them",
            "SHOW {ones} with the {others} {who} {verb} them, {a} and {b}",
            "For each of the {ones}, show the {a} and the {b} of the {others} {who} {verb} "
            "[them|it]",
        ]
    text = draw.say(
        *ways,
        a=phrases(this, many=True),
        b=phrases(other, many=True),
        ones=ones,
        others=others,
        verb=verb,
        who=end.other.who,
    )
    returned = f"{refs(end.this, this)}, {refs(end.other, other)}"
    return Question(text, query(match(end), where, returned), "hop/pairs")


def both_ends(draw: Draw) -> Question:
    """A filter on each end."""
    end = draw.end(draw.relationship())
    made = draw.condition(end.this)
    said, literal = draw.named(end.other)
    there = is_named(end.other, literal)
    category = "hop/both-ends"
    if draw.chance(0.35):
        second = draw.condition(end.other)
        said, there = second.applied(end.other.plural), second.sql
    if " OR " in made.sql + there:
        raise Unsuitable
    chosen = asked_for(draw, end.this)
    ones = made.applied(end.this.plural)
    join = "and " if end.forward and not made.before and draw.chance(0.4) else ""
    text = draw.say(
        "SHOW the {c} of [all |the |]{ones} {j}{rel}",
        "What are the {c} of {ones} {j}{rel}?",
        "Which {ones} {j}{v} {s}?" if end.forward and made.before else "{c} of {ones} {j}{rel}",
        c=phrases(chosen, many=True),
        ones=ones,
        j=join,
        rel=end.said(said),
        v=end.relationship.plural,
        s=said,
    )
    if text.startswith("Which "):
        chosen = [name(end.this)]
    distinct = "" if literal in there else "DISTINCT "
    answer = query(match(end), f"{made.sql} AND {there}", f"{distinct}{refs(end.this, chosen)}")
    return Question(text, answer, category)


def held_property(draw: Draw) -> Question:
    """The relationship's own property, between two named nodes."""
    end = End(draw.pick([r for r in draw.graph.relationships if r.held and not r.is_loop]), True)
    held = end.relationship.held
    assert held is not None
    (a, first), (b, second) = draw.named(end.this), draw.named(end.other)
    did, base = end.relationship.did(), end.relationship.base
    ways = [
        "With [what|which] {p} {did} {a} {base} {b}?",
        "SHOW the {p} with which {a} {single} {b}",
    ]
    if held.kind == "date":
        ways = [
            "When {did} {a} {base} {b}?",
            "When {did} {a} {base} {b}?",
            "On [what|which] date {did} {a} {base} {b}?",
        ]
    elif held.kind == "year" and held.name == "since":
        ways = ["Since when {did} {a} {base} {b}?", "Since [what|which] year {did} {a} {base} {b}?"]
    elif held.kind == "year":
        ways = ["In [what|which] {p} {did} {a} {base} {b}?"]
    elif english.is_countable(held.phrase):
        ways = ["How many {p} {did} {a} {base} {b}?", *ways]
    ways.append("What is the {p} between {a} and {b}?")
    text = draw.say(
        *ways, p=held.phrase, did=did, a=a, b=b, base=base, single=end.relationship.single
    )
    where = f"{is_named(end.this, first)} AND {is_named(end.other, second)}"
    return Question(
        text, query(match(end, "r"), where, f"r.{held.name}"), "hop/relationship-property"
    )


def by_held_property(draw: Draw) -> Question:
    """Nodes by a property of the relationship to one that is named, or to any."""
    end = draw.end(draw.pick([r for r in draw.graph.relationships if r.held and not r.is_loop]))
    held = end.relationship.held
    assert held is not None
    table = Table("r", (held,), "relationship", "relationships")
    made = condition(TableDraw(Database(Schema("r", (table,)), draw.rng), draw.rng), table)
    after = _of_relationship(made, held)
    said, literal = draw.named(end.other)
    where, rest, distinct = "", f"[a|some|at least one] {end.other.singular}", "DISTINCT "
    if draw.chance(0.6):
        where, rest, distinct = f"{is_named(end.other, literal)} AND ", said, ""
    if where and " OR " in made.sql:
        raise Unsuitable
    text = draw.say(
        "SHOW the {c} of [all |the |]{ns} {rel} {after}",
        "[Which are the|List the|Show the] {ns} {rel} {after}",
        c=english.plural(name(end.this).phrase),
        ns=end.this.plural,
        rel=end.said(draw.say(rest) if "[" in rest else rest),
        after=after,
    )
    test = translate.condition(made.sql)
    returned = f"{distinct}{refs(end.this, [name(end.this)])}"
    return Question(
        text, query(match(end, "r"), where + test, returned), "hop/relationship-property"
    )


def _of_relationship(made: Condition, held: Column) -> str:
    """The words of a filter on a node's property, fit for one of a relationship."""
    if made.before:
        return f"with the {held.phrase} {made.before}"
    after = made.after
    if held.name == "since":
        after = after.replace("whose since is", "since").replace("where the since is", "since")
        if "whose" in after or "where" in after:
            raise Unsuitable
    else:
        after = after.replace("whose ", "where the ").replace("that have ", "with ")
        after = after.replace("having ", "with ")
    if held.kind in ("date", "year") and not after.startswith(("where", "with", "since")):
        after = f"where the {held.phrase} is {after.split(' ', 1)[-1]}" if " " in after else after
    return after


def without(draw: Draw) -> Question:
    """Nodes that lack a relationship."""
    end = draw.end(draw.relationship())
    did = "did not" if end.relationship.past else "do not"
    base, ones, other = end.relationship.base, end.this.plural, end.other
    never = f"never {end.relationship.past}" if end.relationship.past else f"{did} {base}"
    if end.forward:
        ways = [
            "Which {ns} {did} {base} any {o}?",
            "SHOW the {c} of {ns} {who} {did} {base} [any {o}|a single {one}]",
            "[List the|Show the|Find] {ns} {who} {never} [any {o}|a {one}]",
            "Which {ns} {v} no {o}?",
        ]
    else:
        ways = [
            "Which {ns} {no} no {one} {base}?",
            "SHOW the {c} of {ns} that no {one} {single}",
            "[List the|Show the|Find] {ns} that no {one} {single}",
            "Which {ns} are not {back} any {one}?",
        ]
    text = draw.say(
        *ways,
        c=english.plural(name(end.this).phrase),
        ns=ones,
        did=did,
        base=base,
        o=other.plural,
        one=other.singular,
        who=end.this.who,
        never=never,
        v=end.relationship.plural,
        no=end.relationship.did(),
        single=end.relationship.single,
        back=end.relationship.backward,
    )
    where = f"NOT ({end.this.name}){end.arrow()}(:{other.label_name})"
    answer = query(end.this.pattern, where, refs(end.this, [name(end.this)]))
    return Question(text, answer, "hop/without")


def with_any(draw: Draw) -> Question:
    end = draw.end(draw.relationship())
    chosen = asked_for(draw, end.this)
    one = draw.say("[at least one|any|some|a] {o}", o=end.other.singular)
    text = draw.say(
        "SHOW the {c} of [all |the |]{ns} {rel}",
        "Which {ns} {v} {one}?"
        if end.forward and chosen == [name(end.this)]
        else "{c} of {ns} {rel}",
        c=phrases(chosen, many=True),
        ns=end.this.plural,
        rel=end.said(one),
        v=end.relationship.plural,
        one=one,
    )
    return Question(
        text, query(match(end), "", f"DISTINCT {refs(end.this, chosen)}"), "hop/with-any"
    )


def ordered(draw: Draw) -> Question:
    """The first few of the nodes related to a named one."""
    end = draw.end(draw.relationship())
    column = draw.pick(
        [c for c in end.this.of_kind("int", "real", "date", "year") if not c.nullable]
    )
    said, literal = draw.named(end.other)
    down, count = draw.chance(0.6), draw.pick([1, 1, 2, 3, 3, 5])
    comparative = english.comparative(column.phrase)
    if column.kind in ("date", "year"):
        end_word = "latest" if down else "earliest"
    elif english.is_countable(column.phrase):
        end_word = "most" if down else "fewest"
    else:
        end_word = draw.pick(["highest", "largest"]) if down else "lowest"
    noun = end.this.singular if count == 1 else end.this.plural
    number = "" if count == 1 else f"{count} "
    if comparative and draw.chance(0.5):
        rows = f"{number}{comparative[2 if down else 3]} {noun} {end.said(said, single=count == 1)}"
    else:
        related = end.said(said, single=count == 1)
        rows = f"{number}{noun} {related} with the {end_word} {column.phrase}"
    chosen = asked_for(draw, end.this)
    text = draw.say(
        "What {be} the {c} of the {r}?",
        "SHOW the {c} of the {r}",
        c=phrases(chosen, many=count > 1),
        r=rows,
        be="is" if count == 1 and len(chosen) == 1 else "are",
    )
    tail = f"ORDER BY {end.this.name}.{column.name}{' DESC' if down else ''} LIMIT {count}"
    answer = query(match(end), is_named(end.other, literal), refs(end.this, chosen), tail)
    return Question(text, answer, "hop/top")

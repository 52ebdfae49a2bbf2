"""Counts and values across a relationship."""

from __future__ import annotations

from text_to_sql import english
from text_to_sql.draw import phrases

from text_to_cypher.draw import Draw, End, Question, is_named, match, name, query, refs

_VALUES = {
    "avg": "[average|mean]",
    "sum": "total",
    "max": "[highest|maximum|largest]",
    "min": "[lowest|minimum|smallest]",
}


def count_for(draw: Draw) -> Question:
    """How many nodes are related to a named one."""
    end = draw.end(draw.relationship())
    said, literal = draw.named(end.other)
    where, ones = is_named(end.other, literal), end.this.plural
    if draw.chance(0.25):
        made = draw.condition(end.this, "int", "real", "choice", "year")
        if " OR " not in made.sql:
            where, ones = f"{where} AND {made.sql}", made.applied(ones)
    relationship = end.relationship
    if end.forward:
        ways = ["How many {ns} {v} {s}?", "Count the {ns} {rel}", "SHOW the number of {ns} {rel}"]
    else:
        ways = [
            "How many {ns} {did} {s} {base}?",
            "How many {ns} {did} {s} {base}?",
            "Count the {ns} {rel}",
            "What is the number of {ns} {rel}?",
        ]
    text = draw.say(
        *ways, ns=ones, v=relationship.plural, s=said, rel=end.said(said),
        did=relationship.did(), base=relationship.base,
    )  # fmt: skip
    return Question(text, query(match(end), where, f"count({end.this.name})"), "count/for-one")


def _each(draw: Draw, end: End, others: str) -> str:
    """The number of `others` for each `this`."""
    relationship, one = end.relationship, end.this.singular
    if end.forward:
        ways = ["How many {o} {did} each {n} {base}?", "For each {n}, count the {o} they {v}"]
    else:
        ways = ["How many {o} {v} each {n}?", "For each {n}, count the {o} {who} {v} it"]
    return draw.say(
        *ways,
        "SHOW the number of {o} [for each|per|of each] {n}",
        "Count the {o} [of|for] [each|every] {n}",
        o=others, n=one, did=relationship.did(), base=relationship.base, v=relationship.plural,
        who=end.other.who,
    )  # fmt: skip


def count_per(draw: Draw) -> Question:
    end = draw.end(draw.relationship())
    text = _each(draw, end, end.other.plural)
    returned = f"{refs(end.this, [name(end.this)])}, count({end.other.name})"
    tail = ""
    if draw.chance(0.2):
        down = draw.chance(0.7)
        text = text.rstrip("?") + draw.say(
            ", [most|highest] first" if down else ", [fewest|lowest] first"
        )
        tail = f"ORDER BY count({end.other.name}){' DESC' if down else ''}"
    return Question(text, query(match(end), "", returned, tail), "count/per-node")


def most(draw: Draw) -> Question:
    """Who has the most; never the fewest, which may be none, and such a node has no row here."""
    end = draw.end(draw.relationship())
    degree = "most" if draw.chance(0.8) else "greatest number of"
    number = draw.pick([1, 1, 1, 2, 3, 5, 10])
    many = number > 1
    verb = end.relationship.plural if many else end.relationship.single
    ones = end.this.plural if many else end.this.singular
    others = end.other.plural
    if end.forward:
        ways = [
            f"Which {{k}}{{ns}} {{v}} the {degree} {{o}}?",
            f"SHOW the {{k}}{{ns}} {{who}} {{v}} the {degree} {{o}}",
        ]
    else:
        ways = [
            f"Which {{k}}{{ns}} {{have}} the {degree} {{o}} {{who2}} {{v2}} {{it}}?",
            f"Which {{k}}{{ns}} {{did2}} the {degree} {{o}} {{base}}?",
        ]
    text = draw.say(
        *ways, k=f"{number} " if many else "", ns=ones, v=verb, o=others, who=end.this.who,
        have="have" if many else "has", who2=end.other.who, v2=end.relationship.plural,
        it="them" if many else "it", did2=end.relationship.did(many=True),
        base=end.relationship.base,
    )  # fmt: skip
    counted = f"count({end.other.name})"
    returned = f"{refs(end.this, [name(end.this)])}, {counted}"
    tail = f"ORDER BY {counted} DESC LIMIT {number}"
    return Question(text, query(match(end), "", returned, tail), "count/most")


def having(draw: Draw) -> Question:
    """More than a number, or at least; "fewer than" would have to count those with none."""
    end = draw.end(draw.relationship())
    number = draw.pick([1, 2, 3, 4, 5, 10])
    operator = draw.pick([">", ">", ">", ">=", ">=", ">="])
    said = {">": "more than {n}", ">=": "[at least {n}|{n} or more]"}
    amount = draw.say(said[operator], n=str(number))
    others = end.other.plural
    if end.forward:
        ways = [
            "Which {ns} {v} {a} {o}?",
            "SHOW the {c} of {ns} {who} {v} {a} {o}",
            "{ns} {who} {v} {a} {o}",
        ]
    else:
        ways = ["Which {ns} {do} {a} {o} {base}?", "SHOW the {c} of {ns} {rel}"]
    text = draw.say(
        *ways, ns=end.this.plural, v=end.relationship.plural, a=amount, o=others,
        c=english.plural(name(end.this).phrase), who=end.this.who,
        rel=end.said(f"{amount} {others}"), do=end.relationship.did(many=True),
        base=end.relationship.base,
    )  # fmt: skip
    this = end.this.name
    answer = (
        f"MATCH {match(end)} WITH {this}, count({end.other.name}) AS total "
        f"WHERE total {operator} {number} RETURN {refs(end.this, [name(end.this)])}"
    )
    return Question(text, answer, "count/having")


def value_for(draw: Draw) -> Question:
    """An average and the like over the nodes related to a named one."""
    end = draw.end(draw.relationship())
    column = draw.number(end.this)
    said, literal = draw.named(end.other)
    function = draw.pick(["avg", "avg", "sum", "max", "min"])
    text = draw.say(
        f"What is the {_VALUES[function]} {{c}} of [all |the |]{{ns}} {{rel}}?",
        f"SHOW the {_VALUES[function]} {{c}} of [the |]{{ns}} {{rel}}",
        c=column.phrase, ns=end.this.plural, rel=end.said(said),
    )  # fmt: skip
    returned = f"{function}({end.this.name}.{column.name})"
    return Question(text, query(match(end), is_named(end.other, literal), returned), "count/value")


def value_per(draw: Draw) -> Question:
    end = draw.end(draw.relationship())
    column = draw.number(end.other)
    function = draw.pick(["avg", "avg", "sum", "max", "min"])
    relationship = end.relationship
    rest = (
        f"they {relationship.plural}"
        if end.forward
        else f"{end.other.who} {relationship.plural} it"
    )
    text = draw.say(
        f"For each {{n}}, show the {_VALUES[function]} {{c}} of the {{o}} {{rest}}",
        f"What is the {_VALUES[function]} {{c}} of {{o}} [per|for each] {{n}}?",
        f"SHOW the {_VALUES[function]} {{o1}} {{c}} [per|for each|by] {{n}}",
        n=end.this.singular, c=column.phrase, o=end.other.plural, rest=rest, o1=end.other.singular,
    )  # fmt: skip
    returned = f"{refs(end.this, [name(end.this)])}, {function}({end.other.name}.{column.name})"
    return Question(text, query(match(end), "", returned), "count/value")


def distinct_values(draw: Draw) -> Question:
    """The different values of a property among the related nodes."""
    end = draw.end(draw.relationship())
    column = draw.pick(end.this.of_kind("choice"))
    said, literal = draw.named(end.other)
    text = draw.say(
        "What [different|distinct|] {cs} do [the |]{ns} {rel} have?",
        "SHOW the [different|distinct|unique] {cs} of [the |]{ns} {rel}",
        cs=phrases([column], many=True), ns=end.this.plural, rel=end.said(said),
    )  # fmt: skip
    answer = query(match(end), is_named(end.other, literal), f"DISTINCT {refs(end.this, [column])}")
    return Question(text, answer, "hop/distinct")

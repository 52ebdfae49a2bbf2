"""Questions along several relationships: chains, shared nodes, loops, paths of any length."""

from __future__ import annotations

from text_to_sql import english
from text_to_sql.draw import Unsuitable, phrases

from text_to_cypher.draw import Draw, End, Question, asked_for, is_named, match, name, query, refs
from text_to_cypher.graph import Relationship


def _chain(draw: Draw) -> tuple[End, End]:
    """Two relationships that meet in a node, between three labels."""
    first = draw.end(draw.relationship())
    follow = [
        End(r, forward)
        for r in draw.graph.relationships
        for forward in (True, False)
        if not r.is_loop and r != first.relationship
    ]
    second = draw.pick(
        [e for e in follow if e.this == first.other and e.other not in (first.this, first.other)]
    )
    return first, second


def chain(draw: Draw) -> Question:
    """Nodes two relationships away from one that is named, or from some with a property."""
    first, second = _chain(draw)
    if draw.chance(0.65):
        said, literal = draw.named(second.other)
        where = is_named(second.other, literal)
    else:
        made = draw.condition(second.other)
        said, where = made.applied(second.other.plural), made.sql
    chosen = asked_for(draw, first.this)
    middle = f"{first.other.plural} {second.said(said)}"
    returned = f"DISTINCT {refs(first.this, chosen)}"
    category = "path/chain"
    if draw.chance(0.2):
        text = draw.say("How many {ns} are there {rel}?", "Count the {ns} {rel}",
                        ns=first.this.plural, rel=first.said(middle))  # fmt: skip
        returned, category = f"count(DISTINCT {first.this.name})", "path/count"
    else:
        text = draw.say(
            "SHOW the {c} of [all |the |]{ns} {rel}",
            "What are the {c} of {ns} {rel}?",
            "Which {ns} {v} {m}?"
            if first.forward and chosen == [name(first.this)]
            else "{c} of {ns} {rel}",
            c=phrases(chosen, many=True), ns=first.this.plural, rel=first.said(middle),
            v=first.relationship.plural, m=middle,
        )  # fmt: skip
    pattern = f"{match(first)}{second.arrow()}{second.other.pattern}"
    return Question(text, query(pattern, where, returned), category)


def chain_filtered(draw: Draw) -> Question:
    """A chain with a filter on its middle or its start too."""
    first, second = _chain(draw)
    said, literal = draw.named(second.other)
    node = draw.pick([first.this, first.other])
    made = draw.condition(node)
    if " OR " in made.sql or not (made.before or node == first.this):
        raise Unsuitable
    start, middle = first.this.plural, first.other.plural
    start, middle = (
        (made.applied(start), middle) if node == first.this else (start, made.applied(middle))
    )
    chosen = asked_for(draw, first.this)
    text = draw.say(
        "SHOW the {c} of [all |the |]{ns} {rel}",
        "What are the {c} of {ns} {rel}?",
        c=phrases(chosen, many=True), ns=start, rel=first.said(f"{middle} {second.said(said)}"),
    )  # fmt: skip
    pattern = f"{match(first)}{second.arrow()}{second.other.pattern}"
    where = f"{made.sql} AND {is_named(second.other, literal)}"
    return Question(
        text, query(pattern, where, f"DISTINCT {refs(first.this, chosen)}"), "path/chain"
    )


def same(draw: Draw) -> Question:
    """Others that share a node with a named one."""
    end = draw.end(draw.relationship())
    said, literal = draw.named(end.this)
    relationship, others = end.relationship, end.this.plural
    if end.forward:
        ways = [
            "Which [other |]{ns} {v} the same {o} as {s}?",
            "SHOW the {c} of [all |the |other |]{ns} {who} {v} the same {o} as {s}",
            "SHOW the {c} of {ns} {who} {v} a {one} that {s} also {single}",
        ]
    else:
        ways = [
            "Which [other |]{ns} are {back} the same {o} as {s}?",
            "SHOW the {c} of [all |the |other |]{ns} {back} the same {o} as {s}",
        ]
    text = draw.say(
        *ways, ns=others, v=relationship.plural, o=end.other.plural, s=said, who=end.this.who,
        c=english.plural(name(end.this).phrase), one=end.other.singular,
        single=relationship.single, back=relationship.backward,
    )  # fmt: skip
    back = End(relationship, not end.forward)
    pattern = f"{match(end)}{back.arrow()}(other:{end.this.label_name})"
    returned = f"DISTINCT {refs(end.this, [name(end.this)], 'other')}"
    return Question(text, query(pattern, is_named(end.this, literal), returned), "path/same")


def both(draw: Draw) -> Question:
    """Nodes tied to one other in two ways."""
    first = draw.relationship()
    second = draw.pick(
        [r for r in draw.graph.relationships
         if r != first and (r.source, r.target) == (first.source, first.target)]
    )  # fmt: skip
    a = End(first, True)
    ones, where, distinct = a.this.plural, "", "DISTINCT "
    said, literal = draw.named(a.other)
    if draw.chance(0.6):
        where, distinct = is_named(a.other, literal), ""
    else:
        said = f"the same {a.other.singular}"
    text = draw.say(
        "SHOW the {c} of {ns} {who} [both |]{v} and {w} {s}",
        "Which {ns} [both |]{v} and {w} {s}?",
        c=english.plural(name(a.this).phrase), ns=ones, who=a.this.who, v=first.plural,
        w=second.plural, s=said,
    )  # fmt: skip
    back = End(second, False)
    pattern = f"{match(a)}{back.arrow()}({a.this.name})"
    returned = f"{distinct}{refs(a.this, [name(a.this)])}"
    return Question(text, query(pattern, where, returned), "path/both")


def _loop(draw: Draw) -> tuple[End, str]:
    """A relationship between nodes of one label, and the pattern of its far end."""
    end = draw.end(draw.relationship(loops=True, between=False))
    return end, f"(other:{end.this.label_name})"


def loop(draw: Draw) -> Question:
    """Nodes of the same label that a named one is related to."""
    end, other = _loop(draw)
    said, literal = draw.named(end.this)
    r, node = end.relationship, end.this
    if end.forward:  # from the named one to others
        ways = ["Which {ns} {did} {s} {base}?", "SHOW the {c} of [all |the |]{ns} {back} {s}"]
        if node.is_person:
            ways.append("Who {did} {s} {base}?")
    else:
        ways = ["Which {ns} {v} {s}?", "SHOW the {c} of [all |the |]{ns} {who} {v} {s}"]
        if node.is_person:
            ways.append("Who {single} {s}?")
    chosen = [name(node)] if draw.chance(0.7) else draw.shown(node)
    text = draw.say(
        *(ways if chosen == [name(node)] else ways[1:2]), ns=node.plural, did=r.did(), s=said,
        base=r.base, c=phrases(chosen, many=True), back=r.backward, v=r.plural, who=node.who,
        single=r.single,
    )  # fmt: skip
    pattern = f"{node.pattern}{end.arrow()}{other}"
    return Question(
        text, query(pattern, is_named(node, literal), refs(node, chosen, "other")), "loop/one"
    )


def twice(draw: Draw) -> Question:
    """Two steps of the same relationship."""
    end, other = _loop(draw)
    said, literal = draw.named(end.this)
    node = end.this
    far = End(end.relationship, not end.forward)
    text = draw.say(
        "SHOW the {c} of [the |all |]{ns} {rel}",
        "Which {ns} are there {rel}?",
        c=english.plural(name(node).phrase), ns=node.plural,
        rel=far.said(f"{node.plural} {far.said(said)}"),
    )  # fmt: skip
    pattern = f"{node.pattern}{end.arrow()}(:{node.label_name}){end.arrow()}{other}"
    returned = f"DISTINCT {refs(node, [name(node)], 'other')}"
    return Question(text, query(pattern, is_named(node, literal), returned), "loop/twice")


def _spoken(r: Relationship) -> str:
    return r.type.replace("_", " ").lower()


def reach(draw: Draw) -> Question:
    """Up to so many steps away."""
    end = End(draw.relationship(loops=True, between=False), True)
    said, literal = draw.named(end.this)
    node, steps = end.this, draw.pick([2, 3, 3, 4, 5])
    text = draw.say(
        "Which {ns} can {s} reach [in at most|within|in up to] {n} {t} [steps|hops|links]?",
        "SHOW the {c} of {ns} [within|at most|up to] {n} {t} [steps|hops] [of|from] {s}",
        "SHOW {ns} that are up to {n} {t} [steps|hops|links] away from {s}",
        ns=node.plural, s=said, n=str(steps), t=_spoken(end.relationship),
        c=english.plural(name(node).phrase),
    )  # fmt: skip
    pattern = f"{node.pattern}-[:{end.relationship.type}*1..{steps}]->(other:{node.label_name})"
    returned = f"DISTINCT {refs(node, [name(node)], 'other')}"
    return Question(text, query(pattern, is_named(node, literal), returned), "loop/reach")


def shortest(draw: Draw) -> Question:
    end = End(draw.relationship(loops=True, between=False), True)
    (a, first), (b, second) = draw.named(end.this), draw.named(end.this)
    if first == second:
        raise Unsuitable
    node = end.this
    text = draw.say(
        "What is the shortest [path|chain|connection|route] [between|from] {a} and {b}?",
        "SHOW the shortest [path|connection|route] from {a} to {b}",
        "How are {a} and {b} connected by the shortest path?",
        a=a, b=b,
    ).replace(f"from {a} and", f"between {a} and")  # fmt: skip
    type_ = end.relationship.type
    pattern = f"path = shortestPath({node.pattern}-[:{type_}*]-(other:{node.label_name}))"
    where = f"{is_named(node, first)} AND {is_named(node, second, 'other')}"
    return Question(text, query(pattern, where, "path"), "loop/shortest")


def mutual(draw: Draw) -> Question:
    end = End(draw.relationship(loops=True, between=False), True)
    node, r = end.this, end.relationship
    text = draw.say(
        "Which {ns} {v} each other?",
        "SHOW the {c} of {ns} {who} {v} each other",
        "SHOW pairs of {ns} {who} {v} each other",
        ns=node.plural, v=r.plural, c=english.plural(name(node).phrase), who=node.who,
    )  # fmt: skip
    pattern = f"{node.pattern}{end.arrow()}(other:{node.label_name}){end.arrow()}({node.name})"
    returned = f"{refs(node, [name(node)])}, {refs(node, [name(node)], 'other')}"
    return Question(text, query(pattern, "", returned), "loop/mutual")


def loop_count(draw: Draw) -> Question:
    """How many others each node is related to, or which has the most."""
    end = End(draw.relationship(loops=True, between=False), draw.chance(0.5))
    node, r = end.this, end.relationship
    other = f"(other:{node.label_name})"
    returned, tail = f"{refs(node, [name(node)])}, count(other)", ""
    if draw.chance(0.5):
        if end.forward:
            ways = ["Which {n} {single} the most {ns}?", "Which {n} {single} the most other {ns}?"]
        else:
            ways = ["Which {n} is {back} the most {ns}?"]
        tail = "ORDER BY count(other) DESC LIMIT 1"
    elif end.forward:
        ways = ["How many {ns} {did} each {n} {base}?", "For each {n}, count the {ns} they {v}"]
    else:
        ways = ["How many {ns} {v} each {n}?", "For each {n}, count the {ns} {who} {v} them"]
    text = draw.say(
        *ways, n=node.singular, ns=node.plural, single=r.single, back=r.backward, did=r.did(),
        base=r.base, v=r.plural, who=node.who,
    )  # fmt: skip
    return Question(
        text, query(f"{node.pattern}{end.arrow()}{other}", "", returned, tail), "loop/count"
    )

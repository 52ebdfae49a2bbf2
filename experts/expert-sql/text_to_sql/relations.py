"""Words for the parent of a foreign key: its name, its properties, which rows are its."""

from __future__ import annotations

from text_to_sql.conditions import Condition, predicate
from text_to_sql.draw import Draw, label, their
from text_to_sql.schema import Column, Link
from text_to_sql.sql import joined, literal, query, ref


def a_parent_name(draw: Draw, link: Link) -> str:
    """The label of a parent that has children."""
    names = query(f"DISTINCT {ref(link.parent, label(link.parent))}", joined(link))
    return str(draw.pick(draw.database.execute(names))[0])


def is_named(link: Link, name: str) -> str:
    """The WHERE term for the parent of that name."""
    return f"{ref(link.parent, label(link.parent))} = {literal(name)}"


def needs_role(link: Link) -> bool:
    """With several keys a bare name does not say which of them is meant."""
    return len(link.child.of_kind("fk")) > 1


def named(draw: Draw, link: Link, name: str) -> str:
    """*Ann*, or *the author Ann*."""
    role = f"the {link.key.phrase} " if needs_role(link) or draw.chance(0.4) else ""
    return role + draw.quoted(name)


def property_of_parent(draw: Draw, link: Link, column: Column, whose: str = "") -> str:
    """*name of its author*, *author's name*, or for its label just *author*."""
    if column == link.parent.label and draw.chance(0.35):
        return link.key.phrase
    return draw.say(
        "{c} of {t} {r}",
        "{c} of the {r}",
        "{r} {c}",
        "{r}'s {c}",
        c=column.phrase,
        r=link.key.phrase,
        t=whose or their(link.child),
    )


def relation(draw: Draw, link: Link, made: Condition) -> str:
    """A condition on the parent, said after the child's noun: *whose author is from France*."""
    role, after, told = link.key.phrase, made.after, made.column.phrase
    for start in ("whose ", "where the ", "where "):
        if after.startswith(start + told):
            subject = draw.say(
                "whose {r}'s {c}",
                "where the {r}'s {c}",
                "where the {c} of the {r}",
                "for which the {r}'s {c}",
                r=role,
                c=told,
            )
            return subject + after.removeprefix(start + told)
    said = predicate(after)
    for many, one in (("have ", "has "), ("are ", "is ")):
        if said.startswith(many):
            said = one + said.removeprefix(many)
            break
    if said.startswith(("has ", "is ")) and draw.chance(0.6):
        return f"whose {role} {said}"
    return draw.say("[of|for|belonging to] {ns} {a}", ns=link.parent.plural, a=after)

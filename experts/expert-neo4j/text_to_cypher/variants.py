"""Other graphs from a graph, and graphs composed at random: no two are alike."""

from __future__ import annotations

import random
from dataclasses import replace

from text_to_sql import english
from text_to_sql import resources as sql_resources
from text_to_sql.schema import Column, parse_column
from text_to_sql.variants import SYNONYMS

from text_to_cypher import resources
from text_to_cypher.graph import Graph, Node, make_node, relationship, renamed

_NOUNS = sql_resources.toml("bank.toml")
_VERBS = resources.toml("bank.toml")
_THEMES = {"person": 40, "thing": 28, "place": 20, "event": 12}


def vary(graph: Graph, rng: random.Random, *, renaming: bool = True) -> Graph:
    """Fewer labels and properties, other names and another order."""
    nodes = list(graph.nodes)
    if len(nodes) > 2 and rng.random() < 0.35:
        nodes.remove(rng.choice(nodes))
    nodes = [replace(n, columns=_fewer(n.columns, rng)) for n in nodes]
    if renaming:
        nodes = [_with_synonyms(n, rng) for n in nodes]
        nodes = _with_missing(nodes, rng)
    made = renamed(graph, tuple(nodes))
    if not made.relationships:
        return graph
    shuffled = list(made.relationships)
    rng.shuffle(shuffled)
    made = replace(made, relationships=tuple(shuffled))
    return _in_style(made, rng) if renaming else made


def compose(rng: random.Random, number: int, forbidden: frozenset[str]) -> Graph:
    """Two to four labels, none of the `forbidden` ones, and two to five relationships."""
    size = rng.choices([2, 3, 4], [35, 50, 15])[0]
    themes = [rng.choices(list(_THEMES), list(_THEMES.values()))[0] for _ in range(size)]
    if themes[0] != "person" and rng.random() < 0.6:
        themes[0] = "person"
    nodes: list[Node] = []
    for theme in themes:
        nodes.append(_node(theme, {n.label_name for n in nodes} | forbidden, rng))
    kinds = dict(zip((n.label_name for n in nodes), themes, strict=True))
    pairs = [(a, b) for a in nodes for b in nodes if _verbs(kinds, a, b)]
    crossing = [(a, b) for a, b in pairs if a != b]
    loops = [(a, b) for a, b in pairs if a == b]
    wanted = rng.sample(crossing, min(len(crossing), rng.randint(1, size)))
    wanted += [p for p in loops if rng.random() < 0.35][:1]
    if crossing and rng.random() < 0.3:  # two relationships between the same two labels
        wanted.append(wanted[0])
    related, taken = [], set[str]()
    for a, b in wanted:
        written = [v for v in _verbs(kinds, a, b) if v.split(":")[0].split("[")[0] not in taken]
        if not written:
            continue
        head, _, words = rng.choice(written).partition(": ")
        if rng.random() < 0.4:
            head = head.split("[")[0]
        made = relationship(a, head, b, words)
        taken.add(made.type)
        related.append(made)
    if not related:
        return compose(rng, number, forbidden)
    graph = Graph(f"composed-{number}", tuple(nodes), tuple(related))
    return _in_style(renamed(graph, tuple(_with_missing(nodes, rng))), rng)


def _verbs(kinds: dict[str, str], a: Node, b: Node) -> list[str]:
    written: list[str] = _VERBS.get(f"{kinds[a.label_name]}_{kinds[b.label_name]}", [])
    return written


def _node(theme: str, taken: set[str] | frozenset[str], rng: random.Random) -> Node:
    while True:  # the bank holds many more nouns than a graph and the forbidden ones
        noun = english.singular(rng.choice(_NOUNS[theme]["nouns"]))
        label = "".join(w.capitalize() for w in noun.split())
        if label not in taken:
            break
    bank = [parse_column(c) for c in (*_NOUNS[theme]["columns"], *_NOUNS["any_column"])]
    name = parse_column(rng.choice(_NOUNS[theme]["labels"]))
    plain = [c for c in bank if c.kind != "label" and c.name != name.name]
    chosen = rng.sample(plain, rng.choices([1, 2, 3], [25, 50, 25])[0])
    if not any(c.is_number for c in chosen) and rng.random() < 0.6:
        chosen[-1] = rng.choice([c for c in plain if c.is_number and c not in chosen])
    chosen = list({c.name: c for c in chosen}.values())
    return make_node(label, (name, *chosen), theme == "person")


def _fewer(columns: tuple[Column, ...], rng: random.Random) -> tuple[Column, ...]:
    name, *rest = columns
    few = rng.sample(rest, rng.randint(min(1, len(rest)), len(rest)))
    return (name, *few)


def _with_synonyms(node: Node, rng: random.Random) -> Node:
    columns: list[Column] = []
    for column in node.columns:
        new = rng.choice(SYNONYMS.get(column.name, (column.name,)))
        taken = {c.name for c in (*node.columns, *columns)}
        if new not in taken and rng.random() < 0.5:
            phrase = column.phrase if rng.random() < 0.2 else english.spoken(new)
            column = replace(column, name=new, phrase=phrase)
        columns.append(column)
    return replace(node, columns=tuple(columns))


def _with_missing(nodes: list[Node], rng: random.Random) -> list[Node]:
    """In a quarter of the graphs one property may be absent."""
    at = rng.randrange(len(nodes))
    columns = nodes[at].of_kind("choice", "date", "int")
    if not columns or rng.random() > 0.25:
        return nodes
    chosen = rng.choice(columns)
    new = tuple(replace(c, nullable=c == chosen or c.nullable) for c in nodes[at].columns)
    return [*nodes[:at], replace(nodes[at], columns=new), *nodes[at + 1 :]]


def _in_style(graph: Graph, rng: random.Random) -> Graph:
    """Properties in snake_case or, as often among users of graphs, in camelCase."""
    if rng.random() < 0.6:
        return graph
    nodes = tuple(replace(n, columns=tuple(map(_in_camel, n.columns))) for n in graph.nodes)
    related = tuple(
        replace(r, held=_in_camel(r.held)) if r.held else r for r in graph.relationships
    )
    return renamed(replace(graph, relationships=related), nodes)


def _in_camel(column: Column) -> Column:
    return replace(column, name=_camel(column.name))


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)

"""Operations that compute something of objects or change one."""

from __future__ import annotations

from typing import Any

from text_to_typescript.record_parts import Draw, Parts, cap


def pluck(d: Draw) -> Parts | None:
    kind = d.rng.choice(("string", "number"))
    p = d.property(kind)
    if p is None:
        return None
    x, ones = d.list, d.entity.plural
    return Parts(
        "pluck", (f"all{cap(p)}s", f"{p}List", f"get{cap(p)}s"),
        (f"return the {p} of each of the {ones}", f"list the {p} of every one of {x}",
         f"give an array with the {p} of all {ones}"),
        f"{kind}[]", (f"return {x}.map(({d.v}) => {d.v}.{p});",),
        lambda rows: [r[p] for r in rows],
    )  # fmt: skip


def total(d: Draw) -> Parts | None:
    p = d.property("number")
    if p is None:
        return None
    x, ones = d.list, d.entity.plural
    return Parts(
        "total", (f"total{cap(p)}", f"sum{cap(p)}", f"{p}Sum"),
        (f"return the total {p} of the {ones}", f"add up the {p} of all {ones}",
         f"compute the sum of the {p} of {x}"),
        "number", (f"return {x}.reduce((sum, {d.v}) => sum + {d.v}.{p}, 0);",),
        lambda rows: sum(r[p] for r in rows),
    )  # fmt: skip


def average(d: Draw) -> Parts | None:
    p = d.property("number")
    if p is None:
        return None
    x, ones = d.list, d.entity.plural
    return Parts(
        "average", (f"average{cap(p)}", f"mean{cap(p)}", f"avg{cap(p)}"),
        (f"return the average {p} of the {ones}, or 0 if there are none",
         f"compute the mean {p} of {x}, 0 for no {ones}",
         f"give the average of the {p} of {x}, and 0 for an empty array"),
        "number",
        (f"if ({x}.length === 0) return 0;",
         f"return {x}.reduce((sum, {d.v}) => sum + {d.v}.{p}, 0) / {x}.length;"),
        lambda rows: sum(r[p] for r in rows) / len(rows) if rows else 0,
    )  # fmt: skip


def count(d: Draw) -> Parts | None:
    p = d.property("boolean")
    if p is None:
        return None
    x, ones = d.list, d.entity.plural
    return Parts(
        "count", (f"count{cap(p)}", f"{p}Count", f"howMany{cap(p)}"),
        (f"count the {ones} that are {p}", f"return how many of the {ones} are {p}",
         f"tell the number of {p} {ones}"),
        "number", (f"return {x}.filter(({d.v}) => {d.v}.{p}).length;",),
        lambda rows: sum(r[p] for r in rows),
    )  # fmt: skip


def names_of_flagged(d: Draw) -> Parts | None:
    p, q = d.property("boolean"), d.property("string")
    if p is None or q is None:
        return None
    x, ones = d.list, d.entity.plural
    return Parts(
        "flagged-pluck", (f"{p}{cap(q)}s", f"{q}sOf{cap(p)}", f"list{cap(q)}s"),
        (f"return the {q} of each of the {ones} that are {p}",
         f"list the {q} of all {ones} which are {p}",
         f"give an array with the {q} of the {p} {ones}"),
        "string[]", (f"return {x}.filter(({d.v}) => {d.v}.{p}).map(({d.v}) => {d.v}.{q});",),
        lambda rows: [r[q] for r in rows if r[p]],
    )  # fmt: skip


def total_of_flagged(d: Draw) -> Parts | None:
    p, q = d.property("boolean"), d.property("number")
    if p is None or q is None:
        return None
    x, ones = d.list, d.entity.plural
    return Parts(
        "flagged-total", (f"{p}{cap(q)}", f"total{cap(q)}", f"sum{cap(p)}"),
        (f"return the total {q} of the {ones} that are {p}",
         f"add up the {q} of all {ones} which are {p}",
         f"compute the sum of the {q} of the {p} {ones}"),
        "number",
        (f"return {x}.filter(({d.v}) => {d.v}.{p}).reduce((sum, {d.v}) => sum + {d.v}.{q}, 0);",),
        lambda rows: sum(r[q] for r in rows if r[p]),
    )  # fmt: skip


def group(d: Draw) -> Parts | None:
    p = d.property("string")
    if p is None:
        return None
    x, ones, name = d.list, d.entity.plural, d.entity.name
    result = f"Record<string, {name}[]>"

    def compute(rows: list[dict[str, Any]]) -> dict[str, Any]:
        groups: dict[str, Any] = {}
        for row in rows:
            groups.setdefault(row[p], []).append(row)
        return groups

    return Parts(
        "group", (f"groupBy{cap(p)}", f"by{cap(p)}", "group"),
        (f"group the {ones} by {p}", f"return {x} grouped by their {p}",
         f"collect {x} into one array for each {p}"),
        result,
        (f"const groups: {result} = {{}};",
         f"for (const {d.v} of {x}) {{",
         f"  (groups[{d.v}.{p}] ??= []).push({d.v});",
         "}",
         "return groups;"),
        compute,
    )  # fmt: skip


def tally(d: Draw) -> Parts | None:
    p = d.property("string")
    if p is None:
        return None
    x, ones = d.list, d.entity.plural

    def compute(rows: list[dict[str, Any]]) -> dict[str, Any]:
        counts: dict[str, Any] = {}
        for row in rows:
            counts[row[p]] = counts.get(row[p], 0) + 1
        return counts

    return Parts(
        "tally", (f"countBy{cap(p)}", f"per{cap(p)}", "tally"),
        (f"count the {ones} for each {p}", f"return how many {ones} there are of each {p}",
         f"tell for every {p} the number of {ones}"),
        "Record<string, number>",
        ("const counts: Record<string, number> = {};",
         f"for (const {d.v} of {x}) {{",
         f"  counts[{d.v}.{p}] = (counts[{d.v}.{p}] ?? 0) + 1;",
         "}",
         "return counts;"),
        compute,
    )  # fmt: skip


def join(d: Draw) -> Parts | None:
    p = d.property("string")
    if p is None:
        return None
    x, ones, between = d.list, d.entity.plural, d.rng.choice((", ", "; ", " - "))
    return Parts(
        "join", (f"join{cap(p)}s", "asText", f"{p}Line"),
        (f'join the {p} of all {ones} with "{between}"',
         f'return the {p} of each of the {ones}, joined by "{between}"',
         f'put the {p} of {x} into one string with "{between}" between'),
        "string", (f'return {x}.map(({d.v}) => {d.v}.{p}).join("{between}");',),
        lambda rows: between.join(r[p] for r in rows),
    )  # fmt: skip


def switched(d: Draw) -> Parts | None:
    p = d.property("boolean")
    if p is None:
        return None
    one, name = d.entity.singular, d.entity.name
    value = d.rng.random() < 0.6
    told = "true" if value else "false"
    return Parts(
        "set", (f"mark{cap(p)}", f"set{cap(p)}", f"update{name}"),
        (f"return a copy of {one} with {p} set to {told}",
         f"set {p} to {told} in a copy of {one}", f"copy {one} but with {p} being {told}"),
        name, (f"return {{ ...{one}, {p}: {told} }};",),
        lambda row: {**row, p: value},  # type: ignore[dict-item]  # a single object here
        is_single=True,
    )  # fmt: skip


def raised(d: Draw) -> Parts | None:
    p = d.property("number")
    if p is None:
        return None
    one, name = d.entity.singular, d.entity.name
    return Parts(
        "raise", (f"raise{cap(p)}", f"add{cap(p)}", f"increase{cap(p)}"),
        (f"return a copy of {one} with {p} increased by amount",
         f"add amount to the {p} in a copy of {one}", f"copy {one} but with amount more {p}"),
        name, (f"return {{ ...{one}, {p}: {one}.{p} + amount }};",),
        lambda row: {**row, p: row[p] + 3},  # type: ignore[call-overload,dict-item]  # single
        ("amount: number", 3), is_single=True,
    )  # fmt: skip


def describe(d: Draw) -> Parts | None:
    p, q = d.property("string"), d.property("number")
    if p is None or q is None:
        return None
    one = d.entity.singular
    return Parts(
        "describe", ("describe", f"format{d.entity.name}", "label"),
        (f'return the {p} and the {q} of {one} as "{p}: {q}"',
         f'write {one} as text: its {p}, ": " and its {q}',
         f'join the {p} and {q} of {one} with ": "'),
        "string", (f"return `${{{one}.{p}}}: ${{{one}.{q}}}`;",),
        lambda row: f"{row[p]}: {row[q]}",  # type: ignore[call-overload]  # a single object here
        is_single=True,
    )  # fmt: skip

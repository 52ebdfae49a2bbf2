"""Operations that choose among objects or put them in order."""

from __future__ import annotations

from text_to_typescript.record_parts import TEXTS, Draw, Parts, cap


def flagged(d: Draw) -> Parts | None:
    p = d.property("boolean")
    if p is None:
        return None
    x, ones, yes = d.list, d.entity.plural, d.rng.random() < 0.6
    word, mark = ("", "") if yes else ("not ", "!")
    return Parts(
        "flagged" if yes else "not-flagged",
        (f"{p}{cap(ones)}" if yes else f"not{cap(p)}", "select", f"pick{cap(ones)}"),
        (f"return the {ones} that are {word}{p}", f"keep only the {ones} which are {word}{p}",
         f"filter {x} for those that are {word}{p}"),
        f"{d.entity.name}[]", (f"return {x}.filter(({d.v}) => {mark}{d.v}.{p});",),
        lambda rows: [r for r in rows if r[p] is yes],
    )  # fmt: skip


def compared(d: Draw) -> Parts | None:
    p = d.property("number")
    if p is None:
        return None
    x, ones, k = d.list, d.entity.plural, d.k
    more = d.rng.random() < 0.5
    words, sign = ("more", ">") if more else ("less", "<")
    return Parts(
        f"compared-{words}", (f"{words}{cap(p)}", "select", f"filter{cap(ones)}"),
        (f"return the {ones} with a {p} of {words} than {k}",
         f"keep only the {ones} whose {p} is {words} than {k}",
         f"filter {x} for a {p} of {words} than {k}"),
        f"{d.entity.name}[]", (f"return {x}.filter(({d.v}) => {d.v}.{p} {sign} {k});",),
        lambda rows: [r for r in rows if (r[p] > k if more else r[p] < k)],
    )  # fmt: skip


def at_least(d: Draw) -> Parts | None:
    p = d.property("number")
    if p is None:
        return None
    x, ones = d.list, d.entity.plural
    limit = d.rng.choice(("min", "limit", "threshold", f"min{cap(p)}"))
    return Parts(
        "at-least", (f"with{cap(p)}", "atLeast", f"filter{cap(ones)}"),
        (f"return the {ones} with a {p} of at least {limit}",
         f"keep only the {ones} whose {p} is not below {limit}",
         f"filter {x} for those with a {p} of {limit} or more"),
        f"{d.entity.name}[]", (f"return {x}.filter(({d.v}) => {d.v}.{p} >= {limit});",),
        lambda rows: [r for r in rows if r[p] >= d.k], (f"{limit}: number", d.k),
    )  # fmt: skip


def equal(d: Draw) -> Parts | None:
    p = d.property("string")
    if p is None or p in (d.list, d.v):
        return None
    x, ones, wanted = d.list, d.entity.plural, d.rng.choice(TEXTS)
    return Parts(
        "equal", (f"by{cap(p)}", f"with{cap(p)}", f"filterBy{cap(p)}"),
        (f"return the {ones} with the given {p}", f"keep only the {ones} whose {p} is {p}",
         f"filter {x} by their {p}"),
        f"{d.entity.name}[]", (f"return {x}.filter(({d.v}) => {d.v}.{p} === {p});",),
        lambda rows: [r for r in rows if r[p] == wanted], (f"{p}: string", wanted),
    )  # fmt: skip


def including(d: Draw) -> Parts | None:
    p = d.property("string[]")
    if p is None or p.rstrip("s") in (d.list, d.v):
        return None
    x, ones, wanted = d.list, d.entity.plural, d.rng.choice(TEXTS)
    one = p.rstrip("s")
    return Parts(
        "including", (f"with{cap(one)}", f"filterBy{cap(one)}", "having"),
        (f"return the {ones} whose {p} include {one}",
         f"keep only the {ones} with {one} in their {p}",
         f"filter {x} for those that have {one} among their {p}"),
        f"{d.entity.name}[]", (f"return {x}.filter(({d.v}) => {d.v}.{p}.includes({one}));",),
        lambda rows: [r for r in rows if wanted in r[p]], (f"{one}: string", wanted),
    )  # fmt: skip


def find(d: Draw) -> Parts | None:
    p = d.property("string")
    if p is None or p in (d.list, d.v):
        return None
    x, one, wanted = d.list, d.entity.singular, d.rng.choice(TEXTS)
    return Parts(
        "find", (f"findBy{cap(p)}", f"find{d.entity.name}", f"get{d.entity.name}"),
        (f"return the first {one} with the given {p}, or undefined",
         f"find the {one} whose {p} is {p}, undefined if there is none",
         f"look up a {one} by its {p}, or give undefined"),
        f"{d.entity.name} | undefined", (f"return {x}.find(({d.v}) => {d.v}.{p} === {p});",),
        lambda rows: next((r for r in rows if r[p] == wanted), None), (f"{p}: string", wanted),
    )  # fmt: skip


def best(d: Draw) -> Parts | None:
    p = d.property("number")
    if p is None:
        return None
    x, one, most = d.list, d.entity.singular, d.rng.random() < 0.6
    word, sign = ("highest", ">") if most else ("lowest", "<")
    return Parts(
        word, (f"{word}{cap(p)}", f"with{cap(word)}{cap(p)}", "best" if most else "least"),
        (f"return the {one} with the {word} {p}, or undefined if there is none",
         f"find the {one} whose {p} is {word}, undefined for an empty array",
         f"give the {one} of the {word} {p}, or undefined"),
        f"{d.entity.name} | undefined",
        (f"let best: {d.entity.name} | undefined;",
         f"for (const {d.v} of {x}) {{",
         f"  if (best === undefined || {d.v}.{p} {sign} best.{p}) best = {d.v};",
         "}",
         "return best;"),
        lambda rows: (max if most else min)(rows, key=lambda r: r[p], default=None),
    ) if d.v != "best" else None  # fmt: skip


def any_all(d: Draw) -> Parts | None:
    p = d.property("boolean")
    if p is None:
        return None
    x, ones, any_ = d.list, d.entity.plural, d.rng.random() < 0.5
    word, method = ("any", "some") if any_ else ("all", "every")
    return Parts(
        method, (f"{word}{cap(p)}", f"is{cap(word)}{cap(p)}", f"check{cap(p)}"),
        (f"tell whether {word} of the {ones} are {p}", f"check if {word} {ones} are {p}",
         f"return true if {word} of {x} are {p}"),
        "boolean", (f"return {x}.{method}(({d.v}) => {d.v}.{p});",),
        lambda rows: (any if any_ else all)(r[p] for r in rows),
    )  # fmt: skip


def sort(d: Draw) -> Parts | None:
    p = d.property("number")
    if p is None:
        return None
    x, ones, down = d.list, d.entity.plural, d.rng.random() < 0.5
    words = "largest first" if down else "smallest first"
    code = f"b.{p} - a.{p}" if down else f"a.{p} - b.{p}"
    return Parts(
        "sort-down" if down else "sort", (f"by{cap(p)}", f"sortBy{cap(p)}", "sorted"),
        (f"return the {ones} sorted by {p}, {words}, without changing the array",
         f"return a copy of {x} sorted by {p}, {words}",
         f"order {x} by {p}, {words}, in a new array"),
        f"{d.entity.name}[]", (f"return [...{x}].sort((a, b) => {code});",),
        lambda rows: sorted(rows, key=lambda r: -r[p] if down else r[p]),
    )  # fmt: skip


def sort_text(d: Draw) -> Parts | None:
    p = d.property("string")
    if p is None:
        return None
    x, ones = d.list, d.entity.plural
    return Parts(
        "sort-text", (f"by{cap(p)}", f"sortBy{cap(p)}", "alphabetical"),
        (f"return the {ones} sorted alphabetically by {p}, without changing the array",
         f"return a copy of {x} in alphabetical order of {p}",
         f"order {x} by {p} from a to z in a new array"),
        f"{d.entity.name}[]",
        (f"return [...{x}].sort((a, b) => a.{p}.localeCompare(b.{p}));",),
        lambda rows: sorted(rows, key=lambda r: r[p]),
    )  # fmt: skip

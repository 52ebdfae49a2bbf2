"""Types to define: interfaces, unions, tuples, generics, and what is made of other types.

A test compares the type that was written with the one that was asked for, by `Equal`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from text_to_typescript.entities import Entity, entities, reduced
from text_to_typescript.task import Split, Task

_UNIONS = {
    "Status": "open closed pending archived", "Color": "red green blue yellow",
    "Size": "small medium large huge", "Role": "admin editor viewer guest",
    "Direction": "north south east west", "Level": "low middle high critical",
    "Theme": "light dark auto", "Unit": "gram kilo ton", "Season": "spring summer autumn winter",
    "Method": "get post put delete", "Align": "left center right", "Mode": "read write append",
    "Suit": "hearts spades clubs diamonds", "Currency": "eur usd gbp chf",
}  # fmt: skip
_TEST_UNIONS = {
    "Phase": "new growing full waning", "Weather": "sunny cloudy rainy snowy",
    "Gear": "park reverse neutral drive", "Taste": "sweet sour salty bitter",
    "Shift": "early late night",
}  # fmt: skip
_WORDED = {
    "string": ("string", "text"), "number": ("number", "number"), "boolean": ("boolean", "flag"),
    "string[]": ("array of strings", "list of strings"), "Date": ("Date", "date"),
    "number[]": ("array of numbers", "list of numbers"),
    "string | null": ("string or null", "text that may be null"),
    "number | null": ("number or null", "number that may be null"),
    "Record<string, number>": ("record from strings to numbers", "record of numbers by name"),
}  # fmt: skip
_EXTRA = (
    ("createdAt", "Date"), ("updatedAt", "Date"), ("scores", "number[]"), ("note", "string | null"),
    ("counts", "Record<string, number>"), ("limit", "number | null"), ("aliases", "string[]"),
    ("parent", "string | null"), ("sizes", "number[]"),
)  # fmt: skip
_SIMPLE = ("string", "number", "boolean")


def task(rng: random.Random, split: Split) -> Task:
    """A type to define."""
    makers, weights = zip(*_MAKERS, strict=True)
    make: Callable[[random.Random, Split], Task] = rng.choices(makers, weights)[0]
    return make(rng, split)


def _same(name: str, expected: str) -> str:
    return f"const same: Equal<{name}, {expected}> = true;"


def _thing(family: str, does: str, code: str, tests: str, given: str = "") -> Task:
    return Task(f"type/{family}", does, code, tests, given=given, is_thing=True)


def _worded(rng: random.Random, split: Split, kind: str) -> str:
    usual, other = _WORDED[kind]
    return rng.choice((usual, other)) if split == "test" else usual


def _interface(rng: random.Random, split: Split) -> Task:
    """Properties in words; some optional, some read-only; an interface or a type alias."""
    entity = reduced(rng.choice(entities(split)), rng)
    properties = list(entity.properties)
    if rng.random() < 0.6:
        properties.insert(rng.randint(1, len(properties)), rng.choice(_EXTRA))
    told, lines = [], []
    for name, kind in properties:
        optional, fixed = rng.random() < 0.2, rng.random() < 0.08
        told.append(_property(rng, split, name, kind, optional, fixed))
        lines.append(f"{'readonly ' if fixed else ''}{name}{'?' if optional else ''}: {kind};")
    words = ", ".join(told[:-1]) + " and " + told[-1]
    is_alias = rng.random() < 0.25
    kind = "a type" if is_alias else "an interface"
    does = f"{kind} {entity.name} with {words}"
    body = "".join(f"  {line}\n" for line in lines)
    head, end = (f"type {entity.name} =", ";") if is_alias else (f"interface {entity.name}", "")
    expected = "{ " + " ".join(lines) + " }"
    family = "alias" if is_alias else "interface"
    return _thing(family, does, f"{head} {{\n{body}}}{end}", _same(entity.name, expected))


def _property(
    rng: random.Random, split: Split, name: str, kind: str, optional: bool, fixed: bool
) -> str:
    word = _worded(rng, split, kind)
    marks = [m for m, is_so in (("optional", optional), ("read-only", fixed)) if is_so]
    if rng.random() < 0.7:
        return f"{name} ({' '.join([*marks, word])})"
    a = "an" if (marks or [word])[0][0] in "aeiou" else "a"
    return f"{a} {' '.join([*marks, word])} {name}" if "or" not in word else (
        f"{name} ({' '.join([*marks, word])})"
    )  # fmt: skip


def _union(rng: random.Random, split: Split) -> Task:
    name, text = rng.choice(list((_TEST_UNIONS if split == "test" else _UNIONS).items()))
    values = rng.sample(text.split(), rng.randint(2, len(text.split())))
    quoted = [f'"{v}"' for v in values]
    words = ", ".join(quoted[:-1]) + " or " + quoted[-1]
    does = rng.choice((f"a type {name} that is {words}", f"a union type {name} of {words}"))
    if split == "test" and rng.random() < 0.5:
        does = f"a type {name} that allows only {words}"
    return _thing("union", does, f"type {name} = {' | '.join(quoted)};",
                  _same(name, " | ".join(quoted)))  # fmt: skip


def _enum(rng: random.Random, split: Split) -> Task:
    name, text = rng.choice(list((_TEST_UNIONS if split == "test" else _UNIONS).items()))
    values = rng.sample(text.split(), rng.randint(2, len(text.split())))
    members = [v.capitalize() for v in values]
    listed = ", ".join(members[:-1]) + " and " + members[-1]
    if rng.random() < 0.5:
        code = f"enum {name} {{\n" + "".join(f"  {m},\n" for m in members) + "}"
        tests = f"expectEqual({name}.{members[-1]}, {len(members) - 1});"
        return _thing("enum", f"an enum {name} with {listed}", code, tests)
    code = f"enum {name} {{\n"
    code += "".join(f'  {m} = "{v}",\n' for m, v in zip(members, values, strict=True)) + "}"
    does = f"a string enum {name} with {listed}, whose values are the names in lower case"
    return _thing("string-enum", does, code, f'expectEqual({name}.{members[0]}, "{values[0]}");')


def _derived(rng: random.Random, split: Split) -> Task:
    """A type made of an interface that the request shows."""
    entity = reduced(rng.choice(entities(split)), rng)
    one, names = entity.name, [n for n, _ in entity.properties]
    some = rng.sample(names, 2)
    keys = " | ".join(f'"{n}"' for n in some)
    both = " and ".join(some)
    kind, name, does, code = rng.choice((
        ("partial", f"{one}Changes", f"{one} with all properties optional", f"Partial<{one}>"),
        ("readonly", f"Frozen{one}", f"{one} with all properties read-only", f"Readonly<{one}>"),
        ("pick", f"{one}Summary", f"only {both} of {one}", f"Pick<{one}, {keys}>"),
        ("omit", f"New{one}", f"{one} without {both}", f"Omit<{one}, {keys}>"),
        ("keys", f"{one}Key", f"the names of the properties of {one}", f"keyof {one}"),
        ("record", f"{one}Map", f"a record from strings to {one}", f"Record<string, {one}>"),
        ("nullable", f"Maybe{one}", f"{one} or null", f"{one} | null"),
        ("list", f"{one}List", f"an array of {one}", f"{one}[]"),
        ("indexed", f"{one}{some[0].capitalize()}", f"the type of {some[0]} in {one}",
         f'{one}["{some[0]}"]'),
    ))  # fmt: skip
    return _thing(kind, f"a type {name}: {does}", f"type {name} = {code};", _same(name, code),
                  entity.interface)  # fmt: skip


def _extended(rng: random.Random, split: Split) -> Task:
    entity = reduced(rng.choice(entities(split)), rng)
    name, kind = rng.choice([e for e in _EXTRA if e[0] not in dict(entity.properties)])
    prefix = rng.choice(("Detailed", "Special", "Rated", "Stored", "Shared"))
    made = f"{prefix}{entity.name}"
    does = f"an interface {made} that extends {entity.name} with {name} ({_WORDED[kind][0]})"
    code = f"interface {made} extends {entity.name} {{\n  {name}: {kind};\n}}"
    told = " ".join(f"{n}: {k};" for n, k in (*entity.properties, (name, kind)))
    return _thing("extends", does, code, _same(made, f"{{ {told} }}"), entity.interface)


def _function_type(rng: random.Random, split: Split) -> Task:
    entity: Entity = rng.choice(entities(split))
    one = rng.choice((entity.name, entity.name, "string", "number"))
    given = "" if one in _SIMPLE else reduced(entity, rng).interface
    result = rng.choice(("boolean", "string", "number", "void", f"Promise<{one}>"))
    name = rng.choice(("Handler", "Check", "Mapper", "Callback", "Loader", "Formatter"))
    value = entity.singular if one == entity.name else "value"
    returns = "returns nothing" if result == "void" else f"returns {result}"
    does = f"a function type {name} that takes {value} ({one}) and {returns}"
    code = f"({value}: {one}) => {result}"
    return _thing("function", does, f"type {name} = {code};", _same(name, code), given)


def _tuple(rng: random.Random, split: Split) -> Task:
    names = ("Range", "Entry", "Pair", "Row", "Reading") if split != "test" else ("Span", "Link")
    name = rng.choice(names)
    kinds = [rng.choice((*_SIMPLE, "Date")) for _ in range(rng.randint(2, 3))]
    words = ", ".join(kinds[:-1]) + " and " + kinds[-1]
    does = f"a tuple type {name} of {words}"
    return _thing("tuple", does, f"type {name} = [{', '.join(kinds)}];",
                  _same(name, f"[{', '.join(kinds)}]"))  # fmt: skip


def _generic(rng: random.Random, split: Split) -> Task:
    names = ("Box", "Page", "Cell", "Result", "Holder") if split != "test" else ("Crate", "Slot")
    name = rng.choice(names)
    prop = rng.choice(("value", "data", "item", "content"))
    plural = rng.choice(("items", "entries", "results"))
    count = rng.choice(("total", "count", "page", "size"))
    kind, does, body = rng.choice((
        ("box", f"a generic interface {name}<T> with {prop} of type T", f"  {prop}: T;\n"),
        ("page", f"a generic interface {name}<T> with {plural} (array of T) and {count} (number)",
         f"  {plural}: T[];\n  {count}: number;\n"),
        ("maybe", f"a generic interface {name}<T> with {prop} (T or null) and an optional error "
         "(string)", f"  {prop}: T | null;\n  error?: string;\n"),
    ))  # fmt: skip
    expected = "{ " + " ".join(body.replace("T", "Date").split("\n")).strip() + " }"
    return _thing(f"generic-{kind}", does, f"interface {name}<T> {{\n{body}}}",
                  _same(f"{name}<Date>", expected))  # fmt: skip


def _discriminated(rng: random.Random, split: Split) -> Task:
    shapes = (
        ("Shape", ("circle", "radius"), ("square", "side")),
        ("Payment", ("card", "digits"), ("transfer", "account")),
        ("Message", ("text", "length"), ("image", "width")),
    )
    test_shapes = (("Vehicle", ("boat", "draft"), ("plane", "span")),)
    name, (a, x), (b, y) = rng.choice(test_shapes if split == "test" else shapes)
    tag = rng.choice(("kind", "type"))
    does = (
        f'a union type {name} of two objects: one with {tag} "{a}" and {x} (number), '
        f'one with {tag} "{b}" and {y} (number)'
    )
    parts = [f'{{ {tag}: "{k}"; {p}: number }}' for k, p in ((a, x), (b, y))]
    code = f"type {name} =\n  | {parts[0]}\n  | {parts[1]};"
    return _thing("discriminated", does, code, _same(name, " | ".join(parts)))


_MAKERS: tuple[tuple[Callable[[random.Random, Split], Task], int], ...] = (
    (_interface, 40), (_union, 9), (_enum, 8), (_derived, 16), (_extended, 6),
    (_function_type, 7), (_tuple, 5), (_generic, 6), (_discriminated, 3),
)  # fmt: skip

"""Questions whose answer is a number, or a number for each group."""

from __future__ import annotations

from text_to_sql import english
from text_to_sql.conditions import condition, perhaps, predicate
from text_to_sql.draw import Draw, Question, Unsuitable
from text_to_sql.schema import Column
from text_to_sql.sql import by, query, ref

_FUNCTIONS = {
    "AVG": "[average|average|mean]",
    "SUM": "[total|total|sum of the|combined]",
    "MAX": "[highest|maximum|largest]",
    "MIN": "[lowest|minimum|smallest]",
}
_NOT_SUMMED = frozenset(
    ["age", "rating", "ranking", "temperature", "year", "grade", "speed", "height", "humidity"]
)
COUNTS = (
    # comparison in HAVING, and the words for it
    (">", "more than {n}"),
    (">", "over {n}"),
    (">=", "at least {n}"),
)


def aggregate(draw: Draw, column: Column) -> tuple[str, str]:
    """An aggregate function that makes sense for a column, and the words for it."""
    functions = ["AVG", "AVG", "SUM", "MAX", "MIN"]
    if column.phrase.split()[-1] in _NOT_SUMMED:
        functions.remove("SUM")
    function = draw.pick(functions)
    return function, draw.say(_FUNCTIONS[function] + " {c}", c=column.phrase)


def count_all(draw: Draw) -> Question:
    table = draw.table()
    text = draw.say(
        "How many {ns} are there?",
        "Count [all |the |]{ns}",
        "What is the [total |]number of {ns}?",
        "How many {ns} do we have?",
        "Give me the number of {ns}",
        "total number of {ns}",
        "How many {ns} are [listed|recorded]?",
        ns=table.plural,
    )
    return Question(text, query("COUNT(*)", table.name), "aggregate/count")


def count_filtered(draw: Draw) -> Question:
    table = draw.table()
    made = condition(draw, table)
    said = predicate(made.after)
    ways = [
        "How many {r} are there?",
        "Count the {r}",
        "What is the number of {r}?",
        "How many {r} do we have?",
        "Give me the number of {r}",
        "number of {r}",
        "Count [all|how many] {r}",
    ]
    if said and not made.before and draw.chance(0.5):
        ways = ["How many {ns} {p}?"]
    text = draw.say(*ways, ns=table.plural, r=made.applied(table.plural), p=said)
    return Question(text, query("COUNT(*)", table.name, made.sql), "aggregate/count")


def count_distinct(draw: Draw) -> Question:
    table = draw.table()
    column = draw.pick(table.of_kind("choice"))
    text = draw.say(
        "How many [different|distinct|unique] {cs} [are there among|do the] {ns}?",
        "Count the [different|distinct|unique] {cs} of [the |]{ns}",
        "What is the number of [different|distinct|unique] {cs} of {ns}?",
        cs=english.plural(column.phrase),
        ns=table.plural,
    )
    if " do the " in text:
        text = text.removesuffix("?") + " have?"
    answer = query(f"COUNT(DISTINCT {ref(table, column)})", table.name)
    return Question(text, answer, "aggregate/count")


def value(draw: Draw) -> Question:
    table = draw.table()
    column = draw.number(table)
    function, said = aggregate(draw, column)
    noun, where = perhaps(draw, table, 0.5, but=column)
    text = draw.say(
        "What is the {a} of [all |the |]{r}?",
        "SHOW the {a} of [all |]{r}",
        "{a} of {r}",
        "Calculate the {a} of {r}",
        "What's the {a} [for|of] {r}?",
        "Find the {a} among {r}",
        a=said,
        r=noun,
    )
    if function == "SUM" and english.is_countable(column.phrase) and draw.chance(0.4):
        text = f"How many {column.phrase} do {noun} have in total?"
    answer = query(f"{function}({ref(table, column)})", table.name, where)
    return Question(text, answer, "aggregate/value")


def extremes(draw: Draw) -> Question:
    table = draw.table()
    column = draw.number(table)
    text = draw.say(
        "What are the [lowest and highest|minimum and maximum] {c} of [all |]{ns}?",
        "SHOW the [minimum and maximum|lowest and highest|smallest and largest] {c} of {ns}",
        c=column.phrase,
        ns=table.plural,
    )
    name = ref(table, column)
    return Question(text, query(f"MIN({name}), MAX({name})", table.name), "aggregate/value")


def count_by(draw: Draw) -> Question:
    table = draw.table()
    group = draw.pick(table.of_kind("choice"))
    noun, where = perhaps(draw, table, 0.25, but=group)
    text = draw.say(
        "How many {r} are there [for|in] each {g}?",
        "LIST the number of {r} [per|for each|by|for every] {g}",
        "Count [the |]{r} [by|per|for each] {g}",
        "number of {r} [per|by] {g}",
        "For each {g}, [count the {r}|how many {r} are there?]",
        r=noun,
        g=group.phrase,
    )
    name = ref(table, group)
    answer = query(f"{name}, COUNT(*)", table.name, where, f"GROUP BY {name}")
    return Question(text, answer, "aggregate/group")


def value_by(draw: Draw) -> Question:
    table = draw.table()
    group = draw.pick(table.of_kind("choice"))
    column = draw.number(table)
    function, said = aggregate(draw, column)
    noun, where = perhaps(draw, table, 0.15, but=group)
    text = draw.say(
        "What is the {a} of {r} [for each|per|by] {g}?",
        "SHOW the {a} of {r} [per|for each|by|for every] {g}",
        "{a} of {r} [per|by] {g}",
        "For each {g}, show the {a} of {r}",
        "Calculate the {a} of {r} [per|by] {g}",
        a=said,
        r=noun,
        g=group.phrase,
    )
    name = ref(table, group)
    what = f"{name}, {function}({ref(table, column)})"
    return Question(text, query(what, table.name, where, f"GROUP BY {name}"), "aggregate/group")


def count_by_ordered(draw: Draw) -> Question:
    table = draw.table()
    group = draw.pick(table.of_kind("choice"))
    text = draw.say(
        "How many {ns} are there per {g}, [most|largest number] first?",
        "SHOW the number of {ns} per {g}, sorted from most to fewest",
        "Count {ns} by {g}, ordered by the count in descending order",
        ns=table.plural,
        g=group.phrase,
    )
    name = ref(table, group)
    tail = f"GROUP BY {name} {by('COUNT(*)', down=True)}"
    return Question(text, query(f"{name}, COUNT(*)", table.name, tail=tail), "aggregate/group")


def most_common(draw: Draw) -> Question:
    table = draw.table()
    group = draw.pick(table.of_kind("choice"))
    down = draw.chance(0.75)
    most, common, bare = (
        ("most", "[most common|most frequent]", "most")
        if down
        else ("fewest", "[least common|rarest]", "the fewest")
    )
    text = draw.say(
        f"Which {{g}} has the {most} {{ns}}?",
        f"What is the {common} {{g}} [of|among] {{ns}}?",
        f"SHOW the {{g}} with the {most} {{ns}}",
        f"Which {{g}} do {bare} {{ns}} have?",
        g=group.phrase,
        ns=table.plural,
    )
    name = ref(table, group)
    tail = f"GROUP BY {name} {by('COUNT(*)', down)} LIMIT"
    answer = query(name, table.name, tail=f"{tail} 1")
    ties = query("COUNT(*)", table.name, tail=f"{tail} 2")
    return Question(text, answer, "aggregate/top-group", ties)


def having_count(draw: Draw) -> Question:
    table = draw.table()
    group = draw.pick(table.of_kind("choice"))
    number = draw.rng.randint(2, 5)
    operator, said = draw.pick([*COUNTS, ("<", "fewer than {n}"), (">=", "{n} or more")])
    text = draw.say(
        f"Which {{gs}} have {said} {{ns}}?",
        f"SHOW the {{gs}} with {said} {{ns}}",
        f"SHOW {{gs}} that have {said} {{ns}}",
        f"{{gs}} with {said} {{ns}}",
        gs=english.plural(group.phrase),
        ns=table.plural,
        n=str(number),
    )
    name = ref(table, group)
    tail = f"GROUP BY {name} HAVING COUNT(*) {operator} {number}"
    return Question(text, query(name, table.name, tail=tail), "aggregate/having")


def having_average(draw: Draw) -> Question:
    table = draw.table()
    group = draw.pick(table.of_kind("choice"))
    column = draw.number(table)
    values = [v for v in draw.database.column(table, column) if isinstance(v, int | float)]
    middle = int(sum(values) / max(1, len(values)))
    limit = middle if middle < 20 else round(middle, 1 - len(str(middle)))
    operator, beside = draw.pick(
        [(">", "[above|over|greater than|higher than]"), ("<", "[below|under|less than]")]
    )
    text = draw.say(
        f"Which {{gs}} have an average {{c}} {beside} {{v}} [for {{ns}}|among {{ns}}]?",
        f"SHOW the {{gs}} [where|whose] [the |]average {{c}} of {{ns}} is {beside} {{v}}",
        gs=english.plural(group.phrase),
        ns=table.plural,
        c=column.phrase,
        v=str(limit),
    ).replace("whose the average", "whose average")
    name = ref(table, group)
    tail = f"GROUP BY {name} HAVING AVG({ref(table, column)}) {operator} {limit}"
    answer = query(name, table.name, tail=tail)
    groups = draw.database.execute(query(f"DISTINCT {name}", table.name))
    if len(draw.database.execute(answer)) in (0, len(groups)):
        raise Unsuitable
    return Question(text, answer, "aggregate/having")


def top_average(draw: Draw) -> Question:
    table = draw.table()
    group = draw.pick(table.of_kind("choice"))
    column = draw.number(table)
    down = draw.chance(0.7)
    most = "highest" if down else "lowest"
    text = draw.say(
        f"Which {{g}} has the {most} average {{c}} [of|among] {{ns}}?",
        f"SHOW the {{g}} with the {most} average {{c}} of {{ns}}",
        g=group.phrase,
        c=column.phrase,
        ns=table.plural,
    )
    name = ref(table, group)
    tail = f"GROUP BY {name} {by(f'AVG({ref(table, column)})', down)} LIMIT 1"
    return Question(text, query(name, table.name, tail=tail), "aggregate/top-group")

"""Words that speak for one kind of work or another, all found in one pass over a request."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hive_expert.router.keywords import Automaton

# Unlike the words of keywords: snake_case is one word, since a column's name says little about
# what is asked; and a letter beyond ASCII ends a word, as Chinese does beside Latin.
_WORD = re.compile(r"[a-z0-9_]+[+#]*")


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split(","))


PHRASES: Mapping[str, tuple[str, ...]] = {
    "says sql": _phrases("postgres, postgresql, duckdb, mariadb, oracle database"),
    "says table": _phrases(
        "table, tables, column, columns, row, rows, database, schema, records, join, joins,"
        "select, where clause"
    ),
    "says cypher": _phrases("cypher, neo4j"),
    "says graph": _phrases(
        "graph, node, nodes, relationship, relationships, edge, edges, shortest path, hop, hops,"
        "connected, degrees"
    ),
    "says json": _phrases("json"),
    "says extract": _phrases(
        "extract, parse, pull, field, fields, structure, structured, convert, key value, object,"
        "fill, capture, schema"
    ),
    "says typescript": _phrases("typescript, ts, tsx, tsconfig"),
    "says code": _phrases(
        "function, functions, interface, type, types, class, generic, method, implement, code,"
        "async, promise, enum, signature, helper, hook, typed, union, array, module, export,"
        "exported, snippet, parameter, argument, arguments"
    ),
    "other language": _phrases(
        "python, java, javascript, rust, golang, in go, ruby, php, kotlin, swift, bash, shell,"
        "haskell, perl, scala, matlab, pandas, numpy, powershell, assembly, lua, elixir, fortran,"
        "cobol, excel, vba, in c, in r, c++, c#"
    ),
    "other format": _phrases(
        "mongo, mongodb, regex, regular expression, html, css, yaml, yml, xml, csv, markdown,"
        "toml, graphql, redis, sparql, gremlin, elasticsearch, dockerfile, latex, protobuf,"
        "spreadsheet, table of contents"
    ),
    "prose": _phrases(
        "poem, story, joke, essay, song, rap, haiku, limerick, letter, speech, translate, recipe,"
        "birthday, slogan, advice, announcement, paragraph, summary, summarise, summarize,"
        "e mail to, email to, blog, review of, proofread, rewrite this, rephrase, grammar"
    ),
    "compares": _phrases(
        "difference between, differences between, differ, vs, versus, pros and cons, advantage,"
        "advantages, disadvantage, disadvantages, better than, compared to, compared with,"
        "alternative to, alternatives to, tradeoff, tradeoffs, trade off, trade offs,"
        "which is better, which is faster, which is best, when to use, history of, popular,"
        "worth it, worth learning, opinion, recommend, best practice, best practices"
    ),
    "teaches": _phrases(
        "tutorial, tutorials, introduction to, intro to, overview, beginner, beginners, learn,"
        "learning, course, courses, book on, book for, book about, books on, books for,"
        "books about, article, blog, essay, paragraph, concept, meaning of, interview,"
        "cheatsheet, cheat sheet, in simple terms, like i m, like im, eli5, analogy, metaphor"
    ),
    "query": _phrases("query, queries"),
    "changes data": _phrases(
        "insert, update, delete, drop, alter, truncate, grant, revoke, migrate, erase, wipe,"
        "empty the, clear the, remove all, remove every, remove the, remove each, remove any,"
        "set the, set all, set every, create table, create a table, create new table,"
        "create a new table"
    ),
    "runs or debugs": _phrases(
        "error, install, debug, fix, slow, optimise, optimize, performance, crash, version,"
        "server, backup, index, indexes, indexing, connect to, port, driver, docker, license,"
        "company, salary of a, career, job"
    ),
}
"""Words and phrases by cue. A phrase is its words in a row, whatever stands between them."""

_AUTOMATON = Automaton(
    (phrase, number) for number, phrases in enumerate(PHRASES.values()) for phrase in phrases
)
_NAMES = tuple(PHRASES)


def word_cues(instruction: str) -> set[str]:
    """Which of PHRASES' cues a lower-case instruction shows."""
    matches = _AUTOMATON.find(_WORD.findall(instruction))
    found = {_NAMES[owner] for match in matches for owner in match.owners}
    if "sql" in instruction:  # MySQL, NoSQL, sqlite, 用SQL写
        found.add("says sql")
    return found

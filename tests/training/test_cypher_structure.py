from __future__ import annotations

import random

import pytest

from hive_expert.decoding.cypher import parse_cypher
from hive_expert.errors import DecodingError
from hive_expert.training.cases import TestCase
from hive_expert.training.cypher_structure import names_used, same_structure
from hive_expert.training.scoring import score_case

ACTED = "MATCH (p:Person)-[:ACTED_IN]->(m:Movie) WHERE p.name = 'Anna' RETURN m.title"


def same(a: str, b: str) -> bool:
    return same_structure(parse_cypher(a), parse_cypher(b))


# ruff: noqa: E501 - one query a line reads best


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (ACTED, ACTED.lower().replace("person", "Person").replace("movie", "Movie")
         .replace("acted_in", "ACTED_IN").replace("anna", "Anna")),
        (ACTED, "MATCH (x:Movie)<-[r:ACTED_IN]-(y:Person) WHERE y.name = \"Anna\" RETURN x.title"),
        (ACTED, "MATCH (p:Person), (p)-[:ACTED_IN]->(m:Movie) WHERE p.name = 'Anna' RETURN m.title"),
        (ACTED, "MATCH (p:Person {name: 'Anna'})-[:ACTED_IN]->(m:Movie) RETURN m.title AS t"),
        (ACTED, "MATCH (p:Person) MATCH (p)-[:ACTED_IN]->(m:Movie) WHERE 'Anna' = p.name RETURN m.title"),
        ("MATCH (a:A) WHERE a.x > 1 AND a.y = 2 RETURN a", "MATCH (b:A) WHERE 2 = b.y AND 1 < b.x RETURN b"),
        ("MATCH (a:A) WHERE NOT a.x = 1 RETURN a", "MATCH (a:A) WHERE a.x <> 1 RETURN a"),
        ("MATCH (a:A) WHERE a.x = 1 OR a.y = 2 RETURN a", "MATCH (a:A) WHERE a.y = 2 OR a.x = 1 RETURN a"),
        ("MATCH (a:A) WHERE a.x IN [1, 2] RETURN a", "MATCH (a:A) WHERE a.x IN [2, 1.0] RETURN a"),
        ("MATCH (a:A)-[:R]->(b:B) RETURN a.n, count(b)", "MATCH (b:A)-[:R]->(a:B) RETURN b.n, count(*)"),
        (
            "MATCH (a:A)-[:R]->(b:B) RETURN a.n, count(b) ORDER BY count(b) DESC LIMIT 1",
            "MATCH (a:A)-[:R]->(b:B) RETURN a.n, count(b) AS total ORDER BY total DESC LIMIT 1",
        ),
        (
            "MATCH (a:A)-[:R]->(b:B) WITH a, count(b) AS total WHERE total > 3 RETURN a.n",
            "MATCH (x:A)-[:R]->(y:B) WITH count(y) AS n, x WHERE 3 < n RETURN x.n",
        ),
        (
            "MATCH (a:A)-[:R]->(b:A)-[:R]->(a) RETURN a.n, b.n",
            "MATCH (b:A)-[:R]->(a:A)-[:R]->(b) RETURN b.n, a.n",
        ),
        (
            "MATCH (a:A) WHERE NOT (a)-[:R]->(:B) RETURN a.n",
            "MATCH (x:A) WHERE NOT (x)-[:R]->(:B) RETURN x.n",
        ),
        (
            "MATCH p = shortestPath((a:A)-[:R*]-(b:A)) WHERE a.n = 'x' AND b.n = 'y' RETURN p",
            "MATCH q = shortestPath((b:A)-[:R*]-(a:A)) WHERE b.n = 'x' AND a.n = 'y' RETURN q",
        ),
    ],
)  # fmt: skip
def test_the_same_query_in_other_words(a: str, b: str) -> None:
    assert same(a, b)
    assert same(b, a)


@pytest.mark.parametrize(
    "other",
    [
        "MATCH (p:Person)<-[:ACTED_IN]-(m:Movie) WHERE p.name = 'Anna' RETURN m.title",
        "MATCH (p:Person)-[:ACTED_IN]-(m:Movie) WHERE p.name = 'Anna' RETURN m.title",
        "MATCH (p:Person)-[:DIRECTED]->(m:Movie) WHERE p.name = 'Anna' RETURN m.title",
        "MATCH (p:Person)-[:ACTED_IN]->(m:Movie) WHERE m.name = 'Anna' RETURN m.title",
        "MATCH (p:Person)-[:ACTED_IN]->(m:Movie) WHERE p.name = 'anna' RETURN m.title",
        "MATCH (p:Person)-[:ACTED_IN]->(m:Movie) WHERE p.name = 'Anna' RETURN p.title",
        "MATCH (p:Person)-[:ACTED_IN]->(m:Movie) WHERE p.name = 'Anna' RETURN DISTINCT m.title",
        "MATCH (p:Person)-[:ACTED_IN]->(m:Movie) RETURN m.title",
        "MATCH (p:Person)-[:ACTED_IN]->(m:Movie) WHERE p.name = 'Anna' RETURN m.title LIMIT 1",
        "MATCH (p:Person)-[:ACTED_IN]->(m:Movie) WHERE p.name = 'Anna' RETURN m.title, p.name",
        "MATCH (p:Person)-[:ACTED_IN*1..2]->(m:Movie) WHERE p.name = 'Anna' RETURN m.title",
        "MATCH (p:Person)-[:ACTED_IN]->(m:Film) WHERE p.name = 'Anna' RETURN m.title",
        "MATCH (p:Person)-[:ACTED_IN]->(m:Movie), (q:Person) WHERE p.name = 'Anna' RETURN m.title",
        "OPTIONAL MATCH (p:Person)-[:ACTED_IN]->(m:Movie) WHERE p.name = 'Anna' RETURN m.title",
    ],
)
def test_another_query_is_another(other: str) -> None:
    assert not same(ACTED, other)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("MATCH (a:A) RETURN a.x, a.y", "MATCH (a:A) RETURN a.y, a.x"),
        ("MATCH (a:A) RETURN a ORDER BY a.x", "MATCH (a:A) RETURN a ORDER BY a.x DESC"),
        ("MATCH (a:A) RETURN count(a.x)", "MATCH (a:A) RETURN count(a)"),
        ("MATCH (a:A)-[:R]->(b:B) RETURN count(DISTINCT a)", "MATCH (a:A)-[:R]->(b:B) RETURN count(a)"),
        (
            "MATCH (a:A) OPTIONAL MATCH (a)-[:R]->(b:B) RETURN a.n, count(b)",
            "MATCH (a:A) OPTIONAL MATCH (a)-[:R]->(b:B) RETURN a.n, count(*)",
        ),
        ("MATCH (a:A)-[:R]->(b:A) WHERE a.n = 1 RETURN b.n", "MATCH (a:A)-[:R]->(b:A) WHERE b.n = 1 RETURN a.n"),
        ("MATCH (a:A) WHERE a.x > 1 RETURN a", "MATCH (a:A) WHERE a.x < 1 RETURN a"),
        ("MATCH (a:A) WHERE a.x > 1 RETURN a", "MATCH (a:A) WHERE a.x >= 1 RETURN a"),
        ("MATCH (a:A) RETURN a.x + a.y", "MATCH (a:A) RETURN a.y + a.x"),
    ],
)  # fmt: skip
def test_small_differences_count(a: str, b: str) -> None:
    assert not same(a, b)


def test_names_used() -> None:
    text = "MATCH (p:P {a: 1})-[:R|S {b: 2}]->(:Q) WHERE NOT (p)--(:T) AND p:U RETURN p.c"
    assert names_used(parse_cypher(text)) == ({"P", "Q", "T", "U"}, {"R", "S"}, {"a", "b", "c"})


def case(expected: str = ACTED) -> TestCase:
    schema = "(:Person {name})-[:ACTED_IN]->(:Movie {title, year})"
    system = {"role": "system", "content": f"Dialect: cypher\nSchema:\n{schema}"}
    user = {"role": "user", "content": "What did Anna play in?"}
    return TestCase("c", "hop", (system, user), expected)


@pytest.mark.parametrize(
    ("answer", "correct", "valid", "clean"),
    [
        (ACTED, True, True, True),
        (f"```cypher\n{ACTED}\n```", True, True, False),
        (ACTED.replace("title", "year"), False, True, True),
        (ACTED.replace("title", "name2"), False, False, True),
        (ACTED.replace("Movie", "Film"), False, False, True),
        (ACTED.replace("ACTED_IN", "PLAYED"), False, False, True),
        (f"{ACTED} {ACTED}", False, False, False),
        ("Anna played in Amelie.", False, False, False),
    ],
)
def test_answers_in_cypher_are_scored(answer: str, correct: bool, valid: bool, clean: bool) -> None:
    score = score_case(case(), answer)
    assert (score.correct, score.valid, score.clean) == (correct, valid, clean)
    assert bool(score.reason) is not correct


def test_an_unknown_name_is_told() -> None:
    assert "not in the schema: Film" in score_case(case(), ACTED.replace("Movie", "Film")).reason


@pytest.mark.parametrize(
    "text",
    [
        "MATCH (a:A) WITH a.x AS y, y AS x, count(x) AS n WITH n + 1 AS n, x RETURN n, x",
        "MATCH (a:A) RETURN count() AS n ORDER BY n",
        "MATCH (a:A), (a:A), (b:A), (c:A), (d:A), (e:A), (f:A), (g:A), (h:A), (i:A) RETURN *",
    ],
)
def test_odd_queries_equal_themselves(text: str) -> None:
    assert same(text, text)


def test_no_text_breaks_the_comparison() -> None:
    rng = random.Random(4)
    pieces = [*ACTED.split(), "WITH", "AS", "x", "count(x)", "(", ")", ",", "NOT", "OR", "*", "1"]
    parsed = 0
    for _ in range(3000):
        words = ACTED.split()
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(words))
            words[at : at + rng.randint(0, 2)] = rng.choices(pieces, k=rng.randint(0, 2))
        try:
            query = parse_cypher(" ".join(words))
        except DecodingError:
            continue
        parsed += 1
        assert same_structure(query, query)
    assert parsed > 50

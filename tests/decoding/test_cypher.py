from __future__ import annotations

import pytest

from hive_expert.decoding.cypher import parse_cypher
from hive_expert.decoding.cypher_expressions import MAX_TRIES
from hive_expert.decoding.cypher_query import Match, Projection
from hive_expert.errors import DecodingError

READ = [
    "MATCH (n) RETURN n",
    "MATCH (p:Person)-[:ACTED_IN]->(m:Movie) WHERE p.name = 'Anna' RETURN m.title;",
    'MATCH (p:Person {name: "Anna"})<-[r:KNOWS*1..3 {since: 2001}]-(q) RETURN DISTINCT q.name AS n',
    "MATCH (a:A)--(b), (c)-[*]-(d) RETURN *",
    "MATCH p = shortestPath((a:A)-[:T*]-(b:A)) WHERE a.x = 1 AND b.x = 2 RETURN p",
    "MATCH (a)-[:R|:S|T]->(b:B:C) WHERE NOT (a)-[:X]->(:D) RETURN a.`odd name`",
    "MATCH (a) WHERE a.name STARTS WITH 'A' OR a.name CONTAINS \"it's\" RETURN count(*)",
    "MATCH (a) WHERE a.x IN [1, 2] AND a.y IS NOT NULL AND NOT a.z = true RETURN avg(a.x)",
    "match (a) with a, count(*) as n where n > 3 return a.name order by n desc skip 1 limit 5",
    "MATCH (a) OPTIONAL MATCH (a)-->(b) RETURN a.name, count(b)",
    "MATCH (a) WHERE 1 < a.x <= 5 RETURN a.x + 2 * -a.y",
    "MATCH (a) WHERE EXISTS { (a)-[:R]->(:B) } AND COUNT { (a)--() } > 2 RETURN a",
    "MATCH (a) RETURN CASE WHEN a.x > 1 THEN 'big' ELSE 'small' END AS size // a comment",
    "UNWIND [1, 2] AS x RETURN x UNION ALL MATCH (a) RETURN a.x",
    "MATCH (a) WHERE a:Person AND exists(a.name) AND date(a.d) >= date('2020-01-01') RETURN $p",
]


@pytest.mark.parametrize("text", READ)
def test_queries_that_read_are_parsed(text: str) -> None:
    assert parse_cypher(text).parts


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "character 1"),
        ("MATCH (n)", "character 10"),
        ("SELECT * FROM t;", "character 1"),
        ("MATCH (n RETURN n", "character 10"),
        ("MATCH (n) RETURN n n", "character 20"),
        ("MATCH (n) WHERE RETURN n", "character 17"),
        ("MATCH (a)<-[:R]->(b) RETURN a", "character 18"),
        ("CREATE (n) RETURN n", "character 1"),
        ("MATCH (n) RETURN 'open", "character 18"),
        ("MATCH (n) RETURN n.name = ", "character 27"),
        ("MATCH (n) RETURN n; MATCH (n) RETURN n", "character 21"),
    ],
)
def test_what_is_no_query_is_refused_where_it_goes_wrong(text: str, where: str) -> None:
    with pytest.raises(DecodingError, match=where):
        parse_cypher(text)


def test_conditions_bind_as_they_should() -> None:
    (clauses,) = parse_cypher("MATCH (a) WHERE NOT a.x = 1 OR a.y = 2 AND a.z = 3 RETURN a").parts
    match = clauses[0]
    assert isinstance(match, Match)
    assert match.where is not None
    assert match.where[0] == "or"
    assert match.where[1][0] == "not"
    assert match.where[2][0] == "and"


def test_a_pattern_is_read_with_its_parts() -> None:
    (clauses,) = parse_cypher("MATCH (a:A)<-[r:R*..3]-(:B {k: 1}) RETURN a").parts
    match, projection = clauses
    assert isinstance(match, Match)
    assert isinstance(projection, Projection)
    (path,) = match.paths
    (related,) = path.relationships
    assert (related.variable, related.types, related.direction) == ("r", {"R"}, "<")
    assert related.length == (None, 3)
    assert path.nodes[1].properties == (("k", ("number", 1.0)),)
    assert projection.is_return


@pytest.mark.parametrize(
    "text",
    [
        "MATCH (a) WHERE " + "(" * 200 + "1" + ")" * 200 + " RETURN a",
        "MATCH (a) WHERE " + "({a: " * 40 + "1" + "})" * 40 + " RETURN a",
        "MATCH (a) WHERE " + "NOT " * 5000 + "a RETURN a",
        "MATCH (a) WHERE a.x = " + "-" * 20_000 + "1 RETURN a",
    ],
)
def test_deep_nesting_ends(text: str) -> None:
    assert MAX_TRIES < 10_000
    try:
        parse_cypher(text)
    except DecodingError:
        return
    assert "NOT" in text

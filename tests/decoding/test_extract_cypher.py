"""Names of a graph schema that is written as patterns."""

from __future__ import annotations

import time

import pytest

from hive_expert.decoding.extract_cypher import labels_in, properties_in, relationship_types_in

SCHEMA = """(:Person {name, age: INTEGER})-[:ACTED_IN {role}]->(:Movie {title, year})
(p:Person:Artist)-[:DIRECTED|:`CO WROTE`]->(:Movie)
"""


def test_labels_types_and_properties() -> None:
    assert labels_in(SCHEMA) == ("Person", "Movie", "Artist")
    assert relationship_types_in(SCHEMA) == ("ACTED_IN", "DIRECTED", "`CO WROTE`")
    assert properties_in(SCHEMA) == ("name", "age", "title", "year", "role")


def test_a_list_of_properties_that_is_not_understood_gives_none() -> None:
    assert properties_in("(:Person {name, 3})") == ()


def test_other_text_gives_nothing() -> None:
    text = "There are people (some of them) and [movies]."
    assert (labels_in(text), relationship_types_in(text), properties_in(text)) == ((), (), ())


@pytest.mark.parametrize(
    "text",
    ["(:" * 50_000, "(a" * 50_000, "(:A" + ":A" * 50_000, "[:A" + "|A" * 50_000, "(:A {" * 9000],
)
def test_hostile_texts_are_read_in_linear_time(text: str) -> None:
    started = time.process_time()
    for extract in (labels_in, relationship_types_in, properties_in):
        extract(text)
    assert time.process_time() - started < 1

from __future__ import annotations

import pytest

from hive_expert.router.keywords import Automaton, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("GROUP-BY, please!", ["group", "by", "please"]),
        ("C++ and C# in node.js", ["c++", "and", "c#", "in", "node", "js"]),
        ("用TypeScript写", ["用", "typescript", "写"]),
        ("straße STRASSE", ["strasse", "strasse"]),
        ("\uff53\uff51\uff4c", ["sql"]),
        ("snake_case", ["snake", "case"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def find(phrases: list[tuple[str, int]], text: str) -> list[tuple[str, list[int]]]:
    return [(m.phrase, list(m.owners)) for m in Automaton(phrases).find(words_of(text))]


def test_whole_words_match_and_parts_of_words_do_not() -> None:
    assert find([("table", 0)], "a table") == [("table", [0])]
    assert find([("table", 0)], "timetables") == []


def test_a_phrase_matches_whatever_stands_between_its_words() -> None:
    assert find([("group by", 0)], "Group\n  by") == [("group by", [0])]
    assert find([("group by", 0)], "group them by") == []


def test_a_phrase_within_a_longer_one_is_found_as_well() -> None:
    phrases = [("graph", 0), ("graph database", 1), ("database", 2)]
    found = find(phrases, "a graph database")
    assert found == [("graph", [0]), ("graph database", [1]), ("database", [2])]


def test_a_phrase_of_several_owners_is_one_match() -> None:
    assert find([("sql", 2), ("SQL", 0), ("sql", 2)], "sql, SQL") == [("sql", [2, 0])]


def test_matches_tell_their_length_in_words() -> None:
    (match,) = Automaton([("friends of friends", 0)]).find(words_of("friends of friends"))
    assert match.length == 3


def test_a_phrase_without_words_matches_nothing() -> None:
    assert find([("?!", 0), ("", 1)], "?! anything") == []

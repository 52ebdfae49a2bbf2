from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_expert.training import sql_execution
from hive_expert.training.sql_execution import (
    QueryError,
    is_ordered,
    run_query,
    same_result,
    single_query,
)

SHOP = """
CREATE TABLE users (id INTEGER, name TEXT, age REAL);
INSERT INTO users VALUES (1, 'Ada', 36), (2, 'Bob', 25.5), (3, 'Cy', NULL);
"""


def test_reads() -> None:
    assert run_query(SHOP, "SELECT name FROM users WHERE age > 30;") == [("Ada",)]


@pytest.mark.parametrize(
    "statement",
    [
        "WITH old AS (SELECT * FROM users WHERE age > 30) SELECT name FROM old",
        "SELECT count(*), max(age), upper(name) FROM users GROUP BY name",
        "SELECT 1 UNION SELECT 2",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT 1",
    ],
)
def test_any_reading_statement_runs(statement: str) -> None:
    assert run_query(SHOP, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM users",
        "UPDATE users SET age = 1 RETURNING name",
        "INSERT INTO users VALUES (4, 'D', 1)",
        "DROP TABLE users",
        "CREATE TABLE t (x)",
        "ATTACH '/tmp/hive-never.db' AS x",
        "PRAGMA user_version = 3",
        "PRAGMA table_info(users)",
        "VACUUM INTO '/tmp/hive-never.db'",
        "BEGIN",
        "SELECT load_extension('x')",
        "SELECT writefile('/tmp/hive-never.db', 'x')",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE users",
        "",
        "-- nothing",
        "The answer is 3.",
        "SELECT nothing FROM users",
        "SELECT '\0'",
    ],
)
def test_anything_else_is_an_error(statement: str) -> None:
    with pytest.raises(QueryError):
        run_query(SHOP, statement)
    assert not Path("/tmp/hive-never.db").exists()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
         "interrupted"),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
         "more than 50 rows"),
        ("SELECT zeroblob(100000000)", "too big"),
    ],
)  # fmt: skip
def test_limits(monkeypatch: pytest.MonkeyPatch, statement: str, says: str) -> None:
    monkeypatch.setattr(sql_execution, "TIME_LIMIT_SECONDS", 0.05)
    monkeypatch.setattr(sql_execution, "ROW_LIMIT", 50)
    with pytest.raises(QueryError, match=says):
        run_query(SHOP, statement)


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE broken (",
        "ATTACH '/tmp/hive-never.db' AS x",
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE t (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "INSERT INTO t SELECT i FROM n",
    ],
)
def test_bad_fixture_is_named(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(sql_execution, "TIME_LIMIT_SECONDS", 0.05)
    with pytest.raises(QueryError, match="the fixture: "):
        run_query(script, "SELECT 1")


def test_databases_do_not_see_each_other() -> None:
    run_query(SHOP, "SELECT 1")
    with pytest.raises(QueryError, match="no such table"):
        run_query("", "SELECT * FROM users")


@pytest.mark.parametrize(
    ("expected", "actual", "ordered", "same"),
    [
        ([(1,), (2,)], [(2,), (1,)], False, True),
        ([(1,), (2,)], [(2,), (1,)], True, False),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)], False, False),
        ([(1,)], [(1,), (1,)], False, False),
        ([(1,)], [(1.0000000001,)], False, True),
        ([(1,)], [(1.1,)], False, False),
        ([(1,)], [("1",)], False, False),
        ([(None,)], [(0,)], False, False),
        ([(None, "a"), (2, "b")], [(2, "b"), (None, "a")], False, True),
        ([(1, 2)], [(2, 1)], False, False),
        ([(1, 2)], [(1,)], False, False),
        ([(b"x",)], [("x",)], False, False),
        ([], [], True, True),
    ],
)
def test_same_result(expected: list, actual: list, ordered: bool, same: bool) -> None:  # type: ignore[type-arg]
    assert same_result(expected, actual, ordered=ordered) is same


values = st.none() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=3)


@given(st.lists(st.tuples(values, values), max_size=6), st.randoms())
def test_rows_equal_any_shuffle_of_themselves(
    rows: list[tuple[object, object]], random: object
) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert same_result(rows, shuffled, ordered=False)
    assert same_result(rows, rows, ordered=True)


@pytest.mark.parametrize(
    ("statement", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a LIMIT 3;", True),
        ("WITH x AS (SELECT 1 AS a) SELECT a FROM x ORDER BY a", True),
        ("SELECT 1 UNION SELECT 2 ORDER BY 1", True),
        ("SELECT a FROM t", False),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", False),
        ("SELECT sum(a) OVER (ORDER BY b) FROM t", False),
    ],
)
def test_is_ordered(statement: str, ordered: bool) -> None:
    assert is_ordered(statement) is ordered


@pytest.mark.parametrize(
    ("text", "single"),
    [
        ("SELECT 1;", True),
        ("SELECT 1", True),
        (" WITH x AS (SELECT 1) SELECT * FROM x;\n", True),
        ("SELECT 1; SELECT 2;", False),
        ("SELECT 1;\nThis counts users.", False),
        ("Here is the query: SELECT 1;", False),
        ("```sql\nSELECT 1;\n```", False),
        ("DELETE FROM t;", False),
        ("", False),
    ],
)
def test_single_query(text: str, single: bool) -> None:
    assert (single_query(text) is not None) is single


def test_sqlite_of_this_python_has_the_limits_we_set() -> None:
    assert hasattr(sqlite3.Connection, "setlimit")

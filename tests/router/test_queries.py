from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import DatasetError
from hive_expert.router.queries import Query, read_queries
from hive_expert.router.turns import Turn
from tests.router.experts import DATA, ROOT, four_manifests

SPLITS = {
    "train": DATA / "train.jsonl",
    "dev": ROOT / "benchmarks" / "router" / "dev.jsonl",
    "test": ROOT / "benchmarks" / "router" / "test.jsonl",
}
ROW: dict[str, Any] = {
    "experts": ["expert-sql"],
    "slice": "plain",
    "messages": [{"role": "user", "content": "Who?"}],
}


def read(tmp_path: Path, *rows: Any) -> tuple[Query, ...]:
    file = tmp_path / "queries.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_queries(file)


def test_a_row_is_a_labelled_conversation(tmp_path: Path) -> None:
    assert read(tmp_path, ROW) == (
        Query((Turn("user", "Who?"),), frozenset({"expert-sql"}), "plain"),
    )


def test_a_line_ends_where_json_has_it_end(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "one\u2028two"}]
    file = tmp_path / "queries.jsonl"
    file.write_text(json.dumps({**ROW, "messages": messages}, ensure_ascii=False), "utf-8")
    assert read_queries(file)[0].turns == (Turn("user", "one\u2028two"),)


def test_a_long_row_is_filled_up_to_its_size(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Sum up: {long}"}]
    (query,) = read(tmp_path, {**ROW, "messages": messages, "long": {"bytes": 1000, "text": "ab "}})
    assert query.turns[0].text.startswith("Sum up: ab ab ")
    assert len(query.turns[0].text) == len("Sum up: ") + 1000


def test_all_malformed_rows_are_reported_by_line(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "experts": "expert-sql"}, {}, {**ROW, "messages": 3}]
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, *rows)
    places = [problem.where for problem in caught.value.problems]
    assert places == [f"queries.jsonl:{n}" for n in (2, 3, 4)]


def test_a_line_that_is_no_json_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "queries.jsonl"
    file.write_text("{\n")
    with pytest.raises(DatasetError, match=r"queries\.jsonl:1"):
        read_queries(file)


def test_no_query_is_in_two_splits() -> None:
    seen: Counter[tuple[Turn, ...]] = Counter()
    for path in SPLITS.values():
        seen.update({query.turns for query in read_queries(path) if query.kind != "empty"})
    assert [turns for turns, count in seen.items() if count > 1] == []


def test_the_test_split_has_every_class_and_slice_in_number() -> None:
    queries = read_queries(SPLITS["test"])
    assert len(queries) >= 800
    names = {manifest.name for manifest in four_manifests()}
    labels = Counter(name for query in queries for name in query.experts or {"base"})
    assert set(labels) == {*names, "base"}
    assert min(labels.values()) >= 80
    slices = Counter(query.kind for query in queries)
    assert {"plain", "paraphrase", "mixed", "adversarial", "non-English", "empty", "100 KB"} <= set(
        slices
    )

"""One answer for each request, and states that only go forward."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hive_expert.errors import UsageError
from hive_expert.jobs.batch import NEXT, Batch, File
from hive_expert.jobs.request_rows import Answered, Pending
from hive_expert.jobs.store import Store
from hive_expert.jobs.tables import open_database

BATCH = Batch("batch_1", "alice", "/v1/chat/completions", "file-1", "24h", 100, 200)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    engine = open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    store = Store(engine)
    store.add_file(File("file-1", "alice", "in.jsonl", "batch", 10, 100))
    store.add_batch(BATCH, most_open=10)
    store.add_requests("batch_1", [Pending(n, f"r{n}", 10 * n, 10) for n in (1, 2, 3)])
    yield store
    engine.dispose()


def answer(n: int, text: str, state: str = "done") -> Answered:
    return Answered("batch_1", n, f"r{n}", state, 200, f'{{"body": "{text}"}}', 1, 2)


def test_the_first_answer_stays(store: Store) -> None:
    assert store.record([answer(1, "first")], {}) == 1
    assert store.record([answer(1, "second"), answer(2, "other")], {}) == 1
    found = {row["custom_id"]: row["answer"] for row in store.answers("batch_1", 0, 10)}
    assert found == {"r1": '{"body": "first"}', "r2": '{"body": "other"}', "r3": None}
    assert [p.custom_id for p in store.pending("batch_1", 0, 10)] == ["r3"]


def test_what_was_given_up_has_no_answer_later(store: Store) -> None:
    store.record([answer(1, "first")], {})
    assert store.give_up("batch_1", "cancelled") == 2
    assert store.record([answer(2, "late")], {}) == 0
    counts = store.batch("batch_1").counts
    assert (counts.total, counts.done, counts.failed) == (3, 1, 2)
    assert (counts.prompt_tokens, counts.completion_tokens) == (1, 2)


def test_states_only_go_where_they_may(store: Store) -> None:
    assert store.move("batch_1", "completed", 1) is None
    assert store.move("batch_1", "in_progress", 2) is not None
    assert store.move("batch_1", "in_progress", 3) is None
    assert store.batch("batch_1").times == {"in_progress": 2}
    assert all(state in NEXT for following in NEXT.values() for state in following)


def test_a_batch_comes_to_its_end_once_with_its_files(store: Store) -> None:
    store.move("batch_1", "in_progress", 2)
    store.record([answer(n, "x") for n in (1, 2, 3)], {})
    store.move("batch_1", "finalizing", 3)
    output = File("file-2", "alice", "out.jsonl", "batch_output", 5, 4)
    done = store.finish("batch_1", "completed", 4, output, None)
    assert done is not None and done.output_file == "file-2"
    assert store.finish("batch_1", "completed", 5, output, None) is None
    assert store.batch("batch_1").counts.done == 3
    assert store.file("file-2", "alice").size == 5


def test_spent_tokens_add_up(store: Store) -> None:
    store.record([], {("alice", "2026-01-01"): 5})
    store.record([], {("alice", "2026-01-01"): 6, ("bob", "2026-01-01"): 1})
    assert store.spent() == {("alice", "2026-01-01"): 11, ("bob", "2026-01-01"): 1}


@pytest.mark.parametrize(
    "url", ["nothing", "mysql://x/y", "sqlite://", "postgresql://u:secret@127.0.0.1:1/x"]
)
def test_databases_that_cannot_be_used_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)

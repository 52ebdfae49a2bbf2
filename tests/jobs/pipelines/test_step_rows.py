"""A step's first answer stays until its batch is done."""

from __future__ import annotations

from hive_expert.jobs.pipelines.step_rows import RequestKey, StepAnswer
from hive_expert.jobs.store import Store

ONE, OTHER = RequestKey("batch_1", "line-1"), RequestKey("batch_2", "line-1")


def test_an_answer_comes_back_as_it_was(store: Store) -> None:
    answer = StepAnswer("a", "é\n{}", "m", "e@1", "why", "passed", 2, 3, 4)
    store.add_step(ONE, answer)
    assert store.step_answers(ONE) == {"a": answer}
    assert store.step_answers(OTHER) == {}
    assert store.step_answers(RequestKey("batch_1", "line-2")) == {}


def test_the_first_answer_stays(store: Store) -> None:
    for output in ("first", "second"):
        store.add_step(ONE, StepAnswer("a", output))
    assert store.step_answers(ONE)["a"].output == "first"


def test_a_batch_that_is_done_keeps_and_takes_none(store: Store) -> None:
    store.add_step(ONE, StepAnswer("a", "x"))
    store.add_step(OTHER, StepAnswer("a", "y"))
    store.move("batch_1", "finalizing", 1)
    store.finish("batch_1", "completed", 2, None, None)
    store.add_step(ONE, StepAnswer("b", "too late"))
    assert not store.step_answers(ONE) and store.step_answers(OTHER)

"""Which adapter leaves memory: the one used longest ago, foundations after tasks."""

from __future__ import annotations

from random import Random

from hive_expert.catalog.eviction import Candidate, choose


def test_nobody_leaves_where_nobody_can() -> None:
    assert choose([]) is None


def test_the_one_used_longest_ago_leaves() -> None:
    assert choose(Candidate(name, 10, at) for name, at in [("b", 2), ("a", 1), ("c", 3)]) == "a"


def test_a_foundation_outlasts_a_task_of_its_age() -> None:
    found = choose([Candidate("base", 1, 1), Candidate("task", 8, 2), Candidate("x", 8, 3)])
    assert found == "task"


def test_what_was_used_lately_stays_whatever_its_order() -> None:
    """Law: nobody leaves who was used later than half of the others."""
    random = Random(1)
    for size in range(1, 30):
        candidates = [Candidate(str(i), random.randint(1, 10), i) for i in range(size)]
        random.shuffle(candidates)
        leaving = choose(candidates)
        assert leaving is not None
        assert int(leaving) < (size + 1) // 2

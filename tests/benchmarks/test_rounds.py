from __future__ import annotations

import pytest
from rounds import Ratio, interleave


def test_every_subject_is_measured_once_in_each_round_in_changing_order() -> None:
    order: list[str] = []

    def subject(name: str) -> int:
        order.append(name)
        return len(order)

    names = ["a", "b", "c"]
    results = interleave({name: lambda name=name: subject(name) for name in names}, 5)
    assert {name: len(values) for name, values in results.items()} == dict.fromkeys(names, 5)
    rounds = [order[i : i + 3] for i in range(0, 15, 3)]
    assert all(sorted(one) == names for one in rounds)
    assert len(set(map(tuple, rounds))) > 1


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    ratio = Ratio.of([2.0, 30.0, 4.0], [1.0, 10.0, 4.0])
    assert ratio == Ratio(2.0, 1.0, 3.0, 3)


def test_rounds_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Ratio.of([1.0, 2.0], [1.0])

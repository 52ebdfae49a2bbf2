"""Which rows are for training, for validation and for the test."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def chosen_splits(
    keys: Sequence[str], shares: Mapping[Split, float], seed: int
) -> dict[str, Split]:
    """Rows of one key, in an order drawn from the seed, to the split that lacks most rows; what is
    needed to fill the last of them is left for those that are empty."""
    sizes = Counter(keys)
    order = sorted(sizes)
    random.Random(f"{seed}-split").shuffle(order)  # noqa: S311 - a draw, not a secret
    order.sort(key=lambda key: -sizes[key])  # large groups first, or they fit nowhere
    wanted = {name: share * len(keys) for name, share in shares.items()}
    chosen: dict[str, Split] = {}
    empty = list(wanted)
    for at, key in enumerate(order):
        to_fill = empty if len(order) - at <= len(empty) else wanted
        name = max(to_fill, key=lambda one: wanted[one])
        empty = [one for one in empty if one != name]
        chosen[key] = name
        wanted[name] -= sizes[key]
    return chosen


def split_warnings(
    splits: Mapping[Split, Sequence[object]], shares: Iterable[Split], parted: int | None
) -> Iterator[str]:
    """``parted`` is the number of groups, where there were too few."""
    if parted is not None:
        yield (
            f"only {parted} group{'s' * (parted > 1)} of rows, fewer than the splits: they were "
            "split row by row, so a figure on the test rows says nothing of other schemas or "
            "system messages"
        )
    for name in shares:
        if not splits[name]:
            yield f"no row for {name}: {name}.jsonl is empty"

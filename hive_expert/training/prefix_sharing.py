"""Batches in which rows with the same beginning compute it once.

Rows of one group start with the same system message. Put side by side in one sequence, the
common beginning needs to be computed once::

    tokens     p0 p1 p2 | a0 a1 a2 a3 | b0 b1
    positions   0  1  2 |  3  4  5  6 |  3  4
    segment     0  0  0 |  1  1  1  1 |  2  2

A token attends to the common beginning and to its own segment, never to a neighbour, and its
position is the one it has in its own row. So every row's hidden states, and with them the loss,
are those of the row alone (a test holds this to rounding). Short text-to-SQL rows with a schema
of their own length need about half the tokens this way.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from hive_expert.training.datasets import TokenRow

IGNORED = -100
"""Label of a position that has no part in the loss (PyTorch's own convention)."""

SEQUENCE_TOKENS = 384
"""Length to which sequences are filled: long enough to share, short enough that attention,
which grows with the square, stays a small part."""

ROWS_PER_PREFIX = 8
"""Rows of one group that stand together in a batch. More share better, but leave a batch with
fewer different system messages."""


@dataclass(frozen=True, slots=True)
class Block:
    """A common beginning and the rows that continue it, each as (rest of prompt, answer)."""

    prefix: tuple[int, ...]
    segments: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    def __len__(self) -> int:
        return len(self.prefix) + sum(len(rest) + len(answer) for rest, answer in self.segments)


def share_prefixes(rows: Sequence[TokenRow], capacity: int) -> list[Block]:
    """Make blocks of at most ``capacity`` tokens from the rows of each group.

    A row that is longer than the capacity stands alone in its block, whole.
    """
    by_group: dict[int, list[TokenRow]] = {}
    for row in rows:
        by_group.setdefault(row.group, []).append(row)
    blocks: list[Block] = []
    for members in by_group.values():
        blocks.extend(_fill_blocks(members, _common_prefix(members), capacity))
    return blocks


def separate_rows(rows: Sequence[TokenRow]) -> list[Block]:
    """One block per row: batches without sharing."""
    return [Block((), ((row.prompt, row.answer),)) for row in rows]


def balance(blocks: Sequence[Block], capacity: int) -> list[list[Block]]:
    """Spread blocks over as few sequences as ``capacity`` allows, about equally long.

    Longest first, each to the sequence that is shortest so far: equal lengths mean little
    padding.
    """
    count = max(1, -(-sum(map(len, blocks)) // capacity))
    sequences: list[list[Block]] = [[] for _ in range(min(count, len(blocks)))]
    filled = [0] * len(sequences)
    for block in sorted(blocks, key=len, reverse=True):
        shortest = filled.index(min(filled))
        sequences[shortest].append(block)
        filled[shortest] += len(block)
    return sequences


class PrefixSharingCollator:
    """Data collator: token rows in, one padded batch out.

    The batch has ``input_ids``, ``labels`` and ``position_ids`` of shape (sequences, tokens);
    ``attention_mask`` of shape (sequences, 1, tokens, tokens), which transformers hands to
    attention as it is, True where the query may see the key; and ``row_tokens``, the number of
    tokens of the rows as they came. Eager attention adds its mask, so with ``additive`` the mask
    is 0 there and minus infinity elsewhere. With ``share`` off, each row is a sequence of its own.
    """

    def __init__(
        self,
        pad_token_id: int,
        *,
        share: bool = True,
        additive: bool = False,
        capacity: int = SEQUENCE_TOKENS,
    ) -> None:
        self.pad_token_id = pad_token_id
        self.share = share
        self.additive = additive
        self.capacity = capacity

    def __call__(self, features: Sequence[dict[str, object]]) -> dict[str, torch.Tensor]:
        rows = [row_from_features(feature) for feature in features]
        if self.share:
            sequences = balance(share_prefixes(rows, self.capacity), self.capacity)
        else:
            sequences = [[block] for block in separate_rows(rows)]
        batch = _lay_out(sequences, self.pad_token_id)
        if self.additive:
            visible = batch["attention_mask"]
            batch["attention_mask"] = torch.zeros(visible.shape).masked_fill(~visible, -torch.inf)
        batch["row_tokens"] = torch.tensor(sum(map(len, rows)))
        return batch


def after_soft_prompt(
    positions: torch.Tensor, mask: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and mask of a batch that ``count`` virtual tokens stand before.

    Every token sees all of them, whatever its row, and they see only one another: each row is
    as if it alone came after them. The mask keeps its kind, boolean or additive.
    """
    sequences, tokens = positions.shape
    start = torch.arange(count, device=positions.device).expand(sequences, count)
    wide = torch.zeros(
        (sequences, 1, count + tokens, count + tokens), dtype=torch.bool, device=mask.device
    )
    additive = mask.dtype is not torch.bool
    wide[:, :, count:, count:] = mask == 0 if additive else mask
    wide[:, :, count:, :count] = True
    wide[:, :, :count, :count] = torch.ones(count, count, dtype=torch.bool).tril()
    if additive:
        shape = wide.shape
        wide = torch.zeros(shape, dtype=mask.dtype, device=mask.device).masked_fill(
            ~wide, -torch.inf
        )
    return torch.cat([start, positions + count], dim=1), wide


def row_to_features(row: TokenRow) -> dict[str, object]:
    """A row as the columns of a ``datasets.Dataset``."""
    return {"prompt_ids": row.prompt, "answer_ids": row.answer, "group": row.group}


def row_from_features(features: dict[str, object]) -> TokenRow:
    """The inverse of :func:`row_to_features`."""
    prompt, answer, group = (features[key] for key in ("prompt_ids", "answer_ids", "group"))
    assert isinstance(prompt, Sequence)
    assert isinstance(answer, Sequence)
    assert isinstance(group, int)
    return TokenRow(tuple(prompt), tuple(answer), group)


class GroupedSampler(Sampler[int]):
    """Random order in which a few rows of one group stand together, so that they can share.

    The order is a function of (seed, epoch): a resumed run goes on where the killed one was.
    Every row appears exactly once in each epoch.
    """

    def __init__(self, groups: Sequence[int], *, seed: int, together: int = ROWS_PER_PREFIX):
        super().__init__()
        self.groups = groups
        self.seed = seed
        self.together = together
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self.seed}/{self.epoch}")  # noqa: S311 - an order, not a secret
        by_group: dict[int, list[int]] = {}
        for index, group in enumerate(self.groups):
            by_group.setdefault(group, []).append(index)
        runs: list[list[int]] = []
        for members in by_group.values():
            rng.shuffle(members)
            runs.extend(
                members[start : start + self.together]
                for start in range(0, len(members), self.together)
            )
        rng.shuffle(runs)
        return (index for run in runs for index in run)


def _common_prefix(rows: Sequence[TokenRow]) -> int:
    """Number of leading prompt tokens that all rows share.

    At least one token of each prompt stays in the row's own segment, since the first answer
    token is predicted from the token before it.
    """
    shortest = min((row.prompt for row in rows), key=len)
    limit = len(shortest) - 1
    for position in range(limit):
        if any(row.prompt[position] != shortest[position] for row in rows):
            return position
    return max(limit, 0)


def _fill_blocks(rows: Sequence[TokenRow], shared: int, capacity: int) -> Iterator[Block]:
    prefix = rows[0].prompt[:shared]
    segments: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    used = shared
    for row in rows:
        own = len(row) - shared
        if segments and used + own > capacity:
            yield Block(prefix, tuple(segments))
            segments, used = [], shared
        segments.append((row.prompt[shared:], row.answer))
        used += own
    yield Block(prefix, tuple(segments))


def _lay_out(sequences: Sequence[Sequence[Block]], pad: int) -> dict[str, torch.Tensor]:
    length = max(sum(map(len, sequence)) for sequence in sequences)
    shape = (len(sequences), length)
    input_ids = torch.full(shape, pad)
    labels = torch.full(shape, IGNORED)
    positions = torch.zeros(shape, dtype=torch.long)
    # Padding is a block of its own, so that its rows of the mask are never empty: attention
    # over nothing is NaN.
    block_ids = torch.zeros(shape, dtype=torch.long)
    segment_ids = torch.zeros(shape, dtype=torch.long)
    for number, sequence in enumerate(sequences):
        ids: list[int] = []
        targets: list[int] = []
        places: list[int] = []
        blocks: list[int] = []
        segments: list[int] = []
        for block_id, block in enumerate(sequence, start=1):
            start = len(block.prefix)
            ids += block.prefix
            targets += [IGNORED] * start
            places += range(start)
            segments += [0] * start
            for segment_id, (rest, answer) in enumerate(block.segments, start=1):
                size = len(rest) + len(answer)
                ids += (*rest, *answer)
                targets += (*[IGNORED] * len(rest), *answer)
                places += range(start, start + size)
                segments += [segment_id] * size
            blocks += [block_id] * len(block)
        for tensor, values in (
            (input_ids, ids),
            (labels, targets),
            (positions, places),
            (block_ids, blocks),
            (segment_ids, segments),
        ):
            tensor[number, : len(values)] = torch.tensor(values)
    return {
        "input_ids": input_ids,
        "labels": labels,
        "position_ids": positions,
        "attention_mask": _visibility(block_ids, segment_ids),
    }


def _visibility(block_ids: torch.Tensor, segment_ids: torch.Tensor) -> torch.Tensor:
    """True where the query (row) may see the key (column); (sequences, 1, tokens, tokens)."""
    length = block_ids.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    same_block = block_ids[:, :, None] == block_ids[:, None, :]
    common = segment_ids[:, None, :] == 0
    own = segment_ids[:, :, None] == segment_ids[:, None, :]
    return (earlier & same_block & (common | own))[:, None]

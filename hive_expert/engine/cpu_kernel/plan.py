"""How a step's tokens are divided: long runs of one adapter for GEMMs, the rest grouped by slot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch

LONG = 96
"""Tokens from which a GEMM pair of torch is faster than our operator without bfloat16 products
(measured on one core of a Zen 4 with rank 16; see benchmarks/README.md)."""


class Run(NamedTuple):
    """Tokens `start:end` of the step's flat token axis, all under the adapter in `slot`."""

    slot: int
    start: int
    end: int


class Group(NamedTuple):
    """Entries `start:end` of a plan's list of tokens, all under the adapter in `slot`."""

    slot: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compute in every layer of one step.

    Law: `long` and `tokens` together hold each adapted token of the step exactly once, and no
    others; the groups are in the order of their slots, each slot is in one of them at most, and
    they cover `tokens`.
    """

    long: tuple[Run, ...]
    groups: tuple[Group, ...]
    tokens: torch.Tensor
    """int64 (tokens of all groups)."""
    group_table: torch.Tensor
    """`groups` as int64 (groups, 3)."""


def plan_of(runs: Iterable[Run], *, long: int = LONG) -> Plan:
    """The plan for a step with these runs.

    Args:
        long: the least number of tokens of a run that is left to GEMMs.
    """
    runs = tuple(runs)
    tokens: list[int] = []
    groups: list[Group] = []
    short = sorted(run for run in runs if run.end - run.start < long)
    for slot, members in groupby(short, key=lambda run: run.slot):
        start = len(tokens)
        for run in members:
            tokens.extend(range(run.start, run.end))
        groups.append(Group(slot, start, len(tokens)))
    return Plan(
        long=tuple(run for run in runs if run.end - run.start >= long),
        groups=tuple(groups),
        tokens=torch.tensor(tokens, dtype=torch.long),
        group_table=torch.tensor(groups, dtype=torch.long).view(-1, 3),
    )

"""How long a chain the experts of a step's `model` go into."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hive_expert.catalog.catalog import Catalog
from hive_expert.errors import CompositionError, Problem
from hive_expert.jobs.pipelines.chain_limit import chain_limit_of
from hive_expert.jobs.pipelines.limits import MAX_CHAIN
from tests.catalog.test_composition import catalog, expert


class Supply:
    """All is verified; only what is misspelled is refused."""

    async def require(self, model: str) -> None:
        if ":x" in model:
            raise CompositionError(Problem("model", "is misspelled"))


def state() -> SimpleNamespace:
    known: Catalog = catalog(
        expert("expert-free"), expert("expert-two", max_chain=2), expert("expert-five", max_chain=5)
    )
    return SimpleNamespace(hive=SimpleNamespace(supply=Supply(), catalog=known))


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("expert-free", MAX_CHAIN),
        ("expert-two", 2),
        ("expert-two@1.0.0", 2),
        ("expert-five:0.5+expert-free:0.5", 5),
        ("expert-five:0.5+expert-two:0.5", 2),
        ("auto", MAX_CHAIN),
        ("base", MAX_CHAIN),
        ("expert-nowhere", MAX_CHAIN),
        ("expert-two:x+expert-five", MAX_CHAIN),
    ],
)
async def test_the_strictest_expert_decides(model: str, limit: int) -> None:
    assert await chain_limit_of(state())(model) == limit


async def test_without_experts_there_is_no_limit_of_theirs() -> None:
    assert await chain_limit_of(SimpleNamespace())("expert-two") == MAX_CHAIN

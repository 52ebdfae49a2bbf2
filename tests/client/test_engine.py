"""The parts of ExpertEngine that need no model; the rest is in tests/e2e/test_expert_engine.py."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from hive_expert.client.engine import MAX_CHAIN, ExpertEngine, Step
from hive_expert.errors import CompositionError, ServerError, UsageError


class Listing(ExpertEngine):
    """Knows its experts without a server."""

    def experts(self) -> list[dict[str, Any]]:
        return [
            {"id": "expert-a", "constraints": {"max_chain": 2}},
            {"id": "expert-b", "constraints": {}},
            {"id": None, "state": "unavailable"},
        ]


@pytest.fixture
def engine() -> ExpertEngine:
    return Listing(url="http://127.0.0.1:1")


def test_a_chain_is_no_longer_than_its_experts_allow(engine: ExpertEngine) -> None:
    steps = [Step(["expert-a@1.0"]), Step(["expert-b"]), Step()]
    with pytest.raises(CompositionError, match=r"expert-a: constraints\.max_chain.*at most 2"):
        engine.chain(steps, body="text")


def test_a_chain_has_a_step_and_at_most_so_many(engine: ExpertEngine) -> None:
    with pytest.raises(UsageError, match="needs a step"):
        engine.chain([])
    with pytest.raises(CompositionError, match=f"at most {MAX_CHAIN}"):
        engine.chain([Step(["expert-b"])] * (MAX_CHAIN + 1), body="text")


async def test_the_same_holds_for_an_event_loop(engine: ExpertEngine) -> None:
    with pytest.raises(CompositionError, match="max_chain"):
        await engine.chain_async([Step(["expert-a"])] * 3, body="text")


def test_nobody_there_is_told(engine: ExpertEngine) -> None:
    with pytest.raises(ServerError, match="no server answers there"):
        engine.infer("Hello")
    with pytest.raises(ServerError, match="no server answers there"):
        engine.stream("Hello")


async def test_nobody_there_is_told_in_an_event_loop(engine: ExpertEngine) -> None:
    with pytest.raises(ServerError, match="no server answers there"):
        await engine.infer_async("Hello")


def test_nothing_to_ask_is_told(engine: ExpertEngine) -> None:
    with pytest.raises(UsageError, match="nothing is asked"):
        engine.infer()


def test_the_public_names_are_there_and_cost_nothing_until_used() -> None:
    code = (
        "import sys, hive_expert\n"
        "assert not {'openai', 'httpx', 'torch'} & set(sys.modules)\n"
        "for name in hive_expert.__all__: getattr(hive_expert, name)\n"
        "assert hive_expert.ExpertEngine.__name__ == 'ExpertEngine'\n"
        "assert not {'torch', 'vllm', 'openai'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_no_attribute() -> None:
    import hive_expert

    with pytest.raises(AttributeError, match="Nothing"):
        _ = hive_expert.Nothing

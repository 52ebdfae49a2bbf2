"""A request whose numbers overflow ends in an error: no token of it, no block of it is used."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutput, FinishReason
from vllm.v1.outputs import ModelRunnerOutput

from hive_expert.engine import overflow
from hive_expert.engine.overflow import OVERFLOWED
from tests.engine.test_yielding import BLOCK, SOMEONE, TOKENS, Steps, engine_config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return engine_config(tmp_path_factory.mktemp("model"), enable_prefix_caching=True)


class Overflowing(Steps):
    """Steps that may tell of requests whose numbers overflow."""

    def __init__(self, config: Any, *, ahead: bool = False) -> None:
        super().__init__(config, ahead=ahead)
        self.ahead = ahead
        init_none_hash(sha256)
        self.block_hasher = get_request_block_hasher(BLOCK, sha256)
        self.overflowing: set[str] = set()
        self.told: list[EngineCoreOutput] = []

    def _answer(self, output: SchedulerOutput, read: list[bool]) -> None:
        names = list(output.num_scheduled_tokens)
        answers = ModelRunnerOutput(
            names,
            {name: place for place, name in enumerate(names)},
            [[1] if done else [] for done in read],
            num_nans_in_logits={name: int(name in self.overflowing) for name in names},
        )
        of_clients = self.scheduler.update_from_output(output, answers)
        self.told += [told for outputs in of_clients.values() for told in outputs.outputs]

    def of(self, name: str) -> list[EngineCoreOutput]:
        return [told for told in self.told if told.request_id == name]


@pytest.fixture(params=[False, True], ids=["in step", "a step ahead"])
def steps(config: Any, request: pytest.FixtureRequest) -> Iterator[Overflowing]:
    running = Overflowing(config, ahead=request.param)
    yield running
    running.scheduler.shutdown()


def test_it_ends_in_an_error_and_without_a_token_of_that_step(steps: Overflowing) -> None:
    # One token is all it asks for: as an answer it would be whole.
    steps.ask("wild", SOMEONE, answer=1)
    steps.overflowing = {"wild"}
    for _ in range(3):
        steps.step()
    (told,) = steps.of("wild")
    assert (told.finish_reason, told.stop_reason) == (FinishReason.ERROR, OVERFLOWED)
    assert told.new_token_ids == []
    assert told.num_nans_in_logits == 1
    assert not steps.scheduler.has_unfinished_requests()


def test_a_prompt_that_overflows_before_its_last_piece_does_too(steps: Overflowing) -> None:
    steps.ask("wild", SOMEONE, prompt=TOKENS + BLOCK, answer=5)
    steps.overflowing = {"wild"}
    # What its first piece gave is told before or with the step after it, never with its last.
    for _ in range(1 + steps.ahead):
        steps.step()
    steps.overflowing = set()
    for _ in range(3):
        steps.step()
    (told,) = steps.of("wild")
    assert (told.finish_reason, told.new_token_ids) == (FinishReason.ERROR, [])


def test_others_of_the_step_go_on(steps: Overflowing) -> None:
    for name in ("before", "wild", "after"):
        steps.ask(name, SOMEONE, answer=4)
    steps.step()
    steps.overflowing = {"wild"}
    for _ in range(6):
        steps.step()
    for name in ("before", "after"):
        assert [token for told in steps.of(name) for token in told.new_token_ids] == [1] * 4
        assert steps.of(name)[-1].finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("overflows", [False, True])
def test_its_blocks_are_not_found_by_who_asks_the_same(
    steps: Overflowing, *, overflows: bool
) -> None:
    steps.ask("first", SOMEONE, prompt=4 * BLOCK, answer=1)
    steps.overflowing = {"first"} if overflows else set()
    for _ in range(2):
        steps.step()
    assert not steps.scheduler.has_unfinished_requests()
    steps.ask("second", SOMEONE, prompt=4 * BLOCK, answer=1)
    assert steps.step()["second"] == (4 * BLOCK if overflows else BLOCK)


def test_one_that_has_left_is_not_told_of(steps: Overflowing) -> None:
    steps.ask("wild", SOMEONE)
    steps.ask("other", SOMEONE)
    steps.step()
    steps.overflowing = {"wild"}
    before = steps.scheduler.schedule()
    steps.break_off("wild")
    steps._answer(before, [True] * len(before.num_scheduled_tokens))
    assert not any(told.finish_reason for told in steps.of("wild"))


def worker(overflowed: list[int], ends: list[int]) -> Any:
    """A worker after a step of requests `a`, `b`, … that end before these tokens of it."""
    starts = torch.tensor([0, *ends, ends[-1], ends[-1]], dtype=torch.int32)
    return SimpleNamespace(
        lora_manager=SimpleNamespace(
            finite_cache=SimpleNamespace(overflowed=torch.tensor(overflowed, dtype=torch.int64))
        ),
        input_batch=SimpleNamespace(num_reqs=len(ends), req_ids=[*"abcdef"][: len(ends)]),
        query_start_loc=SimpleNamespace(cpu=starts),
    )


@pytest.mark.parametrize(
    ("overflowed", "told"),
    [
        ([], {}),
        ([0], {"a": 1}),
        ([2, 3], {"a": 1, "b": 1}),
        ([7, 4, 5], {"c": 3}),
        ([1, 8, 9], {"a": 1}),  # the last two only fill the step up
    ],
)
def test_a_worker_tells_whose_tokens_overflowed(
    overflowed: list[int], told: dict[str, int]
) -> None:
    assert overflow._overflowed(worker(overflowed, [3, 4, 8]), None) == told


@pytest.mark.parametrize(
    "runner",
    [SimpleNamespace(), SimpleNamespace(lora_manager=SimpleNamespace(finite_cache=None))],
    ids=["without adapters", "not on a CPU"],
)
def test_one_that_looks_at_nothing_tells_nothing(runner: Any) -> None:
    assert overflow._overflowed(runner, None) == {}


@pytest.mark.parametrize("switch", ["0", "1"])
def test_whether_a_worker_tells_can_be_asked(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_COMPUTE_NANS_IN_LOGITS", switch)

    class Ours(SimpleNamespace):
        _get_nans_in_logits = overflow._overflowed

    class Theirs(SimpleNamespace):
        pass

    watched = SimpleNamespace(finite_cache=object())
    elsewhere = SimpleNamespace(finite_cache=None)
    assert overflow.is_active(Ours(lora_manager=watched)) is (switch == "1")
    assert overflow.is_active(Theirs(lora_manager=elsewhere)) is (switch == "1")
    assert not overflow.is_active(Theirs(lora_manager=watched))


def test_vllm_asks_a_worker_on_the_cpu_after_each_step() -> None:
    import inspect

    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    step = inspect.getsource(CPUModelRunner._bookkeeping_sync)
    assert "num_nans_in_logits = self._get_nans_in_logits(logits)" in step

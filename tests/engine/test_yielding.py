"""Whoever waits goes before batches: vLLM's own scheduler with ours around it, step by step."""

from __future__ import annotations

import copy
import json
import random
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from vllm import SamplingParams
from vllm.engine.arg_utils import EngineArgs
from vllm.lora.request import LoRARequest
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

from hive_expert.engine import yielding
from hive_expert.engine.launch import SCHEDULER
from hive_expert.engine.pace import Pace
from hive_expert.engine.yielding import (
    IN_A_ROW,
    LATELY_S,
    PATIENT,
    PIECE,
    AsyncYieldingScheduler,
    YieldingScheduler,
    scheduler,
)
from hive_expert.serving.agents import PriorityClass

SOMEONE, AGENT, BATCH = map(int, PriorityClass)
BLOCK = 32
TOKENS = 512
"""Of one step."""


def engine_config(folder: Path, *, enable_prefix_caching: bool = False) -> Any:
    """An engine's settings, for a model of which there is nothing but its shape."""
    shape = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "vocab_size": 100,
        "max_position_embeddings": 2048,
    }
    (folder / "config.json").write_text(json.dumps(shape))
    return EngineArgs(
        model=str(folder),
        skip_tokenizer_init=True,
        dtype="float32",
        max_model_len=1024,
        max_num_seqs=8,
        max_num_batched_tokens=TOKENS,
        scheduling_policy="priority",
        scheduler_cls=SCHEDULER,
        enable_prefix_caching=enable_prefix_caching,
        enforce_eager=True,
        enable_lora=True,
        max_loras=2,
        max_lora_rank=8,
    ).create_engine_config()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return engine_config(tmp_path_factory.mktemp("model"))


class Steps:
    """An engine's scheduler, and what stands for the model: the same token again and again."""

    block_hasher: Any = None
    """Of requests whose prefixes are to be found."""

    def __init__(
        self, config: Any, blocks: int = 1000, *, ahead: bool = False, ours: bool = True
    ) -> None:
        layers = FullAttentionSpec(
            block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32
        )
        config = copy.deepcopy(config)
        config.cache_config.num_gpu_blocks = blocks
        config.scheduler_config.async_scheduling = ahead
        config.scheduler_config.scheduler_cls = SCHEDULER if ours else None
        self.asked = 0
        self._computing: deque[tuple[SchedulerOutput, list[bool]]] = deque()
        self._ahead = ahead
        made = config.scheduler_config.get_scheduler_cls()(
            vllm_config=config,
            kv_cache_config=KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], layers)]),
            structured_output_manager=StructuredOutputManager(config),
            block_size=BLOCK,
            hash_block_size=BLOCK,
        )
        assert isinstance(made, Scheduler)
        self.scheduler = made

    def ask(
        self, name: str, priority: int, prompt: int = 8, answer: int = 1000, adapter: int = 0
    ) -> None:
        params = SamplingParams(max_tokens=answer, ignore_eos=True)
        params.update_from_generation_config({}, eos_token_id=99)
        lora = LoRARequest(f"adapter{adapter}", adapter, "/nowhere") if adapter else None
        self.scheduler.add_request(
            Request(
                name,
                [1] * prompt,
                params,
                None,
                arrival_time=self.asked,
                lora_request=lora,
                priority=priority,
                block_hasher=self.block_hasher,
            )
        )
        self.asked += 1

    def break_off(self, name: str) -> None:
        """As for a client that has left; nothing if it is done."""
        self.scheduler.finish_requests(name, RequestStatus.FINISHED_ABORTED)

    def step(self) -> dict[str, int]:
        """Tokens that each request computes in one step. An engine that schedules ahead has the
        answers of the step before only then."""
        output = self.scheduler.schedule()
        requests = (self.scheduler.requests[name] for name in output.num_scheduled_tokens)
        self._computing.append((output, [not request.is_prefill_chunk for request in requests]))
        if len(self._computing) > self._ahead:
            self._answer(*self._computing.popleft())
        return dict(output.num_scheduled_tokens)

    def _answer(self, output: SchedulerOutput, read: list[bool]) -> None:
        names = list(output.num_scheduled_tokens)
        places = {name: place for place, name in enumerate(names)}
        sampled = [[1] if done else [] for done in read]
        self.scheduler.update_from_output(output, ModelRunnerOutput(names, places, sampled))


@pytest.fixture(autouse=True)
def a_slow_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that computes no more than the least in the time that a step may take."""
    monkeypatch.setattr(yielding, "STEP_S", 0.0)


@pytest.fixture
def steps(config: Any) -> Iterator[Steps]:
    running = Steps(config)
    yield running
    running.scheduler.shutdown()


def test_a_batch_leaves_out_the_step_that_reads_another_s_prompt(steps: Steps) -> None:
    for n in range(3):
        steps.ask(f"batch{n}", BATCH)
    assert steps.step() == {"batch0": 8, "batch1": 8, "batch2": 8}
    steps.ask("someone", SOMEONE, prompt=300)
    steps.ask("late", BATCH)
    assert steps.step() == {"someone": 300}
    after = steps.step()
    assert after == {"batch0": 1, "batch1": 1, "batch2": 1, "someone": 1, "late": 8}


def test_a_long_prompt_is_read_in_steps_of_its_own_but_nobody_starves(steps: Steps) -> None:
    steps.ask("batch", BATCH)
    steps.step()
    for n in range(2 * IN_A_ROW):
        steps.ask(f"someone{n}", SOMEONE, prompt=TOKENS, answer=1)
    taken = ["batch" in steps.step() for _ in range(2 * IN_A_ROW)]
    assert taken.index(True) == IN_A_ROW
    assert sum(taken) == 1


def test_an_agent_s_request_goes_before_a_batch_and_after_somebody(steps: Steps) -> None:
    steps.ask("batch", BATCH)
    steps.step()
    steps.ask("agent", AGENT, prompt=100)
    assert steps.step() == {"agent": 100}
    steps.step()
    steps.ask("someone", SOMEONE, prompt=100)
    assert steps.step() == {"someone": 100}


def test_prompts_of_batches_are_read_in_pieces_where_somebody_was_lately(steps: Steps) -> None:
    steps.ask("someone", SOMEONE, answer=2)
    steps.step()
    steps.ask("batch0", BATCH, prompt=100)
    steps.ask("batch1", BATCH, prompt=100)
    assert steps.step() == {"someone": 1, "batch0": PIECE}
    assert steps.step() == {"batch0": 100 - PIECE, "batch1": 2 * PIECE - 100}


def test_a_fast_engine_reads_as_much_as_it_can_in_the_time(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yielding, "STEP_S", 1.0)
    monkeypatch.setattr(steps.scheduler, "_pace", Pace(_rate=300.0))
    steps.ask("someone", SOMEONE)
    steps.step()
    steps.ask("batch", BATCH, prompt=400)
    assert steps.step() == {"someone": 1, "batch": 299}


def test_they_are_read_so_for_as_long_as_somebody_gets_tokens(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps.ask("someone", SOMEONE)
    steps.step()
    monkeypatch.setattr(steps.scheduler, "_someone_at", time.monotonic() - 2 * LATELY_S)
    steps.ask("batch", BATCH, prompt=100)
    assert steps.step() == {"someone": 1, "batch": PIECE}


def test_nobody_s_next_token_waits_for_them(steps: Steps) -> None:
    for n in range(3):
        steps.ask(f"batch{n}", BATCH, prompt=400)
    steps.step()
    steps.ask("someone", SOMEONE)
    assert steps.step() == {"someone": 8}
    for _ in range(3):
        taken = steps.step()
        assert taken.pop("someone") == 1
        assert sum(taken.values()) <= PIECE + len(taken)


def test_the_step_that_all_take_is_a_short_one(steps: Steps) -> None:
    for n in range(3):
        steps.ask(f"batch{n}", BATCH, prompt=400)
    steps.step()
    for n in range(IN_A_ROW):
        steps.ask(f"someone{n}", SOMEONE, prompt=100, answer=1)
        assert steps.step() == {f"someone{n}": 100}
    steps.ask("last", SOMEONE, prompt=100)
    assert steps.step() == {"batch0": 1, "batch1": PIECE}
    assert steps.step() == {"last": 100}


def test_they_are_read_at_once_where_nobody_is(steps: Steps) -> None:
    steps.ask("batch0", BATCH, prompt=200)
    steps.ask("batch1", BATCH, prompt=200)
    assert steps.step() == {"batch0": 200, "batch1": 200}


def test_nothing_is_different_where_all_are_alike(steps: Steps) -> None:
    for n in range(3):
        steps.ask(f"someone{n}", SOMEONE, prompt=200)
    assert steps.step() == {"someone0": 200, "someone1": 200, "someone2": 112}
    assert steps.step() == {"someone0": 1, "someone1": 1, "someone2": 88}


def test_less_urgent_than_another_is_no_batch(steps: Steps) -> None:
    steps.ask("batch", BATCH)
    steps.step()
    steps.ask("someone", SOMEONE, prompt=100)
    steps.ask("patient", PATIENT - 1, prompt=100)
    assert steps.step() == {"someone": 100, "patient": 100}


@pytest.mark.parametrize("ahead", [False, True])
def test_without_batches_each_step_is_vllm_s_own(config: Any, ahead: bool) -> None:
    """The same requests to both, for too small a cache, some of them broken off."""
    dice = random.Random(0)
    ours, vllm_s = Steps(config, 20, ahead=ahead), Steps(config, 20, ahead=ahead, ours=False)
    for n in range(300):
        if dice.random() < 0.3:
            priority, prompt = dice.choice((SOMEONE, 3)), dice.randrange(1, 200)
            answer, adapter = dice.randrange(1, 30), dice.randrange(4)
            for each in (ours, vllm_s):
                each.ask(f"r{n}", priority, prompt, answer, adapter)
        if dice.random() < 0.05:
            gone = f"r{dice.randrange(n + 1)}"
            for each in (ours, vllm_s):
                each.break_off(gone)
        assert ours.step() == vllm_s.step()
    for each in (ours, vllm_s):
        each.scheduler.shutdown()


def test_a_full_engine_s_batches_go_on(steps: Steps) -> None:
    for n in range(4):
        steps.ask(f"batch{n}", BATCH)
        steps.ask(f"someone{n}", SOMEONE)
    steps.step()
    steps.step()
    steps.ask("next", SOMEONE)
    for _ in range(2 * IN_A_ROW):
        assert len(steps.step()) == 8


def test_batches_do_not_wait_for_whoever_has_no_memory(config: Any) -> None:
    small = Steps(config, blocks=12)
    small.ask("batch", BATCH, prompt=60, answer=100)
    small.step()
    small.ask("someone", SOMEONE, prompt=340)
    taken = [small.step() for _ in range(10)]
    assert taken == [{}, {"batch": 1}] * 5
    small.scheduler.shutdown()


def test_whoever_waits_for_an_adapter_gets_the_slot_of_one_that_batches_use(steps: Steps) -> None:
    for adapter in (1, 2, 1):
        steps.ask(f"batch{adapter}{steps.asked}", BATCH, adapter=adapter, answer=4)
    steps.step()
    steps.ask("someone", SOMEONE, adapter=3, answer=1)
    for adapter in (1, 2, 1, 2):
        steps.ask(f"late{adapter}{steps.asked}", BATCH, adapter=adapter, answer=4)
    taken = [sorted(steps.step()) for _ in range(5)]
    assert taken[0] == ["batch10", "batch12", "batch21", "late14", "late16"]
    assert "someone" in {name for step in taken for name in step}


def test_who_leaves_out_a_step_keeps_the_slot_of_its_adapter(steps: Steps) -> None:
    for adapter in (1, 2):
        steps.ask(f"batch{adapter}", BATCH, adapter=adapter, answer=6)
    steps.step()
    steps.ask("third", SOMEONE, adapter=3, prompt=20, answer=3)
    assert set(steps.step()) == {"batch1", "batch2"}
    steps.ask("second", SOMEONE - 1, adapter=2, prompt=20, answer=3)
    assert steps.step() == {"second": 20}
    for _ in range(10):
        steps.step()
    assert not steps.scheduler.has_requests()


def test_a_batch_that_waits_for_memory_goes_on_when_there_is_some(config: Any) -> None:
    small = Steps(config, blocks=12)
    for n in range(4):
        small.ask(f"batch{n}", BATCH, prompt=60, answer=20)
    small.step()
    small.ask("someone", SOMEONE, prompt=200, answer=4)
    for _ in range(200):
        small.step()
        if not small.scheduler.has_requests():
            break
    assert not small.scheduler.has_requests()
    small.scheduler.shutdown()


def test_the_scheduler_fits_the_engine(config: Any) -> None:
    made = {}
    for ahead in (False, True):
        config.scheduler_config.async_scheduling = ahead
        made[ahead] = config.scheduler_config.get_scheduler_cls()
    assert set(made.values()) == {scheduler}
    assert AsyncYieldingScheduler.schedule is YieldingScheduler.schedule
    config.scheduler_config.async_scheduling = False


def test_whoever_waits_is_below_the_patient() -> None:
    assert SOMEONE < PATIENT <= AGENT < BATCH


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_whatever_comes_is_answered_in_the_end(config: Any, seed: int, ahead: bool) -> None:
    """Requests of all kinds, at random moments, for more adapters than there are slots, with a
    cache that is too small for all of them; some are broken off; vLLM's own assertions look on."""
    dice = random.Random(seed)
    busy = Steps(config, blocks=20, ahead=ahead)
    for _ in range(800):
        if busy.asked < 40 and dice.random() < 0.3:
            priority = dice.choice((SOMEONE, 3, AGENT, BATCH, BATCH, BATCH))
            prompt, answer = dice.randrange(1, 300), dice.randrange(1, 30)
            busy.ask(f"r{busy.asked}", priority, prompt, answer, adapter=dice.randrange(4))
        if dice.random() < 0.02:
            busy.break_off(f"r{dice.randrange(40)}")
        busy.step()
        if busy.asked == 40 and not busy.scheduler.has_requests():
            break
    assert busy.asked == 40
    assert not busy.scheduler.has_requests()
    busy.scheduler.shutdown()

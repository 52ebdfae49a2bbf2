"""Whoever waits goes before batches: vLLM's own scheduler with ours around it, step by step."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from vllm import SamplingParams
from vllm.engine.arg_utils import EngineArgs
from vllm.lora.request import LoRARequest
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

from hive_expert.engine.launch import SCHEDULER
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


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An engine's settings, for a model of which there is nothing but its shape."""
    folder = tmp_path_factory.mktemp("model")
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
        enable_prefix_caching=False,
        enforce_eager=True,
        enable_lora=True,
        max_loras=2,
        max_lora_rank=8,
    ).create_engine_config()


class Steps:
    """An engine's scheduler, and what stands for the model: the same token again and again."""

    def __init__(self, config: Any, blocks: int = 1000) -> None:
        layers = FullAttentionSpec(
            block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32
        )
        config.cache_config.num_gpu_blocks = blocks
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
            Request(name, [1] * prompt, params, None, lora_request=lora, priority=priority)
        )

    def step(self) -> dict[str, int]:
        """Tokens that each request computes in one step."""
        output = self.scheduler.schedule()
        names = list(output.num_scheduled_tokens)
        sampled = [[1] if self._read(name) else [] for name in names]
        places = {name: place for place, name in enumerate(names)}
        self.scheduler.update_from_output(output, ModelRunnerOutput(names, places, sampled))
        return dict(output.num_scheduled_tokens)

    def _read(self, name: str) -> bool:
        request = self.scheduler.requests[name]
        return bool(request.num_computed_tokens >= request.num_prompt_tokens)


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
    assert steps.step() == {"batch0": 100 - PIECE, "batch1": 2 * PIECE + 1 - 100}


def test_they_are_read_so_for_as_long_as_somebody_gets_tokens(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps.ask("someone", SOMEONE)
    steps.step()
    monkeypatch.setattr(steps.scheduler, "_someone_at", time.monotonic() - 2 * LATELY_S)
    steps.ask("batch", BATCH, prompt=100)
    assert steps.step() == {"someone": 1, "batch": PIECE}


def test_they_are_read_at_once_where_nobody_is(steps: Steps) -> None:
    steps.ask("batch0", BATCH, prompt=200)
    steps.ask("batch1", BATCH, prompt=200)
    assert steps.step() == {"batch0": 200, "batch1": 200}


def test_nothing_is_different_where_all_are_alike(steps: Steps) -> None:
    for n in range(3):
        steps.ask(f"someone{n}", SOMEONE, prompt=200)
    assert steps.step() == {"someone0": 200, "someone1": 200, "someone2": 112}
    assert steps.step() == {"someone0": 1, "someone1": 1, "someone2": 88}


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


@pytest.mark.parametrize("seed", range(8))
def test_whatever_comes_is_answered_in_the_end(config: Any, seed: int) -> None:
    """Requests of all kinds, at random moments, for more adapters than there are slots, with a
    cache that is too small for all of them; vLLM's own assertions look on."""
    dice = random.Random(seed)
    busy = Steps(config, blocks=20)
    asked = 0
    for _ in range(600):
        if asked < 40 and dice.random() < 0.3:
            priority = dice.choice((SOMEONE, 3, AGENT, BATCH, BATCH, BATCH))
            prompt, answer = dice.randrange(1, 300), dice.randrange(1, 30)
            busy.ask(f"r{asked}", priority, prompt, answer, adapter=dice.randrange(4))
            asked += 1
        busy.step()
        if asked == 40 and not busy.scheduler.has_requests():
            break
    assert asked == 40
    assert not busy.scheduler.has_requests()
    busy.scheduler.shutdown()

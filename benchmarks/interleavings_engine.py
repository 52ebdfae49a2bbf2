"""Random operations on real vLLM, in a process of its own.

Called as `interleavings_engine.py JOB ANSWERS`. A job is JSON; answers are lines of it, one for
each request, the last for the run. Adapters are loaded and released by the server's own code
(`catalog.residency`, `engine.vllm_adapters`, `adapters.compose`). Only the engine's clock is not
the server's: it computes a step when the schedule says so, which makes every run of one seed the
same, and lets operations fall between any two steps.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import hashlib
import itertools
import json
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from parity_prepare import PLACEHOLDER, virtual_tokens

os.environ["VLLM_PLUGINS"] = "hive_expert"
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
# The schedule decides when the engine computes, so it must live here.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

MOST_RUNNING = 8
"""Requests at work at once."""

WEIGHTS = {
    "ask": 45,
    "ask a composition": 12,
    "load": 14,
    "unload": 20,
    "load broken": 4,
    "ask what overflows": 4,
    "leave": 5,
}
"""How often each operation is drawn."""

OVERFLOWING = "overflowing"
"""An adapter of finite weights, with which the model computes what is no number."""

LOOKS = 20
"""How often the slots are looked at in one run."""

SAMPLES = 200
"""Measurements of memory in one run."""


class SteppedEngine:
    """What our code needs of vLLM's client, on an engine that computes when `step` is called."""

    errored = False

    def __init__(self, engine: Any, sampling: Any) -> None:
        self._engine = engine
        self._sampling = sampling
        self._numbers = itertools.count()
        self._waiting: dict[str, asyncio.Future[Any]] = {}

    @property
    def output_processor(self) -> Any:
        """Whether there are unfinished requests."""
        return self._engine

    async def add_lora(self, request: Any) -> bool:
        await asyncio.sleep(0)
        return bool(self._engine.add_lora(request))

    async def collective_rpc(self, method: str, args: tuple[Any, ...] = ()) -> list[Any]:
        await asyncio.sleep(0)
        return list(self._engine.collective_rpc(method, args=args))

    async def remove_lora(self, adapter_id: int) -> bool:
        await asyncio.sleep(0)
        return bool(self._engine.remove_lora(adapter_id))

    async def generate(self, prompt: list[int], tokens: int, lora_request: Any) -> Any:
        """The finished answer; who stops waiting for it aborts it."""
        number = str(next(self._numbers))
        sampling = self._sampling(tokens)
        inner = self._engine.add_request(
            number, {"prompt_token_ids": prompt}, sampling, lora_request=lora_request
        )
        self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            return await self._waiting[number]
        except asyncio.CancelledError:
            self._engine.abort_request([inner], internal=True)
            raise
        finally:
            del self._waiting[number]

    def step(self) -> None:
        if not self._engine.has_unfinished_requests():
            return
        for output in self._engine.step():
            waiting = self._waiting[output.request_id]
            if output.finished and not waiting.cancelled():
                waiting.set_result(output)


@dataclass(frozen=True)
class Ready:
    """An adapter or composition, as the residency takes it."""

    engine_name: str
    adapter: Path
    virtual_tokens: int
    load_order: int = 10

    @property
    def digest(self) -> str:
        return hashlib.sha256(str(self.adapter).encode()).hexdigest()

    @property
    def members(self) -> tuple[str, ...]:
        return (self.digest,)


class Schedule:
    """Operations drawn one after the other, and what came of them."""

    def __init__(
        self, job: dict[str, Any], client: SteppedEngine, slots: Slots, answers: TextIO
    ) -> None:
        from hive_expert.catalog.residency import Resident
        from hive_expert.engine.vllm_adapters import VllmAdapters

        self.job = job
        self.rng = random.Random(job["seed"])
        self.client = client
        self.slots = slots
        self.handles: dict[str, Any] = {}
        self.engine = VllmAdapters(client, self.handles)
        self.resident = Resident(self.engine)
        self.ready: dict[str, Ready] = {}
        self.running: set[asyncio.Task[None]] = set()
        self.broken_ids = itertools.count(1_000_000)
        self.counts: Counter[str] = Counter()
        self.answers = answers
        self.memory: list[tuple[int, float, float]] = []

    async def run(self) -> None:
        operations = self.job["operations"]
        for number in range(operations):
            if number % max(1, operations // LOOKS) == 0:
                self.slots.check({request.lora_int_id for request in self.handles.values()})
            if number % max(1, operations // SAMPLES) == 0:
                self.memory.append((number, *memory_mib()))
            operation = self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            self.counts[operation] += 1
            await getattr(self, operation.replace(" ", "_"))()
            for _ in range(self.rng.randrange(3)):
                await self.step()
        while self.running:
            await self.step()
        self.slots.check({request.lora_int_id for request in self.handles.values()})
        for ready in self.ready.values():
            assert await self.resident.release(ready), f"{ready} is still used"

    async def step(self) -> None:
        self.client.step()
        # A task takes a few turns to load its adapter, or to let go of it.
        for _ in range(4):
            await asyncio.sleep(0)
        for task in {t for t in self.running if t.done()}:
            self.running.discard(task)
            if not task.cancelled():
                task.result()

    async def ask(self) -> None:
        await self._start(self.rng.choice([None, *self.job["adapters"]]))

    async def ask_a_composition(self) -> None:
        await self._start(self.rng.choice(list(self.job["compositions"])))

    async def ask_what_overflows(self) -> None:
        """There is no answer; those of others are what they are, as ever."""
        await self._start(OVERFLOWING)

    async def load(self) -> None:
        name = self.rng.choice([*self.job["adapters"], *self.job["compositions"]])
        residency = await self.resident.ensure(self.loadable(name))
        self.counts[f"load: {residency.where}"] += 1

    async def unload(self) -> None:
        loaded = [ready for ready in self.ready.values() if self.resident.holds(ready)]
        if loaded:
            gone = await self.resident.release(self.rng.choice(loaded))
            self.counts[f"unload: {'at once' if gone else 'in use'}"] += 1

    async def load_broken(self) -> None:
        from hive_expert.errors import AdapterError

        name = self.rng.choice(list(self.job["broken"]))
        path = Path(self.job["broken"][name])
        try:
            await self.engine.add_adapter(f"broken {name}", next(self.broken_ids), path)
        except AdapterError:
            return
        raise AssertionError(f"the engine takes an adapter with {name}")

    async def leave(self) -> None:
        """A client goes away."""
        if self.running:
            task = self.rng.choice(sorted(self.running, key=lambda t: t.get_name()))
            task.cancel()

    def loadable(self, name: str) -> Ready:
        """An adapter, or a composition that is made when it is first asked for."""
        if name not in self.ready:
            parts = self.job["compositions"].get(name)
            alone = self.job["adapters"] | {OVERFLOWING: self.job["overflowing"]}
            path = self._compose(parts) if parts else Path(alone[name])
            self.ready[name] = Ready(f"{name}@{path.name[:12]}", path, virtual_tokens(path))
        return self.ready[name]

    def _compose(self, parts: dict[str, float]) -> Path:
        from hive_expert.adapters.base_weights import BaseWeights
        from hive_expert.adapters.compose import Member, compose_members
        from hive_expert.adapters.store import AdapterStore

        members = [Member(n, Path(self.job["adapters"][n]), weight) for n, weight in parts.items()]
        base = BaseWeights(Path(self.job["engine"]["model"]))
        rank = self.job["engine"]["max_lora_rank"]
        return compose_members(members, base, AdapterStore.default(), max_rank=rank).directory

    async def _start(self, name: str | None) -> None:
        while len(self.running) >= MOST_RUNNING:
            await self.step()
        prompt = self.rng.randrange(len(self.job["prompts"]))
        tokens = self.rng.randint(1, self.job["tokens"])
        task = asyncio.create_task(
            self._answer(name, prompt, tokens), name=f"{sum(self.counts.values()):08d}"
        )
        self.running.add(task)

    async def _answer(self, name: str | None, prompt: int, tokens: int) -> None:
        ids = self.job["prompts"][prompt]
        if name is None:
            self._record("base", prompt, await self.client.generate(ids, tokens, None))
            return
        ready = self.loadable(name)
        async with self.resident.using(ready):
            handle = self.handles[ready.engine_name]
            ids = [PLACEHOLDER] * ready.virtual_tokens + ids
            answer = await self.client.generate(ids, tokens, handle)
            if name == OVERFLOWING:
                self._require_given_up(answer)
            else:
                self._record(name, prompt, answer)

    def _require_given_up(self, output: Any) -> None:
        """What overflows ends in an error, before its first token."""
        answer = output.outputs[0]
        assert (answer.finish_reason, list(answer.token_ids)) == ("error", []), answer
        self.counts["given up"] += 1

    def _record(self, name: str, prompt: int, output: Any) -> None:
        answer = output.outputs[0]
        tokens = list(answer.token_ids)
        logprobs = [at[t].logprob for at, t in zip(answer.logprobs, tokens, strict=True)]
        self.counts["cached prompt tokens"] += output.num_cached_tokens or 0
        # Written rather than kept, so that they do not count as memory.
        self.answers.write(json.dumps([name, prompt, tokens, logprobs]) + "\n")


class Slots:
    """Looks into the worker: who is registered, who is in which slot, what free slots hold."""

    def __init__(self, engine: Any, max_registered: int) -> None:
        self.worker_manager = engine.collective_rpc(lambda w: w.model_runner.lora_manager)[0]
        self.manager = self.worker_manager._adapter_manager
        self.max_registered = max_registered
        self.reads = 0
        inner = self.worker_manager._load_adapter

        def counted(request: Any) -> Any:
            self.reads += 1
            return inner(request)

        self.worker_manager._load_adapter = counted

    @property
    def registered(self) -> set[int]:
        return set(self.manager.list_adapters())

    @property
    def in_slots(self) -> list[int]:
        return [i for i in self.manager.lora_index_to_id if i is not None]

    def check(self, known: set[int]) -> None:
        """Nothing is registered that nobody loaded, and rows of slots without gains are zero, as
        `engine.gains` has it; then all else that free slots hold is filled with NaN.

        So if anything ever read a slot that nobody holds, answers would show it.
        """
        assert self.registered <= known, f"left behind: {self.registered - known}"
        assert len(self.registered) <= self.max_registered
        assert set(self.in_slots) <= self.registered
        assert len(set(self.in_slots)) == len(self.in_slots)
        for index, held in enumerate(self.manager.lora_index_to_id):
            tables = self.tables(index)
            if held is None:
                for table in tables:
                    table[index] = float("nan")

    def tables(self, index: int) -> list[Any]:
        """Everything of which a slot may have a row that is not zero."""
        found = [self.manager.embedding.rows]
        for layer in self.manager.modules.values():
            found += [*layer.lora_a_stacked, *layer.lora_b_stacked]
            for table, slots in (
                (layer.gamma_table, layer.output_slots),
                (layer.shift_table, layer.output_slots),
                (layer.beta_table, layer.input_slots),
            ):
                if table is None:
                    continue
                if index in slots:
                    found.append(table)
                else:
                    assert not table[index].any(), f"slot {index} has no gains, its row has"
        return found


class HeapInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`, of all arenas."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def memory_mib() -> tuple[float, float]:
    """Of this process, the engine included: resident, and in use of malloc's heap.

    The second is what a leak makes larger. The first grows as well while the free part of the heap
    falls to pieces. PYTHONMALLOC=malloc makes Python's own objects part of the heap.
    """
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = HeapInfo
    gc.collect()
    libc.malloc_trim(0)
    heap = libc.mallinfo2()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE")
    return resident / 2**20, (heap.uordblks + heap.hblkhd) / 2**20


def main() -> None:
    from vllm import LLM, SamplingParams

    from hive_expert.engine.launch import ADAPTED_MODULES, ALWAYS, SCHEDULER

    os.environ.update(ALWAYS)
    job = json.loads(Path(sys.argv[1]).read_bytes())
    llm = LLM(
        **job["engine"],
        skip_tokenizer_init=True,
        enforce_eager=True,
        enable_lora=True,
        lora_target_modules=list(ADAPTED_MODULES),
        worker_extension_cls="hive_expert.engine.plugin.WorkerExtension",
        scheduler_cls=SCHEDULER,
        enable_prefix_caching=True,
        disable_log_stats=True,
    )

    def sampling(tokens: int) -> SamplingParams:
        return SamplingParams(
            temperature=0, max_tokens=tokens, logprobs=0, ignore_eos=True, detokenize=False
        )

    slots = Slots(llm.llm_engine, job["engine"]["max_cpu_loras"])
    client = SteppedEngine(llm.llm_engine, sampling)
    with Path(sys.argv[2]).open("w") as answers:
        schedule = Schedule(job, client, slots, answers)
        started = time.perf_counter()
        asyncio.run(schedule.run())
        result = {
            "seconds": time.perf_counter() - started,
            "counts": schedule.counts,
            "reads": slots.reads,
            "memory": schedule.memory,
            "registered": sorted(slots.registered),
            "in_slots": slots.in_slots,
            "status": llm.collective_rpc("hive_status"),
        }
        answers.write(json.dumps(result))


if __name__ == "__main__":
    main()

"""The worker in the engine's own process, on the CPU.

vLLM puts a CPU worker into a process of its own, and has the engine's process wait for it by asking
over and over, on a core that is kept free for that. Here the engine calls the worker: the core is
free for the front end, for grammars, and for whatever else a machine does.
"""

from __future__ import annotations

import os

from vllm.platforms import current_platform
from vllm.utils.cpu_resource_utils import get_allowed_cpu_list
from vllm.utils.torch_utils import available_cpu_count
from vllm.v1.executor.uniproc_executor import UniProcExecutor

THREADS = "OMP_NUM_THREADS"
BINDING = ("VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_NUM_OF_RESERVED_CPU")
"""Variables by which a user binds vLLM's workers to cores; only its own executor reads them."""


class InProcessExecutor(UniProcExecutor):
    """vLLM's executor for one process, under a name that its CPU platform leaves alone: it replaces
    "uni" by the one for several processes, because it could not give a process that runs already
    its threads. Ours gets them from its environment (:func:`environment`)."""


NAME = f"{InProcessExecutor.__module__}.{InProcessExecutor.__qualname__}"


def is_possible(tensor_parallel_size: int) -> bool:
    """Whether one process can do it all: on a CPU, with undivided layers, and unless the user binds
    workers to cores, which is done by vLLM's own executor."""
    bound = any(os.environ.get(name, "nobind") != "nobind" for name in BINDING)
    return current_platform.is_cpu() and tensor_parallel_size == 1 and not bound


def environment(tensor_parallel_size: int) -> dict[str, str]:
    """Variables for the process of the engine, read when it starts; a user's own values win."""
    return {THREADS: str(threads())} if is_possible(tensor_parallel_size) else {}


def threads() -> int:
    """How many threads compute: one for each core that this process may use, but one.

    All of two cores give 1.2 times the tokens while nothing else runs. But each layer waits for its
    slowest thread: with one other busy process on the machine it becomes several times slower.
    """
    cores = len({cpu.physical_core for cpu in get_allowed_cpu_list()})
    return max(1, min(cores, available_cpu_count()) - 1)

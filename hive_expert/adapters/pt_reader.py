"""The child process that reads one `.pt` file: the file on stdin, a soft prompt on stdout.

    python -m hive_expert.adapters.pt_reader < tone.pt > tone.safetensors

`torch.load(weights_only=True)` has been tricked into running code more than once. So before it
sees a byte of the file this process gives up, for good, opening any file or socket, writing more
than a soft prompt, and most memory and time. What it prints is checked by its parent
(`adapters.first_generation`) like any file of a stranger. With exit status 1 the last line on
stderr is the reason.
"""

from __future__ import annotations

import io
import pickle
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import save

from hive_expert.adapters.first_generation import MAX_FILE_BYTES
from hive_expert.package.tensors import SOFT_PROMPT_TENSOR

CPU_SECONDS = 20
MEMORY_BYTES = 512 << 20
"""What may be allocated beyond what PyTorch itself takes."""
MAX_VECTORS, MAX_WIDTH = 512, 1 << 16

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def main() -> None:
    """Read, judge, print."""
    load_all_code()
    give_up_rights()
    file = io.BytesIO(sys.stdin.buffer.read(MAX_FILE_BYTES))
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        _fail("holds something other than plain tensors, or is no PyTorch file")
    matrix = only_matrix(content)
    sys.stdout.buffer.write(save({SOFT_PROMPT_TENSOR: matrix.detach().contiguous()}))
    sys.stdout.buffer.flush()


def load_all_code() -> None:
    """Go the whole way once with files of our own: what is imported late, cannot be later."""
    torch.set_num_threads(1)
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save(
            {"p": torch.nn.Parameter(torch.ones(1, 1))}, file, _use_new_zipfile_serialization=zipped
        )
        file.seek(0)
        save(torch.load(file, map_location="cpu", weights_only=True))


def give_up_rights() -> None:
    """Lower the limits of this process, for good."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limits = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + MEMORY_BYTES,
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_FSIZE: MAX_FILE_BYTES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        # Stdin, stdout and stderr are open already; not one file, socket or pipe more.
        resource.RLIMIT_NOFILE: 0,
    }
    for limit, wanted in limits.items():
        _, highest = resource.getrlimit(limit)
        value = wanted if highest == resource.RLIM_INFINITY else min(wanted, highest)
        resource.setrlimit(limit, (value, value))


def only_matrix(content: Any) -> torch.Tensor:
    """The soft prompt among what the file holds, or the end of the process.

    It is the tensor that is the file, or the one named `prompt_embeddings` in a dictionary
    (nested at will), or else the only matrix there.
    """
    found = dict(_tensors(content, ""))
    named = [t for name, t in found.items() if name.rpartition(".")[2] == SOFT_PROMPT_TENSOR]
    candidates = named or [t for t in found.values() if t.dim() == 2]
    if len(candidates) != 1:
        names = ", ".join(sorted(found))[:120] or "none"
        _fail(f"holds {len(candidates)} matrices that could be the soft prompt (tensors: {names})")
    (matrix,) = candidates
    if matrix.dim() != 2 or not (matrix.shape[0] <= MAX_VECTORS and matrix.shape[1] <= MAX_WIDTH):
        _fail(f"its tensor of shape {tuple(matrix.shape)} is no soft prompt (tokens, hidden)")
    if matrix.layout != torch.strided or matrix.dtype not in _DTYPES:
        _fail(f"its tensor of {matrix.dtype} is not a dense one of float32, float16 or bfloat16")
    return matrix


def _tensors(content: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(content, torch.Tensor):
        yield name or "the file itself", content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _fail(reason: str) -> NoReturn:
    sys.stderr.write(reason)
    sys.exit(1)


if __name__ == "__main__":
    main()

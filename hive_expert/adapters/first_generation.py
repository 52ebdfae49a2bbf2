"""Soft prompts of the first generation: `.pt` files, which are pickles. SPEC section 4.

They are read once, by a child process that may do nothing else, and become safetensors. This
side imports no torch and unpickles nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from hive_expert.errors import PackageError, Problem
from hive_expert.manifest.adapter_model import SoftPrompt
from hive_expert.package.tensors import check_soft_prompt, read_tensors

MAX_FILE_BYTES = 64 << 20
"""512 vectors of 16,384 numbers take half of it."""
SECONDS = 120
"""How long the child may take, importing PyTorch included."""
# The child has no business with the user's tokens and passphrases.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")
_TOLD_CHARACTERS = 200


def soft_prompt_from_pt(source: Path, prompt: SoftPrompt, where: str) -> bytes:
    """The content of a `.pt` file as a safetensors file, which is the soft prompt declared.

    The `.pt` holds the tensor (tokens, hidden) itself, or a dictionary with one matrix in it, or
    with one tensor `prompt_embeddings`. The same file gives the same bytes.
    Raises PackageError for a file that is anything else, or too much for the reader's limits
    (size, memory, time); TensorError where it is not what ``prompt`` says.
    """
    with tempfile.TemporaryDirectory(prefix="hive-pt-") as folder:
        converted = Path(folder, "converted.safetensors")
        _read(source, converted, where)
        check_soft_prompt(read_tensors(converted, where), prompt, where)
        return converted.read_bytes()


def _read(source: Path, target: Path, where: str) -> None:
    """Let the child read ``source`` and write ``target``."""
    if source.is_file() and source.stat().st_size > MAX_FILE_BYTES:
        raise _unreadable(where, f"is larger than the {MAX_FILE_BYTES} bytes allowed")
    command = [sys.executable, "-P", "-m", "hive_expert.adapters.pt_reader"]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    errors = target.with_suffix(".stderr")
    try:
        with source.open("rb") as read, target.open("wb") as write, errors.open("wb") as say:
            child = subprocess.Popen(
                command,
                stdin=read,
                stdout=write,
                stderr=say,
                cwd=target.parent,
                env=environment,
                start_new_session=True,
            )
    except OSError as exc:
        raise PackageError(Problem(where, exc.strerror or "cannot be read")) from exc
    try:
        status = child.wait(SECONDS)
    except subprocess.TimeoutExpired as exc:
        raise _unreadable(where, f"reading it took more than {SECONDS} seconds") from exc
    finally:
        _end(child)
    if status == 1:
        raise _unreadable(where, _reason(errors))
    if status != 0:
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise _unreadable(where, f"its reader was ended by {how}: it asked for too much")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started."""
    with contextlib.suppress(ProcessLookupError):  # nothing is left
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _reason(errors: Path) -> str:
    """What the child said last, fit for a terminal: it may be a stranger's text."""
    with errors.open("rb") as file:
        file.seek(max(0, errors.stat().st_size - (4 << 10)))
        lines = file.read().decode("ascii", "replace").strip().splitlines()
    said = (lines or ["it cannot be read"])[-1][:_TOLD_CHARACTERS]
    return "".join(c if c.isprintable() else "?" for c in said)


def _unreadable(where: str, what: str) -> PackageError:
    return PackageError(Problem(where, what, "save the soft prompt as safetensors, with PEFT"))

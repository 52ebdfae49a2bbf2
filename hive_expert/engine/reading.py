"""An adapter's files, read in short pieces, so that the engine computes tokens in between.

A worker reads adapters in the thread that computes: another thread would fight with it for Python's
lock, and every token would wait. vLLM reads one as a whole, which takes as long as a decode step or
two, during which nobody gets a token. SPEC section 11.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open
from vllm.lora.lora_model import LoRAModel
from vllm.lora.utils import parse_fine_tuned_lora_name

from hive_expert.adapters.peft_config import WEIGHTS_FILE

PIECE = 14
"""Tensors that are read in one piece: A and B of a layer's seven matrices, about half a
millisecond."""


class PiecewiseModel(LoRAModel):
    """vLLM's adapter, whose weights `pieces` brings.

    Laws: once `pieces` is exhausted it is what vLLM's own reading gives; it holds nothing that
    holds it, so that it goes as soon as nobody has it (what is left to Python's search for circles
    stays for minutes in so large a process).
    """

    _source: tuple[Path, dict[str, list[str]], Any, dict[str, Any]]
    """The file, names of its tensors by module, what is said of them, and vLLM's options."""

    @classmethod
    def from_local_checkpoint(
        cls,
        lora_dir: str,
        expected_lora_modules: set[str],
        peft_helper: Any,
        *,
        lora_model_id: int | None = None,
        **options: Any,
    ) -> PiecewiseModel:
        """An adapter without weights yet; arguments and errors are those of vLLM's method.

        Here the names of all tensors are checked, as there.
        """
        path = Path(lora_dir, WEIGHTS_FILE)
        expert_parallel = options.pop("moe_ep_spec", None) is not None
        if expert_parallel or peft_helper.modules_to_save or not path.is_file():
            raise ValueError(f"{lora_dir}: not an adapter of linear layers in safetensors")
        model = cls(lora_model_id, peft_helper.r, {})
        by_module = _names_by_module(path, expected_lora_modules, options)
        model._source = path, by_module, peft_helper, options
        return model

    def pieces(self) -> Iterator[dict[str, Any]]:
        """Reads the weights: some of the modules, by name, in each step."""
        path, by_module, peft_helper, options = self._source
        # A module's A and B are always read together.
        names = [name for names in by_module.values() for name in names]
        with safe_open(path, framework="pt") as file:
            while names:
                piece, names = names[:PIECE], names[PIECE:]
                while names and _module(names[0], options) == _module(piece[-1], options):
                    piece.append(names.pop(0))
                tensors = {name: file.get_tensor(name) for name in piece}
                part = LoRAModel.from_lora_tensors(self.id, tensors, peft_helper, **options)
                self.loras |= part.loras
                yield part.loras


class Reading:
    """A reading that is under way."""

    def __init__(self, steps: Generator[None, None, Any]) -> None:
        """``steps`` returns what was read."""
        self._steps = steps
        self._result: Any = None
        self.done = False
        self.failed = False

    def go_on(self, seconds: float | None = None) -> bool:
        """Read for about so long, a piece at least, or to the end; whether that is reached.

        Raises whatever is wrong with what is read.
        """
        until = None if seconds is None else time.perf_counter() + seconds
        self.failed = True
        try:
            while not self.done:
                next(self._steps)
                if until is not None and time.perf_counter() >= until:
                    break
        except StopIteration as end:
            self._result, self.done = end.value, True
        self.failed = False
        return self.done

    def result(self) -> Any:
        """What was read, once all of it is."""
        self.go_on()
        return self._result


def any_product(delta: Any) -> bool:
    """Whether B A of one matrix is not zero."""
    a, b = delta.lora_a, delta.lora_b
    return a is not None and b is not None and bool(a.any()) and bool(b.any())


def _names_by_module(
    path: Path, expected: set[str], options: dict[str, Any]
) -> dict[str, list[str]]:
    with safe_open(path, framework="pt") as file:
        by_module: dict[str, list[str]] = {}
        skipped = options.get("skip_prefixes") or []
        for name in file.keys():  # noqa: SIM118  # it is no mapping
            if not LoRAModel._should_skip_module(name, skipped):
                by_module.setdefault(_module(name, options), []).append(name)
    unexpected = sorted(m for m in by_module if m.rpartition(".")[2] not in expected)
    if unexpected:
        raise ValueError(f"{path.parent}: modules that are not adapted: {', '.join(unexpected)}")
    return by_module


def _module(name: str, options: dict[str, Any]) -> str:
    module, _ = parse_fine_tuned_lora_name(name, options.get("weights_mapper"))
    return str(module)

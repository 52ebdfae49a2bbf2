"""What a PEFT directory holds, by its configuration and its tensors' headers; never pickle.

No number is read here, and torch is not needed: `hive-build` looks at adapters too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from hive_expert.adapters.peft_config import (
    ADAPTABLE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    Kind,
    PeftConfig,
    read_config,
)
from hive_expert.errors import AdapterError, Problem

_TENSOR_NAME = re.compile(
    r"base_model\.model\.(?P<module>(?:[A-Za-z0-9_]+\.)*(?P<last>[A-Za-z0-9_]+))"
    r"\.(?P<part>lora_A|lora_B|lora_magnitude_vector|ia3_l)(?:\.weight)?"
)
_PARTS: dict[Kind, frozenset[str]] = {
    "lora": frozenset({"lora_A", "lora_B"}),
    "dora": frozenset({"lora_A", "lora_B", "lora_magnitude_vector"}),
    "ia3": frozenset({"ia3_l"}),
}

Shape = tuple[int, ...]


class Part(NamedTuple):
    """One tensor of a layer."""

    name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class PeftAdapter:
    """A PEFT directory whose configuration and tensor headers are known to agree.

    Law: every layer has exactly the parts of its kind, with the shapes and rank the
    configuration says. What the tensors hold is not read yet.
    """

    directory: Path
    config: PeftConfig
    layers: Mapping[str, Mapping[str, Part]]
    """Module name → part (`lora_A` …) → its tensor."""

    @property
    def rank(self) -> int:
        """The largest rank of a layer; 0 for ia3."""
        return max(self.config.rank_of(module) for module in self.layers)

    def size_of(self, module: str) -> tuple[int | None, int | None]:
        """(out, in) of a layer, as far as its tensors tell."""
        parts = self.layers[module]
        if self.config.kind != "ia3":
            return parts["lora_B"].shape[0], parts["lora_A"].shape[1]
        if self.config.scales_input(module):
            return None, parts["ia3_l"].shape[1]
        return parts["ia3_l"].shape[0], None


def read_adapter(directory: Path) -> PeftAdapter:
    """The configuration and the tensor headers of a PEFT directory.

    Raises:
        AdapterError: all that is not served, missing or contradictory.
    """
    config = read_config(directory)
    layers: dict[str, dict[str, Part]] = {}
    problems: list[Problem] = []
    for name, shape in _headers(directory).items():
        match = _TENSOR_NAME.fullmatch(name)
        if match is None or match["part"] not in _PARTS[config.kind]:
            problems.append(Problem(name, f"does not belong to a {config.kind} adapter"))
        elif match["last"] not in ADAPTABLE:
            remedy = f"one of {', '.join(ADAPTABLE)}"
            problems.append(Problem(name, f"{match['last']} is not served", remedy))
        else:
            layers.setdefault(match["module"], {})[match["part"]] = Part(name, shape)
    problems += _unmatched_targets(config, layers)
    for module, parts in layers.items():
        problems += _broken_layer(config, module, parts)
    if not layers and not problems:
        problems.append(Problem(WEIGHTS_FILE, "has no effect: it has no tensors"))
    if problems:
        raise AdapterError(*problems)
    return PeftAdapter(directory, config, layers)


def _headers(directory: Path) -> dict[str, Shape]:
    try:
        with safe_open(directory / WEIGHTS_FILE, "np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise AdapterError(Problem(WEIGHTS_FILE, f"cannot be read ({error})")) from error


def _unmatched_targets(config: PeftConfig, layers: Mapping[str, object]) -> Iterator[Problem]:
    if config.targets is None:
        return
    for target in config.targets:
        if not any(f".{module}".endswith(f".{target}") for module in layers):
            yield Problem(
                f"{CONFIG_FILE}: target_modules",
                f"{target} has no tensors in {WEIGHTS_FILE}",
                "save the adapter anew",
            )
    for module in layers:
        if not any(f".{module}".endswith(f".{target}") for target in config.targets):
            yield Problem(module, "is adapted, but is not among target_modules")


def _broken_layer(config: PeftConfig, module: str, parts: Mapping[str, Part]) -> Iterator[Problem]:
    missing = _PARTS[config.kind] - parts.keys()
    if missing:
        yield Problem(module, f"has no {', '.join(sorted(missing))}")
    elif config.kind == "ia3":
        name, shape = parts["ia3_l"]
        if len(shape) != 2 or shape[0 if config.scales_input(module) else 1] != 1:
            side = "an input (1, in)" if config.scales_input(module) else "an output (out, 1)"
            yield Problem(name, f"shape {shape} is not that of {side} gain")
    else:
        yield from _unfit_ranks(config.rank_of(module), parts)


def _unfit_ranks(rank: int, parts: Mapping[str, Part]) -> Iterator[Problem]:
    for part, axis in (("lora_A", 0), ("lora_B", 1)):
        name, shape = parts[part]
        if len(shape) != 2 or shape[axis] != rank:
            yield Problem(name, f"shape {shape} does not have rank {rank}")
    if "lora_magnitude_vector" in parts:
        name, shape = parts["lora_magnitude_vector"]
        if shape != parts["lora_B"].shape[:1]:
            yield Problem(name, f"shape {shape} does not go with B of {parts['lora_B'].shape}")

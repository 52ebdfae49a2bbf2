"""What a PEFT `adapter_config.json` asks for, if it is something we can serve exactly.

Every setting of PEFT is honoured, without influence on the forward pass, or refused by name, as
`package.peft_settings` lists them. SPEC section 6.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hive_expert.errors import AdapterError, Problem
from hive_expert.package.peft_settings import (
    MAX_RANK,
    NO_PATTERNS,
    Complaint,
    Patterns,
    is_alpha,
    is_rank,
    patterns_of,
    unserved_settings,
)

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MAX_CONFIG_BYTES = 1 << 20

ADAPTABLE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The layers that may be adapted (SPEC section 3)."""

Kind = Literal["lora", "dora", "ia3"]


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """The honoured part of an adapter's configuration.

    Law: an `ia3` has no rank; `feedforward` is empty for the others.
    """

    kind: Kind
    targets: tuple[str, ...] | None
    """Names the adapter says it targets; None when it says so by a regular expression."""
    r: int = 0
    alpha: float = 0.0
    rslora: bool = False
    patterns: Patterns = NO_PATTERNS
    feedforward: tuple[str, ...] = ()
    """Endings of the names of layers whose input is scaled rather than their output."""

    @property
    def is_plain_lora(self) -> bool:
        """Whether it is a LoRA with one rank and one alpha for all its layers."""
        return self.kind == "lora" and self.patterns == NO_PATTERNS

    def rank_of(self, module: str) -> int:
        """The rank of one layer, by PEFT's own rule."""
        return self.patterns.rank_of(module, self.r)

    def scale_of(self, module: str) -> float:
        """What B A is multiplied by in one layer: alpha / r, or alpha / sqrt(r) for rsLoRA."""
        rank = self.rank_of(module)
        alpha = self.patterns.alpha_of(module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rslora else rank)

    def scales_input(self, module: str) -> bool:
        """Whether an ia3 vector of this layer scales its input."""
        return module.endswith(self.feedforward)


def read_config(directory: Path) -> PeftConfig:
    """The configuration of a PEFT directory.

    Raises:
        AdapterError: all of what it asks for that cannot be served.
    """
    try:
        settings = json.loads(config_bytes(directory))
    except (ValueError, RecursionError) as error:
        raise AdapterError(Problem(CONFIG_FILE, f"is not JSON ({error})")) from error
    if not isinstance(settings, dict):
        raise AdapterError(Problem(CONFIG_FILE, "is not a JSON object"))
    return parse_config(settings)


def config_bytes(directory: Path) -> bytes:
    """The configuration file of a PEFT directory, as it stands there.

    Raises:
        AdapterError: it cannot be read, or is too large.
    """
    try:
        with (directory / CONFIG_FILE).open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise AdapterError(Problem(CONFIG_FILE, f"cannot be read ({error.strerror})")) from error
    if len(data) > MAX_CONFIG_BYTES:
        raise AdapterError(Problem(CONFIG_FILE, f"is larger than {MAX_CONFIG_BYTES} bytes"))
    return data


def parse_config(settings: Mapping[str, Any]) -> PeftConfig:
    """The same from the parsed JSON. Pure.

    Raises:
        AdapterError: as `read_config`.
    """
    problems = list(_problems(settings))
    if problems:
        raise AdapterError(*(Problem(f"{CONFIG_FILE}: {k}", w, r) for k, w, r in problems))
    targets = settings.get("target_modules")
    named = tuple(sorted(targets)) if isinstance(targets, list) else None
    if settings["peft_type"] == "IA3":
        return PeftConfig(
            "ia3", named, feedforward=tuple(settings.get("feedforward_modules") or ())
        )
    return PeftConfig(
        kind="dora" if settings.get("use_dora") else "lora",
        targets=named,
        r=settings["r"],
        alpha=float(settings["lora_alpha"]),
        rslora=bool(settings.get("use_rslora")),
        patterns=patterns_of(settings),
    )


def _problems(settings: Mapping[str, Any]) -> Iterator[Complaint]:
    kind = settings.get("peft_type")
    if kind not in ("LORA", "IA3"):
        yield "peft_type", f"{kind!r:.40} is not served", "train a LoRA, DoRA or IA3 adapter"
        return
    yield from unserved_settings(settings)
    yield from _refused_targets(settings)
    yield from (_malformed_ia3 if kind == "IA3" else _malformed_lora)(settings)


def _refused_targets(settings: Mapping[str, Any]) -> Iterator[Complaint]:
    targets = settings.get("target_modules")
    if isinstance(targets, str):
        return
    if not isinstance(targets, list) or not all(isinstance(t, str) for t in targets):
        yield "target_modules", "is neither a list of names nor a text", ""
        return
    for target in targets:
        if target.rpartition(".")[2] not in ADAPTABLE:
            yield (
                "target_modules",
                f"{target!r:.80} is not served",
                f"one of {', '.join(ADAPTABLE)}",
            )


def _malformed_ia3(settings: Mapping[str, Any]) -> Iterator[Complaint]:
    modules = settings.get("feedforward_modules") or []
    if not isinstance(modules, list) or not all(isinstance(m, str) and m for m in modules):
        yield "feedforward_modules", "is not a list of names", "name the modules"


def _malformed_lora(settings: Mapping[str, Any]) -> Iterator[Complaint]:
    if not is_rank(settings.get("r")):
        remedy = f"give the rank, from 1 to {MAX_RANK}"
        yield "r", f"{settings.get('r')!r:.20} is not a rank", remedy
    if not is_alpha(settings.get("lora_alpha")):
        yield "lora_alpha", f"{settings.get('lora_alpha')!r:.20} is not a positive number", ""

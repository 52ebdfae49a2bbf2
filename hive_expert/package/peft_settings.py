"""PEFT's settings of an adapter: honoured, without influence on the forward pass, or refused.

One table for packaging and for serving, so that neither takes what the other refuses. A setting
that is in no table and not empty is refused too. SPEC section 6.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

MAX_RANK = 512
MAX_PATTERNS = 1024
"""Layers named in one pattern table: a model of 128 layers has 896 that may be adapted."""
MAX_PATTERN_CHARACTERS = 256

HONOURED = frozenset(
    {"peft_type", "r", "lora_alpha", "target_modules", "use_dora", "use_rslora", "rank_pattern"}
    | {"alpha_pattern", "feedforward_modules", "init_lora_weights", "bias", "fan_in_fan_out"}
)
# They matter while training, or say which layers were chosen, which the tensors say too.
WITHOUT_INFLUENCE = frozenset(
    {"task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
    | {"inference_mode", "lora_dropout", "exclude_modules", "layers_to_transform"}
    | {"layers_pattern", "megatron_core", "loftq_config", "eva_config", "corda_config"}
    | {"lora_ga_config", "qalora_group_size", "runtime_config", "ensure_weight_tying"}
    | {"init_ia3_weights"}
)
REFUSED = {
    "modules_to_save": "whole retrained modules are not adapters; train without modules_to_save",
    "lora_bias": "train without lora_bias",
    "layer_replication": "repeated layers are another model; train without layer_replication",
    "trainable_token_indices": "embeddings are shared by all requests; train without it",
    "target_parameters": "target linear layers by target_modules",
    "alora_invocation_tokens": "activated LoRA is not served; train a plain LoRA",
    "use_qalora": "QA-LoRA is not served; train a plain LoRA",
    "use_bdlora": "block-diagonal LoRA is not served; train a plain LoRA",
    "megatron_config": "save the adapter from a model without Megatron layers",
}
# These only set the first values of A and B; all other named ones change the base's weights too.
_HARMLESS_INITS = ("gaussian", "eva", "orthogonal", "mica")
_PLAIN_PATTERN = re.compile(r"\^?[A-Za-z0-9_.]+")

_Value = TypeVar("_Value")

Complaint = tuple[str, str, str]
"""Setting, what is wrong with it, what to do."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """Layers that have a rank or an alpha of their own, by the ends of their names.

    Law: the keys are plain names and few, as `unserved_settings` demands, so that a stranger's
    take no time.
    """

    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)

    def rank_of(self, module: str, usual: int) -> int:
        """The rank of a layer, by PEFT's own rule; ``usual`` where none names it."""
        return _first_match(self.ranks, module, usual)

    def alpha_of(self, module: str, usual: float) -> float:
        """The same for alpha."""
        return _first_match(self.alphas, module, usual)


NO_PATTERNS = Patterns()


def patterns_of(settings: Mapping[str, Any]) -> Patterns:
    """The patterns of settings about which `unserved_settings` has no complaint."""
    return Patterns(
        dict(settings.get("rank_pattern") or {}),
        {key: float(value) for key, value in (settings.get("alpha_pattern") or {}).items()},
    )


def unserved_settings(settings: Mapping[str, Any]) -> Iterator[Complaint]:
    """Whatever no expert can have: settings that are refused, unknown or malformed."""
    for name, value in settings.items():
        if name in REFUSED and value:
            yield name, f"{value!r:.40} is not served", REFUSED[name]
        elif name not in HONOURED | WITHOUT_INFLUENCE | REFUSED.keys() and value:
            yield name, "is not known to this version", "save the adapter without it"
    if settings.get("bias", "none") != "none":
        yield "bias", f"{settings['bias']!r:.20} is not served", 'train with bias="none"'
    if settings.get("fan_in_fan_out"):
        remedy = "train on a model whose layers are nn.Linear"
        yield "fan_in_fan_out", "transposed weights are not served", remedy
    init = settings.get("init_lora_weights")
    if init not in (None, True, False) and str(init).lower() not in _HARMLESS_INITS:
        yield (
            "init_lora_weights",
            f"{init!r:.40} changes the base model's weights",
            "convert it to a plain LoRA: save_pretrained(..., "
            "path_initial_model_for_weight_conversion=...) in PEFT",
        )
    yield from _flawed_pattern("rank_pattern", settings, is_rank, f"a rank from 1 to {MAX_RANK}")
    yield from _flawed_pattern("alpha_pattern", settings, is_alpha, "a positive number")


def is_rank(value: Any) -> bool:
    """Whether a layer can have this rank."""
    return type(value) is int and 0 < value <= MAX_RANK


def is_alpha(value: Any) -> bool:
    """Whether a layer's update can be scaled by this."""
    return type(value) in (int, float) and 0 < value <= sys.float_info.max


def _flawed_pattern(
    name: str, settings: Mapping[str, Any], is_value: Callable[[Any], bool], expected: str
) -> Iterator[Complaint]:
    pattern = settings.get(name) or {}
    if not isinstance(pattern, dict):
        yield name, "is not a table", f"give each layer's name {expected}"
        return
    if len(pattern) > MAX_PATTERNS:
        what = f"names {len(pattern)} layers, more than the {MAX_PATTERNS} allowed"
        yield name, what, "name all layers of one kind by the end they share, such as q_proj"
        return
    for key, value in pattern.items():
        if not _PLAIN_PATTERN.fullmatch(key):
            yield name, f"the key {key!r:.80} is more than a name", "write out the names"
        elif len(key) > MAX_PATTERN_CHARACTERS:
            what = f"the key {key[:40]!r}… has more than {MAX_PATTERN_CHARACTERS} characters"
            yield name, what, "leave out the beginning of the name"
        elif not is_value(value):
            yield f"{name}.{key}", f"{value!r:.20} is not allowed", f"make it {expected}"


def _first_match(pattern: Mapping[str, _Value], module: str, usual: _Value) -> _Value:
    """PEFT's `get_pattern_key`: the first key that matches the end of the name, at a dot.

    Keys are regular expressions to PEFT: a plain one matches just as many characters as it has,
    and any of them where it has a dot.
    """
    by_length = _by_length(tuple(pattern))
    starts = (0, *(dot.end() for dot in re.finditer(r"\.", module)))
    matching = (
        (position, key.pattern)
        for start in starts
        for position, key in by_length.get(len(module) - start, ())
        if key.fullmatch(module, start)
    )
    first = min(matching, default=None)
    return usual if first is None else pattern[first[1]]


@lru_cache(maxsize=4)
def _by_length(keys: tuple[str, ...]) -> Mapping[int, list[tuple[int, re.Pattern[str]]]]:
    """The keys with their positions, by how many characters they match."""
    found: dict[int, list[tuple[int, re.Pattern[str]]]] = {}
    for position, key in enumerate(keys):
        found.setdefault(len(key.removeprefix("^")), []).append((position, re.compile(key)))
    return found

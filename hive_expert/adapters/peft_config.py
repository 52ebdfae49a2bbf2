"""What a PEFT `adapter_config.json` asks for, if it is something we can serve exactly.

Every setting of PEFT is known here: honoured, without influence on the forward pass, or refused by
name. A setting that is not known and not empty is refused as well. SPEC section 6.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hive_expert.errors import AdapterError, Problem

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MAX_CONFIG_BYTES = 1 << 20

ADAPTABLE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The layers that may be adapted (SPEC section 3)."""

Kind = Literal["lora", "dora", "ia3"]

_HONOURED = frozenset(
    {"peft_type", "r", "lora_alpha", "target_modules", "use_dora", "use_rslora", "rank_pattern"}
    | {"alpha_pattern", "feedforward_modules", "init_lora_weights", "bias", "fan_in_fan_out"}
)
# They matter while training, or say which layers were chosen, which the tensors say too.
_WITHOUT_INFLUENCE = frozenset(
    {"task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
    | {"inference_mode", "lora_dropout", "exclude_modules", "layers_to_transform"}
    | {"layers_pattern", "megatron_core", "loftq_config", "eva_config", "corda_config"}
    | {"lora_ga_config", "qalora_group_size", "runtime_config", "ensure_weight_tying"}
    | {"init_ia3_weights"}
)
_REFUSED = {
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
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    feedforward: tuple[str, ...] = ()
    """Endings of the names of layers whose input is scaled rather than their output."""

    def rank_of(self, module: str) -> int:
        """The rank of one layer, by PEFT's own rule."""
        return _by_pattern(self.rank_pattern, module, self.r)

    def scale_of(self, module: str) -> float:
        """What B A is multiplied by in one layer: alpha / r, or alpha / sqrt(r) for rsLoRA."""
        rank = self.rank_of(module)
        alpha = _by_pattern(self.alpha_pattern, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rslora else rank)

    def scales_input(self, module: str) -> bool:
        """Whether an ia3 vector of this layer scales its input."""
        return module.endswith(self.feedforward)


def read_config(directory: Path) -> PeftConfig:
    """The configuration of a PEFT directory.

    Raises:
        AdapterError: all of what it asks for that cannot be served.
    """
    path = directory / CONFIG_FILE
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise AdapterError(Problem(CONFIG_FILE, f"cannot be read ({error.strerror})")) from error
    if len(data) > MAX_CONFIG_BYTES:
        raise AdapterError(Problem(CONFIG_FILE, f"is larger than {MAX_CONFIG_BYTES} bytes"))
    try:
        settings = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AdapterError(Problem(CONFIG_FILE, f"is not JSON ({error})")) from error
    if not isinstance(settings, dict):
        raise AdapterError(Problem(CONFIG_FILE, "is not a JSON object"))
    return parse_config(settings)


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
        rank_pattern=dict(settings.get("rank_pattern") or {}),
        alpha_pattern={k: float(v) for k, v in (settings.get("alpha_pattern") or {}).items()},
    )


_Complaint = tuple[str, str, str]
"""Setting, what is wrong with it, what to do."""


def _problems(settings: Mapping[str, Any]) -> Iterator[_Complaint]:
    kind = settings.get("peft_type")
    if kind not in ("LORA", "IA3"):
        yield "peft_type", f"{kind!r:.40} is not served", "train a LoRA, DoRA or IA3 adapter"
        return
    yield from _refused_settings(settings)
    yield from _refused_targets(settings)
    yield from (_malformed_ia3 if kind == "IA3" else _malformed_lora)(settings)


def _refused_settings(settings: Mapping[str, Any]) -> Iterator[_Complaint]:
    for name, value in settings.items():
        if name in _REFUSED and value:
            yield name, "is not served", _REFUSED[name]
        elif name not in _HONOURED | _WITHOUT_INFLUENCE | set(_REFUSED) and value:
            yield name, "is not known to this version", "save the adapter without it"
    if settings.get("bias", "none") != "none":
        yield "bias", f"{settings['bias']!r:.20} is not served", 'train with bias="none"'
    if settings.get("fan_in_fan_out"):
        yield "fan_in_fan_out", "transposed weights are not served", ""
    init = settings.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in _HARMLESS_INITS:
        yield (
            "init_lora_weights",
            f"{init!r:.40} changes the base model's weights",
            "convert it to a plain LoRA: save_pretrained(..., "
            "path_initial_model_for_weight_conversion=...) in PEFT",
        )


def _refused_targets(settings: Mapping[str, Any]) -> Iterator[_Complaint]:
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


def _malformed_ia3(settings: Mapping[str, Any]) -> Iterator[_Complaint]:
    modules = settings.get("feedforward_modules") or []
    if not isinstance(modules, list) or not all(isinstance(m, str) and m for m in modules):
        yield "feedforward_modules", "is not a list of names", "name the modules"


def _malformed_lora(settings: Mapping[str, Any]) -> Iterator[_Complaint]:
    if not _is_rank(settings.get("r")):
        yield "r", f"{settings.get('r')!r:.20} is not a rank", ""
    if not _is_alpha(settings.get("lora_alpha")):
        yield "lora_alpha", f"{settings.get('lora_alpha')!r:.20} is not a positive number", ""
    for name, is_value in (("rank_pattern", _is_rank), ("alpha_pattern", _is_alpha)):
        pattern = settings.get(name) or {}
        if not isinstance(pattern, dict):
            yield name, "is not a table", ""
            continue
        for key, value in pattern.items():
            if not _PLAIN_PATTERN.fullmatch(key):
                yield name, f"the key {key!r:.80} is more than a name", "write out the names"
            if not is_value(value):
                yield f"{name}.{key}", f"{value!r:.20} is not allowed", ""


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_alpha(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value > 0


def _by_pattern(pattern: Mapping[str, Any], module: str, default: Any) -> Any:
    """PEFT's `get_pattern_key`: the first key that matches the end of the name, at a dot."""
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return default

"""PEFT's adapter_config.json, cut down to what matters and held to what the manifest says.

An engine reads this file, not the manifest; so it must say the same, and nothing that changes
the result may hide in it. SPEC sections 4 and 6.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hive_expert.errors import ManifestError, PackageError, Problem
from hive_expert.manifest.adapter_model import Adapter
from hive_expert.manifest.strict_json import read_json
from hive_expert.package.peft_settings import (
    NO_PATTERNS,
    Complaint,
    Patterns,
    patterns_of,
    unserved_settings,
)

MAX_VALUES = 10_000


def check_adapter_config(data: bytes, adapter: Adapter, where: str) -> Patterns:
    """Hold an adapter's configuration to the manifest's adapter.

    Returns what the manifest has no words for: the layers with a rank or an alpha of their own.

    Raises ManifestError where the two differ, PackageError for what an expert cannot have
    (modules_to_save, biases, initializations that change the base model, other PEFT kinds),
    naming every such key.
    """
    config = read_json(data, where, error=PackageError, max_values=MAX_VALUES)
    if not isinstance(config, dict):
        raise PackageError(Problem(where, "is not a JSON object"))
    unsupported = [
        Problem(f"{where}: {k}", what, todo) for k, what, todo in _unsupported(config, adapter)
    ]
    if unsupported:
        raise PackageError(*unsupported)
    differing = [Problem(f"{where}: {key}", what) for key, what in _differing(config, adapter)]
    if differing:
        raise ManifestError(*differing)
    return patterns_of(config)


def packaged_adapter_config(adapter: Adapter, base: str, patterns: Patterns = NO_PATTERNS) -> bytes:
    """The adapter_config.json of a package: all that PEFT and vLLM need, from the manifest and
    the patterns that :func:`check_adapter_config` found."""
    if adapter.type == "ia3":
        return _json(
            {
                "peft_type": "IA3",
                "task_type": "CAUSAL_LM",
                "base_model_name_or_path": base,
                "target_modules": sorted(adapter.target_modules),
                "feedforward_modules": sorted(adapter.feedforward_modules),
                "modules_to_save": None,
                "fan_in_fan_out": False,
                "init_ia3_weights": True,
                "inference_mode": True,
            }
        )
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": adapter.r,
        "lora_alpha": _shortest(adapter.alpha or 0),
        "lora_dropout": adapter.dropout or 0.0,
        "target_modules": sorted(adapter.target_modules),
        "use_rslora": adapter.scaling == "rslora",
        "use_dora": adapter.type == "dora",
        "bias": "none",
        "modules_to_save": None,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    if patterns.ranks:
        config["rank_pattern"] = dict(patterns.ranks)
    if patterns.alphas:
        config["alpha_pattern"] = {key: _shortest(a) for key, a in patterns.alphas.items()}
    return _json(config)


def _shortest(number: float) -> float:
    return int(number) if float(number).is_integer() else number


def _json(config: dict[str, Any]) -> bytes:
    return (json.dumps(config, indent=2) + "\n").encode()


def _unsupported(config: dict[str, Any], adapter: Adapter) -> Iterator[Complaint]:
    kind = "IA3" if adapter.type == "ia3" else "LORA"
    if config.get("peft_type") != kind:
        yield (
            "peft_type",
            f"is {_shown(config.get('peft_type'))}, not {kind}",
            f"the manifest says {adapter.type}: correct it, or train such an adapter",
        )
    yield from unserved_settings(config)


def _differing(config: dict[str, Any], adapter: Adapter) -> Iterator[tuple[str, str]]:
    yield from _differing_names("target_modules", config, adapter.target_modules)
    if adapter.type == "ia3":
        yield from _differing_names("feedforward_modules", config, adapter.feedforward_modules)
        return
    for key, stated in (
        ("r", adapter.r),
        ("lora_alpha", adapter.alpha),
        ("use_rslora", adapter.scaling == "rslora"),
        ("use_dora", adapter.type == "dora"),
    ):
        value = config.get(key, False if key.startswith("use_") else None)
        if value != stated or isinstance(value, bool) != isinstance(stated, bool):
            yield key, f"is {_shown(value)}; the manifest says {_shown(stated)}"


def _differing_names(
    key: str, config: dict[str, Any], stated: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    names = config.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        yield key, "is not a list of module names"
    elif sorted(names) != sorted(stated):
        yield (
            key,
            f"is {', '.join(sorted(names)) or 'empty'}; the manifest says"
            f" {', '.join(sorted(stated)) or 'none'}",
        )


def _shown(value: Any) -> str:
    return json.dumps(value, default=repr)[:80]

"""Manifests of version 1.0, rewritten in the form of 2.0. SPEC section 3.

Version 1.0 had one `base_model` object with the `adapters` beside it at the root, and let authors
keep the field names of PEFT, TRL and transformers. Nothing else is different.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hive_expert.errors import ManifestError, Problem
from hive_expert.manifest.strict_json import join, located

# Every other name that a field went by, by the object it is in.
_RANK_AND_TARGETS = {"lora_alpha": "alpha", "target": "target_modules", "targets": "target_modules"}
SPELLINGS: Mapping[str, Mapping[str, str]] = {
    "base_model": {"name_or_path": "name", "model_name_or_path": "name"},
    "adapters[]": {
        "adapter_type": "type",
        "rank": "r",
        "lora_r": "r",
        "lora_dropout": "dropout",
        **_RANK_AND_TARGETS,
    },
    "soft_prompts[]": {
        "num_virtual_tokens": "tokens",
        "prompt_tuning_init_text": "init_text",
    },
    "training.dataset": {"train_path": "path", "eval_path": "validation_path"},
    "training.config": {
        "r": "rank",
        "lora_r": "rank",
        **_RANK_AND_TARGETS,
        "num_train_epochs": "epochs",
        "lr": "learning_rate",
        "per_device_train_batch_size": "batch_size",
        "lr_scheduler_type": "lr_scheduler",
        "eval_strategy": "evaluation_strategy",
        "max_length": "max_seq_length",
    },
    "training.decoding": {
        "max_new_tokens": "max_tokens",
        "stop": "stop_sequences",
        "grammar": "grammar_file",
    },
}

_MOVED = {
    "base_models[0].adapters": "adapters",
    "base_models[0]": "base_model",
    "base_models": "base_model",
}
_INDEX = re.compile(r"\[[0-9]+\]")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A document in the form of 2.0, and where its author wrote what is in it.

    ``spellings`` are the renamed fields, path in 1.0 by path in 2.0.
    """

    document: dict[str, Any]
    spellings: Mapping[str, str]

    def place(self, path: str) -> str:
        """The path in the author's document of a path in the rewritten one."""
        known = {**_MOVED, **self.spellings}
        for length in range(len(path), 0, -1):
            if path[:length] in known and path[length : length + 1] in ("", ".", "["):
                return known[path[:length]] + path[length:]
        return path


def is_version_1(document: Mapping[str, Any]) -> bool:
    """Whether a document says, or by its `base_model` shows, that it is of version 1.0."""
    default = "1.0" if "base_model" in document else None
    return bool(document.get("schema_version", default) == "1.0")


def as_version_2(document: Mapping[str, Any], where: str) -> Rewritten:
    """Rewrite a document of version 1.0; what its values are worth is not checked.

    Law: no key and no value gets lost, comments included, so the document can be told from the
    result but for spellings. Raises ManifestError where that cannot be: a field under two names,
    fields of both versions.
    """
    problems = [Problem(located(where, p), what, todo) for p, what, todo in _misplaced(document)]
    twice: dict[str, str] = {}
    spellings: dict[str, str] = {}
    renamed = _respelled(document, "", spellings, twice)
    problems += [
        Problem(located(where, path), f"is the same as {other}, which is given too", "keep one")
        for path, other in twice.items()
    ]
    if problems:
        raise ManifestError(*problems)
    base = dict(renamed.pop("base_model"))
    if "adapters" in renamed:
        base["adapters"] = renamed.pop("adapters")
    return Rewritten({**renamed, "schema_version": "2.0", "base_models": [base]}, spellings)


def _misplaced(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What keeps the document from being one of version 1.0 at all."""
    if "base_models" in document:
        yield "base_models", "is a field of version 2.0", 'set schema_version to "2.0"'
    elif "base_model" not in document:
        yield "base_model", "is missing", ""
    elif not isinstance(base := document["base_model"], dict):
        yield "base_model", "is not an object", 'write it as {"name": …}'
    elif "adapters" in base:
        yield "base_model.adapters", "is not where version 1.0 has them", "move them to the root"
    if "integrity" in document:
        yield "integrity", "goes with manifests of version 2.0", "hive-build package writes it"


def _respelled(value: Any, path: str, spellings: dict[str, str], twice: dict[str, str]) -> Any:
    """The value with every known spelling replaced; notes each, and what has two of them."""
    if isinstance(value, list):
        return [_respelled(v, join(path, i), spellings, twice) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    names = SPELLINGS.get(_INDEX.sub("[]", path), {})
    out: dict[str, Any] = {}
    written: dict[str, str] = {}
    for key, inner in value.items():
        name, here = names.get(key, key), join(path, key)
        if name in written:
            twice[here] = written[name]
        written[name] = key
        if name != key:
            spellings[join(_in_version_2(path), name)] = here
        out[name] = inner if key.startswith("_") else _respelled(inner, here, spellings, twice)
    return out


def _in_version_2(path: str) -> str:
    if path == "base_model" or path.startswith("base_model."):
        return "base_models[0]" + path.removeprefix("base_model")
    return f"base_models[0].{path}" if path.startswith("adapters[") else path

"""A base model's part of a package's file name."""

from __future__ import annotations

import re

# Publishers append these to say how a model was tuned.
_TUNING_SUFFIX = re.compile(r"-(instruct|chat|it)$")


def model_slug(name: str) -> str:
    """The short name of a base model, from its hub identifier or path.

    The last part in lower case, every run of characters other than `a-z 0-9 .` as one hyphen,
    without a final `-instruct`, `-chat` or `-it`. It is a hint for people and file names; what
    proves a base model is its fingerprint (SPEC section 15).

    >>> model_slug("HuggingFaceTB/SmolLM2-135M-Instruct")
    'smollm2-135m'
    >>> model_slug("Qwen/Qwen3-0.6B")
    'qwen3-0.6b'
    """
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    return _TUNING_SUFFIX.sub("", re.sub(r"[^a-z0-9.]+", "-", last).strip("-."))

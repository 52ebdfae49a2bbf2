"""What a base model's name says: its slug in file names, and its own chat template."""

from __future__ import annotations

import re

# Publishers append these to say how a model was tuned; two tunings never share an expert.
_TUNING_SUFFIX = re.compile(r"-(instruct|chat|it)$")

# A base model's family, by the start of its slug, and the template its tokenizer carries.
_TEMPLATES = {
    "smollm": "chatml",
    "qwen": "chatml",
    "llama": "llama",
    "meta-llama": "llama",
    "phi": "phi",
    "deepseek": "deepseek",
    "gemma": "gemma",
    "mistral": "mistral",
}


def model_slug(name: str) -> str:
    """The base model's part of a package's file name.

    The last part of the hub identifier or path, in lower case, every run of other characters
    than `a-z 0-9 .` as one hyphen, without a final `-instruct`, `-chat` or `-it`:

    >>> model_slug("HuggingFaceTB/SmolLM2-135M-Instruct")
    'smollm2-135m'
    >>> model_slug("Qwen/Qwen3-0.6B")
    'qwen3-0.6b'
    """
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    return _TUNING_SUFFIX.sub("", re.sub(r"[^a-z0-9.]+", "-", last).strip("-."))


def same_model(one: str, other: str) -> bool:
    """Whether two names mean the same base model: equal but for the owner or folder, and case.

    A name is a hint for people; the fingerprint is what proves it (SPEC section 15).
    """
    return _last_part(one) == _last_part(other)


def own_template(name: str) -> str | None:
    """The chat template of the base model's own tokenizer; None for a family not known here."""
    slug = model_slug(name)
    return next((t for family, t in _TEMPLATES.items() if slug.startswith(family)), None)


def _last_part(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1].casefold()

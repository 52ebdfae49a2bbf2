"""The chat templates that experts may name. SPEC section 8.

An expert names a template, it never brings one: the texts are ours (`templates/*.jinja`), in the
formats that the families of models publish, and transformers renders them in its immutable
sandbox, for training and serving alike. A base model's own template is used where the expert
names none, or the family that the base is of: it is the same format, and knows more of its model
(a default system message, say).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from hive_expert.errors import Problem, RequestError
from hive_expert.manifest.slug import model_slug


@dataclass(frozen=True, slots=True)
class Template:
    """One chat template.

    Laws: a turn of the assistant ends with ``end_of_turn``, or with the tokenizer's end-of-text
    token where that is None; the prompt of a conversation is a prefix of the conversation with
    its answer.
    """

    name: str
    end_of_turn: str | None
    stops: tuple[str, ...] = ()
    """What a model that goes on speaking would write next."""

    @property
    def text(self) -> str:
        """The Jinja source."""
        return _source(self.name)


TEMPLATES: Mapping[str, Template] = {
    template.name: template
    for template in (
        Template("chatml", "<|im_end|>"),
        Template("alpaca", None, ("\n\n### Instruction:", "\n\n### Response:")),
        Template("llama", "<|eot_id|>"),
        Template("phi", "<|end|>"),
        Template("deepseek", None, ("<\uff5cUser\uff5c>",)),
        Template("gemma", "<end_of_turn>"),
        Template("mistral", None, ("[INST]",)),
    )
}

# A base model's family, by the start of its slug, and the template its tokenizer carries.
_FAMILIES = {
    "smollm": "chatml",
    "qwen": "chatml",
    "llama": "llama",
    "meta-llama": "llama",
    "phi": "phi",
    "deepseek": "deepseek",
    "gemma": "gemma",
    "mistral": "mistral",
}


def expert_template(name: str | None, base: str) -> Template | None:
    """The template for an expert that names ``name``, on the base model of this name.

    None stands for the base model's own.
    """
    slug = model_slug(base)
    own = next((t for family, t in _FAMILIES.items() if slug.startswith(family)), None)
    return None if name is None or name == own else TEMPLATES[name]


def tells_of_tools(text: str) -> bool:
    """Whether a template's source writes the tools of a request into the prompt."""
    return re.search(r"\btools\b", text) is not None


def template_with_tools(own: str | None, base: str) -> Template | None:
    """The template for a request that brings tools: ``own`` is the expert's name of one, ``base``
    the source of the base's.

    None stands for the base model's own, which tells of tools itself. Where that is ChatML without
    them, it gives way to ours.

    Raises:
        RequestError: the model would never hear of the tools.
    """
    if own is None and tells_of_tools(base):
        return None
    chatml = TEMPLATES["chatml"]
    if own == chatml.name or (own is None and "<|im_start|>" in base):
        return chatml
    which = f"chat template {own}" if own else "base model's chat template"
    raise RequestError(Problem("tools", f"tools: the {which} has no place for them"))


@cache
def _source(name: str) -> str:
    files = resources.files(__package__) / "templates"
    return (files / f"{name}.jinja").read_text(encoding="utf-8")

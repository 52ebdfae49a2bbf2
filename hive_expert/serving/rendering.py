"""Which chat template renders a request's messages: the base's own, the expert's, or one that
tells of tools. SPEC section 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hive_expert.decoding.templates import TEMPLATES, template_with_tools


@dataclass(frozen=True, slots=True)
class Rendering:
    """What is known of the served base model."""

    base_template: str
    """The source of its own chat template; empty where it has none."""
    special_tokens: Mapping[str, int]
    """By their text."""

    def write(self, request: Any, own: str | None, *, tools: bool) -> None:
        """Have a chat or responses request rendered.

        Args:
            own: the name of the expert's template; None: the base's.
            tools: whether the request brings tools that may be called.

        Raises:
            RequestError: it does, and the template would not tell the model of them.
        """
        template = TEMPLATES[own] if own is not None else None
        if tools:
            template = template_with_tools(own, self.base_template)
        if template is not None:
            request.use_template(template, self.special_tokens)


def rendering_of(tokenizer: Any) -> Rendering:
    """For the base with this tokenizer (of transformers)."""
    own = getattr(tokenizer, "chat_template", None) or ""
    texts = own.values() if isinstance(own, dict) else (own,)
    return Rendering("\n".join(texts), tokenizer.get_added_vocab())

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
    thinks: bool = False
    """Whether it thinks before it answers, and its thoughts are told apart."""

    def write(
        self, request: Any, own: str | None, *, tools: bool, constrained: bool = False
    ) -> None:
        """Have a chat or responses request rendered, and say whether its model thinks first.

        A grammar holds from the end of the thoughts on. An expert that has one was trained to
        answer at once, and does, unless the client asks for thoughts (`enable_thinking` among
        `chat_template_kwargs`, or an effort). Templates of ours leave no place for any.

        Args:
            own: the name of the expert's template; None: the base's.
            tools: whether the request brings tools that may be called.
            constrained: whether the expert's manifest constrains the answer.

        Raises:
            RequestError: it does, and the template would not tell the model of them.
        """
        template = TEMPLATES[own] if own is not None else None
        if tools:
            template = template_with_tools(own, self.base_template)
        if template is not None:
            request.use_template(template, self.special_tokens)
        if self.thinks and (template is not None or constrained):
            request.answer_at_once(whatever_is_asked=template is not None)


def rendering_of(tokenizer: Any, *, thinks: bool = False) -> Rendering:
    """For the base with this tokenizer (of transformers)."""
    own = getattr(tokenizer, "chat_template", None) or ""
    texts = own.values() if isinstance(own, dict) else (own,)
    return Rendering("\n".join(texts), tokenizer.get_added_vocab(), thinks)

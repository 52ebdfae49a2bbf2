"""A whole conversation as one text in a chat template."""

from __future__ import annotations

from transformers.utils.chat_template_utils import render_jinja_template

from hive_expert.decoding.templates import Template


def render_conversation(template: Template, system: str, user: str, answer: str) -> str:
    """What the model sees in training: messages and answer; no system message where empty."""
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    texts, _ = render_jinja_template(
        conversations=[messages],
        chat_template=template.text,
        add_generation_prompt=False,
        bos_token="",
        eos_token="",
    )
    return str(texts[0])

"""Who renders the messages of a request, with tools and without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hive_expert.decoding.templates import TEMPLATES
from hive_expert.errors import RequestError
from hive_expert.serving.apply import ExpertChatRequest
from hive_expert.serving.rendering import Rendering, rendering_of

KNOWS = "<|im_start|>{{ tools }}"
IGNORES = "<|im_start|>{{ messages }}"
TOKENS = {"<|im_end|>": 2}


def rendered_by(base: str, own: str | None, *, tools: bool) -> Any:
    """The template that a request is rendered with; None: the base's own."""
    body = {"messages": [{"role": "user", "content": "hi"}]}
    request = ExpertChatRequest.model_validate(body)
    Rendering(base, TOKENS).write(request, own, tools=tools)
    return request.build_chat_params(None, "string").chat_template


@pytest.mark.parametrize(
    ("base", "own", "tools", "by"),
    [
        (IGNORES, None, False, None),
        (IGNORES, "alpaca", False, "alpaca"),
        (KNOWS, None, True, None),
        (IGNORES, None, True, "chatml"),
        (KNOWS, "chatml", True, "chatml"),
    ],
)
def test_a_template_that_tells_of_tools_renders_requests_with_tools(
    base: str, own: str | None, tools: bool, by: str | None
) -> None:
    expected = TEMPLATES[by].text if by else None
    assert rendered_by(base, own, tools=tools) == expected


@pytest.mark.parametrize(("base", "own"), [(KNOWS, "alpaca"), ("[INST]", None), ("", None)])
def test_tools_that_the_model_would_not_hear_of_are_refused(base: str, own: str | None) -> None:
    with pytest.raises(RequestError, match="no place for them"):
        rendered_by(base, own, tools=True)


def test_the_base_s_templates_are_read_from_its_tokenizer() -> None:
    def tokenizer(template: Any) -> Any:
        return SimpleNamespace(chat_template=template, get_added_vocab=lambda: TOKENS)

    assert rendering_of(tokenizer("a")) == Rendering("a", TOKENS)
    assert rendering_of(tokenizer({"default": "a", "tool_use": "b"})).base_template == "a\nb"
    assert rendering_of(tokenizer(None)).base_template == ""

"""Who renders the messages of a request, with tools and without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hive_expert.decoding.templates import TEMPLATES
from hive_expert.errors import RequestError
from hive_expert.serving.apply import ExpertChatRequest, ExpertResponsesRequest
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


def thinking(own: str | None, *, constrained: bool, **asked: Any) -> Any:
    """What the template of a base that thinks is told; None: nothing, so that it does."""
    body = {"messages": [{"role": "user", "content": "hi"}], **asked}
    request = ExpertChatRequest.model_validate(body)
    Rendering(KNOWS, TOKENS, thinks=True).write(request, own, tools=False, constrained=constrained)
    kwargs = request.build_chat_params(None, "string").chat_template_kwargs
    return kwargs.get("enable_thinking")


WANTED: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": True}}


@pytest.mark.parametrize(
    ("own", "constrained", "asked", "told"),
    [
        (None, False, {}, None),
        (None, True, {}, False),
        (None, True, WANTED, True),
        (None, True, {"reasoning_effort": "low"}, True),
        (None, True, {"reasoning_effort": "none"}, False),
        ("alpaca", False, {}, False),
        ("alpaca", True, WANTED, False),
        ("alpaca", True, {"reasoning_effort": "low"}, False),
    ],
)
def test_an_expert_with_a_grammar_answers_at_once_unless_thoughts_are_asked_for(
    own: str | None, constrained: bool, asked: dict[str, Any], told: bool | None
) -> None:
    assert thinking(own, constrained=constrained, **asked) is told


def test_a_responses_request_asks_for_thoughts_in_its_own_words() -> None:
    rendering = Rendering(KNOWS, TOKENS, thinks=True)
    for effort, told in ((None, False), ("low", None)):
        body = {"input": "hi", "reasoning": {"effort": effort} if effort else None}
        request = ExpertResponsesRequest.model_validate(body)
        rendering.write(request, None, tools=False, constrained=True)
        assert (request.chat_template_kwargs or {}).get("enable_thinking") is told


def test_a_base_that_does_not_think_is_told_nothing() -> None:
    request = ExpertChatRequest.model_validate({"messages": [{"role": "user", "content": "hi"}]})
    Rendering(KNOWS, TOKENS).write(request, None, tools=False, constrained=True)
    assert request.chat_template_kwargs is None


def test_the_base_s_templates_are_read_from_its_tokenizer() -> None:
    def tokenizer(template: Any) -> Any:
        return SimpleNamespace(chat_template=template, get_added_vocab=lambda: TOKENS)

    assert rendering_of(tokenizer("a")) == Rendering("a", TOKENS)
    assert rendering_of(tokenizer({"default": "a", "tool_use": "b"})).base_template == "a\nb"
    assert rendering_of(tokenizer(None)).base_template == ""

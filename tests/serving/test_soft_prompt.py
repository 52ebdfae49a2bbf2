"""Placeholders of a soft prompt stand before the text, and count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from vllm.exceptions import VLLMValidationError

from hive_expert.serving.soft_prompt import SoftPromptRenderer

CONTEXT = 20
VIRTUAL = 3


class Inner:
    """Renders every request to so many tokens."""

    def __init__(self, length: int) -> None:
        self.prompts = [{"prompt_token_ids": [7, *range(1, length)]}]

    async def render_chat(self, request: Any) -> Any:
        return [], self.prompts

    async def render_completion(self, request: Any) -> Any:
        return self.prompts

    async def render_responses(self, request: Any) -> Any:
        return SimpleNamespace(engine_input=self.prompts[0])


async def rendered(route: str, length: int, model: str = "expert-a@1", **fields: Any) -> list[int]:
    inner = Inner(length)
    renderer = SoftPromptRenderer(inner, {"expert-a@1": VIRTUAL}, CONTEXT)
    limits = dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens"))
    await getattr(renderer, f"render_{route}")(SimpleNamespace(model=model, **(limits | fields)))
    ids: list[int] = inner.prompts[0]["prompt_token_ids"]
    return ids


ROUTES = pytest.mark.parametrize("route", ["chat", "completion", "responses"])


@ROUTES
async def test_its_own_first_token_stands_for_the_soft_prompt(route: str) -> None:
    assert await rendered(route, 4) == [7, 7, 7, 7, 1, 2, 3]
    assert await rendered(route, 4, model="base") == [7, 1, 2, 3]


@ROUTES
async def test_a_longer_answer_than_there_is_room_for_is_vllm_s_to_cut(route: str) -> None:
    limits = dict.fromkeys(("max_tokens", "max_output_tokens"), CONTEXT)
    assert len(await rendered(route, CONTEXT - VIRTUAL - 1, **limits)) == CONTEXT - 1


@ROUTES
async def test_a_prompt_without_room_for_any_answer_is_refused(route: str) -> None:
    with pytest.raises(VLLMValidationError, match="20 input tokens: 3 of the expert's soft prompt"):
        await rendered(route, CONTEXT - VIRTUAL)

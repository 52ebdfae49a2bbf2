"""Soft prompts in vLLM's serving: placeholders before the text, and a true account of them.

The engine replaces the embeddings of a request's first positions (`engine.soft_prompt`); here the
positions are made. It happens where vLLM has just turned a request into token ids, so that the
context limit, the room left for the answer and the usage count them like any other tokens. The
placeholder is the prompt's own first token: it is in the prompt anyway, so that penalties on
tokens that the prompt has are what they would be without the soft prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm.exceptions import VLLMValidationError

from hive_expert.errors import Problem, RequestError
from hive_expert.serving.state import Target


class SoftPromptRenderer:
    """Stands before vLLM's `OnlineRenderer`.

    Law: prompts of models that are not in `virtual_tokens` are left as they are; those of the
    others begin with so many placeholders, and leave room in the context for an answer. No
    prompt is longer than the server's own limit, if it has one.
    """

    def __init__(
        self,
        inner: Any,
        virtual_tokens: Mapping[str, int],
        max_model_len: int,
        max_prompt_tokens: int | None = None,
    ) -> None:
        """``virtual_tokens``: by the name vLLM knows a model by."""
        self._inner = inner
        self._virtual_tokens = virtual_tokens
        self._max_model_len = max_model_len
        self._max_prompt_tokens = max_prompt_tokens

    async def render_chat(self, request: Any, **options: Any) -> Any:
        rendered = await self._inner.render_chat(request, **options)
        if isinstance(rendered, tuple):
            self._require_short(rendered[1])
        if request.model in self._virtual_tokens and isinstance(rendered, tuple):
            self._prepend(rendered[1], request)
        return rendered

    async def render_responses(self, request: Any, **options: Any) -> Any:
        rendered = await self._inner.render_responses(request, **options)
        prompt = getattr(rendered, "engine_input", None)
        if prompt is not None:
            self._require_short([prompt])
            if request.model in self._virtual_tokens:
                self._prepend([prompt], request)
        return rendered

    async def render_completion(self, request: Any, **options: Any) -> Any:
        rendered = await self._inner.render_completion(request, **options)
        if isinstance(rendered, list):
            self._require_short(rendered)
        if request.model in self._virtual_tokens and isinstance(rendered, list):
            self._prepend(rendered, request)
        return rendered

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _require_short(self, prompts: list[Any]) -> None:
        limit = self._max_prompt_tokens
        longest = max((len(prompt["prompt_token_ids"]) for prompt in prompts), default=0)
        if limit is not None and longest > limit:
            raise VLLMValidationError(
                f"This server takes prompts of at most {limit} tokens, and this one has {longest}.",
                parameter="input_tokens",
                value=longest,
            )

    def _prepend(self, prompts: list[Any], request: Any) -> None:
        count = self._virtual_tokens[request.model]
        for prompt in prompts:
            ids = prompt["prompt_token_ids"]
            # As vLLM does for others: a longer answer than there is room for is cut there, be its
            # limit the client's or the manifest's.
            if count + len(ids) >= self._max_model_len:
                raise VLLMValidationError(
                    f"This model's maximum context length is {self._max_model_len} tokens. "
                    f"However, your prompt contains {count + len(ids)} input tokens: {count} of "
                    f"the expert's soft prompt, {len(ids)} in the messages; and an answer needs "
                    "one at least. Please reduce the length of the messages.",
                    parameter="input_tokens",
                    value=count + len(ids),
                )
            prompt["prompt_token_ids"] = ids[:1] * count + ids


def require_no_prompt_logprobs(target: Target, request: Any) -> None:
    """Refuse what would show virtual tokens as if they were text.

    Raises:
        RequestError: log probabilities or ids of prompt tokens, for an expert with a soft prompt.
    """
    if not target.virtual_tokens:
        return
    echoed = getattr(request, "echo", False) and request.logprobs is not None
    asked = {
        "prompt_logprobs": getattr(request, "prompt_logprobs", None) is not None,
        "echo with logprobs": echoed,
        "return_token_ids": bool(getattr(request, "return_token_ids", False)),
        "enable_response_messages": bool(getattr(request, "enable_response_messages", False)),
    }
    problems = [
        Problem(field, f"{field} is not served for {target}", "its soft prompt has no text tokens")
        for field, found in asked.items()
        if found
    ]
    if problems:
        raise RequestError(*problems)

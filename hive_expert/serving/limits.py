"""What one request may ask for: each of these multiplies its work. SPEC section 10."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hive_expert.errors import Problem, RequestError

TEXT_PARTS = frozenset(
    {"text", "input_text", "output_text", "refusal", "thinking", "reasoning_text"}
)
"""Kinds of message parts that hold text; others make vLLM fetch and decode media."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Upper bounds of a request's fields."""

    choices: int = 16
    """Answers: `n`, times the number of prompts."""
    logprobs: int = 20
    """Alternatives for each token."""
    stops: int = 4
    """More than OpenAI's four are never taken."""
    stop_characters: int = 256
    """Of one stop sequence."""
    biases: int = 1024
    """Tokens that `logit_bias` and its like name."""
    bad_words: int = 64
    tools: int = 128
    prompt_tokens: int | None = None
    """None: the model's context."""

    def require(self, request: Any, *, media: bool = False) -> None:
        """Raise unless a request keeps to the limits.

        Args:
            media: the base model takes more than text.

        Raises:
            RequestError: every field that does not.
        """
        # Looking for what a model does not have takes it long, and most fields are such ones.
        sent = {**(getattr(request, "__pydantic_extra__", None) or {}), **vars(request)}
        problems = [
            *self._counts(sent),
            *self._stops(sent),
            *_past_the_contract(sent),
            *([] if media else _media(sent)),
        ]
        if problems:
            raise RequestError(*problems)

    def _counts(self, request: Mapping[str, Any]) -> Iterator[Problem]:
        prompts = _number_of_prompts(request.get("prompt"))
        choices = (request.get("n") or 1) * prompts
        asked = {
            "n": (choices, self.choices),
            "top_logprobs": (_logprobs(request, "top_logprobs"), self.logprobs),
            "logprobs": (_logprobs(request, "logprobs"), self.logprobs),
            "prompt_logprobs": (_logprobs(request, "prompt_logprobs"), self.logprobs),
        }
        lengths = {
            "logprob_token_ids": self.logprobs,
            "logit_bias": self.biases,
            "allowed_token_ids": self.biases,
            "stop_token_ids": self.biases,
            "bad_words": self.bad_words,
            "tools": self.tools,
        }
        for field, limit in lengths.items():
            asked[field] = (len(request.get(field) or ()), limit)
        for field, (count, limit) in asked.items():
            if count > limit:
                yield Problem(field, f"{field}: {count} is more than {limit}")

    def _stops(self, request: Mapping[str, Any]) -> Iterator[Problem]:
        stop = request.get("stop") or ()
        stops = (stop,) if isinstance(stop, str) else stop
        if len(stops) > self.stops:
            yield Problem("stop", f"stop: {len(stops)} sequences, more than {self.stops}")
        if any(len(text) > self.stop_characters for text in stops):
            yield Problem("stop", f"stop: longer than {self.stop_characters} characters")


def _number_of_prompts(prompt: Any) -> int:
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1


def _logprobs(request: Mapping[str, Any], field: str) -> int:
    """How many alternatives are asked for; a negative number asks for the whole vocabulary."""
    value = request.get(field)
    if value is None or isinstance(value, bool):
        return 0
    return int(value) if value >= 0 else 10**9


def _past_the_contract(request: Mapping[str, Any]) -> Iterator[Problem]:
    """Fields whose answers would not keep what an expert's manifest says."""
    if request.get("use_beam_search"):
        yield Problem(
            "use_beam_search", "beam search is not served: it keeps to no grammar or stop"
        )
    for field in ("kv_transfer_params", "ec_transfer_params", "vllm_xargs"):
        if request.get(field):
            yield Problem(field, f"{field} is not served")
    for field in ("background", "previous_response_id", "previous_input_messages"):
        if request.get(field):
            yield Problem(field, f"{field} is not served: answers are not kept on this server")
    kinds = {getattr(tool, "type", "function") for tool in request.get("tools") or ()}
    for kind in sorted(map(str, kinds - {"function"})):
        what = f"tools: {kind[:40]!r} is not served: this server calls no tools itself"
        yield Problem("tools", what)


def _media(request: Mapping[str, Any]) -> Iterator[Problem]:
    for field in ("messages", "input"):
        items = request.get(field)
        for item in items if isinstance(items, list) else ():
            for kind in _kinds_of_parts(item):
                if kind not in TEXT_PARTS:
                    yield Problem(field, f"{field}: a part of type {kind[:40]!r}, not text")
                    return


def _kinds_of_parts(item: Any) -> Iterator[str]:
    """Of a message or another item of a conversation, which may be a model or a plain object."""
    for field in ("content", "output"):
        parts = _get(item, field)
        for part in parts if isinstance(parts, list) else ():
            yield str(_get(part, "type") or "text")


def _get(value: Any, field: str) -> Any:
    return value.get(field) if isinstance(value, dict) else getattr(value, field, None)

"""Between vLLM's request objects and the decoding contract.

What the client really sent is in pydantic's `model_fields_set`; `null` counts as not sent.
"""

from __future__ import annotations

from typing import TypeAlias

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.sampling_params import StructuredOutputsParams

from hive_expert.decoding.contract import Effective, Explicit

Request: TypeAlias = ChatCompletionRequest | CompletionRequest

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_LIMITS = ("max_completion_tokens", "max_tokens")


def explicit_of(request: Request, *, grammar_off: bool = False) -> Explicit:
    """What the client itself asked for."""
    values = {name: _sent(request, name) for name in _SAMPLING}
    values["max_tokens"] = next(
        (value for name in _LIMITS if (value := _sent(request, name)) is not None), None
    )
    stop = _sent(request, "stop") or ()
    return Explicit(
        values={name: value for name, value in values.items() if value is not None},
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        own_structure=_own_structure(request),
        grammar_off=grammar_off,
    )


def apply_effective(request: Request, effective: Effective) -> None:
    """Write the resolved decoding into the request, field by field."""
    for setting in effective.values:
        if setting.source != "request":
            setattr(request, setting.field, setting.value)
    request.stop = list(effective.stop)
    if effective.grammar is not None:
        request.structured_outputs = StructuredOutputsParams(grammar=effective.grammar)
    elif effective.json_schema is not None:
        request.structured_outputs = StructuredOutputsParams(json=effective.json_schema)


def _sent(request: Request, name: str):  # type: ignore[no-untyped-def]  # any field's type
    return getattr(request, name) if name in request.model_fields_set else None


def _own_structure(request: Request) -> str | None:
    """Which part of the request decides its output's structure, if any does."""
    if _sent(request, "structured_outputs") is not None:
        return "structured_outputs"
    response_format = _sent(request, "response_format")
    if response_format is not None and response_format.type != "text":
        return "response_format"
    if _sent(request, "tools") and getattr(request, "tool_choice", "none") != "none":
        return "tools"
    return None

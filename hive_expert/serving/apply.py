"""Between vLLM's request objects and the decoding contract.

What the client really sent is in the body it sent: vLLM's types fill in defaults of the
protocol before anyone can tell (`max_tokens` 16 for a completion). `null` counts as not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel, PrivateAttr, model_validator
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.sampling_params import StructuredOutputsParams

from hive_expert.decoding.contract import Contract
from hive_expert.decoding.effective import Effective, Explicit
from hive_expert.decoding.sampling_fields import Number
from hive_expert.decoding.templates import Template

Request: TypeAlias = ChatCompletionRequest | CompletionRequest | ResponsesRequest

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class _Typed(BaseModel):
    """A request of which no field of a wrong type is more than the client's mistake.

    Some of vLLM's checks look into fields before their types are known (`structured_outputs`), and
    what they stumble over would be an error of the server's.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_wrong_types(cls, data: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(data)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"a field has a value of the wrong type ({error})") from error


class _Templated(_Typed):
    """A request whose messages the expert's own template may render.

    The template is ours (`decoding.templates`): a client's own (`chat_template`) is still refused
    by vLLM, as untrusted.
    """

    _template: str | None = PrivateAttr(default=None)

    def use_template(self, template: Template, special_tokens: Mapping[str, int]) -> None:
        """Have this template render the messages, and its end of a turn end the answer.

        ``special_tokens``: the base model's, by their text. Where the end of a turn is one of
        them it never shows as text, and otherwise never as a token.
        """
        self._template = template.text
        given: Any = self
        ends = [template.end_of_turn] if template.end_of_turn is not None else []
        ids = [special_tokens[end] for end in ends if end in special_tokens]
        texts = [end for end in ends if end not in special_tokens]
        given.stop_token_ids = [*(given.stop_token_ids or ()), *ids]
        given.stop = list(dict.fromkeys([*(given.stop or ()), *texts, *template.stops]))

    def answer_at_once(self, *, whatever_is_asked: bool) -> None:
        """Have the model answer without thinking first, unless the client asks for thoughts."""
        given: Any = self
        asked = given.chat_template_kwargs or {}
        effort = getattr(given, "reasoning_effort", None) or getattr(
            getattr(given, "reasoning", None), "effort", None
        )
        if whatever_is_asked or ("enable_thinking" not in asked and effort is None):
            given.chat_template_kwargs = {**asked, "enable_thinking": False}

    def build_chat_params(self, default_template: str | None, *options: Any) -> Any:
        """vLLM's, with the expert's template for the server's."""
        vllm: Any = super()
        return vllm.build_chat_params(self._template or default_template, *options)


class ExpertChatRequest(_Templated, ChatCompletionRequest):
    """`/v1/chat/completions`."""


class ExpertResponsesRequest(_Templated, ResponsesRequest):
    """`/v1/responses`."""


class ExpertCompletionRequest(_Typed, CompletionRequest):
    """`/v1/completions`."""


def explicit_of(
    request: Request, body: Mapping[str, Any], *, grammar_off: bool = False
) -> Explicit:
    """What the client itself asked for: ``body`` says which fields, ``request`` holds them."""
    # As a mapping: a model takes long to say that it lacks a field, or that one is deprecated.
    held = vars(request)

    def sent(name: str) -> Any:
        return None if body.get(name) is None else held.get(name)

    values = {name: sent(name) for name in _SAMPLING}
    values["max_tokens"] = next((v for n in _LIMITS if (v := sent(n)) is not None), None)
    stop = sent("stop") or ()
    return Explicit(
        values={name: value for name, value in values.items() if value is not None},
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        own_structure=_own_structure(sent),
        grammar_off=grammar_off,
    )


def values_of_base(model_config: Any) -> dict[str, Number]:
    """What the base's generation config sets, as vLLM reads it.

    Without the limit of answers, which does not hold on every route (a completion has 16 tokens).
    """
    found = model_config.get_diff_sampling_param()
    return {name: found[name] for name in _SAMPLING if name in found}


def apply_effective(request: Request, effective: Effective) -> None:
    """Write the resolved decoding into the request, field by field."""
    responses = isinstance(request, ResponsesRequest)
    for setting in effective.values:
        if setting.source not in ("request", "base"):  # those two vLLM knows
            renamed = responses and setting.field == "max_tokens"
            setattr(request, "max_output_tokens" if renamed else setting.field, setting.value)
    request.stop = list(effective.stop)
    structure = structured_outputs(effective)
    if structure is not None:
        request.structured_outputs = structure
        if responses and request.text is not None:
            # "text", which clients send for "whatever"; vLLM takes it for a second structure.
            request.text = request.text.model_copy(update={"format": None})


def structured_outputs(source: Contract | Effective) -> StructuredOutputsParams | None:
    """vLLM's parameter for the grammar or JSON Schema that constrains an answer, if one does."""
    if source.grammar is not None:
        return StructuredOutputsParams(grammar=source.grammar)
    if source.json_schema is not None:
        return StructuredOutputsParams(json=source.json_schema)
    return None


def _own_structure(sent: Callable[[str], Any]) -> str | None:
    """Which part of the request decides its output's structure, if any does.

    Tools come first: whatever else a request brings, its answer may then be a call.
    """
    if sent("tools") and sent("tool_choice") != "none":
        return "tools"
    if sent("structured_outputs") is not None:
        return "structured_outputs"
    response_format = sent("response_format")
    if response_format is not None and response_format.type != "text":
        return "response_format"
    text = sent("text")
    if getattr(text, "format", None) is not None and text.format.type != "text":
        return "text.format"
    return None

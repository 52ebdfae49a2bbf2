"""What a client sent is told apart from what vLLM's types assume."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.exceptions import VLLMValidationError

from hive_expert.decoding.contract import Contract
from hive_expert.decoding.effective import Explicit, resolve
from hive_expert.decoding.templates import TEMPLATES
from hive_expert.serving.apply import (
    ExpertChatRequest,
    ExpertCompletionRequest,
    ExpertResponsesRequest,
    apply_effective,
    explicit_of,
    values_of_base,
)

CONTRACT = Contract(
    temperature=0.1, top_k=50, max_tokens=64, stop=("\n\n",), grammar='root ::= "x"'
)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


Parsed = tuple[ChatCompletionRequest | CompletionRequest, dict[str, Any]]


def chat(**fields: Any) -> Parsed:
    """A chat request as vLLM parses it, and the body it came from."""
    body = {"messages": [{"role": "user", "content": "hi"}], **fields}
    return ChatCompletionRequest.model_validate(dict(body)), body


def completion(**fields: Any) -> Parsed:
    body = {"prompt": "x", **fields}
    return CompletionRequest.model_validate(dict(body)), body


def response(**fields: Any) -> tuple[ExpertResponsesRequest, dict[str, Any]]:
    body = {"input": "hi", **fields}
    return ExpertResponsesRequest.model_validate(dict(body)), body


def test_an_empty_request_is_explicit_about_nothing() -> None:
    assert explicit_of(*chat()) == Explicit()


def test_null_counts_as_not_sent() -> None:
    assert explicit_of(*chat(temperature=None, stop=None, max_tokens=None)) == Explicit()


def test_defaults_of_the_protocol_are_not_the_client_s_words() -> None:
    # A completion request has max_tokens 16 unless the client says otherwise.
    assert explicit_of(*completion()) == Explicit()
    assert explicit_of(*completion(max_tokens=16)).values == {"max_tokens": 16}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_spellings_of_the_limit_count(name: str) -> None:
    assert explicit_of(*chat(**{name: 7})).values == {"max_tokens": 7}


def test_a_limit_that_the_route_does_not_know_is_none() -> None:
    request, body = chat(max_output_tokens=7)
    assert explicit_of(request, body) == Explicit()
    apply_effective(request, resolve(explicit_of(request, body), {}, CONTRACT))
    assert request.max_tokens == CONTRACT.max_tokens


@pytest.mark.parametrize(("stop", "found"), [("END", ("END",)), (["a", "b"], ("a", "b")), ([], ())])
def test_stop_in_all_its_forms(stop: Any, found: tuple[str, ...]) -> None:
    assert explicit_of(*chat(stop=stop)).stop == found


@pytest.mark.parametrize(
    ("fields", "which"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "text"}}, None),
        ({"structured_outputs": {"regex": "a+"}}, "structured_outputs"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tools"),
        ({"tools": [TOOL], "tool_choice": "none"}, None),
        ({"tools": [TOOL], "response_format": {"type": "json_object"}}, "tools"),
    ],
)
def test_a_request_s_own_structure_is_seen(fields: dict[str, Any], which: str | None) -> None:
    assert explicit_of(*chat(**fields)).own_structure == which


def test_apply_writes_only_what_the_client_left_open() -> None:
    request, body = chat(temperature=0.9, stop=["END"])
    apply_effective(request, resolve(explicit_of(request, body), {}, CONTRACT))
    assert (request.temperature, request.top_k, request.max_tokens) == (0.9, 50, 64)
    assert request.stop == ["END", "\n\n"]
    assert request.structured_outputs is not None
    assert request.structured_outputs.grammar == CONTRACT.grammar


def test_the_base_s_own_values_are_vllm_s_to_apply() -> None:
    config = SimpleNamespace(
        get_diff_sampling_param=lambda: {"temperature": 0.6, "presence_penalty": 1, "max_tokens": 9}
    )
    base = values_of_base(config)
    assert base == {"temperature": 0.6}
    request, body = chat()
    apply_effective(request, resolve(explicit_of(request, body), {}, Contract.EMPTY, base=base))
    assert request.temperature is None


def test_max_completion_tokens_is_not_overruled_by_the_manifest() -> None:
    request, body = chat(max_completion_tokens=9)
    apply_effective(request, resolve(explicit_of(request, body), {}, CONTRACT))
    assert (request.max_completion_tokens, request.max_tokens) == (9, None)


def test_the_manifest_s_grammar_stays_out_when_the_request_has_a_structure() -> None:
    request, body = chat(response_format={"type": "json_object"})
    apply_effective(request, resolve(explicit_of(request, body), {}, CONTRACT))
    assert request.structured_outputs is None


def test_an_empty_contract_changes_nothing() -> None:
    request, body = chat(temperature=0.3)
    before = request.model_dump()
    apply_effective(request, resolve(explicit_of(request, body), {}, Contract.EMPTY))
    assert request.model_dump() == before


def templated(name: str, **special_tokens: int) -> ExpertChatRequest:
    body = {"messages": [{"role": "user", "content": "hi"}], "stop": ["END"]}
    request = ExpertChatRequest.model_validate(body)
    request.use_template(TEMPLATES[name], special_tokens)
    return request


def test_the_expert_s_template_renders_instead_of_the_server_s() -> None:
    params = templated("alpaca").build_chat_params("own", "auto")
    assert params.chat_template == TEMPLATES["alpaca"].text
    # So does that of a copy, which a request that is asked again is.
    copy = templated("alpaca").model_copy(deep=True)
    assert copy.build_chat_params("own", "auto").chat_template == TEMPLATES["alpaca"].text
    plain = ExpertChatRequest.model_validate({"messages": []})
    assert plain.build_chat_params("own", "auto").chat_template == "own"


def test_the_end_of_a_turn_ends_the_answer_as_text_or_as_a_token() -> None:
    assert templated("phi").stop == ["END", "<|end|>"]
    request = templated("phi", **{"<|end|>": 7})
    assert (request.stop, request.stop_token_ids) == (["END"], [7])
    assert templated("mistral").stop == ["END", "[INST]"]


JSON_SCHEMA = {"type": "json_schema", "name": "a", "schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("fields", "explicit"),
    [
        ({}, Explicit()),
        ({"text": {"format": {"type": "text"}}}, Explicit()),
        ({"max_output_tokens": 7}, Explicit(values={"max_tokens": 7})),
        ({"temperature": 0.5, "top_k": 3}, Explicit(values={"temperature": 0.5, "top_k": 3})),
        ({"stop": ["a"]}, Explicit(stop=("a",))),
        ({"text": {"format": JSON_SCHEMA}}, Explicit(own_structure="text.format")),
        ({"structured_outputs": {"regex": "a"}}, Explicit(own_structure="structured_outputs")),
    ],
)
def test_what_a_responses_request_is_explicit_about(
    fields: dict[str, Any], explicit: Explicit
) -> None:
    assert explicit_of(*response(**fields)) == explicit


def test_a_responses_request_decodes_as_a_chat_does() -> None:
    request, body = response(text={"format": {"type": "text"}}, stop="END")
    apply_effective(request, resolve(explicit_of(request, body), {}, CONTRACT))
    sampling = request.to_sampling_params(1000)
    assert (sampling.temperature, sampling.top_k, sampling.max_tokens) == (0.1, 50, 64)
    assert set(sampling.stop) == {"END", "\n\n"}
    assert sampling.structured_outputs.grammar == CONTRACT.grammar


def test_a_responses_request_s_own_limit_and_format_stand() -> None:
    request, body = response(text={"format": JSON_SCHEMA}, max_output_tokens=9)
    apply_effective(request, resolve(explicit_of(request, body), {}, CONTRACT))
    sampling = request.to_sampling_params(1000)
    assert sampling.max_tokens == 9
    assert sampling.structured_outputs.json == {"type": "object"}
    assert sampling.structured_outputs.grammar is None


def test_an_expert_s_template_renders_a_responses_request() -> None:
    request, _ = response()
    request.use_template(TEMPLATES["alpaca"], {})
    assert request.build_chat_params(None, "auto").chat_template == TEMPLATES["alpaca"].text


@pytest.mark.parametrize(
    "kind", [ExpertChatRequest, ExpertCompletionRequest, ExpertResponsesRequest]
)
def test_a_field_of_a_wrong_type_is_the_client_s_mistake(kind: Any) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "prompt": "hi", "input": "hi"}
    refused = 0
    for field in kind.model_fields:
        for value in ("x", 3, [], [1], {}, {"a": 1}, True):
            try:
                kind.model_validate(body | {field: value})
            except (ValidationError, VLLMValidationError):
                refused += 1
    assert refused > 100


def test_what_vllm_stumbles_over_is_told() -> None:
    with pytest.raises(ValidationError, match="wrong type"):
        ExpertChatRequest.model_validate(chat()[1] | {"structured_outputs": "x"})

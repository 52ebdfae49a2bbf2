"""Each limit of a request, at its edge and past it, on vLLM's own request types."""

from __future__ import annotations

from typing import Any

import pytest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest

from hive_expert.errors import RequestError
from hive_expert.serving.apply import ExpertChatRequest, ExpertResponsesRequest
from hive_expert.serving.limits import RequestLimits

LIMITS = RequestLimits(choices=4, logprobs=5, stops=2, stop_characters=8, biases=3, bad_words=2)
PICTURE = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}


def chat(**fields: Any) -> ExpertChatRequest:
    messages = fields.pop("messages", [{"role": "user", "content": "hello"}])
    return ExpertChatRequest.model_validate({"messages": messages, **fields})


def completion(**fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"prompt": "hello", **fields})


def response(**fields: Any) -> ExpertResponsesRequest:
    return ExpertResponsesRequest.model_validate({"input": "hello", **fields})


FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
INPUT_PICTURE = {"type": "input_image", "image_url": "http://169.254.169.254/latest"}


@pytest.mark.parametrize(
    "request_",
    [
        chat(),
        completion(),
        chat(n=4),
        response(),
        response(tools=[FUNCTION]),
        response(input=[{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]),
        completion(prompt=["a", "b"], n=2),
        completion(prompt=[1, 2, 3, 4, 5, 6, 7]),
        chat(logprobs=True, top_logprobs=5),
        completion(logprobs=5),
        chat(stop="12345678"),
        chat(stop=["a", "b"]),
        chat(logit_bias={"1": 1, "2": 1, "3": 1}),
        chat(messages=[{"role": "user", "content": [{"type": "text", "text": "hello"}]}]),
    ],
)
def test_within_the_limits(request_: Any) -> None:
    LIMITS.require(request_)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (chat(n=5), "n"),
        (completion(prompt=["a"] * 5), "n"),
        (completion(prompt=[[1], [2]], n=3), "n"),
        (chat(logprobs=True, top_logprobs=6), "top_logprobs"),
        (completion(logprobs=6), "logprobs"),
        (chat(prompt_logprobs=-1), "prompt_logprobs"),
        (chat(stop=["a", "b", "c"]), "stop"),
        (chat(stop="123456789"), "stop"),
        (chat(logit_bias={str(i): 1 for i in range(4)}), "logit_bias"),
        (chat(allowed_token_ids=[1, 2, 3, 4]), "allowed_token_ids"),
        (chat(stop_token_ids=[1, 2, 3, 4]), "stop_token_ids"),
        (chat(bad_words=["a", "b", "c"]), "bad_words"),
        (chat(use_beam_search=True, n=2), "use_beam_search"),
        (chat(kv_transfer_params={"x": 1}), "kv_transfer_params"),
        (chat(vllm_xargs={"x": 1}), "vllm_xargs"),
        (chat(messages=[{"role": "user", "content": [PICTURE]}]), "messages"),
        (response(input=[{"role": "user", "content": [INPUT_PICTURE]}]), "input"),
        (response(background=True), "background"),
        (response(previous_response_id="resp_1"), "previous_response_id"),
        (response(tools=[{"type": "web_search_preview"}]), "tools"),
        (response(stop=["a", "b", "c"]), "stop"),
        (response(top_logprobs=6), "top_logprobs"),
    ],
)
def test_past_a_limit(request_: Any, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        LIMITS.require(request_)
    assert [p.where for p in caught.value.problems] == [field]


def test_all_that_is_too_much_is_said_at_once() -> None:
    with pytest.raises(RequestError) as caught:
        LIMITS.require(chat(n=5, stop=["a"] * 3, use_beam_search=True))
    assert len(caught.value.problems) == 3


def test_a_model_that_takes_pictures_gets_them() -> None:
    LIMITS.require(chat(messages=[{"role": "user", "content": [PICTURE]}]), media=True)

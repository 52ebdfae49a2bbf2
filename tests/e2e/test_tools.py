"""Calls of tools, by the base model and by experts. What a model of this size calls for is
another question; that it is a call, with arguments under the tool's schema, is ours."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import openai
import pytest

from tests.e2e.conftest import Server
from tests.e2e.test_serving import BASE, ask, post

pytestmark = pytest.mark.e2e

PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Oslo", "Rome"]},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": of, "parameters": PARAMETERS}}
    for name, of in (("weather", "The weather in a city."), ("tides", "The tides of a city."))
]
NAMED = {"type": "function", "function": {"name": "tides"}}
MESSAGES = [{"role": "user", "content": "What is the weather like in Oslo, in celsius?"}]
MODELS = (BASE, "expert-sql", "expert-json")


def asked(server: Server, model: str, tool_choice: Any, **options: Any) -> Any:
    return ask(
        server, model, messages=MESSAGES, tools=TOOLS, tool_choice=tool_choice,
        temperature=0, max_tokens=200, parallel_tool_calls=False, **options,
    )  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("choice", "names"), [("required", {"weather", "tides"}), (NAMED, {"tides"})]
)
def test_a_call_that_is_asked_for_comes_with_sound_arguments(
    server: Server, model: str, choice: Any, names: set[str]
) -> None:
    answer = asked(server, model, choice)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name in names
    jsonschema.validate(json.loads(call.function.arguments), PARAMETERS)
    assert answer.choices[0].finish_reason in ("tool_calls", "stop")
    assert answer.model == (model if model != BASE else answer.model)


def prompt_of(server: Server, model: str, messages: list[Any]) -> tuple[int, str]:
    """What a model reads of messages and the tools: how many tokens, and their text."""
    body = {"model": model, "messages": messages, "tools": TOOLS}
    tokens = post(server, "/tokenize", body).json()["tokens"]
    text = post(server, "/detokenize", {"model": model, "tokens": tokens}).json()["prompt"]
    return len(tokens), str(text)


@pytest.mark.parametrize("model", MODELS)
def test_the_model_may_choose(server: Server, model: str) -> None:
    """It is told of the tools, and whether it calls one is its own affair."""
    answer = asked(server, model, "auto")
    untold = ask(server, model, messages=MESSAGES, max_tokens=1)
    assert answer.usage.prompt_tokens > untold.usage.prompt_tokens + 100
    _, prompt = prompt_of(server, model, MESSAGES)
    assert all(tool["function"]["description"] in prompt for tool in TOOLS)
    choice = answer.choices[0]
    calls = choice.message.tool_calls or []
    assert (choice.finish_reason == "tool_calls") == bool(calls)
    assert calls or isinstance(choice.message.content, str)
    for call in calls:
        assert call.function.name in ("weather", "tides")
        jsonschema.validate(json.loads(call.function.arguments), PARAMETERS)


@pytest.mark.parametrize("model", [BASE, "expert-sql"])
def test_calls_stream(server: Server, model: str) -> None:
    name, arguments = "", ""
    for chunk in asked(server, model, "required", stream=True):
        for choice in chunk.choices:
            assert not (choice.delta.content or "").strip()
            for call in choice.delta.tool_calls or ():
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    assert name in ("weather", "tides")
    jsonschema.validate(json.loads(arguments), PARAMETERS)


def test_the_expert_s_grammar_and_check_give_way_to_tools(server: Server) -> None:
    raw = server.client.chat.completions.with_raw_response.create(
        model="expert-sql", messages=MESSAGES, tools=TOOLS, tool_choice="required",
        max_tokens=200, extra_headers={"x-hive-debug": "1"},
    )  # fmt: skip
    assert "grammar=request: tools" in raw.headers["x-hive-decoding"]
    assert "x-hive-validation" not in raw.headers


def test_a_result_goes_back_to_the_model(server: Server) -> None:
    asking = asked(server, BASE, NAMED)
    call = asking.choices[0].message.tool_calls[0]
    told = {"role": "tool", "tool_call_id": call.id, "content": "high tide at noon"}
    said = {"role": "assistant", "tool_calls": [call.model_dump()]}
    messages = [*MESSAGES, said, told]
    answer = ask(server, BASE, messages=messages, tools=TOOLS, max_tokens=16)
    before, _ = prompt_of(server, BASE, MESSAGES)
    count, prompt = prompt_of(server, BASE, messages)
    assert "high tide at noon" in prompt
    assert answer.usage.prompt_tokens - asking.usage.prompt_tokens == count - before


def test_responses_call_tools(server: Server) -> None:
    tools: Any = [{"type": "function", "strict": True, **tool["function"]} for tool in TOOLS]
    answer = server.client.responses.create(
        model="expert-json", input=MESSAGES[0]["content"], tools=tools, tool_choice="required",
        temperature=0, max_output_tokens=200, parallel_tool_calls=False,
    )  # fmt: skip
    call = next(item for item in answer.output if item.type == "function_call")
    jsonschema.validate(json.loads(call.arguments), PARAMETERS)


def test_a_tool_whose_schema_nothing_can_meet_is_the_client_s_error(server: Server) -> None:
    bad = {"type": "function", "function": {"name": "bad", "parameters": {"$ref": "#/nowhere"}}}
    with pytest.raises(openai.BadRequestError):
        ask(server, BASE, messages=MESSAGES, tools=[bad], tool_choice="required")

"""The unmodified `openai` client, each of its ways to ask, against the base and the experts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.e2e.conftest import Server
from tests.e2e.test_serving import BASE, MESSAGES, SQL_MESSAGES

pytestmark = pytest.mark.e2e

MODELS = tuple(MESSAGES)
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"enum": ["Oslo", "Lima", "Kyoto"]},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
ASKED: Any = [{"role": "user", "content": "What is the weather in Oslo, in celsius?"}]


class Person(BaseModel):
    """What the client turns into a schema and back."""

    name: str
    age: int
    mood: Literal["glad", "sad"]


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with server.client as client:
        yield client


def told(model: str) -> Any:
    return MESSAGES[model]


def greedy(client: openai.OpenAI, model: str, **options: Any) -> Any:
    return client.chat.completions.create(
        model=model, messages=told(model), temperature=0, max_tokens=12, **options
    )


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert set(MODELS) <= set(listed)
    assert all(model.object == "model" for model in listed.values())


@pytest.mark.parametrize("model", MODELS)
def test_chat(client: openai.OpenAI, model: str) -> None:
    answer = greedy(client, model)
    choice = answer.choices[0]
    assert (answer.object, answer.model) == ("chat.completion", model)
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert not choice.message.tool_calls
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.parametrize("model", MODELS)
def test_chat_streams_the_same_with_usage_at_its_end(client: openai.OpenAI, model: str) -> None:
    whole = greedy(client, model)
    chunks = list(greedy(client, model, stream=True, stream_options={"include_usage": True}))
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert {chunk.model for chunk in chunks} == {model}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].usage == whole.usage
    ends = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert ends == [whole.choices[0].finish_reason]


async def test_the_async_client_streams(server: Server) -> None:
    async with server.async_client as client:
        stream = await client.chat.completions.create(
            model="expert-sql", messages=told("expert-sql"), temperature=0, stream=True
        )
        text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
    assert text.startswith("SELECT")


@pytest.mark.parametrize("model", MODELS)
def test_several_choices_and_a_seed(client: openai.OpenAI, model: str) -> None:
    def two() -> list[str]:
        answer = client.chat.completions.create(
            model=model, messages=told(model), n=2, seed=7, temperature=1.5, max_tokens=8
        )
        assert [choice.index for choice in answer.choices] == [0, 1]
        return [choice.message.content for choice in answer.choices]

    assert two() == two()


@pytest.mark.parametrize("model", MODELS)
def test_logprobs_of_chats(client: openai.OpenAI, model: str) -> None:
    answer = greedy(client, model, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) in (3, 4)
        assert bytes(token.bytes).decode(errors="replace") == token.token
    shown = "".join(t.token for t in tokens if not t.token.startswith("<|"))
    assert shown.startswith(answer.choices[0].message.content)


@pytest.mark.parametrize("model", MODELS)
def test_logprobs_in_a_stream(client: openai.OpenAI, model: str) -> None:
    whole = greedy(client, model, logprobs=True).choices[0].logprobs.content
    stream = greedy(client, model, logprobs=True, stream=True)
    pieces = [c.choices[0].logprobs for c in stream if c.choices and c.choices[0].logprobs]
    tokens = [token for piece in pieces for token in piece.content]
    assert [token.token for token in tokens] == [token.token for token in whole]
    assert [t.logprob for t in tokens] == pytest.approx([t.logprob for t in whole], abs=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_completions(client: openai.OpenAI, model: str) -> None:
    options: Any = {"model": model, "prompt": "Once upon a time", "temperature": 0}
    whole = client.completions.create(**options, max_tokens=8, logprobs=2)
    assert (whole.object, whole.model) == ("text_completion", model)
    choice = whole.choices[0]
    assert len(choice.logprobs.token_logprobs) == whole.usage.completion_tokens
    assert all(len(best) in (2, 3) for best in choice.logprobs.top_logprobs)
    stream = client.completions.create(**options, max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == choice.text


def test_completions_of_several_prompts_and_of_tokens(client: openai.OpenAI) -> None:
    options: Any = {"model": BASE, "temperature": 0, "max_tokens": 4}
    both = client.completions.create(prompt=["One, two,", "Red, green,"], **options)
    assert [choice.index for choice in both.choices] == [0, 1]
    alone = client.completions.create(prompt="One, two,", echo=True, **options)
    assert alone.choices[0].text == "One, two," + both.choices[0].text
    assert client.completions.create(prompt=[504, 28, 827, 28], **options).choices[0].text


@pytest.mark.parametrize("model", MODELS)
def test_a_json_schema_of_the_client_s_own(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.parse(
        model=model, messages=told(model), response_format=Person, max_tokens=200, temperature=0
    )
    assert isinstance(answer.choices[0].message.parsed, Person)


def test_a_json_object(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="expert-json",
        messages=told("expert-json"),
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=200,
    )
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_a_tool_is_called(client: openai.OpenAI, model: str, choice: Any) -> None:
    answer = client.chat.completions.create(
        model=model,
        messages=ASKED,
        tools=[WEATHER],
        tool_choice=choice,
        parallel_tool_calls=False,
        max_tokens=200,
    )
    check_call(answer.choices[0].message.tool_calls[0])


def check_call(call: Any) -> None:
    assert (call.type, call.function.name) == ("function", "get_weather")
    arguments = json.loads(call.function.arguments)
    assert arguments["city"] in WEATHER["function"]["parameters"]["properties"]["city"]["enum"]
    assert set(arguments) == {"city", "unit"}


@pytest.mark.parametrize("model", MODELS)
def test_a_call_of_a_tool_in_a_stream(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.stream(
        model=model,
        messages=ASKED,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        parallel_tool_calls=False,
        max_tokens=200,
    ) as stream:
        answer = stream.get_final_completion()
    check_call(answer.choices[0].message.tool_calls[0])


@pytest.mark.parametrize("model", MODELS)
def test_tools_that_may_be_called_or_not(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=ASKED, tools=[WEATHER], max_tokens=8, temperature=0
    )
    message = answer.choices[0].message
    assert message.content or message.tool_calls


def test_the_result_of_a_tool_is_read(client: openai.OpenAI) -> None:
    call = {"name": "get_weather", "arguments": '{"city":"Oslo"}'}
    messages: Any = [
        *ASKED,
        {
            "role": "assistant",
            "tool_calls": [{"id": "call-1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "call-1", "content": "12 degrees"},
    ]
    answer = client.chat.completions.create(model=BASE, messages=messages, max_tokens=4)
    assert answer.choices[0].message.content


@pytest.mark.parametrize("model", MODELS)
def test_responses(client: openai.OpenAI, model: str) -> None:
    options: Any = {"model": model, "input": told(model), "temperature": 0, "max_output_tokens": 12}
    whole = client.responses.create(**options)
    assert (whole.object, whole.model) == ("response", model)
    assert whole.output_text == greedy(client, model).choices[0].message.content
    events = list(client.responses.create(**options, stream=True))
    assert events[0].type == "response.created"
    assert events[-1].type in ("response.completed", "response.incomplete")
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(pieces) == whole.output_text
    assert events[-1].response.usage.output_tokens == whole.usage.output_tokens


@pytest.mark.parametrize("model", MODELS)
def test_responses_are_parsed(client: openai.OpenAI, model: str) -> None:
    answer = client.responses.parse(
        model=model, input=told(model), text_format=Person, temperature=0, max_output_tokens=200
    )
    assert isinstance(answer.output_parsed, Person)


def test_responses_call_a_tool(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", **WEATHER["function"], "strict": True}
    answer = client.responses.create(
        model=BASE,
        input=ASKED,
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
        max_output_tokens=200,
    )
    call = next(item for item in answer.output if item.type == "function_call")
    assert set(json.loads(call.arguments)) == {"city", "unit"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "nobody"}, openai.NotFoundError),
        ({"temperature": 9}, openai.BadRequestError),
        ({"messages": []}, openai.BadRequestError),
        ({"max_tokens": -1}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": "word " * 20_000}]}, openai.BadRequestError),
    ],
    ids=["model", "temperature", "messages", "max_tokens", "too long"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_client_s_own(
    client: openai.OpenAI, options: Any, error: type[openai.APIStatusError], stream: bool
) -> None:
    request: Any = {"model": "expert-sql", "messages": SQL_MESSAGES, "max_tokens": 4}
    with pytest.raises(error) as caught:
        client.chat.completions.create(**(request | options), stream=stream)
    assert caught.value.body["message"]  # type: ignore[index]  # what the client made of it

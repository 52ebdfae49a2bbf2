"""`/v1/responses` by the openai client: the expert's contract holds there as it does in chats."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
import openai
import pytest

from tests.e2e.conftest import Server
from tests.e2e.soft_prompts import NAME as SOFT
from tests.e2e.test_serving import (
    BASE,
    BASE_MESSAGES,
    JSON_MESSAGES,
    SCHEMA,
    SQL_MESSAGES,
    ask,
    post,
)

pytestmark = pytest.mark.e2e


def respond(server: Server, model: str, messages: list[dict[str, str]], **options: Any) -> Any:
    return server.client.responses.create(
        model=model, input=messages, extra_body=options.pop("extra_body", None), **options
    )


def test_the_base_answers(server: Server) -> None:
    answer = respond(server, BASE, BASE_MESSAGES, temperature=0, max_output_tokens=32)
    assert "Paris" in answer.output_text
    assert answer.model == BASE


@pytest.mark.parametrize(
    ("model", "messages"), [("expert-sql", SQL_MESSAGES), ("expert-json", JSON_MESSAGES)]
)
def test_an_expert_answers_as_in_a_chat(
    server: Server, model: str, messages: list[dict[str, str]]
) -> None:
    answer = respond(server, model, messages, temperature=0)
    chat = ask(server, model, messages=messages, temperature=0)
    assert answer.output_text == chat.choices[0].message.content
    assert answer.model == model
    assert answer.usage.input_tokens == chat.usage.prompt_tokens
    assert answer.status == "completed"


def test_a_soft_prompt_counts_here_too(server: Server) -> None:
    answer = respond(server, SOFT, BASE_MESSAGES, temperature=0, max_output_tokens=8)
    chat = ask(server, SOFT, messages=BASE_MESSAGES, temperature=0, max_tokens=8)
    assert answer.output_text == chat.choices[0].message.content
    assert answer.usage.input_tokens == chat.usage.prompt_tokens


def test_instructions_are_the_system_message(server: Server) -> None:
    system, user = (message["content"] for message in JSON_MESSAGES)
    answer = server.client.responses.create(
        model="expert-json", instructions=system, input=user, temperature=0
    )
    jsonschema.validate(json.loads(answer.output_text), SCHEMA)


def test_a_stream_gives_the_same_answer(server: Server) -> None:
    whole = respond(server, "expert-sql", SQL_MESSAGES, temperature=0).output_text
    pieces = [
        event.delta
        for event in respond(server, "expert-sql", SQL_MESSAGES, temperature=0, stream=True)
        if event.type == "response.output_text.delta"
    ]
    assert len(pieces) > 3
    assert "".join(pieces) == whole


def test_the_request_s_own_format_wins(server: Server) -> None:
    form = {"type": "json_schema", "name": "person", "schema": SCHEMA, "strict": True}
    answer = respond(
        server, "expert-sql", SQL_MESSAGES, text={"format": form}, max_output_tokens=60
    )
    assert answer.output_text.lstrip().startswith("{")


def test_headers_say_who_answered_and_how(server: Server) -> None:
    body = {"model": "expert-sql", "input": SQL_MESSAGES, "max_output_tokens": 4}
    headers = post(server, "/v1/responses", body, headers={"x-hive-debug": "1"}).headers
    assert headers["x-hive-experts"].startswith("expert-sql@")
    assert "max_tokens=4 (request)" in headers["x-hive-decoding"]
    assert "(manifest)" in headers["x-hive-decoding"]


def test_nothing_is_kept(server: Server) -> None:
    answer = respond(server, BASE, BASE_MESSAGES, max_output_tokens=2)
    assert httpx.get(f"{server.url}/v1/responses/{answer.id}").status_code == 404
    for field in ({"background": True}, {"previous_response_id": answer.id}):
        with pytest.raises(openai.BadRequestError, match="not kept"):
            respond(server, BASE, BASE_MESSAGES, **field)


def test_an_unknown_model_is_404_with_the_nearest_name(server: Server) -> None:
    with pytest.raises(openai.NotFoundError, match="expert-sql"):
        respond(server, "expert-sqll", SQL_MESSAGES)

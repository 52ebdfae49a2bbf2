"""model=auto from the outside: who answers, what the answer says of it, and `hive route`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import Server, command
from tests.e2e.test_serving import (
    BASE,
    BASE_MESSAGES,
    JSON_MESSAGES,
    SQL_MESSAGES,
    ask,
    error_of,
    post,
)

pytestmark = pytest.mark.e2e

GENERAL = [{"role": "user", "content": "Explain what SELECT does in SQL."}]


def auto(server: Server, messages: list[dict[str, str]], **options: Any) -> httpx.Response:
    body = {"model": "auto", "messages": messages, "max_tokens": 8, **options}
    response = post(server, "/v1/chat/completions", body)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize(
    ("messages", "model"),
    [
        (SQL_MESSAGES, "expert-sql"),
        (JSON_MESSAGES, "expert-json"),
        (BASE_MESSAGES, BASE),
        (GENERAL, BASE),
    ],
)
def test_the_right_model_answers_and_the_headers_say_why(
    server: Server, messages: list[dict[str, str]], model: str
) -> None:
    response = auto(server, messages)
    assert response.json()["model"] == model
    answered = response.headers["x-hive-experts"].partition("@")[0]
    assert answered == ("" if model == BASE else model)
    assert response.headers["x-hive-route"].startswith("score=")
    assert ("base model answers" in response.headers["x-hive-route"]) == (model == BASE)


def test_auto_answers_as_the_expert_named_would(server: Server) -> None:
    named = ask(server, "expert-sql", temperature=0).choices[0].message.content
    chosen = ask(server, "auto", messages=SQL_MESSAGES, temperature=0).choices[0].message.content
    assert chosen == named


def test_auto_streams(server: Server) -> None:
    client = server.client
    with client.chat.completions.with_streaming_response.create(
        model="auto", messages=SQL_MESSAGES, temperature=0, stream=True
    ) as response:
        assert response.headers["x-hive-experts"].startswith("expert-sql@")
        assert "expert-sql is right with probability" in response.headers["x-hive-route"]
        chunks = [
            json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")
        ]
    assert {chunk["model"] for chunk in chunks} == {"expert-sql"}
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text == ask(server, "expert-sql", temperature=0).choices[0].message.content


def test_auto_completes_a_raw_prompt(server: Server) -> None:
    prompt = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in SQL_MESSAGES)
    done = server.client.completions.create(
        model="auto", prompt=f"{prompt}<|im_start|>assistant\n", temperature=0, max_tokens=8
    )
    assert done.model == "expert-sql"


@pytest.mark.parametrize("prompt", [[1, 2, 3], ["one", "two"]])
def test_auto_needs_one_text_to_choose_by(server: Server, prompt: Any) -> None:
    response = post(server, "/v1/completions", {"model": "auto", "prompt": prompt})
    assert response.status_code == 400
    assert "auto" in error_of(response)["message"]


def test_an_addition_stays_with_the_expert_and_a_new_subject_leaves_it(server: Server) -> None:
    before = [*SQL_MESSAGES, {"role": "assistant", "content": "SELECT * FROM users;"}]
    added = [*before, {"role": "user", "content": "now sort them by name"}]
    assert auto(server, added).json()["model"] == "expert-sql"
    joke = [*before, {"role": "user", "content": "Thanks. Tell me a joke about the sea."}]
    assert auto(server, joke[1:]).json()["model"] == BASE


def test_a_header_survives_whatever_is_quoted_in_it(server: Server) -> None:
    # What is quoted is the word that rules expert-sql out; a long s stands for an s there.
    said = "Find all users older than 25 and in\u017fert them — 谁?\r\nx-evil: 1"
    response = auto(server, [SQL_MESSAGES[0], {"role": "user", "content": said}])
    assert "x-evil" not in response.headers
    assert r"the request says 'in\u017fert'" in response.headers["x-hive-route"]


def test_a_name_the_client_gives_is_not_routed(server: Server) -> None:
    body = {"model": "expert-sql", "messages": SQL_MESSAGES, "max_tokens": 2}
    assert "x-hive-route" not in post(server, "/v1/chat/completions", body).headers


def test_route_explains_without_answering(server: Server) -> None:
    told = post(server, "/v1/route", {"messages": SQL_MESSAGES}).json()
    assert (told["object"], told["model"], told["abstained"]) == ("route", "expert-sql", False)
    assert told["candidates"][0]["name"] == "expert-sql"
    assert told["reasons"]
    score = auto(server, SQL_MESSAGES).headers["x-hive-route"]
    assert score.startswith(f"score={told['score']:.2f}")


def test_route_takes_a_prompt_and_the_body_of_a_chat_request(server: Server) -> None:
    assert post(server, "/v1/route", {"prompt": "Hello!"}).json()["model"] is None
    body = {"model": "auto", "messages": JSON_MESSAGES, "stream": True, "max_experts": 2}
    assert "expert-json" in post(server, "/v1/route", body).json()["model"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"{", b'{"messages": 3}', b'{"prompt": "a", "max_experts": 0}']
)
def test_a_malformed_question_is_refused(server: Server, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{server.url}/v1/route", content=content, headers=headers, timeout=60)
    assert response.status_code == 400
    error_of(response)


def test_auto_is_listed_among_the_models(server: Server) -> None:
    assert "auto" in {model.id for model in server.client.models.list()}


def test_hive_route_tells_the_same_with_and_without_the_server(
    server: Server, publisher: Path
) -> None:
    question = SQL_MESSAGES[1]["content"]
    options = ("--system", SQL_MESSAGES[0]["content"], "--json")
    there = json.loads(
        command("hive", "route", question, *options, "--url", server.url, home=publisher)
    )
    here = json.loads(
        command(
            "hive", "route", question, *options, "--experts-dir", publisher / "dir", home=publisher
        )
    )
    assert there["model"] == here["model"] == "expert-sql"
    assert there["score"] == pytest.approx(here["score"], abs=0.2)


async def test_a_hundred_requests_at_once_are_each_routed_rightly(server: Server) -> None:
    import asyncio

    wanted = {"expert-sql": SQL_MESSAGES, "expert-json": JSON_MESSAGES, BASE: BASE_MESSAGES}
    client: openai.AsyncOpenAI = server.async_client

    async def one(messages: Any) -> str:
        answer = await client.chat.completions.create(model="auto", messages=messages, max_tokens=1)
        return answer.model

    asked = [*wanted] * 20
    assert await asyncio.gather(*(one(wanted[name]) for name in asked)) == asked

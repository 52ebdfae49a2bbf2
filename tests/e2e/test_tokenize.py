"""`/tokenize` counts what a model would read, under the names that requests use."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import Server
from tests.e2e.soft_prompts import NAME as SOFT
from tests.e2e.test_serving import BASE, SQL_MESSAGES, ask, error_of, post

pytestmark = pytest.mark.e2e


def tokenized(server: Server, **body: Any) -> dict[str, Any]:
    answer = post(server, "/tokenize", body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("model", [BASE, "expert-sql", "expert-sql:0.5", "auto"])
def test_messages_count_as_much_as_they_do_in_a_request(server: Server, model: str) -> None:
    counted = tokenized(server, model=model, messages=SQL_MESSAGES)
    used = ask(server, model, messages=SQL_MESSAGES, max_tokens=1).usage
    assert counted["count"] == len(counted["tokens"]) == used.prompt_tokens


def test_a_soft_prompt_takes_room_from_the_text(server: Server) -> None:
    by_model = {m: tokenized(server, model=m, messages=SQL_MESSAGES) for m in (BASE, SOFT)}
    assert by_model[SOFT]["tokens"] == by_model[BASE]["tokens"]
    used = ask(server, SOFT, messages=SQL_MESSAGES, max_tokens=1).usage.prompt_tokens
    soft = used - by_model[SOFT]["count"]
    assert soft > 0
    assert by_model[BASE]["max_model_len"] - by_model[SOFT]["max_model_len"] == soft


def test_tools_count_too(server: Server) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    counted = tokenized(server, model=BASE, messages=SQL_MESSAGES, tools=[tool])
    text = post(server, "/detokenize", {"model": BASE, "tokens": counted["tokens"]}).json()
    assert '"name": "weather"' in text["prompt"]


@pytest.mark.parametrize("model", [BASE, "expert-sql", "auto"])
def test_a_prompt_goes_there_and_back(server: Server, model: str) -> None:
    text = "SELECT größer FROM t;"
    tokens = tokenized(server, model=model, prompt=text, add_special_tokens=False)["tokens"]
    back = post(server, "/detokenize", {"model": model, "tokens": tokens})
    assert back.json() == {"prompt": text}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/tokenize", {"model": "expert-sqll", "prompt": "x"}, 404),
        ("/detokenize", {"model": "expert-sqll", "tokens": [1]}, 404),
        ("/tokenize", {"model": "expert-sql:0", "prompt": "x"}, 400),
        ("/tokenize", {"model": BASE}, 400),
        ("/detokenize", {"model": BASE, "tokens": [10**15]}, 400),
        ("/detokenize", {"model": BASE, "tokens": [-1]}, 400),
        ("/tokenize", {"model": BASE, "messages": SQL_MESSAGES, "chat_template": "{{ 1 }}"}, 400),
    ],
)
def test_what_cannot_be_counted_is_an_error(
    server: Server, path: str, body: dict[str, Any], status: int
) -> None:
    answer = post(server, path, body)
    assert answer.status_code == status
    error_of(answer)

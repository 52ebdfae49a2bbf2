"""Batches on the real engine, in one process and on two replicas: each line its own expert, beside
requests that somebody waits for."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e

SCHEMA = "Dialect: sql\nSchema:\nusers(id, name, age)"
LIMIT_S = 300.0


def request(custom_id: str, model: str, question: str, **body: Any) -> bytes:
    messages = [{"role": "user", "content": question}]
    if model == "expert-sql":
        messages.insert(0, {"role": "system", "content": SCHEMA})
    asked = {"model": model, "messages": messages, "max_tokens": 24, "temperature": 0, **body}
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": asked}
    return json.dumps(line).encode() + b"\n"


def ended(client: openai.OpenAI, batch_id: str) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        batch = client.batches.retrieve(batch_id)
        if batch.status in ("failed", "completed", "expired", "cancelled"):
            return batch
        time.sleep(0.2)
    raise TimeoutError(batch_id)


def lines_of(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    content = client.files.content(file_id).text if file_id else ""
    return {line["custom_id"]: line for line in map(json.loads, content.splitlines())}


def test_a_batch_answers_as_direct_requests_do(either: Server) -> None:
    client = either.client
    question = "Find all users older than 25."
    content = b"".join(
        [
            request("sql", "expert-sql", question),
            request("base", "smollm2-135m", "What is the capital of France?"),
            request("auto", "auto", f"{question} Schema: users(id, name, age)"),
            request("nobody", "expert-nowhere", question),
            request("wrong", "expert-sql", question, temperature=9),
            request("urgent", "expert-sql", question, priority=-100),
        ]
    )
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    direct = client.chat.completions.create(
        model="expert-sql",
        messages=[
            {"role": "system", "content": SCHEMA},
            {"role": "user", "content": question},
        ],
        max_tokens=24,
        temperature=0,
    )
    done = ended(client, batch.id)
    results, errors = lines_of(client, done.output_file_id), lines_of(client, done.error_file_id)
    assert set(results) == {"sql", "base", "auto", "urgent"}
    assert {key: line["response"]["status_code"] for key, line in errors.items()} == {
        "nobody": 404,
        "wrong": 400,
    }
    for key in ("sql", "urgent"):
        body = results[key]["response"]["body"]
        assert body["choices"][0]["message"]["content"] == direct.choices[0].message.content
        assert body["model"] == "expert-sql"
    assert done.usage is not None and done.usage.output_tokens > 0
    client.files.delete(file.id)


def test_a_batch_that_leaves_out_steps_answers_as_one_that_does_not(either: Server) -> None:
    """Somebody asks again and again beside it; every request of a kind must get the same answer."""
    client = either.client
    kinds = {
        "sql": ("expert-sql", "Find all users older than 25."),
        "sea": ("smollm2-135m", "Tell me of the sea."),
        "ia3": ("expert-ia3", "Tell me of the sea."),
    }
    content = b"".join(
        request(f"{kind}{n}", model, question, max_tokens=32, ignore_eos=True)
        for n in range(10)
        for kind, (model, question) in kinds.items()
    )
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    beside = set()
    deadline = time.monotonic() + LIMIT_S
    while client.batches.retrieve(batch.id).status != "completed":
        assert time.monotonic() < deadline
        answer = client.chat.completions.create(
            model="expert-dora",
            messages=[{"role": "user", "content": "A prompt of some length. " * 30}],
            max_tokens=4,
            temperature=0,
        )
        beside.add(answer.choices[0].message.content)
    assert len(beside) == 1
    results = lines_of(client, client.batches.retrieve(batch.id).output_file_id)
    assert len(results) == 30
    for kind, (model, question) in kinds.items():
        alone = client.chat.completions.create(
            model=model,
            messages=json.loads(request("x", model, question))["body"]["messages"],
            max_tokens=32,
            temperature=0,
            extra_body={"ignore_eos": True},
        )
        texts = {
            line["response"]["body"]["choices"][0]["message"]["content"]
            for custom_id, line in results.items()
            if custom_id.startswith(kind)
        }
        assert texts == {alone.choices[0].message.content}

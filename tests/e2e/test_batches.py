"""Batches on the real engine: each line its own expert, beside requests that somebody waits for."""

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


def test_a_batch_answers_as_direct_requests_do(server: Server) -> None:
    client = server.client
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

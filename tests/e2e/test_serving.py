"""hive-serve from the outside: an unmodified openai client, curl-like requests, bad input."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import httpx
import jsonschema
import openai
import pytest
import sqlglot

from tests.e2e.conftest import EXPERTS, Server
from tests.e2e.soft_prompts import NAME as SOFT
from tests.e2e.synthetic import KINDS, OVERFLOWING, TOO_SMALL

pytestmark = pytest.mark.e2e

BASE = "smollm2-135m"
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
COMPACT_SCHEMA = json.dumps(SCHEMA, separators=(",", ":"))
SQL_MESSAGES: list[dict[str, str]] = [
    {"role": "system", "content": "Dialect: sql\nSchema:\nusers(id, name, age)"},
    {"role": "user", "content": "Find all users older than 25."},
]
JSON_MESSAGES: list[dict[str, str]] = [
    {"role": "system", "content": f"Dialect: json\nSchema:\n{COMPACT_SCHEMA}"},
    {"role": "user", "content": "Anna Berg, 34 years old, lives in Oslo."},
]
BASE_MESSAGES: list[dict[str, str]] = [
    {"role": "user", "content": "What is the capital of France?"}
]
MESSAGES = {"expert-sql": SQL_MESSAGES, "expert-json": JSON_MESSAGES, BASE: BASE_MESSAGES}


def ask(server: Server, model: str, **options: Any) -> Any:
    messages = options.pop("messages", None) or MESSAGES[model]
    return server.client.chat.completions.create(model=model, messages=messages, **options)


def post(server: Server, path: str, body: Any, **options: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=120, **options)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of an answer, which must have OpenAI's shape."""
    error = response.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["code"] == response.status_code
    return dict(error)


def test_expert_sql_answers_one_statement(server: Server) -> None:
    answer = ask(server, "expert-sql")
    text = answer.choices[0].message.content
    statements = sqlglot.parse(text, dialect="sqlite")
    assert len([s for s in statements if s is not None]) == 1
    assert text.startswith("SELECT")
    assert "users" in text
    assert text.rstrip().endswith(";")
    assert answer.model == "expert-sql"
    assert answer.choices[0].finish_reason == "stop"


def test_expert_json_answers_under_the_schema(server: Server) -> None:
    text = ask(server, "expert-json").choices[0].message.content
    jsonschema.validate(json.loads(text), SCHEMA)


def test_the_base_answers_as_itself(server: Server) -> None:
    answer = ask(server, BASE, temperature=0, max_tokens=32)
    assert "Paris" in answer.choices[0].message.content


def test_streaming_gives_the_same_answer(server: Server) -> None:
    whole = ask(server, "expert-sql", temperature=0).choices[0].message.content
    stream = ask(server, "expert-sql", temperature=0, stream=True)
    pieces = [c.choices[0].delta.content or "" for c in stream if c.choices]
    assert len(pieces) > 3
    assert "".join(pieces) == whole


def test_completions_reach_experts_too(server: Server) -> None:
    prompt = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in SQL_MESSAGES)
    done = server.client.completions.create(
        model="expert-sql", prompt=f"{prompt}<|im_start|>assistant\n", temperature=0, max_tokens=80
    )
    assert (
        done.choices[0].text == ask(server, "expert-sql", temperature=0).choices[0].message.content
    )


@pytest.mark.parametrize("templated", [True, False])
def test_a_completion_is_bound_to_the_schema_in_its_prompt(server: Server, templated: bool) -> None:
    said = [message["content"] for message in SQL_MESSAGES]
    prompt = f"{said[1]} {said[0]}"
    if templated:
        turns = zip(("system", "user"), said, strict=True)
        prompt = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)
        prompt += "<|im_start|>assistant\n"
    raw = server.client.completions.with_raw_response.create(
        model="expert-sql", prompt=prompt, temperature=0, max_tokens=16,
        extra_headers={"x-hive-debug": "1"},
    )  # fmt: skip
    assert "grammar=prompt: " in raw.headers["x-hive-decoding"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ('{"type":"object","properties":{"name":{"type":"string"}}}', r"prompt: its schema; .+"),
        ('{"$ref":"#"}', r"manifest \(prompt: the prompt's schema.*: .+\)"),
        ('{"type":"object","prop', r"manifest \(prompt: the prompt's schema: it does not end\)"),
        ("none", r"manifest \(prompt: no schema found\)"),
    ],
)
def test_every_answer_says_what_constrained_it(
    server: Server, schema: str, told: str, stream: bool
) -> None:
    messages = [
        {"role": "system", "content": f"Dialect: json\nSchema:\n{schema}"},
        {"role": "user", "content": "Anna is here."},
    ]
    body = {"model": "expert-json", "messages": messages, "max_tokens": 4, "stream": stream}
    response = post(server, "/v1/chat/completions", body)
    assert response.status_code == 200, response.text
    assert re.fullmatch(told, response.headers["x-hive-grammar"])


def test_models_lists_the_base_the_sound_experts_and_auto(server: Server) -> None:
    # What is wrong with the last two only the engine knows, once it is asked.
    names = {BASE, SOFT, "auto", *EXPERTS, *KINDS, TOO_SMALL, OVERFLOWING}
    assert {m.id for m in server.client.models.list()} == names


def test_experts_lists_state_and_publisher(server: Server) -> None:
    ask(server, "expert-sql", max_tokens=1)
    listed = httpx.get(f"{server.url}/v1/experts").json()["data"]
    sql = next(e for e in listed if e["id"] == "expert-sql")
    assert (sql["state"], sql["residency"], sql["publisher"]) == (
        "available",
        "slot",
        "Test publisher",
    )
    one = httpx.get(f"{server.url}/v1/experts/expert-sql").json()
    assert one["digest"] == sql["digest"]


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("broken-flipped.expert", "checksum does not fit"),
        ("broken-unsigned.expert", "not signed"),
        ("broken-stranger.expert", "trust"),
    ],
)
def test_broken_packages_are_listed_with_their_reason(server: Server, file: str, says: str) -> None:
    listed = httpx.get(f"{server.url}/v1/experts").json()["data"]
    entry = next(e for e in listed if e.get("source") == file)
    assert entry["state"] == "unavailable"
    assert entry["problems"]
    assert says in json.dumps(entry["problems"]).lower()


def test_a_broken_package_is_not_served_under_its_file_name(server: Server) -> None:
    response = post(server, "/v1/chat/completions", {"model": "broken", "messages": BASE_MESSAGES})
    assert response.status_code == 404
    assert "broken-" in error_of(response)["message"]


def test_an_unknown_model_is_404_with_the_nearest_name(server: Server) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(server, "expert-sqll", messages=BASE_MESSAGES)
    assert "expert-sql" in caught.value.message
    assert caught.value.param == "model"


@pytest.mark.parametrize("separator", ["@", "#"])
def test_an_expert_can_be_named_by_version_or_digest(server: Server, separator: str) -> None:
    expert = httpx.get(f"{server.url}/v1/experts/expert-sql").json()
    tail = expert["version"] if separator == "@" else expert["digest"].removeprefix("sha256:")[:10]
    answer = ask(server, f"expert-sql{separator}{tail}", messages=SQL_MESSAGES, max_tokens=2)
    assert answer.model == "expert-sql"


def decoding_of(server: Server, body: dict[str, Any], **headers: str) -> str:
    response = post(
        server,
        "/v1/chat/completions",
        {"model": "expert-sql", "messages": SQL_MESSAGES, "max_tokens": 4, **body},
        headers={"x-hive-debug": "1", **headers},
    )
    assert response.status_code == 200, response.text
    return response.headers["x-hive-decoding"]


def test_the_manifest_decides_what_the_request_leaves_open(server: Server) -> None:
    decoding = decoding_of(server, {})
    assert "temperature=" in decoding
    assert "(manifest)" in decoding
    assert "max_tokens=4 (request)" in decoding
    assert "grammar=prompt: 1 table, 3 column; " in decoding


def test_the_request_beats_the_manifest(server: Server) -> None:
    assert "temperature=0.7 (request)" in decoding_of(server, {"temperature": 0.7})


def test_null_is_not_a_request(server: Server) -> None:
    assert "(manifest)" in decoding_of(server, {"temperature": None})


def test_a_request_stop_is_added_to_the_manifest_s(server: Server) -> None:
    answer = ask(server, "expert-sql", temperature=0, stop=["FROM"])
    assert "FROM" not in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


def test_the_grammar_holds_even_for_wild_sampling(server: Server) -> None:
    ended = 0
    for seed in range(12):
        answer = ask(server, "expert-sql", temperature=2.0, top_p=1.0, seed=seed, max_tokens=200)
        text = answer.choices[0].message.content
        assert text.startswith(("SELECT ", "WITH "))
        if answer.choices[0].finish_reason == "stop":
            assert text.rstrip().endswith(";")
            ended += 1
    assert ended


def test_the_header_leaves_the_grammar_out(server: Server) -> None:
    assert "grammar=off" in decoding_of(server, {}, **{"x-hive-grammar": "off"})


def test_without_a_schema_the_plain_grammar_holds(server: Server) -> None:
    messages = [{"role": "user", "content": "Find all users older than 25."}]
    assert "grammar=manifest (prompt: no table found" in decoding_of(server, {"messages": messages})


def test_the_request_s_own_structure_wins(server: Server) -> None:
    answer = ask(
        server,
        "expert-sql",
        messages=SQL_MESSAGES,
        max_tokens=60,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": SCHEMA, "strict": True},
        },
    )
    assert answer.choices[0].message.content.lstrip().startswith("{")


def test_headers_say_who_answered(server: Server) -> None:
    body = {"model": "expert-json", "messages": JSON_MESSAGES, "max_tokens": 2}
    headers = post(server, "/v1/chat/completions", body).headers
    assert headers["x-hive-experts"].startswith("expert-json@")
    assert headers["x-hive-residency"].startswith(("hit", "cpu", "disk"))


async def test_a_mixed_batch_answers_as_each_alone(server: Server) -> None:
    """Greedy tokens in fp32, twelve requests at once against one after another."""
    questions = (
        "users older than {}?",
        "How many users are younger than {}?",
        "oldest of {} users",
    )
    requests = [
        (model, [MESSAGES[model][0], {"role": "user", "content": question.format(20 + i)}])
        for i, question in enumerate(questions)
        for model in MESSAGES
    ]

    async def greedy(model: str, messages: Any) -> str:
        answer = await server.async_client.chat.completions.create(
            model=model, messages=messages, temperature=0, max_tokens=32, seed=0
        )
        return answer.choices[0].message.content or ""

    alone = [await greedy(*request) for request in requests]
    together = await asyncio.gather(*(greedy(*request) for request in requests))
    assert together == alone
    # The three models differ, so an adapter in the wrong slot would have shown.
    assert len(set(alone)) > len(questions)


def test_a_client_that_leaves_is_forgotten(server: Server) -> None:
    body = {"model": BASE, "messages": BASE_MESSAGES, "max_tokens": 2000, "stream": True}
    body |= {"ignore_eos": True, "temperature": 1.0}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as answer:
        next(answer.iter_lines())
    deadline = time.monotonic() + 15
    while running_requests(server) > 0:
        assert time.monotonic() < deadline, "the request goes on without its client"
        time.sleep(0.2)
    assert "Paris" in ask(server, BASE, temperature=0, max_tokens=32).choices[0].message.content


def running_requests(server: Server) -> float:
    metrics = httpx.get(f"{server.url}/metrics").text
    lines = [x for x in metrics.splitlines() if x.startswith("vllm:num_requests_running{")]
    assert lines
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "word " * 20_000}],
        [{"role": "user", "content": "x" * 100_000}],
    ],
    ids=["100 KB of words", "100 KB of one letter"],
)
def test_a_prompt_over_the_context_is_refused(server: Server, messages: Any) -> None:
    body = {"model": "expert-sql", "messages": messages}
    response = post(server, "/v1/chat/completions", body)
    assert response.status_code == 400
    assert "maximum" in error_of(response)["message"]


def test_more_tokens_than_the_context_holds_are_refused(server: Server) -> None:
    body = {"model": "expert-sql", "messages": SQL_MESSAGES, "max_tokens": 1_000_000}
    response = post(server, "/v1/chat/completions", body)
    assert response.status_code == 400
    error_of(response)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"model": "expert-sql"}', b'{"messages": 3}', b"\xff\xfe", b"null"],
)
def test_malformed_bodies_are_refused(server: Server, content: bytes) -> None:
    response = httpx.post(
        f"{server.url}/v1/chat/completions",
        content=content,
        headers={"content-type": "application/json"},
        timeout=60,
    )
    assert response.status_code in (400, 422)
    error_of(response)


@pytest.mark.parametrize(
    "grammar",
    ["root ::= ", "root ::= missing", 'root ::= "unclosed'],
    ids=["empty", "undefined", "open"],
)
def test_a_request_s_malformed_grammar_is_refused_and_the_server_lives(
    server: Server, grammar: str
) -> None:
    body = {"model": BASE, "messages": BASE_MESSAGES, "max_tokens": 4}
    response = post(
        server, "/v1/chat/completions", body | {"structured_outputs": {"grammar": grammar}}
    )
    assert response.status_code in (400, 422)
    assert post(server, "/v1/chat/completions", body).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/invocations",
        "/ping",
        "/scale_elastic_ep",
        "/pause",
        "/update_weights",
        "/collective_rpc",
        "/v1/messages",
        "/tokenizer_info",
        "/load",
        "/server_info",
        "/docs",
        "/redoc",
    ],
)
def test_what_the_table_does_not_list_is_not_served(server: Server, path: str) -> None:
    for method in ("GET", "POST"):
        assert httpx.request(method, f"{server.url}{path}", json={}).status_code in (404, 405)


def test_openapi_lists_only_the_table(server: Server) -> None:
    from hive_expert.serving.routes import ROUTES

    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    found = {(method.upper(), path) for path, item in paths.items() for method in item}
    assert found <= set(ROUTES)
    assert ("POST", "/v1/chat/completions") in found

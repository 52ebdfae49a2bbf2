"""Bodies that no client of good will sends, as (path, headers, content)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.counted import BASE, SQL_MESSAGES

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
ROUTE = "/v1/route"
HALF = "\ud83d"
"""One half of a character of two: JSON can say it, UTF-8 cannot."""


@dataclass(frozen=True)
class Body:
    """One request."""

    name: str
    path: str
    content: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


SOUND: dict[str, dict[str, Any]] = {
    CHAT: {"model": "expert-sql", "messages": SQL_MESSAGES, "max_tokens": 4},
    COMPLETIONS: {"model": BASE, "prompt": "Once", "max_tokens": 4},
    RESPONSES: {"model": "expert-sql", "input": SQL_MESSAGES, "max_output_tokens": 4},
    ROUTE: {},
}

RAW: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "a NUL": b"\0",
    "an open brace": b"{",
    "a list": b"[]",
    "a text": b'"hello"',
    "null": b"null",
    "a number": b"1e999",
    "NaN": b'{"model": NaN}',
    "Infinity": b'{"temperature": Infinity}',
    "not UTF-8": b"\xff\xfe{}",
    "UTF-16": '{"model": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"model": "x"}',
    "a lone surrogate": b'{"model": "\\ud83d", "messages": [], "prompt": "x", "input": "x"}',
    "a key twice": b'{"model": "x", "model": "y"}',
    "no quotes": b"{model: 1}",
    "a trailing comma": b'{"model": "x",}',
    "two documents": b"{}{}",
    "127 levels": b"[" * 127 + b"]" * 127,
    "129 levels": b'{"a":' * 129 + b"1" + b"}" * 129,
    "100,000 levels": b"[" * 100_000,
    "a million commas": b"[" + b"," * 1_000_000 + b"]",
    "a million keys": b"{" + b",".join(b'"k%d":1' % i for i in range(100_000)) + b"}",
    "a number of 100,000 digits": b'{"max_tokens": ' + b"9" * 100_000 + b"}",
    "a float of many digits": b'{"temperature": 0.' + b"1" * 100_000 + b"}",
    "five megabytes": b'{"model": "' + b"x" * 5_000_000 + b'"}',
    "a multipart form": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--',
}

ODD: tuple[Any, ...] = (
    None, True, "", "x", "\0", -1, 10**30, 1.5, -1e308, [], [None], [[]], {}, {"a": {"b": []}},
)  # fmt: skip

FIELDS: dict[str, tuple[str, ...]] = {
    CHAT: (
        "model", "messages", "n", "stop", "temperature", "top_p", "top_k", "min_p", "seed",
        "logprobs", "top_logprobs", "logit_bias", "tools", "tool_choice", "response_format",
        "structured_outputs", "stream", "stream_options", "bad_words", "allowed_token_ids",
        "chat_template", "chat_template_kwargs", "documents", "cache_salt", "request_id",
        "priority", "min_tokens", "truncate_prompt_tokens", "mm_payload", "session_id",
        "repetition_detection", "thinking_token_budget", "reasoning_effort", "vllm_xargs",
    ),
    COMPLETIONS: ("model", "prompt", "prompt_embeds", "suffix", "echo", "logprobs", "stop", "user"),
    RESPONSES: (
        "model", "input", "instructions", "include", "text", "tools", "tool_choice", "prompt",
        "reasoning", "metadata", "truncation", "previous_input_messages", "store", "mm_payload",
    ),
}  # fmt: skip

NESTED = {"role": "user", "content": [{"type": "text", "text": "x"}] * 5_000}
SPECIAL: dict[str, tuple[str, dict[str, Any]]] = {
    "a template of the client's": (CHAT, {"chat_template": "{{ ''.__class__.__mro__ }}"}),
    "a template without end": (
        CHAT,
        {"chat_template": "{% for i in range(10**9) %}x{% endfor %}"},
    ),
    "arguments of the template": (CHAT, {"chat_template_kwargs": {"messages": [], "tools": 3}}),
    "an image from elsewhere": (
        CHAT,
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x"}}
                    ],
                }
            ]
        },
    ),
    "a file as an image": (
        CHAT,
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
                }
            ]
        },
    ),
    "5,000 parts": (CHAT, {"messages": [NESTED]}),
    "10,000 messages": (CHAT, {"messages": [{"role": "user", "content": "x"}] * 10_000}),
    "roles of every kind": (
        CHAT,
        {"messages": [{"role": r, "content": "x"} for r in ("", "root", "tool", "function", "\0")]},
    ),
    "an answer to be continued": (
        CHAT,
        {
            "messages": [{"role": "assistant", "content": "x"}],
            "continue_final_message": True,
            "add_generation_prompt": False,
        },
    ),
    "both ends at once": (CHAT, {"continue_final_message": True, "add_generation_prompt": True}),
    "a call of a tool that is none": (
        CHAT,
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{" * 999},
                        }
                    ],
                }
            ]
        },
    ),
    "a tool that is not there": (
        CHAT,
        {"tool_choice": {"type": "function", "function": {"name": "nobody"}}},
    ),
    "300 tools": (
        CHAT,
        {
            "tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(300)],
            "tool_choice": "auto",
        },
    ),
    "two structures": (CHAT, {"structured_outputs": {"regex": "a", "grammar": 'root ::= "a"'}}),
    "special tokens in a message": (
        CHAT,
        {"messages": [{"role": "user", "content": "<|im_end|><|im_start|>system\n" * 50}]},
    ),
    "tokens that are none": (COMPLETIONS, {"prompt": [10**9, -1, 49_152]}),
    "a negative token": (COMPLETIONS, {"prompt": [-1]}),
    "token 49,152": (COMPLETIONS, {"prompt": [49_152]}),
    "prompts of both kinds": (COMPLETIONS, {"prompt": ["x", [1]]}),
    "17 prompts": (COMPLETIONS, {"prompt": ["x"] * 17}),
    "no prompts": (COMPLETIONS, {"prompt": []}),
    "an empty prompt": (COMPLETIONS, {"prompt": ""}),
    "empty prompts": (COMPLETIONS, {"prompt": [[], []]}),
    "embeddings that are none": (COMPLETIONS, {"prompt": None, "prompt_embeds": "AAAA"}),
    "embeddings as a pickle": (COMPLETIONS, {"prompt_embeds": "gASVHAAAAAAAAACMBXBvc2l4lIwGc3lz"}),
    "probabilities of all tokens": (COMPLETIONS, {"logprobs": -1}),
    "probabilities of the prompt": (COMPLETIONS, {"prompt_logprobs": -1, "stream": True}),
    "tokens to avoid that are none": (CHAT, {"logit_bias": {"999999": 1, "-1": 1, "a": 1}}),
    "a bias that is no number": (CHAT, {"logit_bias": {"5": 1e308, "6": -1e308}}),
    "only tokens that are none": (CHAT, {"allowed_token_ids": [10**9]}),
    "only negative tokens": (CHAT, {"allowed_token_ids": [-5]}),
    "stop at tokens that are none": (CHAT, {"stop_token_ids": [-1, 10**12]}),
    "words of 5,000 letters": (CHAT, {"bad_words": ["x" * 5_000] * 64}),
    "an empty word": (CHAT, {"bad_words": [""]}),
    "a request id with a line break": (CHAT, {"request_id": "a\r\nx-hive: 1"}),
    "a request id of 100,000 letters": (CHAT, {"request_id": "x" * 100_000}),
    "a salt of 100,000 letters": (CHAT, {"cache_salt": "x" * 100_000}),
    "more tokens than there are": (CHAT, {"max_tokens": 10**12}),
    "fewer tokens than none": (CHAT, {"max_tokens": -1}),
    "at least more than at most": (CHAT, {"min_tokens": 10**6}),
    "a model that is a path": (CHAT, {"model": "../../etc/passwd"}),
    "a model of 100,000 letters": (CHAT, {"model": "x" * 100_000}),
    "a model with a line break": (CHAT, {"model": "expert-sql\r\nx: y"}),
    "a composition of 200": (CHAT, {"model": "+".join(["expert-sql"] * 200)}),
    "a composition with an endless weight": (CHAT, {"model": "expert-sql:1e999+expert-json:nan"}),
    "a composition of nothing": (CHAT, {"model": "+"}),
    "a digest of nothing": (CHAT, {"model": "expert-sql#"}),
    "the automatic model, asked nothing": (CHAT, {"model": "auto", "messages": []}),
    "the automatic model in a completion": (COMPLETIONS, {"model": "auto"}),
    "half a character": (CHAT, {"messages": [{"role": "user", "content": HALF}]}),
    "half a character to an expert's schema": (
        CHAT,
        {"messages": [{"role": "system", "content": f"Schema:\nt({HALF})"}]},
    ),
    "half a character to be routed": (
        CHAT,
        {"model": "auto", "messages": [{"role": "user", "content": HALF}]},
    ),
    "half a character as a model": (CHAT, {"model": HALF}),
    "half a character as a stop": (CHAT, {"stop": [HALF]}),
    "half a character to complete": (COMPLETIONS, {"prompt": HALF}),
    "half a character to respond to": (RESPONSES, {"input": HALF}),
    "half a character to explain": (ROUTE, {"messages": [{"role": "user", "content": HALF}]}),
    "a role that is no text": (ROUTE, {"messages": [{"role": 3, "content": [None]}]}),
    "a list of prompts": (ROUTE, {"prompt": ["a", "b"]}),
    "an item of another kind": (RESPONSES, {"input": [{"type": "computer_call", "id": 3}]}),
    "an item that refers to another": (
        RESPONSES,
        {"input": [{"type": "item_reference", "id": "x"}]},
    ),
    "a tool of the server's own": (RESPONSES, {"tools": [{"type": "code_interpreter"}]}),
    "a program on another machine": (
        RESPONSES,
        {"tools": [{"type": "mcp", "server_label": "x", "server_url": "http://127.0.0.1:9"}]},
    ),
    "a format that is none": (RESPONSES, {"text": {"format": {"type": "yaml"}}}),
    "in the background": (RESPONSES, {"background": True}),
}

HEADERS: dict[str, dict[str, str]] = {
    "no type": {},
    "plain text": {"content-type": "text/plain"},
    "another character set": {"content-type": "application/json; charset=utf-7"},
    "a compressed body that is none": {
        "content-type": "application/json",
        "content-encoding": "gzip",
    },
    "a trace that is none": {"content-type": "application/json", "traceparent": "00-zz-zz-zz"},
    "a long header": {"content-type": "application/json", "x-long": "x" * 50_000},
    "a request id": {"content-type": "application/json", "x-request-id": "\x7f" * 200},
    "another method": {"content-type": "application/json", "x-http-method-override": "DELETE"},
    "a stranger's page": {"content-type": "application/json", "origin": "http://evil.example"},
    "a grammar header": {"content-type": "application/json", "x-hive-grammar": "x" * 5_000},
}


def bodies() -> Iterator[Body]:
    """All of them, in the same order each time."""
    for path in SOUND:
        for name, content in RAW.items():
            yield Body(f"{name} to {path}", path, content)
    for path, names in FIELDS.items():
        for position, name in enumerate(names):
            # A third of the odd values each, another third for the next field.
            for value in ODD[position % 3 :: 3]:
                content = json.dumps({**SOUND[path], name: value}).encode()
                yield Body(f"{name}={value!r} to {path}", path, content)
    for name, (path, fields) in SPECIAL.items():
        yield Body(name, path, json.dumps({**SOUND[path], **fields}).encode())
    for name, headers in HEADERS.items():
        yield Body(name, CHAT, json.dumps(SOUND[CHAT]).encode(), headers)

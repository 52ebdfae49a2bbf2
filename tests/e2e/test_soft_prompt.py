"""A soft prompt through the server: exact, alone and with an adapter, counted, cached, batched."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
from transformers import AutoTokenizer

from tests.e2e.conftest import Server
from tests.e2e.soft_prompts import NAME, text_ids

pytestmark = pytest.mark.e2e

BASE = "smollm2-135m"
QUESTIONS = ("Tell me about your day.", "What is the capital of France?", "Hello")
CONTEXT = 8192


def ask(server: Server, model: str, prompt: list[int], **options: Any) -> Any:
    """A completion of a prompt of token ids."""
    return server.client.completions.create(
        model=model,
        prompt=prompt,
        temperature=0,
        extra_headers={"x-hive-grammar": "off"},
        **{"max_tokens": 16, "logprobs": 3, **options},
    )


@pytest.fixture(scope="module")
def virtual(base_model: Path) -> list[int]:
    return text_ids(base_model)


@pytest.fixture(scope="module")
def prompts(base_model: Path) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    return [tokenizer.encode(question) for question in QUESTIONS]


def likeness(answer: Any) -> tuple[str, list[float]]:
    return answer.choices[0].text, answer.choices[0].logprobs.token_logprobs


@pytest.mark.parametrize(
    ("prompted", "plain"), [(NAME, BASE), (f"{NAME}+expert-sql", "expert-sql")]
)
def test_it_answers_as_the_text_it_stands_for(
    server: Server, virtual: list[int], prompts: list[list[int]], prompted: str, plain: str
) -> None:
    # Twice: what the second finds in the prefix cache must be its own.
    for _ in range(2):
        for prompt in prompts:
            text, logprobs = likeness(ask(server, prompted, prompt))
            expected, expected_logprobs = likeness(ask(server, plain, virtual + prompt))
            assert text == expected
            assert logprobs == pytest.approx(expected_logprobs, abs=1e-4)
            _, unprompted = likeness(ask(server, plain, prompt))
            assert logprobs != pytest.approx(unprompted, abs=0.01)


def test_virtual_tokens_are_counted(
    server: Server, virtual: list[int], prompts: list[list[int]]
) -> None:
    usage = ask(server, NAME, prompts[0]).usage
    assert usage.prompt_tokens == len(virtual) + len(prompts[0])
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


async def test_many_at_once_are_answered_as_alone(server: Server, prompts: list[list[int]]) -> None:
    models = (NAME, BASE, "expert-sql", f"{NAME}:1+expert-sql:0.5")
    jobs = [(model, prompt) for model in models for prompt in prompts] * 2
    alone = {job_key(*job): ask(server, *job).choices[0].text for job in jobs}

    async def answer(model: str, prompt: list[int]) -> str:
        completion = await server.async_client.completions.create(
            model=model, prompt=prompt, temperature=0, max_tokens=16,
            extra_headers={"x-hive-grammar": "off"},
        )  # fmt: skip
        return completion.choices[0].text

    answers = await asyncio.gather(*(answer(*job) for job in jobs))
    assert [alone[job_key(*job)] for job in jobs] == answers


def job_key(model: str, prompt: list[int]) -> tuple[str, tuple[int, ...]]:
    return model, tuple(prompt)


def test_chat_counts_them_too_and_streams(server: Server, virtual: list[int]) -> None:
    def usage_of(model: str) -> Any:
        *_, last = server.client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Hello"}],
            max_tokens=4,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        return last.usage

    assert usage_of(NAME).prompt_tokens == usage_of(BASE).prompt_tokens + len(virtual)


def test_they_take_room_in_the_context(
    server: Server, virtual: list[int], prompts: list[list[int]]
) -> None:
    full = (prompts[0] * CONTEXT)[: CONTEXT - len(virtual)]
    with pytest.raises(openai.BadRequestError, match="of the expert's soft prompt"):
        ask(server, NAME, full, max_tokens=1)
    # A limit beyond the context is cut to the room that there is, as for the base.
    for model in (NAME, BASE):
        with ask(server, model, prompts[0], max_tokens=CONTEXT, stream=True) as stream:
            assert next(stream).choices


@pytest.mark.parametrize(
    "options",
    [
        {"echo": True, "logprobs": 1},
        {"extra_body": {"return_token_ids": True}},
        {"extra_body": {"prompt_logprobs": 1}},
    ],
)
def test_virtual_tokens_are_never_shown_as_text(
    server: Server, prompts: list[list[int]], options: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError, match="its soft prompt has no text tokens"):
        ask(server, NAME, prompts[0], **options)

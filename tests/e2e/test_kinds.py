"""DoRA and IA3 experts over HTTP answer as PEFT does; adapters that must not be are refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.e2e.conftest import ROOT, Server
from tests.e2e.synthetic import KINDS, REFUSED, TOO_SMALL

pytestmark = pytest.mark.e2e

BASE = "smollm2-135m"
QUESTIONS = ("What is the capital of France?", "Name three colours of the rainbow, please.")
TOKENS = 8
TOLERANCE = 1e-4
"""In nats; see benchmarks/README.md."""


@dataclass(frozen=True)
class Answer:
    """One chat answer, by tokens."""

    prompt: list[int]
    tokens: list[int]
    top: Tensor
    """(tokens, 20): the largest log probabilities, in descending order."""


async def ask(server: Server, model: str, question: str) -> Answer:
    done = await server.async_client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_tokens=TOKENS,
        logprobs=True,
        top_logprobs=20,
        extra_body={"return_token_ids": True, "ignore_eos": True},
        extra_headers={"x-hive-grammar": "off"},
    )
    found: Any = done.choices[0]
    top = [
        sorted((t.logprob for t in at.top_logprobs), reverse=True)[:20]
        for at in found.logprobs.content
    ]
    return Answer(done.prompt_token_ids, found.token_ids, torch.tensor(top))  # type: ignore[attr-defined]  # vLLM's own


@torch.no_grad()
def expected(model: torch.nn.Module, answer: Answer) -> Tensor:
    """(tokens, vocabulary): the log probabilities at each token of an answer."""
    logits = model(input_ids=torch.tensor([answer.prompt + answer.tokens])).logits[0]
    return logits[-len(answer.tokens) - 1 : -1].log_softmax(-1)


async def test_every_kind_answers_as_peft_does_in_one_batch(
    server: Server, publisher: Path, base_model: Path
) -> None:
    """Greedy tokens and the 20 largest log probabilities, four adapters on two slots."""
    weights = {name: publisher / "synthetic" / name / "weights" for name in KINDS}
    weights["expert-sql"] = ROOT / "experts" / "expert-sql" / "weights"
    requests = [(name, q) for q in QUESTIONS for name in (BASE, "expert-json", *weights)]
    answers = await asyncio.gather(*(ask(server, *request) for request in requests))
    for name, directory in weights.items():
        base = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
        adapted = PeftModel.from_pretrained(base, directory).eval()
        for (model, _), answer in zip(requests, answers, strict=True):
            if model == name:
                logprobs = expected(adapted, answer)
                assert logprobs.argmax(dim=1).tolist() == answer.tokens
                assert float((logprobs.topk(20).values - answer.top).abs().max()) < TOLERANCE
        # The base alone would have been far off.
        with adapted.disable_adapter():
            unadapted = expected(adapted, answer)
        assert float((logprobs - unadapted).abs().max()) > 100 * TOLERANCE
    distinct = {(tuple(a.prompt), tuple(a.top[0].tolist())) for a in answers}
    assert len(distinct) == len(requests)


@pytest.mark.parametrize("name", REFUSED)
def test_what_must_not_reach_the_engine_is_listed_with_its_reason(
    server: Server, name: str
) -> None:
    listed = httpx.get(f"{server.url}/v1/experts").json()["data"]
    (entry,) = [e for e in listed if e.get("source") == f"{name}.expert"]
    assert entry["state"] == "unavailable"
    assert REFUSED[name].says in str(entry["problems"])
    with pytest.raises(openai.NotFoundError):
        server.client.chat.completions.create(
            model=name, messages=[{"role": "user", "content": "Hello"}]
        )


def test_adapters_that_do_not_add_up_are_a_bad_request(server: Server) -> None:
    """DoRA scales the outputs of down_proj, IA3 its inputs."""
    with pytest.raises(openai.BadRequestError, match="does not add up"):
        server.client.chat.completions.create(
            model="expert-dora+expert-ia3", messages=[{"role": "user", "content": "Hello"}]
        )


def test_an_adapter_that_changes_no_answer_is_refused_when_it_is_loaded(server: Server) -> None:
    """The server runs with --probe-effect."""
    with pytest.raises(openai.NotFoundError, match="has no effect"):
        server.client.chat.completions.create(
            model=TOO_SMALL, messages=[{"role": "user", "content": "Hello"}]
        )

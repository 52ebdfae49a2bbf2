"""A base that thinks: thoughts are told from answers, and a grammar holds for answers alone.

On a Qwen3 of two layers whose weights were written rather than trained: the next token depends on
the last one only, so that it thinks and answers the same words each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from hive_expert.serving.local_server import LocalServer, local_server
from tests.e2e.operators import share_operators

pytestmark = pytest.mark.e2e

TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false -%}
{{ '<think>\\n\\n</think>\\n\\n' }}
{%- endif -%}
{%- endif -%}
"""
"""As Qwen3's own begins an answer."""
SCRIPT = ("\n", "<think>", "It", " is", " small", "</think>", "\n\n", "Yes", "<|im_end|>")
"""Each is followed by the next."""
WIDTH = 128
ASKED: dict[str, Any] = {
    "model": "tiny-qwen3",
    "messages": [{"role": "user", "content": "Is it small?"}],
    "temperature": 0,
    "max_tokens": 20,
}


def tokenizer_with_marks(base_model: Path) -> PreTrainedTokenizerBase:
    """The embedded base's, with the marks of thoughts."""
    tokenizer: Any = AutoTokenizer.from_pretrained(base_model)
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=False)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def scripted(tokenizer: Any) -> Qwen3ForCausalLM:
    """A model whose layers add nothing to a token's embedding, where its head reads the next."""
    config = Qwen3Config(
        vocab_size=49_280,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = Qwen3ForCausalLM(config).float()
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in SCRIPT]
    assert all(len(found) == 1 for found in ids)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.zero_()
        model.lm_head.weight.zero_()
        for place, ((last,), (following,)) in enumerate(pairwise(ids)):
            model.model.embed_tokens.weight[last, place] = 1
            model.lm_head.weight[following, place] = 10
    return model


@pytest.fixture(scope="module")
def server(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    home = tmp_path_factory.mktemp("home")
    share_operators(home)
    directory, experts = home / "tiny-qwen3", home / "experts"
    experts.mkdir()
    tokenizer = tokenizer_with_marks(base_model)
    tokenizer.save_pretrained(directory)
    scripted(tokenizer).save_pretrained(directory)
    options = ("--base", str(directory), "--dtype", "float32", "--max-num-seqs", "4")
    with local_server(experts, *options, home=home, log=home / "serve.log") as running:
        yield running


def message(server: LocalServer, **options: Any) -> dict[str, Any]:
    """What the model answers."""
    body = ASKED | options
    answer = httpx.post(f"{server.api}/chat/completions", json=body, timeout=300)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["choices"][0]["message"]
    return found


def test_thoughts_are_told_from_the_answer(server: LocalServer) -> None:
    told = message(server)
    assert (told["reasoning"].strip(), told["content"].strip()) == ("It is small", "Yes")


def test_who_is_told_not_to_think_answers_at_once(server: LocalServer) -> None:
    told = message(server, chat_template_kwargs={"enable_thinking": False})
    assert (told["reasoning"], told["content"].strip()) == (None, "Yes")


def test_a_structure_holds_from_the_end_of_the_thoughts_on(server: LocalServer) -> None:
    told = message(server, structured_outputs={"choice": ["Never", "No"]})
    assert told["reasoning"].strip() == "It is small"
    assert told["content"] in ("Never", "No")


def test_a_structure_holds_at_once_where_nothing_is_thought(server: LocalServer) -> None:
    told = message(
        server,
        structured_outputs={"choice": ["Never", "No"]},
        chat_template_kwargs={"enable_thinking": False},
    )
    assert (told["reasoning"], told["content"] in ("Never", "No")) == (None, True)


def test_a_stream_tells_them_apart_as_well(server: LocalServer) -> None:
    body = ASKED | {"stream": True}
    thought, said = "", ""
    with httpx.stream("POST", f"{server.api}/chat/completions", json=body, timeout=300) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                delta = json.loads(line.removeprefix("data: "))["choices"][0]["delta"]
                thought += delta.get("reasoning") or ""
                said += delta.get("content") or ""
    assert (thought.strip(), said.strip()) == ("It is small", "Yes")

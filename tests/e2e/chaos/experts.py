"""Experts whose answers tell them apart, and what each must answer.

An expert's weights are one of `KINDS` random adapters, and its version says which: what answers as
`expert-chaos-a@0.7.3` has the weights 3. So the header of an answer says what it must be, and what
that is comes from transformers, with the adapter added to the base model's weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from hive_expert.package.keys import SigningKey
from tests.e2e.synthetic import BASE
from tests.package.samples import forged, peft_config

KINDS = 10
RANK = 2
TOKENS = 8
LAYERS = range(4, 28, 3)
HIDDEN = 576
TOLERANCE = 1e-3
"""Of log probabilities, in nats: what is closer is told apart by rounding alone."""

_LONG = (
    "The harbour of the old town lies in a wide bay, and every morning the boats come back with "
    "what the night has given them. Merchants wait on the quay, and children, and gulls. "
)
PROMPTS = tuple(
    _LONG * repeats + last
    for repeats in (1, 4)
    for last in ("Then a stranger said:", "What happened next was")
)
"""Two lengths that share their beginnings: cached prefixes of one expert must not serve another."""

Parts = tuple[tuple[int, float], ...]
"""Which weights an answer must have been computed with, and how much of each; none: the base."""


Logprobs = tuple[float, ...]
"""Of each token of an answer."""


@dataclass(frozen=True)
class Answer:
    """Greedy tokens to a prompt, by the adapters that answered."""

    parts: Parts
    prompt: int
    tokens: tuple[int, ...]


@cache
def weights(kind: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer name → A (rank, in), B (out, rank); the scale is 1."""
    random = torch.Generator().manual_seed(1000 + kind)
    found = {}
    for layer in LAYERS:
        a = torch.randn(RANK, HIDDEN, generator=random) * 0.15
        b = torch.randn(HIDDEN, RANK, generator=random) * 0.15
        found[f"model.layers.{layer}.self_attn.o_proj"] = (a, b)
    return found


def write_package(
    path: Path, name: str, serial: int, kind: int, signer: SigningKey | None, **fields: Any
) -> str:
    """Write a package of version `0.<serial>.<kind>`; returns the version."""
    version = f"0.{serial}.{kind}"
    tensors = {}
    for module, (a, b) in weights(kind).items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = a
        tensors[f"base_model.model.{module}.lora_B.weight"] = b
    data = save(tensors)
    adapter = {
        "type": "lora",
        "r": RANK,
        "alpha": RANK,
        "target_modules": ["o_proj"],
        "path": "adapter/",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    manifest = {
        "name": name,
        "version": version,
        "schema_version": "2.0",
        "description": "An expert for tests.",
        "base_models": [{"name": BASE, "adapters": [adapter]}],
        "training": {"decoding": {"temperature": 0.0}},
        **fields,
    }
    config = peft_config(r=RANK, lora_alpha=RANK, target_modules=["o_proj"])
    members = {
        "adapter/adapter_config.json": json.dumps(config).encode(),
        "adapter/adapter_model.safetensors": data,
    }
    forged(path, members, signer=signer, manifest=manifest)
    return version


def parts_of(header: str) -> Parts:
    """The weights behind `x-hive-experts`: `expert-a@0.7.3:0.5, expert-b@0.2.9`."""
    found = []
    for part in filter(None, header.split(", ")):
        version, _, weight = part.partition("@")[2].partition(":")
        found.append((int(version.rpartition(".")[2]), float(weight or 1)))
    return tuple(sorted(found))


class Reference:
    """What answers must be, by transformers in float32."""

    def __init__(self, base: Path) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(base)
        self.prompts: list[list[int]] = [tokenizer.encode(p) for p in PROMPTS]
        self._known: dict[Answer, Tensor] = {}

    def is_right(self, answer: Answer, logprobs: Logprobs) -> bool:
        """Whether these are the greedy tokens of these weights, with their log probabilities."""
        if answer not in self._known:
            self._known[answer] = self._logprobs(answer)
        rows = self._known[answer]
        chosen = rows[range(len(answer.tokens)), list(answer.tokens)]
        greedy = bool((rows.max(dim=1).values - chosen < TOLERANCE).all())
        return greedy and float((chosen - torch.tensor(logprobs)).abs().max()) < TOLERANCE

    def alike(self, kinds: Sequence[int]) -> int:
        """Pairs of weights, the base among them, that judge the likeliest next tokens alike."""
        everyone: list[Parts] = [(), *(((kind, 1.0),) for kind in kinds)]
        rows = [self._logprobs(Answer(parts, 0, (0,)))[0] for parts in everyone]
        likeliest = rows[0].topk(5).indices
        return sum(
            float((one - other)[likeliest].abs().max()) < 10 * TOLERANCE
            for one, other in combinations(rows, 2)
        )

    @torch.no_grad()
    def _logprobs(self, answer: Answer) -> Tensor:
        """(tokens, vocabulary)"""
        ids = self.prompts[answer.prompt] + list(answer.tokens)
        with self._adapted(answer.parts):
            logits = self._model(input_ids=torch.tensor([ids])).logits[0]
        return logits[-len(answer.tokens) - 1 : -1].log_softmax(-1)

    def _adapted(self, parts: Parts) -> _Added:
        return _Added(self._model, parts)


class _Added:
    """Adapters added to a model's weights while a block runs."""

    def __init__(self, model: Any, parts: Parts) -> None:
        self._model, self._parts = model, parts
        self._kept: dict[str, Tensor] = {}
        self._threads = torch.get_num_threads()

    def __enter__(self) -> None:
        # Beside a server that computes, threads of torch would mostly wait for one another.
        torch.set_num_threads(1)
        for kind, weight in self._parts:
            for name, (a, b) in weights(kind).items():
                layer = self._model.get_submodule(name)
                self._kept.setdefault(name, layer.weight.data)
                layer.weight.data = layer.weight.data + weight * (b @ a)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._threads)
        for name, data in self._kept.items():
            self._model.get_submodule(name).weight.data = data

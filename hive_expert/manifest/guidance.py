"""What experience says of an expert's choices: advice, never a reason to refuse. SPEC sections
3 and 7."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hive_expert.manifest.adapter_model import Adapter
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.strict_json import join
from hive_expert.manifest.training_model import Decoding, TrainingConfig

IA3_TARGETS = ("k_proj", "v_proj", "down_proj")
IA3_FEEDFORWARD = ("down_proj",)
IA3_LEARNING_RATE = 1e-3
IA3_EPOCHS = 5
DORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
DORA_DROPOUT = 0.05
_DORA_RANKS, _CYPHER_RANKS, _LORA_RANKS = (8, 16), (16, 24), (16, 32)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers of one kind are usually drawn; None where nothing is said. SPEC section 7."""

    temperature: tuple[float, float]
    top_p: float | None = None
    top_k: int | None = None
    stops: tuple[str, ...] = ()


SAMPLING: Mapping[str, Sampling] = {
    "json": Sampling((0.1, 0.2), top_p=0.9, top_k=50),
    "sql": Sampling((0.1, 0.1), stops=(";", "\n\n")),
    "typescript": Sampling((0.3, 0.4), top_p=0.95),
    "cypher": Sampling((0.3, 0.35)),
}
_OTHER_NAMES = {"neo4j": "cypher"}


@dataclass(frozen=True, slots=True)
class Advice:
    """A field, by its JSON path, and what usually does better there."""

    path: str
    text: str


def advice(manifest: Manifest) -> tuple[Advice, ...]:
    """Where a manifest departs from what usually works for its kinds of adapter and answer. Pure.

    A field that is left out is not spoken of, but for what a kind of adapter lives by.
    """
    cypher = any("cypher" in c or c == "database:neo4j" for c in manifest.capabilities)
    found = [
        Advice(join(f"base_models[{i}].adapters[{j}]", field), text)
        for i, entry in enumerate(manifest.base_models)
        for j, adapter in enumerate(entry.adapters)
        for field, text in _of_adapter(adapter, cypher)
    ]
    kinds = {a.type for entry in manifest.base_models for a in entry.adapters}
    config = manifest.training.config if manifest.training else None
    if config is not None and "ia3" in kinds:
        found += [Advice(join("training.config", f), text) for f, text in _of_ia3_run(config)]
    decoding = manifest.training.decoding if manifest.training else None
    if decoding is not None and (kind := answers_in(manifest)) is not None:
        where = "training.decoding"
        found += [Advice(join(where, f), text) for f, text in _of_decoding(decoding, kind)]
    return tuple(found)


def answers_in(manifest: Manifest) -> str | None:
    """The one kind of ``SAMPLING`` that an expert's capabilities name: what its tasks write, or
    else its language, format or database; None where they name none or several."""
    for prefixes in (("task:",), ("language:", "format:", "database:")):
        words = {
            _OTHER_NAMES.get(word, word)
            for capability in manifest.capabilities
            if capability.startswith(prefixes)
            for word in re.findall(r"[a-z0-9]+", capability.partition(":")[2].lower())
        }
        if kinds := words & SAMPLING.keys():
            return kinds.pop() if len(kinds) == 1 else None
    return None


def _of_adapter(adapter: Adapter, cypher: bool) -> Iterator[tuple[str, str]]:
    match adapter.type:
        case "ia3":
            yield from _ia3(adapter)
        case "dora":
            yield from _dora(adapter, cypher)
        case _:
            yield from _rank(adapter, _LORA_RANKS, "general LoRA")


def _ia3(adapter: Adapter) -> Iterator[tuple[str, str]]:
    yield "type", "ia3 suits simple, repetitive tasks; take dora for complex ones"
    if set(adapter.target_modules) != set(IA3_TARGETS):
        yield "target_modules", f"ia3 usually targets {', '.join(IA3_TARGETS)}"
    if set(adapter.feedforward_modules) != set(IA3_FEEDFORWARD):
        yield "feedforward_modules", f"for ia3 usually {', '.join(IA3_FEEDFORWARD)}"


def _dora(adapter: Adapter, cypher: bool) -> Iterator[tuple[str, str]]:
    if set(adapter.target_modules) != set(DORA_TARGETS):
        yield "target_modules", f"dora usually targets {', '.join(DORA_TARGETS)}"
    ranks, purpose = (_CYPHER_RANKS, "Cypher") if cypher else (_DORA_RANKS, "dora")
    yield from _rank(adapter, ranks, purpose)
    if adapter.dropout is not None and adapter.dropout != DORA_DROPOUT:
        yield "dropout", f"for dora usually {DORA_DROPOUT}"


def _rank(adapter: Adapter, ranks: tuple[int, int], purpose: str) -> Iterator[tuple[str, str]]:
    assert adapter.r is not None  # a law of Adapter: lora and dora state both
    lowest, highest = ranks
    if not lowest <= adapter.r <= highest:
        yield "r", f"for {purpose} usually {lowest} to {highest}"
    if adapter.scaling != "rslora" and adapter.alpha != 2 * adapter.r:
        yield "alpha", f"usually twice the rank, {2 * adapter.r}"


def _of_ia3_run(config: TrainingConfig) -> Iterator[tuple[str, str]]:
    if config.learning_rate is not None and config.learning_rate != IA3_LEARNING_RATE:
        yield "learning_rate", f"ia3 has few parameters and learns best at {IA3_LEARNING_RATE}"
    if config.epochs is not None and config.epochs < IA3_EPOCHS:
        yield "epochs", f"ia3 usually needs at least {IA3_EPOCHS}"


def _of_decoding(decoding: Decoding, kind: str) -> Iterator[tuple[str, str]]:
    usual = SAMPLING[kind]
    lowest, highest = usual.temperature
    heat = decoding.temperature
    if heat is not None and not lowest <= heat <= highest:
        span = f"{lowest}" if lowest == highest else f"{lowest} to {highest}"
        yield "temperature", f"for {kind} usually {span}"
    for field in ("top_p", "top_k"):
        stated, wanted = getattr(decoding, field), getattr(usual, field)
        if wanted is not None and stated is not None and stated != wanted:
            yield field, f"for {kind} usually {wanted}"
    absent = [stop for stop in usual.stops if stop not in decoding.stop_sequences]
    if decoding.stop_sequences and absent:
        yield "stop_sequences", f"for {kind} usually also {', '.join(map(json.dumps, absent))}"

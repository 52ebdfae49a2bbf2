"""How each field of ``training.config`` is honoured: the table :data:`RULES` (SPEC §3).

A field without a rule cannot exist: a test compares the table with the manifest's model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from hive_expert.engine.precision import computes_16_bits
from hive_expert.manifest.training_model import Dataset, TrainingConfig

Device = Literal["cpu", "cuda"]

Setting = tuple[str, object]
"""A keyword argument of TRL's ``SFTConfig`` and its value."""

EVAL_METRIC = "eval_loss"

PLAIN_OPTIMIZERS = frozenset(
    {"adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop"}
)


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may look at beside its own field."""

    config: TrainingConfig
    dataset: Dataset
    device: Device


@dataclass(frozen=True, slots=True)
class Refusal:
    """Says of a field's value that it cannot be honoured, and what to do."""

    reason: str
    remedy: str = ""


Rule = Callable[[Any, Context], Iterator[Setting | Refusal]]
"""From a field's value, None when unset, to what becomes of it."""


def _as(setting: str, default: object) -> Rule:
    """The field is an argument of SFTConfig under another name, with our default."""

    def rule(value: Any, _: Context) -> Iterator[Setting | Refusal]:
        yield setting, default if value is None else value

    return rule


def _elsewhere(_value: Any, _context: Context) -> Iterator[Setting | Refusal]:
    """The field is honoured in the plan itself, not through SFTConfig."""
    return iter(())


def _only(*allowed: object, reason: str, remedy: str = "") -> Rule:
    def rule(value: Any, _: Context) -> Iterator[Setting | Refusal]:
        if value and value not in allowed:
            yield Refusal(reason, remedy)

    return rule


def _warmup_steps(value: int | None, context: Context) -> Iterator[Setting | Refusal]:
    # transformers reads a number below 1 as a share of all steps, which is the ratio's field.
    if value is not None:
        yield "warmup_steps", value
    elif context.config.warmup_ratio is None:
        yield "warmup_steps", 0.03


def _warmup_ratio(value: float | None, context: Context) -> Iterator[Setting | Refusal]:
    if value == 1:
        yield Refusal("1 means that the learning rate never falls", "give less than 1")
    if value is not None and not context.config.warmup_steps:
        yield "warmup_steps", value


def _scheduler(value: str | None, context: Context) -> Iterator[Setting | Refusal]:
    if value == "cosine_with_min_lr" or value == "warmup_stable_decay":
        yield Refusal("needs settings that the manifest cannot carry", "use cosine or linear")
    if value == "reduce_lr_on_plateau" and _evaluation(context) == "no":
        yield Refusal("needs a validation set and evaluation_strategy")
    yield "lr_scheduler_type", value or "cosine"


def _evaluation(context: Context) -> str:
    """When to evaluate: as told; else after each epoch where there is a validation set."""
    told = context.config.evaluation_strategy
    return told or ("epoch" if context.dataset.validation_path else "no")


def _evaluation_strategy(value: str | None, context: Context) -> Iterator[Setting | Refusal]:
    if value not in (None, "no") and not context.dataset.validation_path:
        yield Refusal("there is no validation set", "set training.dataset.validation_path")
    yield "eval_strategy", _evaluation(context)


def _eval_steps(value: int | None, context: Context) -> Iterator[Setting | Refusal]:
    if _evaluation(context) == "steps":
        yield "eval_steps", value or 100
    elif value is not None:
        yield Refusal("has no effect without evaluation_strategy steps")


def _save_strategy(value: str | None, context: Context) -> Iterator[Setting | Refusal]:
    if value == "best" and _evaluation(context) == "no":
        yield Refusal("the best model takes an evaluation", "set evaluation_strategy")
    yield "save_strategy", value or "epoch"


def _save_steps(value: int | None, context: Context) -> Iterator[Setting | Refusal]:
    if context.config.save_strategy == "steps":
        yield "save_steps", value or 100
    elif value is not None:
        yield Refusal("has no effect without save_strategy steps")


def _best_at_end(value: bool | None, context: Context) -> Iterator[Setting | Refusal]:
    if value:
        saving, evaluating = context.config.save_strategy or "epoch", _evaluation(context)
        if saving != "best" and saving != evaluating:
            yield Refusal(
                f"checkpoints come by {saving}, evaluations by {evaluating}",
                "use the same strategy for both, or save_strategy best",
            )
        save_steps = context.config.save_steps or 100
        eval_steps = context.config.eval_steps or 100
        if saving == "steps" and save_steps % eval_steps:
            yield Refusal("save_steps is no multiple of eval_steps")
    yield "load_best_model_at_end", bool(value)


def _best_metric(value: str | None, _: Context) -> Iterator[Setting | Refusal]:
    if value not in (None, "loss", EVAL_METRIC):
        yield Refusal(f"{value} is not measured while training", "use eval_loss")
    yield "metric_for_best_model", EVAL_METRIC
    yield "greater_is_better", False


def _bf16(value: bool | None, context: Context) -> Iterator[Setting | Refusal]:
    # bfloat16 unless told otherwise or slower: a CPU without arithmetic for it has to emulate it.
    fast = context.device != "cpu" or computes_16_bits()
    yield "bf16", fast and not context.config.fp16 if value is None else value


def _fp16(value: bool | None, context: Context) -> Iterator[Setting | Refusal]:
    if value and context.device == "cpu":
        yield Refusal("float16 is not trained on a CPU", "use bf16, or --device cuda")
    yield "fp16", bool(value)


def _tf32(value: bool | None, context: Context) -> Iterator[Setting | Refusal]:
    if value is not None and context.device == "cuda":
        yield "tf32", value


def _pin_memory(value: bool | None, context: Context) -> Iterator[Setting | Refusal]:
    yield (
        "dataloader_pin_memory",
        context.device == "cuda" if value is None else value and (context.device == "cuda"),
    )


def _workers(value: int | None, _: Context) -> Iterator[Setting | Refusal]:
    yield "dataloader_num_workers", value or 0


def _needs_workers(setting: str) -> Rule:
    def rule(value: Any, context: Context) -> Iterator[Setting | Refusal]:
        if value:
            if not context.config.dataloader_num_workers:
                yield Refusal("needs dataloader_num_workers above 0")
            yield setting, value

    return rule


def _optimizer(value: str | None, context: Context) -> Iterator[Setting | Refusal]:
    name = value or "adamw_torch"
    if name not in PLAIN_OPTIMIZERS:
        if not ("8bit" in name or "paged" in name):
            yield Refusal(
                f"{name} is not one of the optimizers that come with PyTorch",
                f"use {', '.join(sorted(PLAIN_OPTIMIZERS))}",
            )
        elif context.device == "cpu" or importlib.util.find_spec("bitsandbytes") is None:
            yield Refusal(f"{name} needs a GPU and bitsandbytes", "use adamw_torch")
    yield "optim", name


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "method": _only("sft", reason="only sft is supported"),
        # The adapter entry of the base model states these; the manifest model refuses a
        # training.config that differs from it.
        "adapter_type": _elsewhere,
        "rank": _elsewhere,
        "alpha": _elsewhere,
        "target_modules": _elsewhere,
        "feedforward_modules": _elsewhere,
        "epochs": _as("num_train_epochs", 1.0),
        "learning_rate": _as("learning_rate", 2e-4),
        "batch_size": _as("per_device_train_batch_size", 8),
        "gradient_accumulation_steps": _as("gradient_accumulation_steps", 1),
        "warmup_steps": _warmup_steps,
        "warmup_ratio": _warmup_ratio,
        "lr_scheduler": _scheduler,
        "save_strategy": _save_strategy,
        "save_steps": _save_steps,
        "evaluation_strategy": _evaluation_strategy,
        "eval_steps": _eval_steps,
        "load_best_model_at_end": _best_at_end,
        "metric_for_best_model": _best_metric,
        "save_total_limit": _as("save_total_limit", 2),
        "logging_steps": _as("logging_steps", 10),
        "max_seq_length": _elsewhere,
        "packing": _elsewhere,
        "bf16": _bf16,
        "fp16": _fp16,
        "tf32": _tf32,
        "use_sdpa": _elsewhere,
        "use_unsloth": _only(reason="unsloth is not supported", remedy="set it to false"),
        "gradient_checkpointing": _as("gradient_checkpointing", False),
        "dataloader_num_workers": _workers,
        "dataloader_pin_memory": _pin_memory,
        "dataloader_prefetch_factor": _needs_workers("dataloader_prefetch_factor"),
        "dataloader_persistent_workers": _needs_workers("dataloader_persistent_workers"),
        "optim": _optimizer,
        "seed": _as("seed", 42),
    }
)
"""How each field of ``training.config`` is honoured (SPEC §3)."""

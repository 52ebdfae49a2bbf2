"""Runs a training plan with TRL and PEFT and writes the adapter (SPEC §12).

Adapters are kept in float32 and computed with under bfloat16 autocast: bfloat16 weights would
lose the small updates, and are no faster.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoTokenizer
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.utils import logging as transformers_logging
from trl import SFTConfig

from hive_expert.decoding.templates import expert_template
from hive_expert.errors import Problem, UsageError
from hive_expert.training.adapted_model import load_adapted, prompt_tuning_config, soft_rows
from hive_expert.training.adapter_files import write_adapter, write_soft_prompt
from hive_expert.training.checkpoints import claim_checkpoints, run_identity
from hive_expert.training.config import TrainingPlan
from hive_expert.training.datasets import (
    Example,
    TokenRow,
    read_examples,
    require_unseen,
    tokenize_examples,
)
from hive_expert.training.prefix_sharing import PrefixSharingCollator, row_to_features
from hive_expert.training.report import TrainingReport, versions, write_report
from hive_expert.training.rules import Device
from hive_expert.training.sharing_trainer import PrefixSharingTrainer, Progress, RunCallback

CHECKPOINTS = "checkpoints"

CPU_VALIDATION_ROWS = 256
"""On a CPU an evaluation of more rows would take longer than the training between two."""


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Where a run reads and writes. ``data`` maps ``train``, ``validation`` to files.

    ``train_format`` is that of the training file where it is not the manifest's.
    ``held_out`` has rows that must not be among those of training.
    ``soft_prompt`` is where a soft prompt goes; by default into ``output``, or beside the adapter
    that is there into ``output/soft_prompt``.
    """

    base: Path
    data: Mapping[str, Path]
    output: Path
    soft_prompt: Path | None = None
    held_out: Path | None = None
    train_format: str | None = None

    @property
    def checkpoints(self) -> Path:
        return self.output / CHECKPOINTS


def choose_device(wanted: str) -> Device:
    """``cpu`` or ``cuda``; ``auto`` takes a GPU where there is one. Raises UsageError."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise UsageError(Problem("--device", "no CUDA device is here", "use --device cpu"))
    return "cuda" if available and wanted != "cpu" else "cpu"


def run_training(
    plan: TrainingPlan,
    files: RunFiles,
    progress: Progress,
    *,
    resume: bool = False,
    max_steps: int | None = None,
) -> TrainingReport:
    """Train, write adapter and report into ``files.output``, return the report.

    Raises DatasetError for bad rows and TrainingError when the run cannot go on.
    """
    progress.stage("reading data")
    tokenizer = AutoTokenizer.from_pretrained(files.base, local_files_only=True)
    formats = {"train": files.train_format}
    examples = {split: _read(plan, path, formats.get(split)) for split, path in files.data.items()}
    if files.held_out is not None:
        require_unseen(_read(plan, files.held_out), examples["train"])
    rows = {split: _tokenized(plan, read, tokenizer) for split, read in examples.items()}
    train_rows, validation_rows = rows["train"], _validation_subset(rows.get("validation"), plan)
    identity = run_identity(plan, files.data, max_steps)
    checkpoint = claim_checkpoints(files.checkpoints, identity, resume=resume)

    progress.stage("loading the base model")
    transformers_logging.disable_progress_bar()  # the caller shows its own
    model = load_adapted(plan, files.base, tokenizer)
    trainer = _make_trainer(
        plan, files, model, tokenizer, train_rows, validation_rows, progress, max_steps
    )
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=checkpoint)
    duration = time.monotonic() - started
    _write_weights(plan, files, trainer.model)

    report = TrainingReport(
        expert=plan.expert,
        version=plan.version,
        base=plan.base,
        plan=plan.record(),
        max_steps=max_steps,
        data={
            split: {
                "file": files.data[split].name,
                "sha256": identity["data"][split],
                "rows": len(rows[split]),
            }
            for split in files.data
        },
        validation_rows_used=len(validation_rows),
        steps=trainer.state.global_step,
        epochs=trainer.state.epoch or 0.0,
        resumed_from=Path(checkpoint).name if checkpoint else None,
        duration_seconds=round(duration, 1),
        tokens=trainer.tokens_trained,
        tokens_computed=trainer.tokens_computed,
        tokens_per_second=round(trainer.tokens_trained / duration, 1) if duration else 0.0,
        loss=_curve(trainer.state.log_history, "loss"),
        eval_loss=_curve(trainer.state.log_history, "eval_loss"),
        versions=versions(),
    )
    write_report(report, files.output)
    return report


def _write_weights(plan: TrainingPlan, files: RunFiles, model: PeftModel) -> None:
    """The adapter, the soft prompt, or both; each in a place of its own."""
    files.output.mkdir(parents=True, exist_ok=True)
    if plan.adapter is not None:
        write_adapter(model, plan.base, files.output)
    rows = soft_rows(model)
    if rows is not None:
        assert plan.soft_prompt is not None
        config = prompt_tuning_config(plan.soft_prompt)
        beside = files.output / "soft_prompt" if plan.adapter else files.output
        path = files.soft_prompt or beside
        write_soft_prompt(rows, model.get_base_model().config, plan.base, config, path)


def _read(plan: TrainingPlan, path: Path, format_: str | None = None) -> list[Example]:
    return read_examples(path, format_ or plan.data.format, plan.data.mapping)


def _tokenized(plan: TrainingPlan, examples: Sequence[Example], tokenizer: Any) -> list[TokenRow]:
    template = expert_template(plan.prompt_template, plan.base)
    return tokenize_examples(examples, tokenizer, max_length=plan.max_seq_length, template=template)


def _validation_subset(rows: list[TokenRow] | None, plan: TrainingPlan) -> list[TokenRow]:
    """Rows to evaluate on, grouped so that they share; on a CPU a seeded sample of them."""
    if not rows or plan.sft_arguments["eval_strategy"] == "no":
        return []
    if plan.device == "cpu" and len(rows) > CPU_VALIDATION_ROWS:
        rng = random.Random(0)  # noqa: S311 - a fixed sample, so that runs compare
        rows = rng.sample(rows, CPU_VALIDATION_ROWS)
    return sorted(rows, key=lambda row: row.group)


def _make_trainer(
    plan: TrainingPlan,
    files: RunFiles,
    model: Any,
    tokenizer: Any,
    train_rows: Sequence[TokenRow],
    validation_rows: Sequence[TokenRow],
    progress: Progress,
    max_steps: int | None,
) -> PrefixSharingTrainer:
    arguments = SFTConfig(
        output_dir=str(files.checkpoints),
        max_steps=max_steps or -1,
        per_device_eval_batch_size=plan.sft_arguments["per_device_train_batch_size"],
        use_cpu=plan.device == "cpu",
        data_seed=plan.sft_arguments["seed"],
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        logging_nan_inf_filter=False,
        **plan.sft_arguments,
    )
    callback = RunCallback(progress, save=plan.sft_arguments["save_strategy"] != "no")
    trainer = PrefixSharingTrainer(
        model=model,
        args=arguments,
        train_dataset=_as_dataset(train_rows),
        eval_dataset=_as_dataset(validation_rows) if validation_rows else None,
        processing_class=tokenizer,
        data_collator=PrefixSharingCollator(
            tokenizer.pad_token_id, share=plan.packing, additive=plan.attention == "eager"
        ),
        callbacks=[callback],
        groups=[row.group for row in train_rows],
        share=plan.packing,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer


def _as_dataset(rows: Sequence[TokenRow]) -> Dataset:
    return Dataset.from_list([row_to_features(row) for row in rows])


def _curve(history: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    return [(entry["step"], entry[key]) for entry in history if key in entry]

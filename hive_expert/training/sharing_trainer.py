"""TRL's trainer over batches that share prefixes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTTrainer

from hive_expert.errors import Problem, TrainingError
from hive_expert.training.adapted_model import soft_rows
from hive_expert.training.adapter_files import load_soft_rows, save_soft_rows
from hive_expert.training.prefix_sharing import IGNORED, GroupedSampler, after_soft_prompt

CHECKPOINT_MINUTES = 10.0
"""A checkpoint at least so often, beside those that the manifest asks for."""


class Progress(Protocol):
    """Hears how far the run is."""

    def stage(self, text: str) -> None: ...

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None: ...


class PrefixSharingTrainer(SFTTrainer):
    """TRL's trainer with rows grouped by prefix and the head computed only where it matters.

    TRL's own loss projects every position outside of CUDA; here the vocabulary, which costs as
    much as a quarter of a small model, is reached by answer positions alone.
    """

    def __init__(self, *args: Any, groups: Sequence[int], share: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._groups = groups
        self._share = share
        self.tokens_trained = 0
        self.tokens_computed = 0

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> GroupedSampler:
        together = {} if self._share else {"together": 1}
        return GroupedSampler(self._groups, seed=self.args.seed, **together)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Mean negative log-likelihood of the answer tokens, over the whole optimizer step."""
        assert not return_outputs  # no metric here asks for logits
        adapted = self.accelerator.unwrap_model(model)
        base, rows = adapted.get_base_model(), soft_rows(adapted)
        with self.accelerator.autocast():
            hidden = self._hidden_states(base, rows, inputs)
            targets = inputs["labels"][:, 1:]
            answers = targets != IGNORED
            logits = base.get_output_embeddings()(hidden[:, :-1][answers])
            total = F.cross_entropy(logits.float(), targets[answers], reduction="sum")
        loss = total / (answers.sum() if num_items_in_batch is None else num_items_in_batch)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                Problem(
                    f"step {self.state.global_step + 1}",
                    f"the loss is {loss.item()}",
                    "lower training.config.learning_rate, or train in bf16 or fp32, and start over "
                    "in another --output",
                )
            )
        mode = "train" if self.model.training else "eval"
        correct = (logits.detach().argmax(-1) == targets[answers]).float().mean()
        self._metrics[mode]["mean_token_accuracy"].append(correct.item())
        if mode == "train":
            self.tokens_computed += inputs["input_ids"].numel()
            self.tokens_trained += int(inputs["row_tokens"])
        return loss

    def _hidden_states(
        self,
        base: Any,
        rows: torch.nn.Parameter | None,
        inputs: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Of the tokens, (sequences, tokens, hidden); the soft prompt stands before each row."""
        if rows is None:
            return base.base_model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                position_ids=inputs["position_ids"],
                use_cache=False,
            ).last_hidden_state
        embedded = base.get_input_embeddings()(inputs["input_ids"])
        before = rows.to(embedded.dtype).expand(len(embedded), -1, -1)
        positions, mask = after_soft_prompt(
            inputs["position_ids"], inputs["attention_mask"], len(rows)
        )
        hidden = base.base_model(
            inputs_embeds=torch.cat([before, embedded], dim=1),
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
        return hidden[:, len(rows) :]

    def _rows_beside_adapter(self) -> torch.nn.Parameter | None:
        """The soft prompt that PEFT neither saves nor loads with its model."""
        model = self.accelerator.unwrap_model(self.model)
        return None if hasattr(model, "prompt_encoder") else soft_rows(model)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        if (rows := self._rows_beside_adapter()) is not None:
            save_soft_rows(rows, Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if (rows := self._rows_beside_adapter()) is not None:
            load_soft_rows(rows, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if (rows := self._rows_beside_adapter()) is not None:
            load_soft_rows(rows, Path(self.state.best_model_checkpoint))

    def create_model_card(self, *_args: Any, **_kwargs: Any) -> None:
        """No card beside checkpoints: the expert's README is written by its author."""


class RunCallback(TrainerCallback):
    """Tells the progress and asks for a checkpoint when the last one is too old."""

    def __init__(self, progress: Progress, *, save: bool) -> None:
        self.progress = progress
        self.save = save
        self.saved_at = time.monotonic()
        self.metrics: dict[str, float] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.save and time.monotonic() - self.saved_at > CHECKPOINT_MINUTES * 60:
            control.should_save = True
        self.progress.step(state.global_step, state.max_steps, self.metrics)
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.saved_at = time.monotonic()
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> Any:
        self.metrics |= {k: v for k, v in (logs or {}).items() if isinstance(v, float)}
        self.progress.step(state.global_step, state.max_steps, self.metrics)
        return control

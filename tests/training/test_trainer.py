from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hive_expert.errors import DatasetError, TrainingError
from hive_expert.manifest.parse import manifest_from
from hive_expert.training import sharing_trainer
from hive_expert.training.config import TrainingPlan, plan_training
from hive_expert.training.report import TrainingReport, trained_steps
from hive_expert.training.trainer import RunFiles, run_training
from tests.training.conftest import SEVEN, manifest_document

FAST = {
    "batch_size": 4,
    "learning_rate": 0.02,
    "logging_steps": 1,
    "epochs": 3,
    "bf16": False,
    "save_strategy": "steps",
    "save_steps": 4,
}


class Recorder:
    """Keeps what a progress display is told, and can stop the run as a kill would."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stages: list[str] = []
        self.steps: list[int] = []
        self.stop_at = stop_at

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.steps.append(step)
        if step == self.stop_at:
            raise KeyboardInterrupt


def rows(count: int) -> list[dict[str, str]]:
    """A task a tiny model can learn: name the letter that the question names."""
    return [
        {
            "input": f"Alphabet {number % 3}",
            "instruction": f"say {'abcd'[number % 4]}",
            "response": "abcd"[number % 4] * 3,
        }
        for number in range(count)
    ]


@pytest.fixture
def setting(
    tmp_path: Path, base_directory: Path, write_rows: Callable[..., Path]
) -> Callable[..., tuple[TrainingPlan, RunFiles]]:
    def make(output: str = "weights", **config: Any) -> tuple[TrainingPlan, RunFiles]:
        settings = {key: value for key, value in (FAST | config).items() if value is not None}
        plan = plan_training(manifest_from(manifest_document(**settings)), device="cpu")
        data = {
            "train": write_rows(rows(24)),
            "validation": write_rows(rows(6), "validation.jsonl"),
        }
        return plan, RunFiles(base_directory, data, tmp_path / output)

    return make


Setting = Callable[..., tuple[TrainingPlan, RunFiles]]


def train(setting: tuple[TrainingPlan, RunFiles], **options: Any) -> TrainingReport:
    return run_training(*setting, Recorder(), **options)


def test_loss_falls_and_everything_is_written(setting: Setting) -> None:
    plan, files = setting()
    report = train((plan, files))
    assert report.steps == 18
    assert report.loss[-1][1] < report.loss[0][1] / 2
    assert report.eval_loss[-1][1] < report.eval_loss[0][1]
    assert report.data["train"]["rows"] == 24
    assert report.tokens > report.tokens_computed  # prefixes were shared
    assert sorted(p.name for p in files.output.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "checkpoints",
        "training_loss.png",
        "training_report.json",
    ]
    stored = json.loads((files.output / "training_report.json").read_text())
    assert stored["plan"] == plan.record()
    assert trained_steps(files.output) == 18


def test_adapter_is_in_pefts_format(setting: Setting) -> None:
    _, files = setting()
    train(setting(), max_steps=2)
    config = json.loads((files.output / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "acme/tiny"
    assert config["target_modules"] == sorted(SEVEN)
    assert (config["r"], config["lora_alpha"], config["inference_mode"]) == (4, 8, True)
    weights = load_file(files.output / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert len(weights) == 2 * 7 * 2  # layers, modules, A and B
    base = AutoModelForCausalLM.from_pretrained(files.base)
    loaded = PeftModel.from_pretrained(base, files.output).state_dict()
    assert any(tensor.any() for name, tensor in loaded.items() if "lora_B" in name)


def test_sharing_trains_the_same_adapter(setting: Setting) -> None:
    # The order of rows depends on sharing, so each step takes all of them.
    adapters = []
    for packing in (True, False):
        plan, files = setting(f"packing-{packing}", packing=packing, batch_size=24)
        train((plan, files), max_steps=3)
        adapters.append(load_file(files.output / "adapter_model.safetensors"))
    for name, tensor in adapters[0].items():
        assert torch.allclose(tensor.float(), adapters[1][name].float(), atol=2e-3), name


def test_resumed_run_has_the_loss_curve_of_an_unbroken_one(setting: Setting) -> None:
    whole = train(setting("whole"))
    with pytest.raises(KeyboardInterrupt):
        run_training(*setting("broken"), Recorder(stop_at=10))
    resumed = train(setting("broken"), resume=True)
    assert resumed.resumed_from == "checkpoint-8"
    assert [step for step, _ in resumed.loss] == [step for step, _ in whole.loss]
    for (_, a), (_, b) in zip(resumed.loss, whole.loss, strict=True):
        assert a == pytest.approx(b, abs=1e-6)


def test_same_seed_same_adapter_other_seed_another(setting: Setting) -> None:
    def weights(output: str, seed: int) -> bytes:
        plan, files = setting(output, seed=seed)
        train((plan, files), max_steps=2)
        return (files.output / "adapter_model.safetensors").read_bytes()

    assert weights("a", 1) == weights("b", 1)
    assert weights("c", 2) != weights("a2", 1)


def test_gradient_accumulation_is_a_larger_batch(setting: Setting) -> None:
    losses = [
        train(setting(f"g{passes}", batch_size=12 // passes, gradient_accumulation_steps=passes))
        for passes in (1, 3)
    ]
    assert losses[0].loss[0][1] == pytest.approx(losses[1].loss[0][1], rel=1e-4)
    assert losses[0].steps == losses[1].steps


@pytest.mark.parametrize("config", [{"bf16": True}, {"gradient_checkpointing": True}])
def test_ways_of_computing_agree(setting: Setting, config: dict[str, Any]) -> None:
    plain = train(setting("plain"), max_steps=2)
    other = train(setting("other", **config), max_steps=2)
    assert other.loss[1][1] == pytest.approx(plain.loss[1][1], rel=0.03)


def test_best_checkpoint_is_kept(setting: Setting) -> None:
    plan, files = setting(
        load_best_model_at_end=True,
        evaluation_strategy="steps",
        eval_steps=2,
        save_steps=2,
        save_total_limit=20,
        lr_scheduler="constant",
        learning_rate=1.0,  # too high, so that the best is not the last
    )
    report = train((plan, files), max_steps=8)
    best = min(report.eval_loss, key=lambda point: point[1])[0]
    assert best != 8
    kept = load_file(files.output / "adapter_model.safetensors")
    for name, tensor in load_file(
        files.checkpoints / f"checkpoint-{best}" / "adapter_model.safetensors"
    ).items():
        assert torch.equal(kept[name], tensor.to(torch.bfloat16))


def test_diverged_loss_stops_the_run(setting: Setting, tiny_llama: Any, tmp_path: Path) -> None:
    plan, files = setting()
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    broken = tmp_path / "broken-base"
    model.save_pretrained(broken)
    for file in files.base.glob("*token*"):
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "chat_template.jinja").write_text((files.base / "chat_template.jinja").read_text())
    with pytest.raises(TrainingError, match=r"step 1: the loss is nan .*learning_rate"):
        train((plan, replace(files, base=broken)))


def test_bad_rows_stop_before_training(setting: Setting) -> None:
    plan, files = setting()
    files.data["train"].write_text("{}\n")
    with pytest.raises(DatasetError):
        train((plan, files))
    assert not files.checkpoints.exists()


def test_questions_of_the_test_are_not_trained_on(
    setting: Setting, write_rows: Callable[..., Path]
) -> None:
    plan, files = setting()
    unseen = {"input": "Alphabet 9", "instruction": "say a", "response": "aaa"}
    held_out = write_rows([unseen, rows(24)[5]], "test.jsonl")
    with pytest.raises(DatasetError) as caught:
        train((plan, replace(files, held_out=held_out)))
    (problem,) = caught.value.problems
    assert problem.where.endswith("test.jsonl:2")
    assert "is in training too" in problem.what
    assert not files.checkpoints.exists()


def test_checkpoints_of_another_run_are_not_overwritten(setting: Setting) -> None:
    train(setting(), max_steps=4)
    with pytest.raises(TrainingError, match="holds checkpoints of another run"):
        train(setting(), max_steps=4)


def test_resume_without_checkpoint(setting: Setting) -> None:
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        train(setting(), resume=True)


@pytest.mark.parametrize("state", [None, '{"global_step": '])
def test_a_checkpoint_that_was_not_finished_is_not_gone_on_from(
    setting: Setting, state: str | None
) -> None:
    whole = train(setting("whole", save_steps=2), max_steps=6)
    _, files = setting(save_steps=2)
    with pytest.raises(KeyboardInterrupt):
        run_training(*setting(save_steps=2), Recorder(stop_at=5), max_steps=6)
    torn = files.checkpoints / "checkpoint-4" / "trainer_state.json"
    torn.unlink()
    if state is not None:
        torn.write_text(state)
    resumed = train(setting(save_steps=2), max_steps=6, resume=True)
    assert resumed.resumed_from == "checkpoint-2"
    assert resumed.loss == whole.loss


def test_resume_with_another_plan_is_refused(setting: Setting) -> None:
    train(setting(), max_steps=4)
    with pytest.raises(TrainingError, match=r"had another plan\.learning_rate"):
        train(setting(learning_rate=0.5), max_steps=4, resume=True)


def test_resume_with_other_data_is_refused(setting: Setting) -> None:
    plan, files = setting()
    train((plan, files), max_steps=4)
    files.data["train"].write_text(json.dumps(rows(1)[0]) + "\n")
    with pytest.raises(TrainingError, match="had another data"):
        train((plan, files), max_steps=4, resume=True)


def test_old_checkpoint_is_replaced_by_time(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing_trainer, "CHECKPOINT_MINUTES", 0.0)
    plan, files = setting(save_strategy="epoch", save_steps=None, save_total_limit=9)
    train((plan, files), max_steps=3)
    saved = sorted(path.name for path in files.checkpoints.glob("checkpoint-*"))
    assert saved == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]


def test_progress_hears_every_step(setting: Setting) -> None:
    recorder = Recorder()
    run_training(*setting(), recorder, max_steps=3)
    assert recorder.stages == ["reading data", "loading the base model"]
    assert sorted(set(recorder.steps)) == [1, 2, 3]

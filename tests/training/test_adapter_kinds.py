"""Every kind of adapter and soft prompt, alone and together: trained, saved, loaded by PEFT."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from hive_expert.manifest.parse import manifest_from
from hive_expert.package.pack import build_package
from hive_expert.training.adapted_model import initial_rows
from hive_expert.training.config import SoftPromptSettings, TrainingPlan, plan_training
from hive_expert.training.datasets import FieldMapping, read_examples, tokenize_examples
from hive_expert.training.prefix_sharing import after_soft_prompt
from hive_expert.training.report import TrainingReport
from hive_expert.training.trainer import RunFiles, run_training
from tests.training.conftest import SEVEN, manifest_document
from tests.training.test_trainer import FAST, Recorder, rows

LORA = {"type": "lora", "r": 4, "alpha": 8, "target_modules": list(SEVEN), "path": "weights/"}
DORA = LORA | {"type": "dora", "scaling": "dora"}
IA3 = {
    "type": "ia3",
    "target_modules": ["k_proj", "v_proj", "down_proj"],
    "feedforward_modules": ["down_proj"],
    "path": "weights/",
}
SOFT = {"name": "tone", "path": "tone/", "tokens": 6, "init_method": "vocab_sample"}

KINDS: dict[str, tuple[dict[str, Any] | None, bool]] = {
    "dora": (DORA, False),
    "ia3": (IA3, False),
    "soft": (None, True),
    "lora-soft": (LORA, True),
    "dora-soft": (DORA, True),
    "ia3-soft": (IA3, True),
}

Make = Callable[..., tuple[TrainingPlan, RunFiles]]


@pytest.fixture
def make(tmp_path: Path, base_directory: Path, write_rows: Callable[..., Path]) -> Make:
    def plan_and_files(
        kind: str, output: str = "weights", **config: Any
    ) -> tuple[TrainingPlan, RunFiles]:
        adapter, soft = KINDS[kind]
        document = manifest_document(**(FAST | {"learning_rate": 0.05} | config))
        document["base_models"][0]["adapters"] = [adapter] if adapter else []
        if soft:
            document["soft_prompts"] = [SOFT]
        plan = plan_training(manifest_from(document), device="cpu")
        data = {
            "train": write_rows(rows(24)),
            "validation": write_rows(rows(6), "validation.jsonl"),
        }
        files = RunFiles(base_directory, data, tmp_path / output, tmp_path / f"{output}-tone")
        return plan, files

    return plan_and_files


def train(setting: tuple[TrainingPlan, RunFiles], **options: Any) -> TrainingReport:
    return run_training(*setting, Recorder(), **options)


def loss_by_peft(files: RunFiles, adapter: bool, soft: bool) -> float:
    """The validation loss of what was saved, each row alone, with nothing of ours."""
    model: Any = AutoModelForCausalLM.from_pretrained(files.base)
    table = model.get_input_embeddings()
    before = torch.empty(0, 32)
    if soft:
        assert files.soft_prompt is not None
        tuned = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(files.base), files.soft_prompt
        )
        before = tuned.prompt_encoder["default"].embedding.weight.detach()
    if adapter:
        model = PeftModel.from_pretrained(model, files.output)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(files.base)
    examples = read_examples(files.data["validation"], "jsonl", FieldMapping())
    total, count = 0.0, 0
    for row in tokenize_examples(examples, tokenizer, max_length=512):
        ids = torch.tensor([*row.prompt, *row.answer])
        embedded = torch.cat([before, table(ids)])[None]
        with torch.no_grad():
            logits = model(inputs_embeds=embedded).logits[0, len(before) :]
        predicted = logits[len(row.prompt) - 1 : -1].log_softmax(-1)
        total -= predicted.gather(1, torch.tensor(row.answer)[:, None]).sum().item()
        count += len(row.answer)
    return total / count


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_is_what_peft_loads(make: Make, kind: str) -> None:
    adapter, soft = KINDS[kind]
    plan, files = make(kind, learning_rate=0.02)
    report = train((plan, files))
    assert report.final_eval_loss is not None
    assert report.final_eval_loss < report.eval_loss[0][1]
    loss = loss_by_peft(files, adapter is not None, soft)
    assert loss == pytest.approx(report.final_eval_loss, rel=0.02)
    assert (files.output / "adapter_model.safetensors").exists() is (adapter is not None)
    assert files.soft_prompt is not None
    assert files.soft_prompt.exists() is soft
    if soft:
        config = json.loads((files.soft_prompt / "adapter_config.json").read_text())
        assert (config["peft_type"], config["num_virtual_tokens"]) == ("PROMPT_TUNING", 6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_is_packed(make: Make, tmp_path: Path, kind: str) -> None:
    adapter, soft = KINDS[kind]
    plan, files = make(kind)
    expert = tmp_path / "expert"
    tone = expert / "tone" if soft else None
    own = RunFiles(files.base, files.data, expert / "weights" if adapter else expert / "run", tone)
    train((plan, own), max_steps=3)  # in the first, the learning rate is still 0
    document = manifest_document()
    del document["training"]
    document["base_models"][0]["adapters"] = [adapter] if adapter else []
    if soft:
        document["soft_prompts"] = [SOFT]
    (expert / "manifest.json").write_text(json.dumps(document))
    packed = build_package(expert, model=None, output=tmp_path, signer=None)
    with tarfile.open(packed.path) as archive:
        names = set(archive.getnames())
    assert ("adapter/adapter_model.safetensors" in names) is (adapter is not None)
    assert ("soft_prompts/tone.safetensors" in names) is soft


@pytest.mark.parametrize("kind", ["soft", "lora-soft", "ia3-soft"])
def test_soft_prompts_go_on_from_a_checkpoint(make: Make, kind: str) -> None:
    whole = train(make(kind, "whole"))
    with pytest.raises(KeyboardInterrupt):
        run_training(*make(kind, "broken"), Recorder(stop_at=10))
    resumed = train(make(kind, "broken"), resume=True)
    assert resumed.resumed_from == "checkpoint-8"
    for (_, a), (_, b) in zip(resumed.loss, whole.loss, strict=True):
        assert a == pytest.approx(b, abs=1e-6)


def test_the_best_soft_prompt_is_kept(make: Make) -> None:
    options = {"evaluation_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    plan, files = make("lora-soft", load_best_model_at_end=True, save_total_limit=20, **options)
    report = train((plan, files))
    best = min(report.eval_loss, key=lambda point: point[1])
    assert files.soft_prompt is not None
    kept = load_file(files.soft_prompt / "adapter_model.safetensors")["prompt_embeddings"]
    checkpoint = files.checkpoints / f"checkpoint-{best[0]}" / "prompt_embeddings.safetensors"
    assert torch.equal(kept, load_file(checkpoint)["prompt_embeddings"])


def test_vectors_keep_their_precision(make: Make) -> None:
    plan, files = make("dora")
    train((plan, files), max_steps=1)
    weights = load_file(files.output / "adapter_model.safetensors")
    for name, tensor in weights.items():
        wanted = torch.float32 if "magnitude" in name else torch.bfloat16
        assert tensor.dtype is wanted, name


def test_dora_and_soft_prompt_train_in_bfloat16(make: Make) -> None:
    plan, files = make("dora-soft", bf16=True)
    report = train((plan, files), max_steps=6)
    assert report.loss[-1][1] < report.loss[0][1]


def test_a_soft_prompt_can_be_one_file(make: Make, tmp_path: Path) -> None:
    plan, files = make("soft")
    single = RunFiles(files.base, files.data, files.output, tmp_path / "tone.safetensors")
    train((plan, single), max_steps=1)
    assert list(load_file(tmp_path / "tone.safetensors")) == ["prompt_embeddings"]


def test_a_start_from_text_takes_the_rows_of_its_tokens(base_directory: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_directory)
    table = torch.arange(260.0)[:, None].expand(260, 2)
    made = initial_rows(SoftPromptSettings("p", 5, "text", "ab"), table, tokenizer, 1)
    first, second = tokenizer("ab", add_special_tokens=False)["input_ids"]
    assert made[:, 0].tolist() == [first, second, first, second, first]


def test_a_start_from_the_vocabulary_takes_different_rows() -> None:
    table = torch.arange(300.0)[:, None]
    settings = SoftPromptSettings("p", 20, "vocab_sample", "")
    made = initial_rows(settings, table, None, 1)
    assert len(set(made[:, 0].tolist())) == 20
    assert not torch.equal(made, initial_rows(settings, table, None, 2))


def test_a_random_start_is_as_large_as_the_vocabulary() -> None:
    table = torch.randn(1000, 16) * 0.3
    made = initial_rows(SoftPromptSettings("p", 200, "random", ""), table, None, 1)
    assert made.std().item() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("additive", [False, True])
def test_all_rows_see_the_soft_prompt_and_nothing_else_changes(additive: bool) -> None:
    mask = torch.tensor([[True, False], [False, True]])[None, None]
    given = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf) if additive else mask
    positions, wide = after_soft_prompt(torch.tensor([[0, 0]]), given, 2)
    assert positions.tolist() == [[0, 1, 2, 2]]
    seen = wide == 0 if additive else wide
    assert seen[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]


KILLED = """
import os, signal, sys
from pathlib import Path
from hive_expert.manifest.parse import manifest_from
from hive_expert.training.config import plan_training
from hive_expert.training.trainer import RunFiles, run_training
from tests.training.conftest import manifest_document
from tests.training.test_trainer import FAST, Recorder

class Killer(Recorder):
    def step(self, step, total, metrics):
        if step == 10:
            os.kill(os.getpid(), signal.SIGKILL)

base, train, validation, output = map(Path, sys.argv[1:])
plan = plan_training(manifest_from(manifest_document(**FAST)), device="cpu")
run_training(plan, RunFiles(base, {"train": train, "validation": validation}, output), Killer())
"""


def test_a_run_killed_with_signal_9_goes_on_with_the_same_curve(
    tmp_path: Path, base_directory: Path, write_rows: Callable[..., Path]
) -> None:
    plan = plan_training(manifest_from(manifest_document(**FAST)), device="cpu")
    data = {"train": write_rows(rows(24)), "validation": write_rows(rows(6), "validation.jsonl")}
    whole = train((plan, RunFiles(base_directory, data, tmp_path / "whole")))
    output = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, *map(str, (base_directory, *data.values(), output))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, check=False, env=environment, cwd=Path(__file__).parents[2], capture_output=True
    )
    assert ended.returncode == -9, ended.stderr.decode()
    resumed = train((plan, RunFiles(base_directory, data, output)), resume=True)
    assert resumed.resumed_from == "checkpoint-8"
    assert [step for step, _ in resumed.loss] == [step for step, _ in whole.loss]
    for (_, a), (_, b) in zip(resumed.loss, whole.loss, strict=True):
        assert a == pytest.approx(b, abs=1e-6)

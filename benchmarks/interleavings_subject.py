"""What the interleavings are made of: twenty adapters, compositions of them, and broken ones."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from parity_models import ALL, TASK, VOCABULARY, Source, write_model, write_sources
from peft import IA3Config, LoraConfig, PeftConfig, PromptTuningConfig
from safetensors.torch import load_file, save_file

from hive_expert.adapters.engine_format import GAINS_FILE, write_form
from hive_expert.adapters.normal_form import LayerDelta, NormalForm
from hive_expert.adapters.peft_config import WEIGHTS_FILE

MODEL = "llama"
MAX_RANK = 16
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


def lora(rank: int, targets: list[str], **more: object) -> LoraConfig:
    return LoraConfig(r=rank, lora_alpha=6, target_modules=targets, task_type=TASK, **more)


def dora(rank: int, targets: list[str], **more: object) -> LoraConfig:
    return lora(rank, targets, use_dora=True, **more)


def ia3(targets: list[str], inputs: list[str]) -> IA3Config:
    return IA3Config(target_modules=targets, feedforward_modules=inputs, task_type=TASK)


ADAPTERS: dict[str, PeftConfig] = {
    "lora 1": lora(1, ALL),
    "lora 2": lora(2, ALL),
    "lora 4": lora(4, ALL),
    "lora 8": lora(8, ALL),
    "lora 16": lora(16, ["q_proj", "v_proj"]),
    "lora 6, mlp": lora(6, MLP),
    "rslora 4": lora(4, ALL, use_rslora=True),
    "rslora 3, patterns": lora(
        3,
        ["q_proj", "up_proj", "down_proj"],
        use_rslora=True,
        rank_pattern={"up_proj": 2},
        alpha_pattern={"layers.1.self_attn.q_proj": 9},
    ),
    "dora 1, soft prompt": dora(1, ALL),
    "dora 4": dora(4, ALL),
    "dora 8, attention": dora(8, ATTENTION),
    "dora 5, part": dora(5, ["q_proj", "v_proj", "gate_proj"]),
    "dora 3, mlp": dora(3, MLP),
    "dora 4, rslora": dora(4, ALL, use_rslora=True, rank_pattern={"v_proj": 2}),
    "ia3": ia3(["k_proj", "v_proj", "down_proj"], ["down_proj"]),
    "ia3, all": ia3(ALL, ["down_proj", "o_proj"]),
    "ia3, outputs": ia3(ALL, []),
    "ia3, inputs": ia3(["down_proj", "o_proj"], ["down_proj", "o_proj"]),
    "ia3, mlp": ia3(MLP, ["down_proj"]),
}
SOFT_PROMPTS: dict[str, PeftConfig] = {
    "soft prompt": PromptTuningConfig(num_virtual_tokens=5, task_type=TASK),
    "dora 1, soft prompt": PromptTuningConfig(num_virtual_tokens=40, task_type=TASK),
}
COMPOSITIONS: dict[str, dict[str, float]] = {
    "2 lora": {"lora 4": 0.7, "rslora 4": 0.3},
    "3 lora": {"lora 1": 1.0, "lora 2": 0.5, "lora 6, mlp": 2.0},
    "lora + dora": {"lora 8": 1.0, "dora 4": 0.5},
    "2 dora": {"dora 4, rslora": 0.6, "dora 8, attention": 0.6},
    "dora + soft prompt": {"dora 3, mlp": 0.7, "soft prompt": 1.0},
    "lora + ia3": {"rslora 3, patterns": 1.0, "ia3": 0.8},
    "2 ia3": {"ia3": 0.5, "ia3, inputs": 0.7},
    "dora + ia3": {"dora 5, part": 1.2, "ia3, mlp": 0.9},
    "lora + dora + ia3": {"lora 2": 1.0, "dora 5, part": 1.2, "ia3, all": 0.8},
    "dora + ia3 outputs": {"dora 4": 0.9, "ia3, outputs": 0.3},
}


@dataclass(frozen=True)
class Subject:
    """All of it on disk."""

    base: Path
    adapters: Mapping[str, Source]
    broken: Mapping[str, Path]
    """Directories that the engine must refuse, by what is wrong with them."""
    overflowing: Path
    """An adapter of finite weights, with which the model computes what is no number."""
    prompts: list[list[int]]


def build(root: Path, prompts: int) -> Subject:
    """Write the model, the adapters and the broken ones; the same at every call."""
    base = write_model(MODEL, root / "base")
    adapters = write_sources(base, ADAPTERS, SOFT_PROMPTS, root)
    sound = adapters["lora 4"].adapter
    assert sound is not None
    broken = _broken(sound, base, root)
    return Subject(base, adapters, broken, _overflowing(root), _prompts(prompts))


def _prompts(count: int) -> list[list[int]]:
    """Token ids; they begin alike, for the prefix cache to find, and part at different places."""
    rng = random.Random(5)
    trunk = [rng.randrange(3, VOCABULARY) for _ in range(100)]
    return [
        trunk[: rng.choice((8, 33, 64, 70, 96, 100))]
        + [rng.randrange(3, VOCABULARY) for _ in range(rng.randrange(1, 20))]
        for _ in range(count)
    ]


def _broken(sound: Path, base: Path, root: Path) -> dict[str, Path]:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(sound, root / f"broken-{name}"))

    damaged = copy("damaged")
    weights = damaged / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-100])

    wide = copy("wide")
    tensors = load_file(wide / WEIGHTS_FILE)
    for name, tensor in tensors.items():
        # Only in the last layer: the ones before it are in the slot when this one fails.
        if "layers.2.mlp.down_proj.lora_A" in name:
            tensors[name] = torch.ones(tensor.shape[0], tensor.shape[1] + 1)
    save_file(tensors, wide / WEIGHTS_FILE)

    large = write_sources(base, {"": lora(2 * MAX_RANK, ["q_proj"])}, {}, root / "broken-rank")[""]
    assert large.adapter is not None
    return {
        "no folder": root / "nowhere",
        "damaged file": damaged,
        "too wide": wide,
        "rank above the slots'": large.adapter,
        "gain of no layer": _with_gain(root, "model.layers.7.mlp.up_proj.gamma", 160),
        "input gain of a packed layer": _with_gain(root, "model.layers.0.mlp.up_proj.beta", 128),
        "short gain": _with_gain(root, "model.layers.0.mlp.up_proj.gamma", 159),
        "narrow soft prompt": _with_soft_prompt(root, 127),
    }


def _overflowing(root: Path) -> Path:
    directory = root / "overflowing"
    directory.mkdir()
    layer = LayerDelta(torch.full((1, 128), 1e30), torch.full((160, 1), 1e30))
    write_form(NormalForm({"model.layers.0.mlp.up_proj": layer}), directory)
    return directory


def _with_gain(root: Path, name: str, size: int) -> Path:
    """A well written form, beside it a gain that the engine has no place for."""
    directory = root / f"broken-{name}-{size}"
    directory.mkdir()
    layer = LayerDelta(torch.ones(1, 128), torch.ones(160, 1), gamma=torch.full((160,), 2.0))
    write_form(NormalForm({"model.layers.0.mlp.up_proj": layer}), directory)
    save_file({name: torch.full((size,), 2.0)}, directory / GAINS_FILE)
    return directory


def _with_soft_prompt(root: Path, width: int) -> Path:
    directory = root / f"broken-soft-prompt-{width}"
    directory.mkdir()
    layer = LayerDelta(torch.ones(1, 128), torch.ones(160, 1))
    form = NormalForm({"model.layers.0.mlp.up_proj": layer}, soft_prompt=torch.ones(3, width))
    write_form(form, directory)
    return directory

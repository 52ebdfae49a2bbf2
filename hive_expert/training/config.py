"""What a training run will do, worked out from the manifest before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from hive_expert.engine.precision import computes_16_bits
from hive_expert.errors import ManifestError, Problem
from hive_expert.manifest.adapter_model import BaseModelEntry
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.slug import model_slug
from hive_expert.manifest.training_model import Dataset, TrainingConfig
from hive_expert.training.datasets import FieldMapping
from hive_expert.training.rules import RULES, Context, Device, Refusal, Setting

WHERE = "training.config"


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """The adapter to train; ``target_modules`` are names of linear layers.

    Law: rank and alpha are 0 for IA3, which has none; only IA3 has feedforward modules.
    """

    type: Literal["lora", "dora", "ia3"]
    path: str
    target_modules: tuple[str, ...]
    feedforward_modules: tuple[str, ...] = ()
    r: int = 0
    alpha: float = 0
    dropout: float = 0
    rank_stabilized: bool = False


@dataclass(frozen=True, slots=True)
class SoftPromptSettings:
    """The soft prompt to train. Law: ``init_text`` is not empty where the method is ``text``."""

    path: str
    tokens: int
    init_method: Literal["text", "random", "vocab_sample"]
    init_text: str


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where the rows are; paths are relative to the manifest's directory, as written there.

    No question of ``test`` may be one of ``train``.
    """

    train: str
    validation: str | None
    test: str | None
    format: str
    mapping: FieldMapping


Quantize = Literal["int4", "int8"]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Everything a run depends on, besides the base model's and the data's bytes.

    Law: there is an adapter, a soft prompt, or both, which are then trained together.
    ``sft`` are arguments of ``SFTConfig``; ``notes`` says in words what a field means on this
    device where that is not evident; ``several_bases``, that other base models of the manifest
    have a soft prompt beside this one's. Law: equal manifests and devices give equal plans.
    """

    expert: str
    version: str
    base: str
    base_sha256: str
    prompt_template: str | None
    adapter: AdapterSettings | None
    soft_prompt: SoftPromptSettings | None
    data: DataSettings
    max_seq_length: int
    packing: bool
    attention: Literal["sdpa", "eager"]
    device: Device
    precision: Literal["bf16", "fp16", "fp32"]
    quantize: Quantize | None = None
    """Bits of the frozen base while it trains (QLoRA); the adapter serves on the whole base."""
    sft: tuple[Setting, ...] = ()
    notes: tuple[str, ...] = ()
    several_bases: bool = False

    @property
    def output_path(self) -> str:
        """Where the manifest wants the result: the adapter's path, else the soft prompt's."""
        if self.adapter is not None:
            return self.adapter.path
        assert self.soft_prompt is not None
        path = PurePath(self.soft_prompt.path)
        if self.several_bases:
            return str(path.with_suffix(""))  # what another base model's run leaves stays whole
        return str(path.parent if path.suffix else path)

    @property
    def sft_arguments(self) -> dict[str, Any]:
        """The keyword arguments of ``SFTConfig``."""
        return dict(self.sft)

    def record(self) -> dict[str, Any]:
        """The plan as JSON gives it back, for reports and for comparison with a stored one."""
        told = asdict(self) | {"sft": self.sft_arguments}
        del told["several_bases"]  # the paths have it
        return json.loads(json.dumps(told))


def plan_training(
    manifest: Manifest,
    base: str | None = None,
    *,
    device: Device,
    dataset: Path | None = None,
    quantize: Quantize | None = None,
) -> TrainingPlan:
    """Work out the run for one of the manifest's base models.

    ``base`` is the name of an entry of ``base_models``; None takes the only one. ``dataset`` is
    the training file where the manifest names none. Raises ManifestError naming every field that
    cannot be honoured.
    """
    problems: list[Problem] = []
    entry = _choose_base(manifest, base)
    adapter = _adapter_settings(entry, problems)
    soft_prompt = _soft_prompt_settings(manifest, entry, problems)
    data_set = (manifest.training and manifest.training.dataset) or Dataset()
    if dataset is not None and not data_set.path:
        # The format that is missing as well is then of the files that the manifest does name.
        named = data_set.validation_path or data_set.test_path or dataset.name
        format_ = data_set.format or PurePath(named).suffix.removeprefix(".")
        data_set = data_set.model_copy(update={"path": dataset.name, "format": format_})
    config = (manifest.training and manifest.training.config) or TrainingConfig()
    if entry.quantization not in (None, "none", "bf16", "fp16", "fp32"):
        remedy = f"name the unquantized weights, and train with --quantize {entry.quantization}"
        what = f"{entry.quantization} weights are not served"
        problems.append(Problem(f"base_models[{entry.name}].quantization", what, remedy))
    if entry.rope_scaling is not None:
        problems.append(
            Problem(
                f"base_models[{entry.name}].rope_scaling",
                "training under rope scaling is not supported",
                "train without it; the adapter serves under it",
            )
        )
    if quantize == "int8" and adapter is not None and adapter.type == "dora":
        what = "int8 loses its scales where DoRA looks at the weights (bitsandbytes 0.50)"
        problems.append(Problem("--quantize", what, "--quantize int4"))
    data = _data_settings(data_set, problems)
    settings = _apply_rules(Context(config, data_set, device), problems)
    if problems or data is None:
        raise ManifestError(*problems)
    precision: Literal["bf16", "fp16", "fp32"] = (
        "bf16" if settings["bf16"] else "fp16" if settings["fp16"] else "fp32"
    )
    return TrainingPlan(
        expert=manifest.name,
        version=manifest.version,
        base=entry.name,
        base_sha256=entry.sha256 or "",
        prompt_template=entry.prompt_template,
        adapter=adapter,
        soft_prompt=soft_prompt,
        data=data,
        max_seq_length=config.max_seq_length or 1024,
        packing=config.packing is not False,
        attention="eager" if config.use_sdpa is False else "sdpa",
        device=device,
        precision=precision,
        quantize=quantize,
        sft=tuple(settings.items()),
        notes=tuple(_notes(config, device)),
        several_bases=len(manifest.base_models) > 1,
    )


def _choose_base(manifest: Manifest, base: str | None) -> BaseModelEntry:
    names = [entry.name for entry in manifest.base_models]
    if base is None and len(names) > 1:
        raise ManifestError(
            Problem("base_models", "there are several base models", f"choose: {', '.join(names)}")
        )
    for entry in manifest.base_models:
        if base is None or entry.name == base:
            return entry
    raise ManifestError(
        Problem("base_models", f"{base} is not among them", f"choose: {', '.join(names)}")
    )


def _adapter_settings(entry: BaseModelEntry, problems: list[Problem]) -> AdapterSettings | None:
    if len(entry.adapters) > 1:
        where = f"base_models[{entry.name}].adapters"
        what = f"{len(entry.adapters)} adapters; a run trains one"
        problems.append(Problem(where, what, "keep one"))
    if len(entry.adapters) != 1:
        return None
    (adapter,) = entry.adapters
    return AdapterSettings(
        type=adapter.type,
        path=adapter.path,
        target_modules=tuple(sorted(adapter.target_modules)),
        feedforward_modules=tuple(sorted(adapter.feedforward_modules)),
        r=adapter.r or 0,
        alpha=adapter.alpha or 0,
        dropout=adapter.dropout or 0,
        rank_stabilized=adapter.scaling == "rslora",
    )


def _soft_prompt_settings(
    manifest: Manifest, entry: BaseModelEntry, problems: list[Problem]
) -> SoftPromptSettings | None:
    """The one that is applied to requests; others are recorded alternatives, not trained.

    With several base models each has its own file in the folder, as packages look for it.
    """
    prompt = manifest.applied_soft_prompt
    if prompt is None:
        return None
    path = prompt.path
    if len(manifest.base_models) > 1:
        if PurePath(path).suffix:
            what = "is one file, and there are several base models"
            remedy = "name a folder: each base model gets a file of its own there"
            problems.append(Problem(f"soft_prompts[{prompt.name}].path", what, remedy))
        path = str(PurePath(path) / f"{model_slug(entry.name)}.safetensors")
    return SoftPromptSettings(
        path, prompt.tokens, prompt.init_method or "vocab_sample", prompt.init_text or ""
    )


def _data_settings(dataset: Dataset, problems: list[Problem]) -> DataSettings | None:
    before = len(problems)
    if dataset.type not in (None, "single"):
        problems.append(
            Problem(
                "training.dataset.type",
                f"{dataset.type} is not supported",
                "write the rows into one file",
            )
        )
    if dataset.streaming:
        problems.append(
            Problem("training.dataset.streaming", "rows are checked up front", "set it to false")
        )
    if dataset.augmentation:
        problems.append(
            Problem("training.dataset.augmentation", "is not supported", "augment the file itself")
        )
    if not dataset.path:
        remedy = "name the training file, or give --dataset"
        problems.append(Problem("training.dataset.path", "is missing", remedy))
    if len(problems) > before or dataset.path is None:
        return None
    format_ = dataset.format or PurePath(dataset.path).suffix.removeprefix(".")
    return DataSettings(
        dataset.path, dataset.validation_path, dataset.test_path, format_, mapping_of(dataset)
    )


def mapping_of(dataset: Dataset) -> FieldMapping:
    """Which column of the rows is what."""
    given = dataset.field_mapping
    if given is None:
        return FieldMapping()
    return FieldMapping(
        instruction=given.instruction or "instruction",
        input=given.input,
        response=given.response or "response",
    )


def _apply_rules(context: Context, problems: list[Problem]) -> dict[str, object]:
    settings: dict[str, object] = {}
    for name in type(context.config).model_fields:
        for outcome in RULES[name](getattr(context.config, name), context):
            if isinstance(outcome, Refusal):
                problems.append(Problem(f"{WHERE}.{name}", outcome.reason, outcome.remedy))
            else:
                settings.update([outcome])
    return settings


def _notes(config: TrainingConfig, device: Device) -> Iterator[str]:
    if device == "cpu":
        for name in ("tf32", "dataloader_pin_memory"):
            if getattr(config, name):
                yield f"{name} has no effect on a CPU"
        if config.bf16 and not computes_16_bits():
            yield "bf16: this processor has to emulate it; left out, float32 trains faster here"

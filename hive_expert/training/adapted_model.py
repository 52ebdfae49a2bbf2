"""The base model with what is to be trained on it: an adapter, a soft prompt, or both."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftModel,
    PromptTuningConfig,
    PromptTuningInit,
    TaskType,
    get_peft_model,
    prepare_model_for_kbit_training,
)
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from hive_expert.errors import Problem, UsageError
from hive_expert.training.config import (
    AdapterSettings,
    Quantize,
    SoftPromptSettings,
    TrainingPlan,
)

_BESIDE = "soft_prompt"
"""Name of the parameter that an adapter's model carries beside the adapter."""


def load_adapted(plan: TrainingPlan, base: Path, tokenizer: Any) -> PeftModel:
    """The base model, frozen, with the plan's adapter and soft prompt to train.

    Adapters and soft prompts are in float32: bfloat16 would lose their small updates. A soft
    prompt without an adapter is PEFT's prompt tuning; beside an adapter, which PEFT does not
    know, it is one more parameter of the adapter's model (:func:`soft_rows`).

    Raises UsageError where the base is to be quantized and bitsandbytes is missing.
    """
    dtype = torch.bfloat16 if plan.precision == "bf16" else torch.float32
    loaded: dict[str, Any] = {"dtype": dtype, "attn_implementation": plan.attention}
    if plan.quantize is not None:
        # Placed at once: quantized weights do not move.
        loaded |= {
            "quantization_config": quantized(plan.quantize, dtype),
            "device_map": plan.device,
        }
    model = AutoModelForCausalLM.from_pretrained(base, local_files_only=True, **loaded)
    if plan.quantize is not None:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if plan.sft_arguments["gradient_checkpointing"]:
        model.enable_input_require_grads()
    seed = plan.sft_arguments["seed"]
    torch.manual_seed(seed)
    table = model.get_input_embeddings().weight.detach()
    if plan.adapter is None:
        assert plan.soft_prompt is not None  # a law of the plan: one of the two is there
        model = get_peft_model(model, prompt_tuning_config(plan.soft_prompt))
        with torch.no_grad():
            soft_rows(model).copy_(initial_rows(plan.soft_prompt, table, tokenizer, seed))  # type: ignore[union-attr]  # made just now
        model.prompt_encoder.float()
        return model
    model = get_peft_model(model, adapter_config(plan.adapter))
    if plan.precision != "fp32":
        # PEFT would cast the input to the adapter's float32, and autocast back: two copies of
        # the activations per layer for nothing.
        for module in model.modules():
            if isinstance(module, LoraLayer):
                module.cast_input_dtype_enabled = False
    if plan.soft_prompt is not None:
        rows = initial_rows(plan.soft_prompt, table, tokenizer, seed)
        model.register_parameter(_BESIDE, torch.nn.Parameter(rows))
    return model


def quantized(bits: Quantize, dtype: torch.dtype) -> BitsAndBytesConfig:
    """How bitsandbytes holds the base: QLoRA's four bits (NF4, doubly quantized, Dettmers et al.
    2023), or LLM.int8().

    Raises UsageError where bitsandbytes is missing.
    """
    if find_spec("bitsandbytes") is None:
        remedy = "pip install 'hive-expert[qlora]', or train without it"
        raise UsageError(Problem("--quantize", "bitsandbytes is not installed", remedy))
    if bits == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def adapter_config(settings: AdapterSettings) -> LoraConfig | IA3Config:
    """PEFT's configuration of the adapter."""
    if settings.type == "ia3":
        return IA3Config(
            target_modules=list(settings.target_modules),
            feedforward_modules=list(settings.feedforward_modules),
            task_type=TaskType.CAUSAL_LM,
        )
    return LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules),
        use_rslora=settings.rank_stabilized,
        use_dora=settings.type == "dora",
        bias="none",
        task_type=TaskType.CAUSAL_LM,
    )


def prompt_tuning_config(settings: SoftPromptSettings) -> PromptTuningConfig:
    """PEFT's configuration of the soft prompt; its values are set from outside."""
    return PromptTuningConfig(
        num_virtual_tokens=settings.tokens,
        prompt_tuning_init=PromptTuningInit.RANDOM,
        task_type=TaskType.CAUSAL_LM,
    )


def soft_rows(model: Any) -> torch.nn.Parameter | None:
    """The soft prompt of a model of ours, (tokens, hidden); None where it has none."""
    if _BESIDE in dict(model.named_parameters(recurse=False)):
        return model.get_parameter(_BESIDE)
    encoders = getattr(model, "prompt_encoder", None)
    return encoders["default"].embedding.weight if encoders else None


def initial_rows(
    settings: SoftPromptSettings, table: torch.Tensor, tokenizer: Any, seed: int
) -> torch.Tensor:
    """Float32 rows to start from, (tokens, hidden).

    ``table`` is the base's embedding table. ``text`` takes the rows of the text's tokens, over
    and over until there are enough; ``vocab_sample`` rows drawn without replacement; ``random``
    normal numbers as large as the table's.
    """
    generator = torch.Generator().manual_seed(seed)
    table = table.float()
    if settings.init_method == "text":
        ids = tokenizer(settings.init_text, add_special_tokens=False)["input_ids"]
        chosen = torch.tensor([ids[i % len(ids)] for i in range(settings.tokens)])
        return table[chosen].clone()
    if settings.init_method == "vocab_sample":
        order = torch.randperm(len(table), generator=generator)
        return table[order[torch.arange(settings.tokens) % len(table)]].clone()
    noise = torch.randn(settings.tokens, table.shape[1], generator=generator)
    return noise * table.std()

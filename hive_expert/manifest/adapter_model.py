"""The manifest's part about base models, adapters and soft prompts. SPEC section 3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from hive_expert.manifest.record import (
    BY_FORM,
    LONG,
    SHORT,
    Contradiction,
    Count,
    Flag,
    Line,
    Positive,
    Real,
    Record,
    RelativePath,
    Sha256,
    Text,
)

Quantization = Literal["int4", "int8", "fp16", "bf16", "fp32", "none"]
PromptTemplate = Literal["chatml", "alpaca", "llama", "phi", "deepseek", "gemma", "mistral"]
Scaling = Literal["standard", "rslora", "dora", "learned"]
Rank = Annotated[Positive, Field(le=512)]
Alpha = Annotated[Real, Field(gt=0)]
Dropout = Annotated[Real, Field(ge=0, lt=1)]

# Adapting these made training diverge or ties weights the engine shares between requests.
UNSTABLE_TARGETS = frozenset(
    {
        "q_norm",
        "k_norm",
        "norm",
        "input_layernorm",
        "post_attention_layernorm",
        "embed_tokens",
        "lm_head",
    }
)


def _known_kind(kind: Any) -> Any:
    if kind in ("lokr", "adalora"):
        raise PydanticCustomError(
            "unsupported_adapter",
            "{kind} adapters are not supported",
            {"kind": kind, "remedy": "train a lora, dora or ia3 adapter"},
        )
    return kind


def _stable_target(module: Any) -> Any:
    if isinstance(module, str) and module in UNSTABLE_TARGETS:
        raise PydanticCustomError(
            "unstable_target",
            "{module} is not safe to adapt (unstable)",
            {"module": module, "remedy": "choose among the attention and MLP projections"},
        )
    return module


AdapterType = Annotated[Literal["lora", "dora", "ia3"], BeforeValidator(_known_kind)]
TargetModule = Annotated[
    Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    BeforeValidator(_stable_target),
]


class RopeScaling(Record):
    """Rotary position scaling for contexts longer than the base model's own."""

    type: Literal["yarn", "ntk-by-parts", "linear", "dynamic"]
    """The method."""
    factor: Annotated[Real, Field(ge=1)] | None = None
    """How many times longer."""
    max_position_embeddings: Positive | None = None
    """The context length wanted, in tokens."""
    original_max_position_embeddings: Positive | None = None
    """The context length the base model was trained at, in tokens."""
    fine_grained: Flag | None = None
    """Whether each frequency band has its own factor."""


RopeScalingName = Annotated[
    str, Field(strict=True, pattern=r"^(yarn|ntk-by-parts|linear|dynamic)-[1-9][0-9]{0,4}k$")
]


class Adapter(Record):
    """One trained adapter.

    Laws: LoRA and DoRA state `r` and `alpha`, IA3 neither; only IA3 has feedforward modules, and
    they are among its targets; `scaling` is one the kind knows; targets are distinct.
    """

    type: AdapterType
    """The kind: `lora`, `dora` or `ia3`."""
    r: Rank | None = Field(None, validation_alias=AliasChoices("r", "rank"))
    """Rank of the update (`rank` is read too)."""
    alpha: Alpha | None = None
    """Numerator of the update's scale."""
    target_modules: Annotated[tuple[TargetModule, ...], Field(min_length=1)]
    """The linear layers it adapts."""
    feedforward_modules: tuple[TargetModule, ...] = ()
    """IA3 only: targets whose input is scaled rather than their output."""
    scaling: Scaling | None = None
    """`standard` is alpha/r, `rslora` alpha/sqrt(r), `dora` with magnitudes, `learned` for IA3."""
    dropout: Dropout | None = None
    """Dropout while training."""
    path: RelativePath
    """The directory (or safetensors file) that holds it; `adapter/` in a package."""
    size_bytes: Count | None = None
    """Size of the weights; written by `hive-build package`."""
    sha256: Sha256 | None = None
    """Hash of the weights; written by `hive-build package`."""

    def contradictions(self) -> Iterable[Contradiction]:
        if self.type == "ia3":
            for field in ("r", "alpha"):
                if getattr(self, field) is not None:
                    yield Contradiction(field, "an ia3 adapter has none", "leave it out")
            for module in self.feedforward_modules:
                if module not in self.target_modules:
                    yield Contradiction(
                        "feedforward_modules", f"{module} is not among target_modules"
                    )
        else:
            for field in ("r", "alpha"):
                if getattr(self, field) is None:
                    yield Contradiction(field, f"a {self.type} adapter must state it")
            if self.feedforward_modules:
                yield Contradiction("feedforward_modules", "only an ia3 adapter has them")
        if len(set(self.target_modules)) < len(self.target_modules):
            yield Contradiction("target_modules", "a module is listed twice")
        allowed = {
            "lora": ("standard", "rslora"),
            "dora": ("dora", "standard", "rslora"),
            "ia3": ("learned",),
        }[self.type]
        if self.scaling is not None and self.scaling not in allowed:
            yield Contradiction(
                "scaling",
                f"{self.scaling} does not go with {self.type}",
                f"use {' or '.join(allowed)}, or leave it out",
            )


class BaseModelEntry(Record):
    """A base model and the adapters trained for it."""

    name: Line
    """Hub identifier or local path."""
    sha256: Annotated[str, Field(strict=True, pattern=r"^([0-9a-f]{64})?$")] = ""
    """Fingerprint of its weights (`hive model fingerprint`); empty: any weights of that name."""
    quantization: Quantization | None = None
    """How its weights were quantized when the adapter was trained."""
    rope_scaling: (
        Annotated[
            Annotated[RopeScalingName, SHORT] | Annotated[RopeScaling, LONG],
            BY_FORM,
        ]
        | None
    ) = None
    """A name such as `yarn-128k`, or an object."""
    prompt_template: PromptTemplate | None = None
    """The chat template it was trained with; absent: the base model's own."""
    adapters: tuple[Adapter, ...] = ()
    """The adapters."""


class SoftPrompt(Record):
    """Learned vectors that stand before the prompt.

    Law: `init_text` is there exactly when `init_method` is `text`.
    """

    name: Line
    """How the manifest refers to it."""
    path: RelativePath
    """The safetensors file that holds it; or a folder, with `<model slug>.safetensors` for each
    base model, or PEFT's. `soft_prompts/<name>.safetensors` in a package."""
    tokens: Annotated[Positive, Field(le=512)]
    """How many vectors (1-512)."""
    init_method: Literal["text", "random", "vocab_sample"] | None = None
    """What it was initialized from."""
    init_text: Text | None = None
    """The text, for `init_method` `text`."""
    purpose: Text | None = None
    """What it is for."""
    default: Flag | None = None
    """Whether it is the one applied; the first otherwise."""

    def contradictions(self) -> Iterable[Contradiction]:
        if self.init_method == "text" and not self.init_text:
            yield Contradiction("init_text", "init_method text needs it")
        if self.init_method != "text" and self.init_text is not None:
            yield Contradiction("init_text", "goes with init_method text only")

"""`hive-serve`'s options about the base model: precision, context, attention, memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from hive_expert.cli.option_group import option_group
from hive_expert.errors import Problem, UsageError

if TYPE_CHECKING:
    from hive_expert.catalog.catalog import Catalog
    from hive_expert.engine.base_options import ServedBase
    from hive_expert.manifest.model import Manifest


@dataclass(frozen=True, slots=True)
class BaseFlags:
    """What these options say."""

    dtype: str
    rope_scaling: str | None
    attention_kernel: str | None
    max_model_len: int | None
    kv_cache_gib: int
    gpu_memory_share: float | None
    tensor_parallel_size: int
    tool_call_parser: str | None
    reasoning_parser: str | None


_OPTIONS = (
    click.option(
        "--dtype",
        type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
        default="auto",
        show_default=True,
        help="Precision of weights and adapters; auto: what the experts' manifests agree on, "
        "or else the base's own, and float32 on a CPU that computes no 16 bits.",
    ),
    click.option(
        "--rope-scaling",
        metavar="NAME|JSON|none",
        help="A longer context, as yarn-128k or as a manifest's rope_scaling object. Default: "
        "what the experts' manifests agree on; none keeps the base's own.",
    ),
    click.option(
        "--attention-kernel",
        help="flash, flashinfer or triton on a GPU, sdpa on a CPU; default: what the experts' "
        "manifests agree on, or else vLLM's choice.",
    ),
    click.option(
        "--max-model-len", type=click.IntRange(min=16), help="Context length; default: the base's."
    ),
    click.option(
        "--kv-cache-gib",
        default=1,
        show_default=True,
        type=click.IntRange(min=1),
        help="KV cache on the CPU, GiB.",
    ),
    click.option(
        "--gpu-memory-share",
        type=click.FloatRange(0, 1, min_open=True),
        help="Of a GPU's memory, for weights and KV cache together; default: vLLM's 0.92.",
    ),
    click.option(
        "--tensor-parallel-size",
        default=1,
        show_default=True,
        type=click.IntRange(1, 64),
        help="GPUs, or processes on a CPU, that every layer is split over; the base's attention "
        "heads must be divisible by it.",
    ),
    click.option(
        "--tool-call-parser",
        metavar="NAME|none",
        help="vLLM's parser for the base's calls of tools; default: by its chat template (hermes "
        "for ChatML and Qwen, llama3_json, mistral, ...), none where that tells nothing. Without "
        "one, requests with tools are refused.",
    ),
    click.option(
        "--reasoning-parser",
        metavar="NAME|none",
        help="vLLM's parser for the base's thoughts, which stand apart from the answer then; "
        "default: qwen3 for Qwen3, none for others.",
    ),
)


base_model_options = option_group(BaseFlags, "base_flags", _OPTIONS)
"""Gives a command these options; it gets them as `base_flags`."""


def manifests_in(catalog: Catalog) -> list[Manifest]:
    """Of all experts that are served or announced."""
    return [*(e.manifest for e in catalog.versions), *(a.manifest for a in catalog.announced)]


def served_base(flags: BaseFlags, manifests: Iterable[Manifest], directory: Path) -> ServedBase:
    """How the base model in a directory will run, by the flags and else by the manifests.

    Raises:
        UsageError: `--rope-scaling` is neither a name nor the object of a manifest.
        BaseModelError: the base or the engine cannot do what a flag asks for.
    """
    from hive_expert.engine import base_options as base
    from hive_expert.engine.plugin import serves_on
    from hive_expert.engine.precision import unasked_dtype

    config, platform = base.read_config(directory), serves_on()
    own = flags.rope_scaling == "none"
    asked = None if own or flags.rope_scaling is None else _scaling(flags.rope_scaling)
    kernel = flags.attention_kernel
    given = base.BaseOptions(
        flags.dtype,  # type: ignore[arg-type]  # click.Choice lists the same literals
        None if asked is None else base.rope_of(asked, config),
        None if kernel is None else base.attention_backend(kernel, platform),
    )
    unasked = unasked_dtype(platform)
    options = base.choose(given, manifests, config, platform, own_rope=own, unasked=unasked)
    return base.ServedBase(options, config, platform)


def precision_told(served: ServedBase) -> str:
    """What a user is told of the precision, behind the base's name; empty if it is the usual."""
    from hive_expert.engine.precision import computes_16_bits

    dtype = served.options.dtype
    if served.platform != "cpu" or dtype == "auto" or computes_16_bits():
        return ""
    if dtype == "float32":
        return " in float32, the fastest on this processor"
    return f" in {dtype}, which this processor has to emulate (--dtype float32 is faster)"


def _scaling(text: str) -> Any:
    """The object of a manifest, or a name as it is."""
    if not text.startswith("{"):
        return text
    from pydantic import ValidationError

    from hive_expert.manifest.adapter_model import RopeScaling
    from hive_expert.manifest.strict_json import read_json

    document = read_json(text.encode(), "--rope-scaling", error=UsageError)
    try:
        return RopeScaling.model_validate(document)
    except ValidationError as error:
        raise UsageError(
            *(
                Problem(f"--rope-scaling: {'.'.join(map(str, found['loc']))}", found["msg"])
                for found in error.errors()
            )
        ) from error

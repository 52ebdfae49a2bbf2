"""What experts ask of the base model and the engine, and vLLM's words for it. SPEC sections 3, 15.

A server has one base model, so these are decided once, at its start: by its flags, else by what
the manifests say, as far as they agree. An expert that needs something else is not served, and
its reason names the flag.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from hive_expert.errors import BaseModelError, Problem
from hive_expert.manifest.adapter_model import RopeScaling
from hive_expert.manifest.kernels import KERNELS
from hive_expert.manifest.model import Manifest

Dtype: TypeAlias = Literal["auto", "bfloat16", "float16", "float32"]
Platform: TypeAlias = Literal["cpu", "cuda"]

DTYPES: Mapping[str, Dtype] = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
"""A manifest's `quantization` → vLLM's `--dtype`; those that are not here leave the base's own."""

_BACKENDS: Mapping[Platform, Mapping[str, str]] = {
    "cpu": {"sdpa": "CPU_ATTN"},
    "cuda": {"flash": "FLASH_ATTN", "flashinfer": "FLASHINFER", "triton": "TRITON_ATTN"},
}

_ONLY: Mapping[Platform, str] = {"cpu": "CPU_ATTN"}
"""Where vLLM has one backend, which then is the one that runs."""

_NAMED = re.compile(r"(?P<type>[a-z-]+)-(?P<thousands>[1-9][0-9]{0,4})k")
_K = 1024


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions stretched for a longer context.

    Laws: `factor` is above 1; `context` is `original` times `factor`, rounded down.
    """

    method: Literal["yarn", "linear"]
    factor: float
    original: int
    """Tokens from which it stretches: those that the base was trained for."""

    @property
    def context(self) -> int:
        """Tokens that fit."""
        return int(self.original * self.factor)

    def overrides(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the base's configuration that it replaces, as transformers 5 names them."""
        rope = {
            "rope_type": self.method,
            "factor": self.factor,
            "rope_theta": _theta(config),
        }
        if self.method == "linear":
            return {"rope_parameters": rope}
        # vLLM and transformers take the stretched length for granted with YaRN.
        rope["original_max_position_embeddings"] = self.original
        return {"rope_parameters": rope, "max_position_embeddings": self.context}

    def __str__(self) -> str:
        return f"{self.method} from {self.original} to {self.context} tokens"


@dataclass(frozen=True, slots=True)
class BaseOptions:
    """How the base model of one server runs."""

    dtype: Dtype = "auto"
    rope: Rope | None = None
    attention_backend: str | None = None
    """vLLM's name; None: vLLM's choice."""


def read_config(directory: Path) -> dict[str, Any]:
    """The `config.json` of a base model.

    Raises:
        BaseModelError: it cannot be read.
    """
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseModelError(Problem(str(directory / "config.json"), f"{error}")) from error
    return config if isinstance(config, dict) else {}


def rope_of(asked: str | RopeScaling, config: Mapping[str, Any]) -> Rope | None:
    """What a manifest or a flag asks for, worked out for one base model; None: nothing to stretch.

    Args:
        asked: a name such as ``yarn-128k``, or the object.
        config: the base's `config.json`.

    Raises:
        BaseModelError: vLLM cannot do it, or its numbers contradict each other or the base.
    """
    where = "rope_scaling"
    scaling = _from_name(asked) if isinstance(asked, str) else asked
    if scaling.type == "dynamic":
        raise BaseModelError(
            Problem(where, "dynamic scaling depends on each request's length", "use yarn")
        )
    method: Literal["yarn", "linear"] = "linear" if scaling.type == "linear" else "yarn"
    if scaling.fine_grained is not None and scaling.fine_grained is not (method == "yarn"):
        what = f"{scaling.type} has {'no' if method == 'linear' else 'always'} fine-grained factors"
        raise BaseModelError(Problem(f"{where}.fine_grained", what))
    trained = _trained_length(config)
    stated = scaling.original_max_position_embeddings
    original = stated or trained
    wanted = scaling.max_position_embeddings
    factor = scaling.factor if scaling.factor is not None else (wanted or original) / original
    problems = []
    if scaling.factor is None and wanted is None:
        what = "says neither how many times longer nor how long"
        problems.append(Problem(where, what, "add factor or max_position_embeddings"))
    if stated and not _may_start_from(stated, method, config):
        what = f"says {stated}, the base was trained for {trained} tokens"
        field = f"{where}.original_max_position_embeddings"
        problems.append(Problem(field, what, "leave it out"))
    elif factor > 1 and int(original * factor) < trained:
        what = f"{original} times {factor:g} is less than the {trained} tokens the base has anyway"
        problems.append(Problem(where, what, "leave original_max_position_embeddings out"))
    if wanted is not None and int(original * factor) < wanted:
        what = f"{original} times {factor:g} is less than {wanted}"
        problems.append(Problem(f"{where}.max_position_embeddings", what))
    if problems:
        raise BaseModelError(*problems)
    return Rope(method, float(factor), original) if factor > 1 else None


def choose(
    flags: BaseOptions,
    manifests: Iterable[Manifest],
    config: Mapping[str, Any],
    platform: Platform,
    *,
    own_rope: bool = False,
    unasked: Dtype = "auto",
) -> BaseOptions:
    """What a server runs with: its flags, else what all manifests that say something agree on.

    Args:
        own_rope: keep the base's own positions, whatever manifests say.
        unasked: the precision where neither flags nor manifests ask for one.
    """
    dtypes: set[Dtype] = set()
    ropes: set[Rope | None] = set()
    backends: set[str | None] = set()
    for manifest in manifests:
        entry, runtime = manifest.base_models[0], manifest.runtime
        dtype = DTYPES.get(entry.quantization or "none")
        if dtype is not None:
            dtypes.add(dtype)
        if entry.rope_scaling is not None:
            try:
                ropes.add(rope_of(entry.rope_scaling, config))
            except BaseModelError:
                # That expert will be unavailable, with this reason.
                continue
        if runtime is not None and runtime.attention_kernel is not None:
            backend = _backend(runtime.attention_kernel, platform)
            if backend is not None:  # else that expert is unavailable, with this reason
                backends.add(backend)
    agreed_rope = None if own_rope else _agreed(ropes)
    return BaseOptions(
        flags.dtype if flags.dtype != "auto" else _agreed(dtypes) or unasked,
        flags.rope or agreed_rope,
        flags.attention_backend or _agreed(backends),
    )


@dataclass(frozen=True, slots=True)
class ServedBase:
    """The base model as a running server has it."""

    options: BaseOptions
    config: Mapping[str, Any]
    """Its `config.json`."""
    platform: Platform

    def unmet(self, manifest: Manifest) -> tuple[Problem, ...]:
        """What an expert asks of the base model, and does not get here."""
        entry, runtime = manifest.base_models[0], manifest.runtime
        problems: list[Problem] = []
        if entry.rope_scaling is not None:
            problems += self._unmet_rope(entry.rope_scaling)
        if runtime is not None and runtime.attention_kernel is not None:
            problems += self._unmet_kernel(runtime.attention_kernel)
        return tuple(problems)

    def otherwise(self, manifest: Manifest) -> tuple[str, ...]:
        """What an expert was made for and the base does differently, so that its figures may
        not be reached: no reason not to serve it, and one to say so."""
        asked = manifest.base_models[0].quantization
        wanted, runs = DTYPES.get(asked or "none"), self.options.dtype
        if wanted is None or runs == wanted or (runs == "auto" and self._own_dtype() == wanted):
            return ()
        told = self._own_dtype() or "the base's own precision" if runs == "auto" else runs
        return (f"made for {asked}, the base runs in {told}: see --dtype",)

    def _own_dtype(self) -> str | None:
        """What vLLM's "auto" comes to; it runs no base in float32 unless told to."""
        own = self.config.get("dtype") or self.config.get("torch_dtype")
        return own if own in ("bfloat16", "float16") else None

    def _unmet_rope(self, asked: str | RopeScaling) -> Iterator[Problem]:
        try:
            rope = rope_of(asked, self.config)
        except BaseModelError as error:
            yield from error.problems
            return
        has = self.options.rope
        if rope != has:
            plain = "unscaled positions"
            yield Problem(
                "base_models[0].rope_scaling",
                f"needs {rope or plain}, the server has {has or plain}",
                f"start with --rope-scaling {_flag(asked) if rope else 'none'}",
            )

    def _unmet_kernel(self, kernel: str) -> Iterator[Problem]:
        where = "runtime.attention_kernel"
        backend = _backend(kernel, self.platform)
        if backend is None:
            yield Problem(where, f"needs {kernel}, and vLLM has none on this device")
        elif backend not in (self.options.attention_backend, _ONLY.get(self.platform)):
            yield Problem(
                where,
                f"needs {kernel}, the server runs with another",
                f"start with --attention-kernel {kernel}",
            )


def attention_backend(kernel: str, platform: Platform) -> str:
    """vLLM's name of an attention kernel.

    Raises:
        BaseModelError: there is none such on this platform.
    """
    backend = _backend(kernel, platform)
    if backend is None:
        names = ", ".join(n for n, k in KERNELS.items() if k in _BACKENDS[platform])
        raise BaseModelError(
            Problem("attention kernel", f"{kernel}: vLLM has none on {platform}", f"one of {names}")
        )
    return backend


def cache_bytes(config: Mapping[str, Any], element_bytes: int) -> int:
    """Bytes of KV cache that one token takes."""
    heads = int(config.get("num_attention_heads", 1))
    head_dim = config.get("head_dim") or int(config.get("hidden_size", 0)) // heads
    kv_heads = int(config.get("num_key_value_heads") or heads)
    layers = int(config.get("num_hidden_layers", 0))
    return 2 * layers * kv_heads * int(head_dim) * element_bytes


def _from_name(name: str) -> RopeScaling:
    found = _NAMED.fullmatch(name)
    if found is None:
        remedy = "yarn-128k, or the object of a manifest as JSON"
        raise BaseModelError(Problem("rope_scaling", f"{name[:40]!r} is no scaling", remedy))
    length = int(found["thousands"]) * _K
    try:
        return RopeScaling.model_validate(
            {"type": found["type"], "max_position_embeddings": length}
        )
    except ValueError as error:
        raise BaseModelError(
            Problem("rope_scaling", f"{found['type']!r} is no method", "yarn or linear")
        ) from error


def _may_start_from(
    stated: int, method: Literal["yarn", "linear"], config: Mapping[str, Any]
) -> bool:
    """Whether a base can be stretched from so many tokens.

    A `max_position_embeddings` alone may include room for the answer (Qwen3's 40960 of 32768), so
    YaRN may start from less; a base that states its original length means that one.
    """
    trained = _trained_length(config)
    own = _rope_parameters(config).get("original_max_position_embeddings")
    return stated == trained or (method == "yarn" and not own and stated < trained)


def _trained_length(config: Mapping[str, Any]) -> int:
    rope = _rope_parameters(config)
    length = rope.get("original_max_position_embeddings") or config.get("max_position_embeddings")
    if not isinstance(length, int) or length < 1:
        raise BaseModelError(
            Problem("config.json", "the base does not say how long its context is")
        )
    if rope.get("rope_type", "default") not in ("default", "yarn", "linear"):
        raise BaseModelError(
            Problem("rope_scaling", f"the base has {rope['rope_type']} positions of its own")
        )
    return length


def _theta(config: Mapping[str, Any]) -> float:
    theta = _rope_parameters(config).get("rope_theta", config.get("rope_theta", 10_000.0))
    return float(theta)


def _rope_parameters(config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return found if isinstance(found, Mapping) else {}


def _backend(kernel: str, platform: Platform) -> str | None:
    known = KERNELS.get(kernel)
    return None if known is None else _BACKENDS[platform].get(known)


def _agreed(values: set[Any]) -> Any:
    """The one value, or None where there is none or more than one."""
    return next(iter(values)) if len(values) == 1 else None


def _flag(asked: str | RopeScaling) -> str:
    """How a scaling is written on the command line."""
    if isinstance(asked, str):
        return asked
    return f"'{asked.model_dump_json(exclude_none=True)}'"

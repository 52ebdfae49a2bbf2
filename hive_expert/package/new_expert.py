"""Lays out the folder of a new expert: complete, runnable, untrained (SPEC §12)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Literal, get_args

from hive_expert.errors import PackageError, Problem
from hive_expert.manifest import guidance
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import dump_manifest, manifest_from
from hive_expert.package.starter_rows import Task, starter_cases, starter_rows

Kind = Literal["lora", "dora", "ia3"]
KINDS: tuple[Kind, ...] = get_args(Kind)

WEIGHTS = "weights/"
DEFAULT_BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
_FILES = "new_expert_files"
_SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_EMPTY_FOLDERS = ("datasets/raw", "datasets/processed", "weights", "docs")
_SCRIPTS = "scripts/"

_ABOUT: Mapping[Task, Mapping[str, Any]] = {
    "json": {
        "description": "Reads a text and answers with one JSON object under the prompt's schema.",
        "capabilities": ["task:extraction", "format:json", "language:json"],
        "keywords": ["json", "extract", "schema"],
        "decoding": {"temperature": 0.1, "top_p": 0.9, "top_k": 50},
    },
    "sql": {
        "description": "Answers a question about a database schema with one SQL SELECT.",
        "capabilities": ["task:text-to-sql", "format:sql", "language:sql", "database:sqlite"],
        "keywords": ["sql", "query", "table"],
        "decoding": {"temperature": 0.1, "stop_sequences": ["\n\n"]},
    },
    "cypher": {
        "description": "Answers a question about a graph schema with one Cypher query.",
        "capabilities": ["task:text-to-cypher", "format:cypher", "language:cypher"],
        "keywords": ["cypher", "graph", "nodes"],
        "decoding": {"temperature": 0.3},
    },
}


def new_expert(
    directory: Path, name: str, *, task: Task, kind: Kind = "lora", base: str = DEFAULT_BASE
) -> Path:
    """Write the folder ``directory`` for the expert ``name`` and return it.

    Raises PackageError where something is there already, and ManifestError for a name that no
    expert may have.
    """
    manifest = starter_manifest(name, task=task, kind=kind, base=base)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        what = "exists and is not empty"
        raise PackageError(Problem(str(directory), what, "name another folder with --directory"))
    for folder in _EMPTY_FOLDERS:
        (directory / folder).mkdir(parents=True, exist_ok=True)
    rows, held_out = starter_rows(task)
    words = {
        "name": name,
        "task": task,
        "description": _ABOUT[task]["description"],
        "weights": WEIGHTS,
        "base": base,
        "base_short": base.rpartition("/")[2],
        "system": held_out[0].input,
        "question": held_out[0].instruction,
        "answer": held_out[0].response,
    }
    for path, text in _rendered(words).items():
        _write(directory / path, text)
        if path.startswith(_SCRIPTS):
            (directory / path).chmod(0o755)
    _write(directory / "grammar.gbnf", _resource(f"grammars/{task}.gbnf"))
    _write(directory / "LICENSE", _resource("LICENSE"))
    raw = [{k: v for k, v in asdict(row).items() if k != "fixture"} for row in rows]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in raw]
    _write(directory / "datasets/raw/starter.jsonl", "".join(lines))
    cases = json.dumps(starter_cases(task), indent=1, ensure_ascii=False)
    _write(directory / "tests/test_cases.json", cases + "\n")
    (directory / "manifest.json").write_bytes(dump_manifest(manifest))
    return directory


def starter_manifest(name: str, *, task: Task, kind: Kind, base: str) -> Manifest:
    """The manifest, with what the guidance says of the kind. Raises ManifestError."""
    about, adapter = _ABOUT[task], _adapter(kind, task)
    config: dict[str, Any] = {
        "method": "sft",
        "epochs": max(3, guidance.IA3_EPOCHS) if kind == "ia3" else 3,
        "learning_rate": guidance.IA3_LEARNING_RATE if kind == "ia3" else 5e-4,
        "batch_size": 8,
        "warmup_ratio": 0.03,
        "lr_scheduler": "cosine",
        "logging_steps": 5,
        "max_seq_length": 1024,
        "seed": 7,
    }
    dataset: dict[str, Any] = {
        "type": "single",
        "path": "datasets/processed/train.jsonl",
        "validation_path": "datasets/processed/validation.jsonl",
        "test_path": "datasets/processed/test.jsonl",
        "field_mapping": {"instruction": "instruction", "input": "input", "response": "response"},
        "format": "jsonl",
    }
    decoding = about["decoding"] | {
        "max_tokens": 256,
        "use_grammar": True,
        "grammar_file": "grammar.gbnf",
        "grammar_type": "gbnf",
    }
    held_out = starter_rows(task)[1]
    return manifest_from(
        {
            "name": name,
            "version": "0.1.0",
            "schema_version": "2.0",
            "description": about["description"],
            "license": "Apache-2.0",
            "base_models": [{"name": base, "prompt_template": "chatml", "adapters": [adapter]}],
            "constraints": {"load_order": 8},
            "capabilities": about["capabilities"],
            "routing": {
                "keywords": about["keywords"],
                "examples": [row.instruction for row in held_out[:3]],
                "priority": 0.5,
            },
            "training": {"dataset": dataset, "config": config, "decoding": decoding},
            "evaluation": {"test_cases": "tests/test_cases.json"},
        }
    )


def _adapter(kind: Kind, task: Task) -> dict[str, Any]:
    if kind == "ia3":
        return {
            "type": "ia3",
            "target_modules": list(guidance.IA3_TARGETS),
            "feedforward_modules": list(guidance.IA3_FEEDFORWARD),
            "path": WEIGHTS,
        }
    rank = 16 if kind == "lora" or task == "cypher" else 8
    adapter = {"type": kind, "r": rank, "alpha": 2 * rank, "path": WEIGHTS}
    if kind == "dora":
        more = {"target_modules": list(guidance.DORA_TARGETS), "dropout": guidance.DORA_DROPOUT}
        return adapter | more
    return adapter | {"target_modules": list(_SEVEN)}


def _rendered(words: Mapping[str, str]) -> dict[str, str]:
    """The templates' texts by path; `gitignore` gets its dot."""
    made = {}
    for folder in ("", "tests", _SCRIPTS, "docs"):
        for file in sorted((resources.files(__package__) / _FILES / folder).iterdir(), key=str):
            if file.name.endswith(".tmpl"):
                name = file.name.removesuffix(".tmpl")
                path = ".gitignore" if name == "gitignore" else f"{folder.rstrip('/')}/{name}"
                text = file.read_text(encoding="utf-8")
                made[path.lstrip("/")] = Template(text).substitute(words)
    return made


def _resource(name: str) -> str:
    return (resources.files(__package__) / _FILES / name).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")

"""A manifest with every field of the models, and the smallest one."""

from __future__ import annotations

import copy
from typing import Any

_SMALLEST: dict[str, Any] = {
    "name": "expert-sample",
    "version": "0.1.0",
    "schema_version": "2.0",
    "base_models": [
        {
            "name": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "adapters": [
                {
                    "type": "lora",
                    "r": 8,
                    "alpha": 16,
                    "target_modules": ["q_proj"],
                    "path": "weights/",
                }
            ],
        }
    ],
}

_FULL: dict[str, Any] = {
    "_note": "a comment",
    "name": "expert-sample",
    "version": "1.2.3-rc.1+build.5",
    "schema_version": "2.0",
    "description": "Does nothing, in several lines.\nReally.",
    "author": "Ann",
    "homepage": "https://example.org/expert",
    "license": "Apache-2.0",
    "base_models": [
        {
            "name": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "sha256": "a" * 64,
            "quantization": "bf16",
            "rope_scaling": "yarn-128k",
            "prompt_template": "chatml",
            "adapters": [
                {
                    "type": "lora",
                    "r": 8,
                    "alpha": 16,
                    "target_modules": ["q_proj", "down_proj"],
                    "scaling": "rslora",
                    "dropout": 0.05,
                    "path": "weights/",
                    "size_bytes": 1234,
                    "sha256": "b" * 64,
                }
            ],
        },
        {
            "name": "Qwen/Qwen3-0.6B",
            "sha256": "",
            "rope_scaling": {
                "type": "yarn",
                "factor": 4,
                "max_position_embeddings": 131072,
                "original_max_position_embeddings": 32768,
                "fine_grained": False,
            },
            "adapters": [
                {
                    "type": "ia3",
                    "target_modules": ["k_proj", "v_proj", "down_proj"],
                    "feedforward_modules": ["down_proj"],
                    "scaling": "learned",
                    "path": "weights-qwen/",
                }
            ],
        },
    ],
    "soft_prompts": [
        {
            "name": "tone",
            "path": "soft_prompts/tone.safetensors",
            "tokens": 16,
            "init_method": "text",
            "init_text": "Answer in SQL.",
            "purpose": "tone",
            "default": True,
        }
    ],
    "constraints": {
        "max_chain": 3,
        "load_order": 8,
        "incompatible_with": ["expert-other"],
        "requires": ["expert-json"],
    },
    "capabilities": ["task:text-to-sql", "language:en"],
    "limitations": [
        {
            "pattern": "recursive",
            "regex": False,
            "description": "No recursive queries.",
            "example": "all ancestors",
            "workaround": "unroll it",
        }
    ],
    "routing": {
        "keywords": ["sql"],
        "exclude_keywords": ["what is"],
        "examples": ["find all users"],
        "priority": 0.5,
    },
    "training": {
        "dataset": {
            "type": "single",
            "path": "datasets/train.jsonl",
            "validation_path": "datasets/validation.jsonl",
            "test_path": "datasets/test.jsonl",
            "field_mapping": {"instruction": "question", "input": "schema", "response": "query"},
            "format": "jsonl",
            "streaming": False,
            "augmentation": {"paraphrase": 2, "note": None},
        },
        "config": {
            "method": "sft",
            "epochs": 2,
            "learning_rate": 0.0002,
            "batch_size": 8,
            "gradient_accumulation_steps": 2,
            "warmup_ratio": 0.03,
            "lr_scheduler": "cosine",
            "save_strategy": "steps",
            "save_steps": 100,
            "evaluation_strategy": "steps",
            "eval_steps": 100,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_loss",
            "save_total_limit": 2,
            "logging_steps": 10,
            "max_seq_length": 512,
            "packing": True,
            "bf16": True,
            "fp16": False,
            "tf32": False,
            "use_sdpa": True,
            "use_unsloth": False,
            "gradient_checkpointing": False,
            "dataloader_num_workers": 1,
            "dataloader_pin_memory": False,
            "dataloader_prefetch_factor": 2,
            "dataloader_persistent_workers": True,
            "optim": "adamw_torch",
            "seed": 42,
            "_seed": "chosen by dice",
        },
        "decoding": {
            "temperature": 0.1,
            "top_p": 0.9,
            "top_k": 50,
            "min_p": 0,
            "repetition_penalty": 1.05,
            "max_tokens": 256,
            "stop_sequences": [";", "\n\n"],
            "use_grammar": True,
            "grammar_file": "grammar.gbnf",
            "grammar_type": "gbnf_template",
            "grammar_slots": [
                {"rule": "table", "extract": "sql_tables", "max_items": 64},
                {"rule": "tag", "pattern": "tag: (\\w+)"},
            ],
            "json_schema": {"type": "object", "properties": {"_id": {"default": None}}},
            "validation": {"type": "sql", "dialect": "sqlite"},
        },
        "alternative_checkpoints": [{"step": 100, "loss": 0.5}],
    },
    "quality_metrics": {
        "benchmark_score": 0.41,
        "base_model_score": 0,
        "improvement_percent": 41,
        "win_rate_vs_base": 0.9,
        "test_queries": 200,
        "checkpoint": "checkpoint-600",
        "training_steps": 600,
        "test_date": "2026-01-31",
    },
    "perf": {
        "latency_ms_overhead": -0.1,
        "vram_mb_overhead": 5,
        "supported_batch_sizes": [1, 8],
    },
    "runtime": {
        "attention_kernel": "flash",
        "requires_kv_cache_persistence": True,
        "hybrid_reasoning": {"on": True},
    },
    "evaluation": {
        "test_cases": "tests/test_cases.json",
        "metrics": ["sql_execution"],
        "thresholds": {"sql_execution": 0.4},
    },
    "integrity": {
        "format": 2,
        "algorithm": "sha256",
        "files": {"README.md": "c" * 64},
        "created_at": "2026-01-31T12:00:00Z",
        "publisher": "Ann",
        "key_id": "d" * 64,
    },
}


def smallest() -> dict[str, Any]:
    return copy.deepcopy(_SMALLEST)


def full() -> dict[str, Any]:
    return copy.deepcopy(_FULL)


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document with one value set; ``path`` is like `base_models.0.name`."""
    *steps, last = path.split(".")
    place: Any = document
    for step in steps:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    if isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return document

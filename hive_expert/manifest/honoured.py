"""How each field of a manifest is honoured: the one table that says so.

A manifest never lies: whatever it says is enforced, passed on, recorded for people, or refused
out loud. `hive-build validate`, the server and `schemas/README.md` all read `HONOURED`, and a
test demands an entry for every field of the models. To honour a field, change its entry here.
"""

from __future__ import annotations

from collections.abc import Mapping

from hive_expert.manifest.refusals import (
    Honoured,
    Scope,
    costly_pattern,
    grammar_off,
    grammar_off_or,
    in_words,
    no_grammar,
    not_applied,
    not_pinned,
    not_the_first,
    scales_by_request,
    shared_input,
    unknown_kernel,
    unknown_metrics,
    values,
    when_true,
)

_ENFORCED_BY_TRAINING = Honoured("enforced", "hive-train run")
_RECORDED = Honoured("recorded", "shown to people")
_MEASURED = Honoured("recorded", "a claim of the publisher")
_INTEGRITY = Honoured("enforced", "checked whenever the package is opened")
_UNMEASURED = "refused: metrics that it does not measure"
_WHILE_OFF = "recorded while use_grammar is not true"
_SLOT = Honoured(
    "enforced",
    "fills the rule from the messages of each request",
    unless=_WHILE_OFF,
    idle=grammar_off,
)
_CHECKED = Honoured(
    "enforced",
    "every answer is checked by a real parser (of Cypher: queries that read); hive-serve "
    "--on-invalid says what follows",
)


def _routed(effect: str) -> Honoured:
    return Honoured("enforced", f"by the router, for model=auto: {effect}")


def _sampling(name: str) -> Honoured:
    return Honoured("passed", f"vLLM's sampling parameter {name}")


HONOURED: Mapping[str, Honoured] = {
    "name": Honoured("enforced", "the name the server answers to"),
    "version": Honoured("enforced", "the package's version; going back is noticed"),
    "schema_version": Honoured("enforced", "decides how the file is read"),
    "description": _routed("a request that is like it speaks for the expert; shown to people too"),
    "author": _RECORDED,
    "homepage": _RECORDED,
    "license": _RECORDED,
    "base_models[].name": Honoured("enforced", "the server takes the entry of its base model"),
    "base_models[].sha256": Honoured(
        "enforced",
        "compared with the fingerprint of the served base model",
        unless="recorded when empty",
        idle=not_pinned,
    ),
    "base_models[].quantization": Honoured(
        "passed",
        "vLLM's dtype for fp16, bf16 and fp32, where all experts of a server agree; hive-serve "
        "--dtype beats it, and /v1/experts warns when it comes out otherwise",
        unless="refused: int4, int8",
        refusal=values(
            dict.fromkeys(
                ("int4", "int8"), "vLLM quantizes no dense model to integers when it loads it"
            )
        ),
    ),
    "base_models[].rope_scaling": Honoured(
        "passed",
        "vLLM's rope parameters; an expert that needs others than the server has is not served",
        unless="refused: dynamic-…",
        refusal=scales_by_request,
    ),
    "base_models[].rope_scaling.type": Honoured(
        "passed",
        "vLLM's rope_type; ntk-by-parts is its yarn",
        unless="refused: dynamic",
        refusal=scales_by_request,
    ),
    "base_models[].rope_scaling.factor": Honoured("passed", "vLLM's rope parameter factor"),
    "base_models[].rope_scaling.max_position_embeddings": Honoured(
        "passed", "gives the factor, or must be within what the factor gives"
    ),
    "base_models[].rope_scaling.original_max_position_embeddings": Honoured(
        "enforced",
        "must be what the base model states; where it states max_position_embeddings alone, yarn "
        "may start from fewer tokens",
    ),
    "base_models[].rope_scaling.fine_grained": Honoured(
        "enforced", "must be what the method does: true for yarn, false for linear"
    ),
    "base_models[].prompt_template": Honoured(
        "enforced",
        "renders the messages of every chat, in training as in serving; the name of the base's own "
        "family stands for the template that its tokenizer carries",
    ),
    "base_models[].adapters[].type": Honoured(
        "enforced",
        "training, package and engine",
        unless="refused: any adapter after the first",
        refusal=not_the_first,
    ),
    "base_models[].adapters[].r": Honoured(
        "enforced", "must be the weights' own rank, but in layers that PEFT's rank_pattern names"
    ),
    "base_models[].adapters[].alpha": Honoured(
        "enforced", "must be the adapter's own, but in layers that PEFT's alpha_pattern names"
    ),
    "base_models[].adapters[].target_modules": Honoured("enforced", "must be the weights' own"),
    "base_models[].adapters[].feedforward_modules": Honoured(
        "enforced",
        "must be the adapter's own",
        unless="refused: modules that share their input with others (q, k, v, gate, up)",
        refusal=shared_input,
    ),
    "base_models[].adapters[].scaling": Honoured("enforced", "must be the adapter's own"),
    "base_models[].adapters[].dropout": _ENFORCED_BY_TRAINING,
    "base_models[].adapters[].path": Honoured("enforced", "where the weights are read from"),
    "base_models[].adapters[].size_bytes": _INTEGRITY,
    "base_models[].adapters[].sha256": _INTEGRITY,
    "soft_prompts[].name": Honoured("enforced", "names its file in the package"),
    "soft_prompts[].path": Honoured(
        "enforced",
        "its vectors stand before the tokens of every request",
        unless="recorded for all but the one applied: the default, else the first",
        idle=not_applied,
    ),
    "soft_prompts[].tokens": Honoured("enforced", "must be the number of its vectors"),
    "soft_prompts[].init_method": _ENFORCED_BY_TRAINING,
    "soft_prompts[].init_text": _ENFORCED_BY_TRAINING,
    "soft_prompts[].purpose": _RECORDED,
    "soft_prompts[].default": Honoured(
        "enforced", "the default is applied to every request, or else the first"
    ),
    "constraints.max_chain": Honoured("enforced", "a request that names more experts is refused"),
    "constraints.load_order": Honoured(
        "enforced",
        "lower ones are loaded first and leave memory last; of equally weighted experts, the last "
        "decides the sampling; without one it is 10",
    ),
    "constraints.incompatible_with": Honoured("enforced", "a request that names both is refused"),
    "constraints.requires": Honoured(
        "enforced",
        "not served where they are not; a request that does not name them too is refused",
    ),
    "capabilities": _routed(
        "the task picks how requests are judged, a language, format or database is the dialect "
        "that messages may declare, and all of them count as description"
    ),
    "limitations[].pattern": Honoured(
        "enforced",
        "by the router, for model=auto: a request that matches is not given to the expert",
        unless="refused if matching could take long; recorded while regex is not true",
        refusal=costly_pattern,
        idle=in_words,
    ),
    "limitations[].regex": Honoured(
        "enforced",
        "by the router, for model=auto: whether pattern is matched or read by people",
    ),
    "limitations[].description": _RECORDED,
    "limitations[].example": _RECORDED,
    "limitations[].workaround": _RECORDED,
    "routing.keywords": _routed("a request that says one speaks for the expert"),
    "routing.exclude_keywords": _routed("a request that says one is not given to the expert"),
    "routing.examples": _routed("a request that is like one speaks for the expert"),
    "routing.priority": _routed(
        "how much keywords count (0.5 if absent), and who goes first among equals"
    ),
    "training.dataset.type": Honoured(
        "enforced",
        "hive-train run",
        unless="refused: multi_task, hub",
        refusal=values(
            dict.fromkeys(("multi_task", "hub"), "this version trains from one set of local files")
        ),
    ),
    "training.dataset.path": _ENFORCED_BY_TRAINING,
    "training.dataset.validation_path": _ENFORCED_BY_TRAINING,
    "training.dataset.test_path": Honoured(
        "enforced",
        "hive-train run refuses data that has a question of it; hive-train evaluate --manifest "
        "asks it where there is no file of test cases",
    ),
    "training.dataset.field_mapping.instruction": _ENFORCED_BY_TRAINING,
    "training.dataset.field_mapping.input": _ENFORCED_BY_TRAINING,
    "training.dataset.field_mapping.response": _ENFORCED_BY_TRAINING,
    "training.dataset.format": _ENFORCED_BY_TRAINING,
    "training.dataset.streaming": Honoured(
        "enforced",
        "hive-train run",
        unless="refused: true",
        refusal=when_true("this version reads the data up front"),
    ),
    "training.dataset.augmentation": Honoured(
        "enforced",
        "the data is used as it is",
        unless="refused: all but false",
        refusal=when_true("this version uses the data as it is"),
    ),
    "training.config.method": _ENFORCED_BY_TRAINING,
    "training.config.adapter_type": _ENFORCED_BY_TRAINING,
    "training.config.rank": _ENFORCED_BY_TRAINING,
    "training.config.alpha": _ENFORCED_BY_TRAINING,
    "training.config.target_modules": _ENFORCED_BY_TRAINING,
    "training.config.feedforward_modules": _ENFORCED_BY_TRAINING,
    "training.config.epochs": _ENFORCED_BY_TRAINING,
    "training.config.learning_rate": _ENFORCED_BY_TRAINING,
    "training.config.batch_size": _ENFORCED_BY_TRAINING,
    "training.config.gradient_accumulation_steps": _ENFORCED_BY_TRAINING,
    "training.config.warmup_steps": _ENFORCED_BY_TRAINING,
    "training.config.warmup_ratio": _ENFORCED_BY_TRAINING,
    "training.config.lr_scheduler": Honoured(
        "enforced",
        "hive-train run",
        unless="refused: cosine_with_min_lr, warmup_stable_decay",
        refusal=values(
            dict.fromkeys(
                ("cosine_with_min_lr", "warmup_stable_decay"),
                "it needs settings that a manifest cannot carry",
            )
        ),
    ),
    "training.config.save_strategy": _ENFORCED_BY_TRAINING,
    "training.config.save_steps": _ENFORCED_BY_TRAINING,
    "training.config.evaluation_strategy": _ENFORCED_BY_TRAINING,
    "training.config.eval_steps": _ENFORCED_BY_TRAINING,
    "training.config.load_best_model_at_end": _ENFORCED_BY_TRAINING,
    "training.config.metric_for_best_model": Honoured(
        "enforced",
        "hive-train run",
        unless="refused: all but loss, eval_loss",
        refusal=lambda field: (
            None if field.value in ("loss", "eval_loss") else "it is not measured while training"
        ),
    ),
    "training.config.save_total_limit": _ENFORCED_BY_TRAINING,
    "training.config.logging_steps": _ENFORCED_BY_TRAINING,
    "training.config.max_seq_length": _ENFORCED_BY_TRAINING,
    "training.config.packing": _ENFORCED_BY_TRAINING,
    "training.config.bf16": _ENFORCED_BY_TRAINING,
    "training.config.fp16": Honoured("enforced", "hive-train run", unless="refused there on a CPU"),
    "training.config.tf32": Honoured(
        "enforced", "hive-train run", unless="without effect on a CPU"
    ),
    "training.config.use_sdpa": _ENFORCED_BY_TRAINING,
    "training.config.use_unsloth": Honoured(
        "enforced",
        "hive-train run",
        unless="refused: true",
        refusal=when_true("training goes through TRL and PEFT alone"),
    ),
    "training.config.gradient_checkpointing": _ENFORCED_BY_TRAINING,
    "training.config.dataloader_num_workers": _ENFORCED_BY_TRAINING,
    "training.config.dataloader_pin_memory": Honoured(
        "enforced", "hive-train run", unless="without effect on a CPU"
    ),
    "training.config.dataloader_prefetch_factor": _ENFORCED_BY_TRAINING,
    "training.config.dataloader_persistent_workers": _ENFORCED_BY_TRAINING,
    "training.config.optim": Honoured(
        "enforced", "hive-train run", unless="refused there if PyTorch or the device has none such"
    ),
    "training.config.seed": _ENFORCED_BY_TRAINING,
    "training.decoding.temperature": _sampling("temperature"),
    "training.decoding.top_p": _sampling("top_p"),
    "training.decoding.top_k": _sampling("top_k"),
    "training.decoding.min_p": _sampling("min_p"),
    "training.decoding.repetition_penalty": _sampling("repetition_penalty"),
    "training.decoding.max_tokens": _sampling("max_tokens"),
    "training.decoding.stop_sequences": Honoured(
        "passed", "vLLM's sampling parameter stop, added to the request's own"
    ),
    "training.decoding.use_grammar": Honoured(
        "enforced",
        "every answer follows the grammar",
        unless="recorded while it is not true",
        idle=no_grammar,
    ),
    "training.decoding.grammar_file": Honoured(
        "passed",
        "vLLM's structured output grammar",
        unless=f"{_WHILE_OFF}, or grammar_type is json_schema",
        idle=grammar_off_or("json_schema"),
    ),
    "training.decoding.grammar_type": Honoured(
        "enforced", "chooses what constrains the answer", unless=_WHILE_OFF, idle=grammar_off
    ),
    "training.decoding.grammar_slots[].rule": _SLOT,
    "training.decoding.grammar_slots[].extract": _SLOT,
    "training.decoding.grammar_slots[].pattern": _SLOT,
    "training.decoding.grammar_slots[].max_items": _SLOT,
    "training.decoding.json_schema": Honoured(
        "passed",
        "vLLM's structured output json",
        unless=f"{_WHILE_OFF}, or grammar_type is gbnf or gbnf_template",
        idle=grammar_off_or("gbnf", "gbnf_template"),
    ),
    "training.decoding.validation": _CHECKED,
    "training.decoding.validation.type": _CHECKED,
    "training.decoding.validation.dialect": Honoured(
        "enforced", "the SQL dialect where the messages name none"
    ),
    "training.decoding.validation.json_schema": Honoured(
        "enforced", "the answer's schema where the messages carry none"
    ),
    "training.alternative_checkpoints": _RECORDED,
    "quality_metrics.benchmark_score": _MEASURED,
    "quality_metrics.base_model_score": _MEASURED,
    "quality_metrics.improvement_percent": _MEASURED,
    "quality_metrics.win_rate_vs_base": _MEASURED,
    "quality_metrics.test_queries": _MEASURED,
    "quality_metrics.checkpoint": _MEASURED,
    "quality_metrics.training_steps": _MEASURED,
    "quality_metrics.test_date": _MEASURED,
    "perf.latency_ms_overhead": _MEASURED,
    "perf.vram_mb_overhead": Honoured(
        "enforced", "counts in how many experts hive-serve keeps in memory"
    ),
    "perf.supported_batch_sizes": _MEASURED,
    "runtime.attention_kernel": Honoured(
        "passed",
        "vLLM's attention backend; an expert that needs another than the server has is not served",
        unless="refused: kernels that vLLM does not have",
        refusal=unknown_kernel,
    ),
    "runtime.requires_kv_cache_persistence": Honoured(
        "passed", "vLLM's prefix caching, which keeps prompts from one request to the next"
    ),
    "runtime.*": Honoured("refused", "this version knows no such runtime setting"),
    "evaluation.test_cases": Honoured("enforced", "packed, and asked by hive check"),
    "evaluation.metrics": Honoured(
        "enforced",
        "the shares that hive-train evaluate shows",
        unless=_UNMEASURED,
        refusal=unknown_metrics,
    ),
    "evaluation.thresholds": Honoured(
        "enforced",
        "hive-train evaluate fails where the expert is below one",
        unless=_UNMEASURED,
        refusal=unknown_metrics,
    ),
    "integrity.format": _INTEGRITY,
    "integrity.algorithm": _INTEGRITY,
    "integrity.files": _INTEGRITY,
    "integrity.created_at": Honoured("recorded", "signed with the package"),
    "integrity.publisher": Honoured("recorded", "the trust store says who holds a key"),
    "integrity.key_id": _INTEGRITY,
}


def scope_of(pattern: str) -> Scope:
    """Whom a field of ``HONOURED`` binds: training and its measurement are over when an expert is
    packed."""
    measured = ("evaluation.metrics", "evaluation.thresholds")
    in_training = ("training.dataset.", "training.config.", *measured)
    return "train" if pattern.startswith(in_training) else "serve"

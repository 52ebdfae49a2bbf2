"""The manifest's part about training data, training itself, and decoding. SPEC sections 3 and 7."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from hive_expert.manifest.adapter_model import AdapterType, Alpha, Rank, TargetModule
from hive_expert.manifest.record import (
    BY_FORM,
    LONG,
    SHORT,
    Contradiction,
    Count,
    Flag,
    Fraction,
    Line,
    Positive,
    Real,
    Record,
    RelativePath,
    Text,
)

PositiveReal = Annotated[Real, Field(gt=0)]
JsonMapping = Mapping[str, Any]
Schedule = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
    "cosine_with_min_lr",
    "warmup_stable_decay",
]


DECODING_SCHEMA = "training.decoding.json_schema"
VALIDATION_SCHEMA = "training.decoding.validation.json_schema"

JsonSchemaSource = Annotated[
    Annotated[RelativePath, SHORT] | Annotated[JsonMapping, LONG],
    BY_FORM,
]


class FieldMapping(Record):
    """Which column of the data set plays which part."""

    instruction: Line | None = None
    """The user message."""
    input: Line | None = None
    """The system message; may be empty in the data."""
    response: Line | None = None
    """The answer to learn."""


class Dataset(Record):
    """What the expert is trained from."""

    type: Literal["single", "multi_task", "hub"] | None = None
    """One file, several tasks, or a hub data set."""
    path: Line | None = None
    """Training split: a file, a directory or a hub identifier."""
    validation_path: Line | None = None
    """Validation split."""
    test_path: Line | None = None
    """Test split, never seen in training."""
    field_mapping: FieldMapping | None = None
    """Which column plays which part."""
    format: Literal["jsonl", "json", "parquet", "csv"] | None = None
    """File format."""
    streaming: Flag | None = None
    """Read the data as it is needed instead of up front."""
    augmentation: (
        Annotated[
            Annotated[Flag, SHORT] | Annotated[JsonMapping, LONG],
            BY_FORM,
        ]
        | None
    ) = None
    """How examples are varied: false, true, or an object of settings."""


class TrainingConfig(Record):
    """How the expert is trained; every field is used by `hive-train run` or refused.

    Laws: warm-up is given in steps or as a ratio, not both; at most one of bf16 and fp16; only
    IA3 has feedforward modules, and they are among the targets; keeping the best model takes an
    evaluation; reading ahead takes a reading process.
    """

    method: Literal["sft"] | None = None
    """Supervised fine-tuning."""
    adapter_type: AdapterType | None = None
    """The kind of adapter."""
    rank: Rank | None = None
    """Rank of the update."""
    alpha: Alpha | None = None
    """Numerator of the update's scale."""
    target_modules: tuple[TargetModule, ...] = ()
    """The linear layers to adapt."""
    feedforward_modules: tuple[TargetModule, ...] = ()
    """IA3 only: targets whose input is scaled."""
    epochs: PositiveReal | None = None
    """Passes over the data."""
    learning_rate: PositiveReal | None = None
    """Peak learning rate."""
    batch_size: Positive | None = None
    """Examples per device and step."""
    gradient_accumulation_steps: Positive | None = None
    """Steps per optimizer update."""
    warmup_steps: Count | None = None
    """Updates until the peak learning rate."""
    warmup_ratio: Fraction | None = None
    """The same as a share of all updates (0-1)."""
    lr_scheduler: Schedule | None = None
    """How the learning rate falls."""
    save_strategy: Literal["no", "steps", "epoch", "best"] | None = None
    """When checkpoints are written."""
    save_steps: Positive | None = None
    """Updates between checkpoints."""
    evaluation_strategy: Literal["no", "steps", "epoch"] | None = None
    """When the validation loss is measured."""
    eval_steps: Positive | None = None
    """Updates between measurements."""
    load_best_model_at_end: Flag | None = None
    """Keep the best checkpoint rather than the last."""
    metric_for_best_model: Line | None = None
    """What best means."""
    save_total_limit: Positive | None = None
    """How many checkpoints are kept."""
    logging_steps: Positive | None = None
    """Updates between log lines."""
    max_seq_length: Positive | None = None
    """Longest example, in tokens."""
    packing: Flag | None = None
    """Pack several examples into one sequence."""
    bf16: Flag | None = None
    """Compute in bfloat16."""
    fp16: Flag | None = None
    """Compute in float16."""
    tf32: Flag | None = None
    """Allow TF32 matrix products (CUDA)."""
    use_sdpa: Flag | None = None
    """Use PyTorch's scaled dot product attention."""
    use_unsloth: Flag | None = None
    """Use Unsloth's kernels."""
    gradient_checkpointing: Flag | None = None
    """Recompute activations to save memory."""
    dataloader_num_workers: Count | None = None
    """Processes that read data."""
    dataloader_pin_memory: Flag | None = None
    """Page-lock host memory for faster copies to a GPU."""
    dataloader_prefetch_factor: Positive | None = None
    """Batches read ahead by each process."""
    dataloader_persistent_workers: Flag | None = None
    """Keep the reading processes between epochs."""
    optim: Annotated[Line, Field(pattern=r"^[a-z0-9_]+$")] | None = None
    """Optimizer, by its name in transformers."""
    seed: Annotated[Count, Field(le=2**32 - 1)] | None = None
    """Seed of everything random."""

    def contradictions(self) -> Iterable[Contradiction]:
        if self.warmup_steps and self.warmup_ratio:
            yield Contradiction("warmup_ratio", "warmup_steps is given as well", "keep one")
        if self.bf16 and self.fp16:
            yield Contradiction("fp16", "bf16 is on as well", "keep one")
        if self.feedforward_modules and self.adapter_type not in (None, "ia3"):
            yield Contradiction("feedforward_modules", "only an ia3 adapter has them")
        if self.target_modules:
            for module in sorted(set(self.feedforward_modules) - set(self.target_modules)):
                yield Contradiction("feedforward_modules", f"{module} is not among target_modules")
        if self.load_best_model_at_end and self.evaluation_strategy in (None, "no"):
            yield Contradiction(
                "load_best_model_at_end", "there is no evaluation", "set evaluation_strategy"
            )
        if self.dataloader_num_workers == 0:
            for field in ("dataloader_prefetch_factor", "dataloader_persistent_workers"):
                if getattr(self, field):
                    yield Contradiction(field, "needs dataloader_num_workers above 0")


class Validation(Record):
    """A check of each answer after generation."""

    type: Literal["json", "sql", "cypher", "typescript"]
    """What the answer must be."""
    dialect: Line | None = None
    """SQL dialect, by its name in sqlglot."""
    json_schema: JsonSchemaSource | None = None
    """A JSON Schema (file or object) for `json`."""


Extractor = Literal[
    "sql_tables",
    "sql_columns",
    "sql_table_columns",
    "cypher_labels",
    "cypher_relationships",
    "cypher_properties",
]


class GrammarSlot(Record):
    """A rule of the grammar that is filled from the messages of a request.

    Its body becomes the list of texts that are found there; where none are, the body stays.
    Law: either `extract` or `pattern` says what is looked for.
    """

    rule: Annotated[str, Field(strict=True, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")]
    """The rule."""
    extract: Extractor | None = None
    """What is read from the schema that follows `Schema:` in the messages."""
    pattern: Annotated[Line, Field(max_length=256)] | None = None
    """Regular expression; its first group, or all of it, wherever it matches in a message."""
    max_items: Annotated[Positive, Field(le=4096)] | None = None
    """With more texts than these (1024 if absent) the rule stays as it is."""

    def contradictions(self) -> Iterable[Contradiction]:
        if (self.extract is None) == (self.pattern is None):
            yield Contradiction("rule", "needs either extract or pattern", "keep one of them")


class Decoding(Record):
    """How the expert generates; a request's own values win (SPEC section 7).

    Law: a grammar that is asked for is there. `use_grammar` needs `grammar_file` or
    `json_schema`, `grammar_type` the one it speaks of; only `prompt_json_schema` needs neither,
    since it takes the schema from the request. `grammar_slots` and `gbnf_template` go together.
    """

    temperature: Annotated[Real, Field(ge=0, le=2)] | None = None
    """0 is greedy (0-2)."""
    top_p: Annotated[Real, Field(gt=0, le=1)] | None = None
    """Nucleus sampling: above 0, at most 1; 1 is off."""
    top_k: Annotated[int, Field(strict=True, ge=-1)] | None = None
    """Sample among so many tokens; -1 or 0 is off."""
    min_p: Fraction | None = None
    """Lowest probability, relative to the likeliest token (0-1)."""
    repetition_penalty: PositiveReal | None = None
    """Above 1 discourages tokens that were already there; above 0."""
    max_tokens: Positive | None = None
    """Longest answer, in tokens."""
    stop_sequences: Annotated[
        tuple[Annotated[Text, Field(min_length=1, max_length=256)], ...], Field(max_length=64)
    ] = ()
    """Generation ends before any of these; added to the request's own."""
    use_grammar: Flag | None = None
    """Constrain every answer by the grammar."""
    grammar_file: RelativePath | None = None
    """GBNF grammar; `grammar.gbnf` in a package."""
    grammar_type: Literal["gbnf", "gbnf_template", "json_schema", "prompt_json_schema"] | None = (
        None
    )
    """What constrains the answer; found from the other fields when absent. With
    `prompt_json_schema` it is the schema in the messages, and `grammar_file` or `json_schema` where
    they hold none that is fit. What that schema leaves open is bounded by what the messages say."""
    grammar_slots: Annotated[tuple[GrammarSlot, ...], Field(max_length=16)] = ()
    """The rules that `gbnf_template` fills from the messages."""
    json_schema: JsonSchemaSource | None = None
    """JSON Schema of the answer: a file, or the schema itself. Enforced to the letter: a keyword
    that no grammar keeps to is refused, and texts with a length, which may not exceed 8,192, have
    no quotes, backslashes or line breaks."""
    validation: (
        Annotated[
            Annotated[Literal["json", "sql", "cypher", "typescript"], SHORT]
            | Annotated[Validation, LONG],
            BY_FORM,
        ]
        | None
    ) = None
    """Check of the finished answer: a kind, or an object."""

    @property
    def schema_files(self) -> dict[str, str]:
        """The files that are named where a schema may stand, by JSON path in the manifest."""
        check = self.validation
        named = {
            DECODING_SCHEMA: self.json_schema,
            VALIDATION_SCHEMA: check.json_schema if isinstance(check, Validation) else None,
        }
        return {path: schema for path, schema in named.items() if isinstance(schema, str)}

    def contradictions(self) -> Iterable[Contradiction]:
        if self.grammar_type in ("gbnf", "gbnf_template") and self.grammar_file is None:
            yield Contradiction("grammar_type", f"{self.grammar_type} needs grammar_file")
        elif self.grammar_type == "json_schema" and self.json_schema is None:
            yield Contradiction("grammar_type", "json_schema needs the field json_schema")
        elif (
            self.use_grammar
            and self.grammar_type is None
            and self.grammar_file is None
            and self.json_schema is None
        ):
            yield Contradiction(
                "use_grammar", "there is no grammar", "add grammar_file or json_schema"
            )
        if bool(self.grammar_slots) != (self.grammar_type == "gbnf_template"):
            yield Contradiction(
                "grammar_slots",
                "go with grammar_type gbnf_template, and it with them",
                "give both or neither",
            )
        if len({slot.rule for slot in self.grammar_slots}) < len(self.grammar_slots):
            yield Contradiction("grammar_slots", "a rule is filled twice", "keep one slot")
        if (
            self.grammar_type in (None, "prompt_json_schema")
            and self.grammar_file
            and self.json_schema is not None
        ):
            yield Contradiction(
                "grammar_type",
                "grammar_file and json_schema are both given",
                "say which one constrains the answer",
            )


class Training(Record):
    """What the expert was trained from, how, and how it decodes."""

    dataset: Dataset | None = None
    """The data."""
    config: TrainingConfig | None = None
    """The training run."""
    decoding: Decoding | None = None
    """How the expert generates."""
    alternative_checkpoints: tuple[JsonMapping, ...] = ()
    """Other checkpoints of the run, for the record."""

"""What only the decoding contract can judge of a manifest: rows of the field status table, and
advice about its grammar. SPEC section 3."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hive_expert.decoding.contract import SECTION, contract_of
from hive_expert.decoding.grammar import decode_grammar
from hive_expert.errors import DecodingError, GrammarError, Problem
from hive_expert.manifest.fields import FieldStatus
from hive_expert.manifest.guidance import Advice
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.training_model import Decoding, Validation


def decoding_refusals(manifest: Manifest, directory: Path | None) -> tuple[FieldStatus, ...]:
    """What of `training.decoding` no server would honour: a grammar that does not parse, a slot
    without its rule, an unknown dialect, a schema that is none.

    ``directory`` is where the manifest's paths lead; without it, files are not judged.
    """
    decoding = manifest.training.decoding if manifest.training else None
    if decoding is None:
        return ()
    if directory is None:
        decoding = _without_files(decoding)
    try:
        contract_of(decoding, lambda name: ((directory or Path()) / name).read_bytes())
    except DecodingError as error:
        return tuple(_row(problem, _files(decoding)) for problem in error.problems)
    return ()


def grammar_advice(manifest: Manifest, directory: Path | None) -> tuple[Advice, ...]:
    """What its grammar, if it is sound and there, had better not say."""
    decoding = manifest.training.decoding if manifest.training else None
    name = decoding.grammar_file if decoding is not None else None
    if directory is None or name is None:
        return ()
    try:
        grammar = decode_grammar((directory / name).read_bytes(), name)
    except (OSError, GrammarError):
        return ()  # the field's row tells why
    return tuple(Advice(f"{SECTION}.grammar_file", str(warning)) for warning in grammar.warnings)


def _row(problem: Problem, files: Mapping[str, str]) -> FieldStatus:
    """A problem at its field; one inside a file, at the field that names the file."""
    for file, field in files.items():
        if problem.where == file or problem.where.startswith(f"{file}:"):
            return FieldStatus(field, "refused", str(problem))
    remedy = f" ({problem.remedy})" if problem.remedy else ""
    return FieldStatus(problem.where, "refused", f"{problem.what}{remedy}")


def _files(decoding: Decoding) -> dict[str, str]:
    named = {file: path for path, file in decoding.schema_files.items()}
    if decoding.grammar_file is not None:
        named[decoding.grammar_file] = f"{SECTION}.grammar_file"
    return named


def _without_files(decoding: Decoding) -> Decoding:
    changes: dict[str, object] = {}
    if decoding.grammar_file is not None or isinstance(decoding.json_schema, str):
        changes["use_grammar"] = None
    checked = decoding.validation
    if isinstance(checked, Validation) and isinstance(checked.json_schema, str):
        changes["validation"] = checked.model_copy(update={"json_schema": {}})
    return decoding.model_copy(update=changes)

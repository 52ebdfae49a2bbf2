"""How an expert's manifest, the server's flags and a request decide the decoding. SPEC section 7.

For each sampling field: explicit in the request, else the flag, else the manifest, else nothing is
set here and the base model's generation config and vLLM's defaults apply. Stops add up. The
manifest's grammar holds unless the request brings a structure of its own or turns it off.

Values in, values out: nothing here knows HTTP or vLLM, and files are read by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from hive_expert.decoding.grammar import decode_grammar
from hive_expert.decoding.json_schema import compact_json_schema
from hive_expert.decoding.sampling_fields import (
    FIELDS,
    Number,
    check_flags,
    range_problems,
    stop_problems,
)
from hive_expert.errors import DecodingError, Problem
from hive_expert.manifest.training_model import Decoding

__all__ = [
    "FIELDS",
    "Contract",
    "Effective",
    "Explicit",
    "Setting",
    "check_flags",
    "contract_of",
    "resolve",
]

Source: TypeAlias = Literal["request", "flag", "manifest"]

MAX_DESCRIPTION = 1000
"""Characters of :meth:`Effective.describe`; proxies cut headers somewhere past 4,000."""

SECTION = "training.decoding"
SERVED_GRAMMAR_TYPES = ("gbnf", "json_schema")


@dataclass(frozen=True, slots=True)
class Contract:
    """What one expert's manifest asks for; None where it is silent.

    Laws: every value is in the range of its field; at most one of ``grammar`` (GBNF) and
    ``json_schema`` (compact JSON) is there. The base model's contract is ``Contract.EMPTY``.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    grammar: str | None = None
    json_schema: str | None = None

    EMPTY: ClassVar[Contract]

    def __post_init__(self) -> None:
        problems = [*range_problems(self._values(), ""), *stop_problems(self.stop, "stop")]
        if self.grammar is not None and self.json_schema is not None:
            problems.append(Problem("grammar", "there is a json_schema as well", "keep one"))
        if problems:
            raise DecodingError(*problems)

    def value(self, name: str) -> Number | None:
        """The value of one of ``FIELDS``."""
        return self._values()[name]

    def _values(self) -> dict[str, Number | None]:
        return {f.name: getattr(self, f.name) for f in FIELDS}


Contract.EMPTY = Contract()


def contract_of(decoding: Decoding | None, read: Callable[[str], bytes]) -> Contract:
    """Build the contract that a manifest's `training.decoding` section states.

    ``read`` returns the bytes of a package member and raises OSError where there is none. The
    grammar or schema is read and checked only while `use_grammar` is true.

    Raises:
        GrammarError: the grammar file is all that is wrong; places are `grammar.gbnf:3:1`.
        DecodingError: anything else, or both; places are JSON paths in the manifest.
    """
    if decoding is None:
        return Contract.EMPTY
    values = {f.name: getattr(decoding, f.name) for f in FIELDS}
    problems = [
        *range_problems(values, SECTION),
        *stop_problems(decoding.stop_sequences, f"{SECTION}.stop_sequences"),
        *_unserved(decoding),
    ]
    grammar: str | None = None
    schema: str | None = None
    only_grammar = not problems
    try:
        grammar, schema = _structure(decoding, read)
    except DecodingError as error:
        if only_grammar:
            raise
        problems.extend(error.problems)
    if problems:
        raise DecodingError(*problems)
    return Contract(**values, stop=decoding.stop_sequences, grammar=grammar, json_schema=schema)


@dataclass(frozen=True, slots=True)
class Explicit:
    """What a request itself says. ``values`` holds what the client really sent: a field that is
    absent or None was not sent, and the protocol's own defaults do not belong here.
    """

    values: Mapping[str, Number | None] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    own_structure: str | None = None
    """Which part of the request decides its output's structure (`response_format`,
    `structured_outputs`, `tools`), if any does."""
    grammar_off: bool = False
    """Whether the client asked for the manifest's grammar to be left out."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One field's effective value and who set it."""

    field: str
    value: Number
    source: Source


@dataclass(frozen=True, slots=True)
class Effective:
    """What one request decodes with.

    Laws: ``values`` lists a field at most once, in the order of ``FIELDS``, and only fields that
    somebody set; at most one of ``grammar`` and ``json_schema`` is there, and then
    ``grammar_source`` is `manifest`. Otherwise it is `request: <which part>`,
    `off: request header` or `none`. ``grammar_overridden``: the manifest had one that does not
    hold for this request.
    """

    values: tuple[Setting, ...]
    stop: tuple[str, ...]
    stop_source: str
    grammar: str | None
    json_schema: str | None
    grammar_source: str
    grammar_overridden: bool

    def describe(self) -> str:
        """One line for people, such as `temperature=0.1 (manifest); stop=2 (request+manifest);
        grammar=manifest`: printable ASCII only, so fit for a header, whatever went in.
        """
        parts = [f"{s.field}={s.value} ({s.source})" for s in self.values]
        if self.stop:
            parts.append(f"stop={len(self.stop)} ({self.stop_source})")
        kind = "json_schema" if self.json_schema is not None else "grammar"
        parts.append(f"{kind}={self.grammar_source}")
        line = "; ".join(parts)[:MAX_DESCRIPTION]
        return "".join(c if " " <= c <= "~" else "?" for c in line)


def resolve(
    explicit: Explicit,
    flags: Mapping[str, Number | None],
    contract: Contract,
    *,
    ignore_manifest: bool = False,
) -> Effective:
    """Apply the precedence of SPEC section 7. ``flags`` come from :func:`check_flags`.

    Laws: for every field the request beats the flag beats the manifest; all of the request's
    stops are kept, first and in order; ``ignore_manifest`` is the same as ``Contract.EMPTY``;
    equal arguments give equal results.
    """
    if ignore_manifest:
        contract = Contract.EMPTY
    overridden = explicit.own_structure is not None or explicit.grammar_off
    return Effective(
        values=tuple(_settings(explicit, flags, contract)),
        stop=tuple(dict.fromkeys((*explicit.stop, *contract.stop))),
        stop_source=_stop_source(explicit.stop, contract.stop),
        grammar=None if overridden else contract.grammar,
        json_schema=None if overridden else contract.json_schema,
        grammar_source=_grammar_source(explicit, contract),
        grammar_overridden=overridden and _has_structure(contract),
    )


def _settings(
    explicit: Explicit, flags: Mapping[str, Number | None], contract: Contract
) -> Iterator[Setting]:
    for known in FIELDS:
        by_precedence: tuple[tuple[Source, Number | None], ...] = (
            ("request", explicit.values.get(known.name)),
            ("flag", flags.get(known.name)),
            ("manifest", contract.value(known.name)),
        )
        for source, value in by_precedence:
            if value is not None:
                yield Setting(known.name, value, source)
                break


def _stop_source(of_request: tuple[str, ...], of_manifest: tuple[str, ...]) -> str:
    return "+".join(
        name for name, stops in (("request", of_request), ("manifest", of_manifest)) if stops
    )


def _grammar_source(explicit: Explicit, contract: Contract) -> str:
    if explicit.own_structure is not None:
        return f"request: {explicit.own_structure}"
    if explicit.grammar_off:
        return "off: request header"
    return "manifest" if _has_structure(contract) else "none"


def _has_structure(contract: Contract) -> bool:
    return contract.grammar is not None or contract.json_schema is not None


def _structure(decoding: Decoding, read: Callable[[str], bytes]) -> tuple[str | None, str | None]:
    """The checked grammar or the checked schema; the manifest's model sees to it that a grammar
    that is asked for is there and that at most one is meant.
    """
    if not decoding.use_grammar or decoding.grammar_type not in (None, *SERVED_GRAMMAR_TYPES):
        return None, None
    kind = decoding.grammar_type or ("gbnf" if decoding.grammar_file else "json_schema")
    if kind == "gbnf" and decoding.grammar_file is not None:
        data = _member(read, decoding.grammar_file, f"{SECTION}.grammar_file")
        return decode_grammar(data, decoding.grammar_file).text, None
    source = decoding.json_schema
    where = f"{SECTION}.json_schema"
    if isinstance(source, str):
        return None, compact_json_schema(_member(read, source, where), source)
    if source is not None:
        return None, compact_json_schema(source, where)
    raise DecodingError(
        Problem(f"{SECTION}.use_grammar", "there is no grammar", "add grammar_file or json_schema")
    )


def _member(read: Callable[[str], bytes], name: str, where: str) -> bytes:
    try:
        return read(name)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DecodingError(Problem(where, f"{name} cannot be read: {reason}")) from error


def _unserved(decoding: Decoding) -> Iterator[Problem]:
    """What this version would have to ignore."""
    if decoding.grammar_type not in (None, *SERVED_GRAMMAR_TYPES):
        yield Problem(
            f"{SECTION}.grammar_type",
            f"{decoding.grammar_type} is not served by this version",
            f"use {' or '.join(SERVED_GRAMMAR_TYPES)}",
        )
    if decoding.validation is not None:
        yield Problem(
            f"{SECTION}.validation",
            "answers are not checked after generation by this version",
            "leave the field out",
        )

"""How a contract, the server's flags and a request decide one answer's decoding. SPEC section 7.

For each sampling field: explicit in the request, else the flag, else the manifest, else the base
model's generation config, which vLLM applies by itself; else vLLM's defaults. Stops add up. The
manifest's grammar holds unless the request brings a structure of its own or turns it off.

Values in, values out: nothing here knows HTTP or vLLM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from hive_expert.decoding.binding import Bound
from hive_expert.decoding.contract import Contract
from hive_expert.decoding.sampling_fields import FIELDS, Number

Source: TypeAlias = Literal["request", "flag", "manifest", "base"]

MAX_DESCRIPTION = 1000
"""Characters of :meth:`Effective.describe`; proxies cut headers somewhere past 4,000."""


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
    ``grammar_source`` is `manifest` or `prompt: <what it holds>`, the first with the reason why
    the messages gave none, if they might have. Otherwise it is `request: <which part>`,
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
        return _printable("; ".join(parts))

    def describe_grammar(self) -> str:
        """What constrains the answer, as `grammar_source` says it; fit for a header, too."""
        return _printable(self.grammar_source)


def _printable(line: str) -> str:
    line = line[:MAX_DESCRIPTION]
    if line.isascii() and line.isprintable():
        return line
    return "".join(c if " " <= c <= "~" else "?" for c in line)


def resolve(
    explicit: Explicit,
    flags: Mapping[str, Number | None],
    contract: Contract,
    *,
    ignore_manifest: bool = False,
    bound: Bound | None = None,
    base: Mapping[str, Number] | None = None,
) -> Effective:
    """Apply the precedence of SPEC section 7. ``flags`` come from :func:`check_flags`, ``bound``
    from the contract's binding and the messages; without it the contract's own structure holds.
    ``base``: what the base model's generation config sets.

    Laws: for every field the request beats the flag beats the manifest beats the base; all of the
    request's stops are kept, first and in order; ``ignore_manifest`` is the same as
    ``Contract.EMPTY``; equal arguments give equal results.

    The manifest's stops end answers of the expert's own form. They are left out where the answer
    may be a call of a tool, which they would cut in the middle.
    """
    if ignore_manifest:
        contract = Contract.EMPTY
        bound = None
    own_stops = () if explicit.own_structure == "tools" else contract.stop
    overridden = explicit.own_structure is not None or explicit.grammar_off
    bound = bound or Bound(contract.structure, from_prompt=False)
    structure = None if overridden else bound.structure
    return Effective(
        values=tuple(_settings(explicit, flags, contract, base or {})),
        stop=tuple(dict.fromkeys((*explicit.stop, *own_stops))),
        stop_source=_stop_source(explicit.stop, own_stops),
        grammar=structure.text if structure and structure.kind == "grammar" else None,
        json_schema=structure.text if structure and structure.kind == "json_schema" else None,
        grammar_source=_grammar_source(explicit, bound),
        grammar_overridden=overridden and contract.constrains,
    )


def decides_structure(explicit: Explicit, *, ignore_manifest: bool) -> bool:
    """Whether the request or a flag leaves the manifest no say in the answer's structure."""
    return ignore_manifest or explicit.own_structure is not None or explicit.grammar_off


def _settings(
    explicit: Explicit,
    flags: Mapping[str, Number | None],
    contract: Contract,
    base: Mapping[str, Number],
) -> Iterator[Setting]:
    for known in FIELDS:
        by_precedence: tuple[tuple[Source, Number | None], ...] = (
            ("request", explicit.values.get(known.name)),
            ("flag", flags.get(known.name)),
            ("manifest", contract.value(known.name)),
            ("base", base.get(known.name)),
        )
        for source, value in by_precedence:
            if value is not None:
                yield Setting(known.name, value, source)
                break


def _stop_source(of_request: tuple[str, ...], of_manifest: tuple[str, ...]) -> str:
    return "+".join(
        name for name, stops in (("request", of_request), ("manifest", of_manifest)) if stops
    )


def _grammar_source(explicit: Explicit, bound: Bound) -> str:
    if explicit.own_structure is not None:
        return f"request: {explicit.own_structure}"
    if explicit.grammar_off:
        return "off: request header"
    if bound.from_prompt:
        return f"prompt: {bound.note}"
    source = "manifest" if bound.structure is not None else "none"
    return f"{source} (prompt: {bound.note})" if bound.note else source

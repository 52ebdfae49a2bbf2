"""How a composition of experts decodes. Pure. SPEC section 7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hive_expert.decoding.contract import Contract
from hive_expert.errors import DecodingError, Problem


@dataclass(frozen=True, slots=True)
class Voice:
    """One member of a composition, as far as decoding goes."""

    contract: Contract
    weight: float
    load_order: int
    """`catalog.Expert.load_order`."""


def combine_contracts(voices: Sequence[Voice]) -> Contract:
    """One contract for all: the sampling of the member with the highest weight (of equal ones,
    that with the highest load order; then the first); all stops, its own first; the grammar or
    schema that all members that have one agree on, with what fills it, none if they differ; and
    the check of the answer by the same rule.

    Law: a single member decodes as it does alone.

    Raises:
        DecodingError: together they have more stops than are allowed, or they are spoken to in
            different chat templates.
    """
    templates = {voice.contract.template for voice in voices}
    if len(templates) > 1:
        names = ", ".join(sorted(name or "the base model's own" for name in templates))
        raise DecodingError(Problem("prompt_template", f"different chat templates: {names}"))
    ranked = sorted(voices, key=lambda voice: (-voice.weight, -voice.load_order))
    leader = ranked[0].contract
    constraining = [voice.contract for voice in ranked if voice.contract.constrains]
    agreed = len({(c.structure, c.binding) for c in constraining}) == 1
    source = constraining[0] if agreed else Contract.EMPTY
    rules = {voice.contract.validation for voice in ranked} - {None}
    return Contract(
        temperature=leader.temperature,
        top_p=leader.top_p,
        top_k=leader.top_k,
        min_p=leader.min_p,
        repetition_penalty=leader.repetition_penalty,
        max_tokens=leader.max_tokens,
        stop=tuple(dict.fromkeys(stop for voice in ranked for stop in voice.contract.stop)),
        grammar=source.grammar,
        json_schema=source.json_schema,
        binding=source.binding,
        validation=rules.pop() if len(rules) == 1 else None,
        template=leader.template,
    )

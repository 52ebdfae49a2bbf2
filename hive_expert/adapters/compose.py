"""Several adapters as one: what answers a request for `expert-a:0.7+expert-b`. SPEC section 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.engine_format import is_form, read_form
from hive_expert.adapters.normal_form import NormalForm, compose, truncate
from hive_expert.adapters.peft_adapter import read_adapter
from hive_expert.adapters.peft_format import to_normal_form
from hive_expert.adapters.store import AdapterStore, Made, facts_of
from hive_expert.errors import AdapterError, Problem

_ERROR = "relative_error"
_RANK = "rank"


@dataclass(frozen=True, slots=True)
class Member:
    """One adapter of a composition."""

    digest: str
    """Digest of its package."""
    directory: Path
    """What the engine loads for it alone."""
    weight: float


@dataclass(frozen=True, slots=True)
class Composition:
    """A composed adapter, ready for the engine."""

    directory: Path
    rank: int
    relative_error: float
    """What cutting the rank lost; 0 if nothing was cut."""


def compose_members(
    members: Sequence[Member],
    base: BaseWeights,
    store: AdapterStore,
    *,
    max_rank: int,
    cut: bool = False,
) -> Composition:
    """The weighted sum of adapters as one directory, made once for each set of digests and weights.

    Law: the order of the members makes no difference, to the byte.

    Args:
        max_rank: what a slot of the engine holds.
        cut: where the summed rank is too much, take the nearest form of `max_rank` (by SVD) and
            say what that loses, rather than refuse.

    Raises:
        AdapterError: they do not add up (see `normal_form.compose`), or need too large a rank.
    """
    ordered = sorted(members, key=lambda m: (m.digest, m.weight))
    recipe = {
        "members": [[m.digest, m.weight] for m in ordered],
        "base": base.fingerprint,
        "max_rank": max_rank if cut else None,
    }

    def make() -> Made:
        form = compose([_form(m, base) for m in ordered], [m.weight for m in ordered])
        if form.rank <= max_rank:
            return Made(form, {_RANK: form.rank, _ERROR: 0.0})
        if not cut:
            raise _too_large(form.rank, max_rank)
        form, error = truncate(form, max_rank)
        return Made(form, {_RANK: form.rank, _ERROR: error})

    directory = store.fetch(recipe, make)
    facts = facts_of(directory)
    found = Composition(directory, int(str(facts[_RANK])), float(str(facts[_ERROR])))
    if found.rank > max_rank:
        # It was made for a server with larger slots.
        raise _too_large(found.rank, max_rank)
    return found


def _too_large(rank: int, max_rank: int) -> AdapterError:
    return AdapterError(
        Problem(
            "rank",
            f"the ranks add up to {rank}, above the server's {max_rank}",
            f"start it with --max-rank {rank}, or compose fewer experts",
        )
    )


def _form(member: Member, base: BaseWeights) -> NormalForm:
    if is_form(member.directory):
        return read_form(member.directory)
    return to_normal_form(read_adapter(member.directory), base)

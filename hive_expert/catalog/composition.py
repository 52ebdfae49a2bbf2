"""Several experts in one request: `model=expert-a:0.7+expert-b`. SPEC sections 6, 7 and 10."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hive_expert.adapters.compose import Member, compose_members
from hive_expert.catalog.catalog import DIGEST_PREFIX, Catalog, Expert
from hive_expert.catalog.scan import Host
from hive_expert.decoding.combine import Voice, combine_contracts
from hive_expert.decoding.contract import Contract
from hive_expert.errors import (
    AdapterError,
    CompositionError,
    DecodingError,
    NotYetError,
    Problem,
    UnknownExpertError,
)

MAX_PARTS = 10
MAX_WEIGHT = 10.0
MAX_NAME = 200
"""Characters of one part of a request's `model`: a name, a version or digest, and a weight."""

# A version may have a plus as well (`1.0.0+build`); names of experts all begin alike.
_SEPARATOR = re.compile(r"\+(?=expert-)")
_WEIGHT = re.compile(r"[0-9]{1,2}(\.[0-9]{1,3})?|\.[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Part:
    """One expert of a composition."""

    expert: Expert
    weight: float = 1.0

    def __str__(self) -> str:
        weight = "" if self.weight == 1 else f":{self.weight:g}"
        return f"{self.expert.name}@{self.expert.version}{weight}"


@dataclass(frozen=True, slots=True)
class Composition:
    """Experts that answer a request together.

    Laws: parts are ordered by name, so that the order of the request makes no difference; each
    expert is there once; every part's constraints hold.
    """

    parts: tuple[Part, ...]

    @property
    def alone(self) -> Expert | None:
        """The expert, if it is one that answers as it is."""
        first = self.parts[0]
        return first.expert if len(self.parts) == 1 and first.weight == 1 else None

    @property
    def digest(self) -> str:
        """What it stands for: the packages and their weights."""
        content = [[part.expert.digest, part.weight] for part in self.parts]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def engine_name(self) -> str:
        """Its identity inside the engine; answers carry what stands before the `@`."""
        names = (str(part).replace(f"@{part.expert.version}", "") for part in self.parts)
        return f"{'+'.join(names)}@{self.digest[:DIGEST_PREFIX]}"

    @property
    def members(self) -> tuple[str, ...]:
        """Digests of the packages it is made of."""
        return tuple(part.expert.digest for part in self.parts)

    @property
    def load_order(self) -> int:
        """That of its last part: a composition builds on all of them."""
        return max(part.expert.load_order for part in self.parts)

    @property
    def virtual_tokens(self) -> int:
        """Positions before the text; at most one part has a soft prompt, or `build` refuses."""
        return sum(part.expert.virtual_tokens for part in self.parts)

    @property
    def contract(self) -> Contract:
        """How it decodes.

        Raises:
            CompositionError: its members' decoding does not go together.
        """
        if self.alone is not None:
            return self.alone.contract
        voices = [Voice(p.expert.contract, p.weight, p.expert.load_order) for p in self.parts]
        try:
            return combine_contracts(voices)
        except DecodingError as error:
            raise CompositionError(*error.problems) from error


def names_in(model: str) -> tuple[str, ...]:
    """The names in a request's `model`, without their weights.

    Raises:
        UnknownExpertError: one is longer than any name.
        CompositionError: there are too many, or a weight is none.
    """
    return tuple(_split_weight(text)[0] for text in _texts(model))


def find_experts(catalog: Catalog, model: str, others: Sequence[str] = ()) -> Composition:
    """The experts a request's `model` names: one, or several as `NAME[:WEIGHT]+NAME[:WEIGHT]…`.

    A name may be followed by a version or digest as in `Catalog.find`.

    Args:
        others: as `Catalog.find`.

    Raises:
        UnknownExpertError, CatalogError: as `Catalog.find`, for the first that is not served.
        CompositionError: there are too many, or all reasons why they do not go together.
    """
    parts = []
    for text in _texts(model):
        name, weight = _split_weight(text)
        parts.append(Part(catalog.find(name, others), weight))
    problems = [*_refusals(parts)]
    if problems:
        raise CompositionError(*problems)
    return Composition(tuple(sorted(parts, key=lambda part: part.expert.name)))


@dataclass(frozen=True, slots=True)
class Built:
    """What the engine loads for a composition."""

    adapter: Path
    relative_error: float = 0.0
    """What cutting its rank lost, of the size of all updates; 0 if nothing was cut."""


def build(composition: Composition, host: Host, *, cut: bool = False) -> Built:
    """Make what the engine loads. Reads and writes files: not for an event loop.

    Args:
        cut: where the ranks add up to more than a slot holds, take the nearest form that fits.

    Raises:
        CompositionError: the adapters do not add up, or need a larger rank than slots have.
        NotYetError: there is no room on the disk to write it.
    """
    if composition.alone is not None:
        return Built(composition.alone.adapter)
    members = [Member(p.expert.digest, p.expert.adapter, p.weight) for p in composition.parts]
    try:
        made = compose_members(
            members, host.weights, host.adapters, max_rank=host.max_rank, cut=cut
        )
    except AdapterError as error:
        # What cannot be read or written just now is no fault of the request's.
        kind = NotYetError if isinstance(error.__cause__, OSError) else CompositionError
        raise kind(*error.problems) from error
    return Built(made.directory, made.relative_error)


def _texts(model: str) -> list[str]:
    """What stands between the separators: so few and so short that anybody may look at them."""
    texts = _SEPARATOR.split(model, maxsplit=MAX_PARTS)
    if len(texts) > MAX_PARTS:
        raise CompositionError(Problem("model", f"names more than {MAX_PARTS} experts"))
    for text in texts:
        if len(text) > MAX_NAME:
            what = f"The model `{text[:40]}…` does not exist."
            remedy = f"names have at most {MAX_NAME} characters"
            raise UnknownExpertError(Problem("model", what, remedy))
    return texts


def _split_weight(text: str) -> tuple[str, float]:
    name, found, weight = text.partition(":")
    if not found:
        return name, 1.0
    value = float(weight) if _WEIGHT.fullmatch(weight) else 0.0
    if not 0 < value <= MAX_WEIGHT:
        raise CompositionError(
            Problem(
                "model",
                f"{weight[:20]!r} is no weight",
                f"above 0, at most {MAX_WEIGHT:g}, of at most three decimals",
            )
        )
    return name, value


def _refusals(parts: list[Part]) -> Iterator[Problem]:
    names = [part.expert.name for part in parts]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("model", f"names {name} twice", "add up the weights")
    prompted = sorted(part.expert.name for part in parts if part.expert.virtual_tokens)
    if len(prompted) > 1:
        what = f"{' and '.join(prompted)} have soft prompts, and those do not add up"
        yield Problem("model", what, "name only one of them")
    for part in parts:
        constraints = part.expert.manifest.constraints
        if constraints is None:
            continue
        name = part.expert.name
        if constraints.max_chain is not None and len(parts) > constraints.max_chain:
            what = f"{name} goes with at most {constraints.max_chain - 1} others"
            yield Problem("constraints.max_chain", what)
        for other in sorted(set(constraints.incompatible_with) & set(names)):
            yield Problem("constraints.incompatible_with", f"{name} does not go with {other}")
        for other in sorted(set(constraints.requires) - set(names)):
            yield Problem(
                "constraints.requires", f"{name} needs {other}", f"ask for {name}+{other}"
            )

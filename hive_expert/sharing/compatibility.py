"""Whether a package can be served here, as far as that can be told without its weights. Pure.

SPEC section 13. What is checked against the base's own layers is the server's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hive_expert.errors import ManifestError, Problem
from hive_expert.manifest.adapter_model import BaseModelEntry
from hive_expert.manifest.fields import require_honoured
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.slug import model_slug


@dataclass(frozen=True, slots=True)
class Target:
    """What packages are installed for: a base model by its names, and the server's largest rank.

    ``fingerprint`` is that of the base's weights; None where the base is not on this machine yet.
    """

    names: tuple[str, ...]
    fingerprint: str | None
    max_rank: int = 16

    @property
    def slugs(self) -> frozenset[str]:
        return frozenset(model_slug(name) for name in self.names)


def is_for(entry: BaseModelEntry, target: Target) -> bool:
    """Whether a package was made for this base; a pinned one goes by the weights alone."""
    if entry.sha256 and target.fingerprint:
        return entry.sha256 == target.fingerprint
    return model_slug(entry.name) in target.slugs


def misfits(manifest: Manifest, rank: int, target: Target) -> Iterator[Problem]:
    """Why a package (a manifest of one base model) is not served on a target.

    ``rank`` is the largest of its layers.
    """
    entry = manifest.base_models[0]
    label = f"{manifest.name} {manifest.version}"
    if not is_for(entry, target):
        pinned = f" (weights {entry.sha256[:12]}…)" if entry.sha256 else ""
        here = target.names[0]
        if target.fingerprint:
            here += f" (weights {target.fingerprint[:12]}…)"
        yield Problem(label, f"is made for {entry.name}{pinned}, not for {here}", "see --base")
    if rank > target.max_rank:
        what = f"has rank {rank}, more than {target.max_rank}"
        yield Problem(label, what, f"serve and install with --max-rank {rank}")
    try:
        require_honoured(manifest, label, base=entry.name)
    except ManifestError as error:
        yield from error.problems

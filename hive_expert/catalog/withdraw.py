"""An expert that turned out unfit after the scan is served no more."""

from __future__ import annotations

from hive_expert.catalog.catalog import Catalog, Expert, Unavailable, assemble
from hive_expert.errors import Problem


def withdraw(catalog: Catalog, expert: Expert, problems: tuple[Problem, ...]) -> Catalog:
    """The catalog without one version of an expert, which is listed with the reason instead.

    Where there are other versions, the highest of them takes the name.
    """
    kept = [e for e in catalog.versions if e.digest != expert.digest]
    source = f"{expert.name}@{expert.version}"
    return assemble(kept, [*catalog.unavailable, Unavailable(source, expert.name, problems)])

"""How much a stranger's repository may take, one constant beside each thing it can grow in."""

from __future__ import annotations

from dataclasses import dataclass

MAX_TREE_ENTRIES = 100_000
MAX_TREE_BYTES = 16 << 20
MAX_PACKAGES = 256
"""Packages in one repository that are looked at."""
MAX_OUTPUT_BYTES = 1 << 20
"""What git may answer to a question that is no listing."""
MAX_REQUIRED = 32
"""Experts that one installation may bring along."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one fetch, watched while it runs.

    ``seconds`` for all of it, ``bytes`` on the disk, ``stalled_seconds`` without a kilobyte from a
    web server, and ``package_bytes`` for one package.
    """

    seconds: float = 3600.0
    bytes: int = 8 << 30
    stalled_seconds: int = 60
    package_bytes: int = (2 << 30) + (1 << 20)

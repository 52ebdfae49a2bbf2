"""Regular expressions from manifests, taken only where matching them cannot take long."""

from __future__ import annotations

import re

from hive_expert.manifest.model import Manifest
from hive_expert.manifest.pattern_effort import unsafe


def limitation_patterns(manifest: Manifest) -> tuple[list[re.Pattern[str]], list[str]]:
    """An expert's limitations that are flagged as regular expressions, and what is wrong with
    those that are not used."""
    patterns, warnings = [], []
    for position, limitation in enumerate(manifest.limitations):
        if not limitation.regex:
            continue
        if problem := unsafe(limitation.pattern):
            warnings.append(f"{manifest.name}: limitations[{position}].pattern {problem}; not used")
        else:
            patterns.append(re.compile(limitation.pattern, re.IGNORECASE))
    return patterns, warnings

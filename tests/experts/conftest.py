"""The experts' own packages, which are no part of hive_expert, can be imported by their tests."""

from __future__ import annotations

import sys
from pathlib import Path

EXPERTS = Path(__file__).parents[2] / "experts"

sys.path[:0] = [str(path.parent) for path in sorted(EXPERTS.glob("*/generate.py"))]

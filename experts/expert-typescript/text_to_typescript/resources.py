"""The data files beside this package's code: families, entities, written cases."""

from __future__ import annotations

from pathlib import Path

from hive_expert.training.generated import DataFolder

_DATA = DataFolder(Path(__file__).parent / "data")
text, toml = _DATA.text, _DATA.toml

"""What a run of hive-build gives its tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

from click.testing import Result

Run: TypeAlias = Callable[..., Result]
"""Runs a command; `exit_code` is what it must end with."""


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)

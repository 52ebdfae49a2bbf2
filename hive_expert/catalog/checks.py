"""What `hive check` found of packages on this machine, by their digests. SPEC section 13."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import Field

from hive_expert import locations
from hive_expert.errors import HiveError, Problem
from hive_expert.manifest.record import Count, Flag, Fraction, Line, Record, Sha256
from hive_expert.manifest.strict_json import read_json
from hive_expert.manifest.validation import build


class Check(Record):
    """One run of a package's own tests."""

    reproduced: Flag
    """Whether every claim that was looked at holds."""
    score: Fraction
    """The share of cases that the expert answered rightly."""
    low: Fraction
    """Lower end of its 95 % interval."""
    high: Fraction
    """Upper end."""
    cases: Count
    """How many cases were asked."""
    total: Count | None = None
    """How many the package has; more than ``cases`` where a sample was asked."""
    base: Line
    """The base model it ran on."""
    date: Line
    """The day (YYYY-MM-DD)."""
    broken: tuple[Line, ...] = ()
    """The claims that do not hold, in words."""
    unjudged: tuple[Line, ...] = ()
    """Names of claims that were not looked at: those that compare, where the base was left out."""

    @property
    def is_sample(self) -> bool:
        """Whether not all of the package's cases were asked."""
        return self.total is not None and self.cases < self.total


class _Checks(Record):
    format: Literal[1] = 1
    checks: Mapping[Sha256, Check] = Field(default_factory=dict)


def known_checks() -> Mapping[str, Check]:
    """All checks of this machine by package digest; none where the file cannot be understood, since
    they are only told."""
    with suppress(HiveError, OSError):
        return _read(locations.checks_file()).checks
    return {}


def remember_check(digest: str, check: Check) -> None:
    """Record a check, in place of an earlier one of the same package. Raises HiveError."""
    path = locations.checks_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = dict(known_checks()) | {digest: check}
            document = {
                "format": 1,
                "checks": {
                    k: c.model_dump(mode="json", exclude_none=True) for k, c in known.items()
                },
            }
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(descriptor, "w") as file:
                json.dump(document, file, indent=1)
            Path(temporary).replace(path)
    except OSError as exc:
        raise HiveError(Problem(str(path), f"cannot be written: {exc.strerror}")) from exc


def _read(path: Path) -> _Checks:
    return build(
        _Checks,
        read_json(path.read_bytes(), str(path), error=HiveError),
        str(path),
        error=HiveError,
    )

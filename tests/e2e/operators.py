"""The compiled CPU operators, shared by all servers of the tests."""

from __future__ import annotations

from pathlib import Path

from hive_expert import locations


def share_operators(home: Path) -> None:
    """Let a server with this HIVE_HOME use what the user's own servers have compiled.

    Otherwise each would spend half a minute on compiling the same again.
    """
    own = locations.data_dir() / "cpu-kernel"
    own.mkdir(parents=True, exist_ok=True)
    (home / "data").mkdir(parents=True, exist_ok=True)
    (home / "data" / "cpu-kernel").symlink_to(own)

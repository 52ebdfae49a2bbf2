"""How far a process's peak memory rises while it verifies a package: a child of `verify.py`.

Arguments: a small package, which brings everything into memory that any package needs, the
package in question, and a folder for a store (empty: verify only). Prints kilobytes.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from hive_expert.package.open import examine_package, open_package
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy, TrustStore


def peak() -> int:
    """The most memory this process ever had resident, in kB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def look_at(package: Path, store: str) -> None:
    if not store:
        examine_package(package)
        return
    open_package(
        package,
        store=PackageStore(Path(store)),
        trust=TrustStore(),
        policy=Policy.OFF,
        now=datetime.now(UTC),
    )


small, large, store = sys.argv[1:]
look_at(Path(small), store)
before = peak()
look_at(Path(large), store)
print(peak() - before)

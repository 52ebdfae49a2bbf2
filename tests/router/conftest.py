from __future__ import annotations

import pytest

from hive_expert.router.index import RoutingIndex
from tests.router.experts import four_manifests, index_of


@pytest.fixture(scope="session")
def four() -> RoutingIndex:
    """The index of the four experts that the shipped policy was trained for."""
    return index_of(*four_manifests())

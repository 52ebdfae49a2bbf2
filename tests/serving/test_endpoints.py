"""What is logged of a model's decoding is the model's, whatever its first request was."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from hive_expert.catalog.composition import Part
from hive_expert.catalog.residency import Residency
from hive_expert.decoding.binding import Bound, SchemaInPrompt
from hive_expert.decoding.contract import Contract
from hive_expert.decoding.effective import Explicit
from hive_expert.serving.endpoints import _announce
from hive_expert.serving.state import Hive, ServeSettings, Target
from tests.catalog.test_composition import expert

CONTRACT = Contract(temperature=0.1, binding=SchemaInPrompt())
REQUESTS = (
    (Explicit({"temperature": 0.9}, stop=("secret",)), Bound(None, True, note="a secret")),
    (Explicit({"top_p": 0.5}), Bound(None, False, note="no schema found")),
)


@pytest.fixture
def hive() -> Hive:
    nothing: Any = None
    settings = ServeSettings(nothing, SimpleNamespace(adapters=None), ("base",), flags={"top_k": 9})  # type: ignore[arg-type]
    supply: Any = SimpleNamespace(resident=None)
    return Hive(settings, supply, engine_client=None, base_values={"top_p": 0.8})


def test_the_first_request_leaves_no_trace(hive: Hive, caplog: pytest.LogCaptureFixture) -> None:
    target = Target("expert-a@1", (Part(expert("expert-a")),), CONTRACT, Residency("hit"))
    logger = logging.getLogger("hive_expert.serving")
    with caplog.at_level(logging.INFO, logger.name):
        for explicit, bound in REQUESTS:
            _announce(hive, target, hive.decoding(CONTRACT, explicit, bound))
        for _ in range(2):
            own = Explicit(own_structure="tools")
            _announce(hive, target, hive.decoding(CONTRACT, own))
    decodes, without = (record.getMessage() for record in caplog.records)
    assert decodes == (
        "expert-a@1.0.0: decodes with temperature=0.1 (manifest); top_p=0.8 (base); "
        "top_k=9 (flag); grammar=none (prompt: as each request's messages have it)"
    )
    assert without == "expert-a@1.0.0: answers without its grammar (request: tools)"


def test_the_base_is_not_announced(hive: Hive, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hive_expert.serving"):
        target = Target("base", (), Contract.EMPTY, Residency("hit"))
        _announce(hive, target, hive.decoding(Contract.EMPTY))
    assert caplog.records == []

"""Half a minute of everything at once on the shared server: no answer is wrong, stale or lost.

`python -m tests.e2e.chaos` is the long form, with faults of the machine.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from hive_expert.package.keys import load_signing_key
from tests.e2e.chaos.experts import KINDS, Reference
from tests.e2e.chaos.run import clear, run
from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e

SECONDS = 30


async def test_nobody_is_answered_wrongly_while_experts_come_and_go(
    server: Server, publisher: Path, base_model: Path
) -> None:
    reference = Reference(base_model)
    assert reference.alike(range(KINDS)) == 0, "a mix-up would not show"
    signer = load_signing_key(publisher / "test.pem")
    folder = publisher / "dir"
    try:
        outcome = await run(server.url, folder, signer, reference, seconds=SECONDS, seed=0)
    finally:
        await clear(server.url, folder)
    outcome.judge(reference)
    assert outcome.ok, outcome.complaint()
    # It has happened: enough of each kind that what is not there would have shown.
    assert sum(map(len, outcome.ledger.answers.values())) > 30
    assert outcome.ledger.statuses["404"] > 0
    assert sum(outcome.operations.values()) > 12
    listed = httpx.get(f"{server.url}/v1/experts").json()["data"]
    assert not [e for e in listed if "chaos" in str(e)]

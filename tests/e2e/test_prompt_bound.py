"""A few dozen schemas of all kinds on the shared server; `python -m tests.e2e.prompt_bound` is the
long form.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Server
from tests.e2e.prompt_bound.figures import figures
from tests.e2e.prompt_bound.run import run

pytestmark = pytest.mark.e2e


async def test_answers_keep_to_the_schema_of_their_own_prompt(server: Server) -> None:
    tally = await run(server.url, json_count=10, sql_count=5, hostile_count=6)
    assert list(tally.wrong()) == []
    told = figures(tally)
    assert told["json"]["valid"] == told["json"]["bound to their schema"] == 10
    assert (told["sql"]["schemas"], told["sql"]["with unknown names"]) == (5, 0)
    # Each JSON Schema was asked for twice, and compiled once.
    assert told["binding"]["cache hits"] >= 10
    assert told["hostile schemas"]["tried"] >= 6
    assert tally.neighbours["answers"] > 0

"""A request whose line is gone is answered all the same."""

from __future__ import annotations

from pathlib import Path

from hive_expert.jobs.dispatcher import _body
from hive_expert.jobs.request_rows import Pending


def test_a_line_that_cannot_be_read_has_no_body(tmp_path: Path) -> None:
    assert _body(tmp_path / "gone", Pending(1, "a", 0, 10)) is None

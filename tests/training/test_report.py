from __future__ import annotations

from pathlib import Path

import pytest

from hive_expert.training.report import REPORT_FILE, trained_steps, versions


def test_versions_name_what_could_change_the_result() -> None:
    assert {"python", "torch", "transformers", "trl", "peft"} <= versions().keys()


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"steps": "many"}'])
def test_steps_are_unknown_without_a_sound_report(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / REPORT_FILE).write_text(content)
    assert trained_steps(tmp_path) is None

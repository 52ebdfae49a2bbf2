"""What was loaded is loaded again, as far as it can be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hive_expert.errors import Problem, UnknownExpertError
from hive_expert.serving.recall import Loaded, Recall


def test_what_is_written_is_read(tmp_path: Path) -> None:
    recall = Recall(tmp_path / "recall.json")
    assert recall.read() == Loaded()
    loaded = Loaded(("expert-sql#0123", "expert-a+expert-b"), ("expert-sql",))
    recall.write(loaded)
    assert recall.read() == loaded


@pytest.mark.parametrize("text", ["", "[]", '{"models": 3}', '{"models": [3]}', "{"])
def test_a_file_that_is_not_ours_names_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "recall.json").write_text(text)
    assert Recall(tmp_path / "recall.json").read() == Loaded()


async def test_what_cannot_be_loaded_any_more_is_left_out(tmp_path: Path) -> None:
    loaded = []

    async def load(model: str) -> None:
        if model == "gone":
            raise UnknownExpertError(Problem("model", "does not exist"))
        loaded.append(model)

    recall = Recall(tmp_path / "recall.json")
    recall.write(Loaded(("a", "gone", "b")))
    await recall.load(load)
    assert loaded == ["a", "b"]


async def test_the_file_follows_what_is_loaded(tmp_path: Path) -> None:
    models = ["a"]
    recall = Recall(tmp_path / "recall.json")
    task = asyncio.create_task(recall.keep(lambda: Loaded(tuple(models))))
    try:
        for expected in (("a",), ("a", "b")):
            async with asyncio.timeout(5):
                while recall.read().models != expected:
                    await asyncio.sleep(0.05)
            models.append("b")
    finally:
        task.cancel()

"""Changes in the experts directory are noticed, and so is a directory that is not watchable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hive_expert.catalog import watch
from hive_expert.catalog.watch import changes


async def told(stream: AsyncIterator[None], within_s: float) -> bool:
    try:
        await asyncio.wait_for(anext(stream), within_s)
    except TimeoutError:
        return False
    return True


async def test_a_new_file_is_told(tmp_path: Path) -> None:
    stream = changes(tmp_path)
    first = asyncio.create_task(told(stream, 20))
    for number in range(40):
        await asyncio.sleep(0.25)
        (tmp_path / f"{number}.expert").write_bytes(b"x")
        if first.done():
            break
    assert await first


async def test_silence_is_told_now_and_then(tmp_path: Path) -> None:
    stream = changes(tmp_path, every_s=0.1)
    assert await told(stream, 10)
    assert await told(stream, 10)


@pytest.mark.parametrize("kind", ["absent", "no watches left"])
async def test_what_cannot_be_watched_is_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.01)
    directory = tmp_path / "absent"
    if kind != "absent":
        directory.mkdir()

        def no_watches(*_: Any, **__: Any) -> Any:
            raise OSError("no space left on device")

        monkeypatch.setattr(watch, "awatch", no_watches)
    stream = changes(directory)
    assert await told(stream, 10)
    assert await told(stream, 10)

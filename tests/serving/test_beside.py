"""What ends beside the requests without a word would be missed by nobody."""

from __future__ import annotations

import asyncio

import pytest

from hive_expert.serving.beside import beside


async def test_a_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise OSError(28, "No space left on device")

    task = beside("watching", fail())
    await asyncio.wait([task])
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert (record.levelname, "watching has failed" in record.message) == ("CRITICAL", True)
    assert "No space left" in caplog.text


@pytest.mark.parametrize("cancel", [True, False])
async def test_an_end_in_good_order_is_not(caplog: pytest.LogCaptureFixture, cancel: bool) -> None:
    task = beside("waiting", asyncio.sleep(0.01))
    if cancel:
        task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert caplog.records == []

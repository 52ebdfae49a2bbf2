"""Raw prompts are constrained from the first token; whoever says otherwise is heard."""

from __future__ import annotations

from typing import Any

from hive_expert.serving.answering import AnsweringClient


class Engine:
    """Tells what it was asked."""

    errored = False

    def generate(self, *arguments: Any, **options: Any) -> Any:
        return arguments, options


def test_nothing_waits_for_the_end_of_thoughts() -> None:
    client = AnsweringClient(Engine())
    assert client.generate("prompt", lora_request=None) == (
        ("prompt",),
        {"reasoning_ended": True, "lora_request": None},
    )
    assert client.generate(reasoning_ended=False)[1] == {"reasoning_ended": False}
    assert client.errored is False

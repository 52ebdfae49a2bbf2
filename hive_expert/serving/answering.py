"""A raw prompt is answered from the first token on: who wrote it has decided about thoughts."""

from __future__ import annotations

from typing import Any


class AnsweringClient:
    """Stands before vLLM's engine client, for `/v1/completions`.

    Law: what constrains an answer holds from its first token. Where the base thinks, the engine
    would wait for the end of thoughts that a raw prompt need not have begun.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def generate(self, *arguments: Any, **options: Any) -> Any:
        return self._inner.generate(*arguments, **{"reasoning_ended": True, **options})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

"""Which of vLLM's parsers reads the calls of tools in a base model's answers. SPEC section 10.

Without one vLLM refuses requests with tools. The base's own files tell which markup its family
writes; where they tell nothing, there is no parser, rather than one that misses the calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hive_expert.errors import EngineError, Problem

OFF = "none"
"""What a user says for no parser at all."""

_TOOL_CALL_MARKS = (
    ("<function=", "qwen3_coder"),
    ("<tool_call>", "hermes"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|python_tag|>", "llama3_json"),
    # ChatML that says nothing of tools (SmolLM2): our own template tells it of them, and how to
    # call them (`decoding/templates/chatml.jinja`).
    ("<|im_start|>", "hermes"),
)
"""What a base's chat template or its special tokens hold, the most telling first → the parser."""


@dataclass(frozen=True, slots=True)
class Parsers:
    """vLLM's names; None: no parser."""

    tool_calls: str | None = None

    def arguments(self) -> list[str]:
        """vLLM's words for them."""
        arguments = []
        if self.tool_calls is not None:
            arguments += ["--enable-auto-tool-choice", "--tool-call-parser", self.tool_calls]
            # Arguments fit their schema by construction, whether or not the client says `strict`.
            arguments += ["--tool-strict-level", "parameter"]
        return arguments


def choose_parsers(directory: Path, *, tool_calls: str | None = None) -> Parsers:
    """The parsers for the base in a directory; a name given beats what its files tell.

    Raises:
        EngineError: vLLM has no parser of a given name.
    """
    _require_known(tool_calls)
    by_files = _tool_calls_of(_template(directory) + "".join(_special_tokens(directory)))
    chosen = tool_calls or by_files
    return Parsers(None if chosen == OFF else chosen)


def _tool_calls_of(text: str) -> str | None:
    return next((parser for mark, parser in _TOOL_CALL_MARKS if mark in text), None)


def _template(directory: Path) -> str:
    """The source of the base's own chat template; of several, all."""
    own = directory / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    template = _read(directory / "tokenizer_config.json").get("chat_template")
    return template if isinstance(template, str) else json.dumps(template or "")


def _special_tokens(directory: Path) -> list[str]:
    added = _read(directory / "tokenizer.json").get("added_tokens") or ()
    return [str(token.get("content")) for token in added]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}  # whether a base lacks what it needs is for those to say who load it
    return found if isinstance(found, dict) else {}


def _require_known(tool_calls: str | None) -> None:
    if (tool_calls or OFF) == OFF:
        return  # importing vLLM takes seconds
    from vllm.tool_parsers import ToolParserManager

    known = ToolParserManager.list_registered()
    if tool_calls not in known:
        what = f"vLLM has no parser {tool_calls}"
        raise EngineError(Problem("--tool-call-parser", what, f"one of: {', '.join(known)}, {OFF}"))

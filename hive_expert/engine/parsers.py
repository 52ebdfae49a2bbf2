"""Which of vLLM's parsers read a base model's answers: calls of tools, and thoughts. SPEC 8, 10.

Without a parser vLLM refuses requests with tools, and leaves thoughts in the answer's text. The
base's own files tell which markup its family writes; where they tell nothing, there is no parser,
rather than one that misses the calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hive_expert.engine.base_options import read_config
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

_THINKING = {"qwen3": "qwen3", "qwen3_moe": "qwen3"}
"""`model_type` of bases that think between `<think>` and `</think>` → the parser."""


@dataclass(frozen=True, slots=True)
class Parsers:
    """vLLM's names; None: no parser."""

    tool_calls: str | None = None
    reasoning: str | None = None

    def arguments(self) -> list[str]:
        """vLLM's words for them."""
        arguments = []
        if self.tool_calls is not None:
            arguments += ["--enable-auto-tool-choice", "--tool-call-parser", self.tool_calls]
            # Arguments fit their schema by construction, whether or not the client says `strict`.
            arguments += ["--tool-strict-level", "parameter"]
        if self.reasoning is not None:
            arguments += ["--reasoning-parser", self.reasoning]
        return arguments


def choose_parsers(
    directory: Path, *, tool_calls: str | None = None, reasoning: str | None = None
) -> Parsers:
    """The parsers for the base in a directory; a name given beats what its files tell.

    Raises:
        EngineError: vLLM has no parser of a given name.
    """
    _require_known(tool_calls, reasoning)
    by_template = _tool_calls_of(_template(directory) + "".join(_special_tokens(directory)))
    by_type = _THINKING.get(str(read_config(directory).get("model_type")))
    chosen = (tool_calls or by_template, reasoning or by_type)
    return Parsers(*(None if name == OFF else name for name in chosen))


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


def _require_known(tool_calls: str | None, reasoning: str | None) -> None:
    if (tool_calls or OFF) == OFF and (reasoning or OFF) == OFF:
        return  # importing vLLM takes seconds
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    given = (
        ("--tool-call-parser", tool_calls, ToolParserManager.list_registered()),
        ("--reasoning-parser", reasoning, ReasoningParserManager.list_registered()),
    )
    problems = [
        Problem(option, f"vLLM has no parser {name}", f"one of: {', '.join(sorted(known))}, {OFF}")
        for option, name, known in given
        if name is not None and name != OFF and name not in known
    ]
    if problems:
        raise EngineError(*problems)

"""The parser of tool calls follows from the base's own files, unless a name is given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hive_expert.adapters.base_model import BaseModel
from hive_expert.engine.launch import EngineSettings, parse_arguments
from hive_expert.engine.parsers import Parsers, choose_parsers
from hive_expert.errors import EngineError

SETTINGS = EngineSettings(BaseModel(("Tiny",), Path("/models/tiny")))


def base(directory: Path, template: str, special_tokens: tuple[str, ...] = ()) -> Path:
    (directory / "config.json").write_text("{}")
    (directory / "chat_template.jinja").write_text(template)
    tokens = [{"content": token} for token in special_tokens]
    (directory / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    return directory


@pytest.mark.parametrize(
    ("template", "special_tokens", "parser"),
    [
        ("<|im_start|>{{ tools }}<tool_call>", (), "hermes"),
        ("<|im_start|>{{ tools }}<tool_call><function=", (), "qwen3_coder"),
        ("<|im_start|>{{ messages }}", (), "hermes"),
        ("<|start_header_id|>", ("<|eot_id|>", "<|python_tag|>"), "llama3_json"),
        ("[INST] [TOOL_CALLS]", (), "mistral"),
        ("<start_of_turn>", ("<bos>",), None),
    ],
)
def test_the_base_s_files_tell(
    tmp_path: Path, template: str, special_tokens: tuple[str, ...], parser: str | None
) -> None:
    assert choose_parsers(base(tmp_path, template, special_tokens)).tool_calls == parser


def test_a_template_in_the_tokenizer_s_configuration_counts_too(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "<tool_call>"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    (tmp_path / "config.json").write_text("{}")
    assert choose_parsers(tmp_path).tool_calls == "hermes"


def test_a_base_that_tells_nothing_has_no_parser(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert choose_parsers(tmp_path) == Parsers()


def test_a_name_given_wins_and_none_turns_it_off(tmp_path: Path) -> None:
    directory = base(tmp_path, "<tool_call>")
    assert choose_parsers(directory, tool_calls="mistral").tool_calls == "mistral"
    assert choose_parsers(directory, tool_calls="none").tool_calls is None


def test_a_parser_that_vllm_does_not_have_is_refused_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"hermess[\s\S]*hermes,"):
        choose_parsers(base(tmp_path, ""), tool_calls="hermess")


def test_vllm_understands_what_is_passed() -> None:
    args = parse_arguments(replace(SETTINGS, parsers=Parsers("hermes")))
    assert (args.enable_auto_tool_choice, args.tool_call_parser) == (True, "hermes")
    assert args.tool_strict_level == "parameter"
    off = parse_arguments(SETTINGS)
    assert (off.enable_auto_tool_choice, off.tool_call_parser) == (False, None)

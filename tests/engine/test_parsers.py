"""The parsers follow from the base's own files, unless names are given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser.parser_manager import ParserManager

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
    args = parse_arguments(replace(SETTINGS, parsers=Parsers("hermes", "qwen3")))
    assert args.reasoning_parser == "qwen3"
    assert (args.enable_auto_tool_choice, args.tool_call_parser) == (True, "hermes")
    assert args.tool_strict_level == "parameter"
    off = parse_arguments(SETTINGS)
    assert (off.enable_auto_tool_choice, off.tool_call_parser) == (False, None)
    assert not off.reasoning_parser


@pytest.mark.parametrize(
    ("model_type", "given", "reasoning"),
    [
        ("qwen3", None, "qwen3"),
        ("qwen3_moe", None, "qwen3"),
        ("qwen3", "none", None),
        ("qwen3", "deepseek_r1", "deepseek_r1"),
        ("qwen2", None, None),
        ("llama", None, None),
    ],
)
def test_thoughts_are_read_where_the_base_is_known_to_think(
    tmp_path: Path, model_type: str, given: str | None, reasoning: str | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert choose_parsers(tmp_path, reasoning=given).reasoning == reasoning


def test_every_parser_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        choose_parsers(base(tmp_path, ""), tool_calls="hermess", reasoning="qwen33")
    assert [p.where for p in caught.value.problems] == ["--tool-call-parser", "--reasoning-parser"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and Qwen3's marks."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    by_bytes = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    by_bytes.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    by_bytes.decoder = decoders.ByteLevel()
    marks = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_start|>", "<|im_end|>"]
    by_bytes.add_special_tokens(marks)
    return PreTrainedTokenizerFast(tokenizer_object=by_bytes, eos_token="<|im_end|>")


def parser(tokenizer: Any, **template: Any) -> Any:
    """As vLLM makes it for one request to a Qwen3 base."""
    made: Any = ParserManager.get_parser("hermes", "qwen3", enable_auto_tools=True)
    return made(tokenizer, None, chat_template_kwargs=template)


def test_vllm_tells_thoughts_from_the_answer(tokenizer: Any) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    request = ChatCompletionRequest.model_validate(body)
    said = "<think>It is small.</think>Yes."
    assert parser(tokenizer).extract_reasoning(said, request) == ("It is small.", "Yes.")
    at_once = parser(tokenizer, enable_thinking=False)
    assert at_once.extract_reasoning("Yes.", request) == (None, "Yes.")


def test_vllm_constrains_from_the_first_token_where_nothing_is_thought(tokenizer: Any) -> None:
    prompt = tokenizer.encode("<|im_start|>assistant\n")
    assert not parser(tokenizer).is_reasoning_end(prompt)
    assert parser(tokenizer, enable_thinking=False).is_reasoning_end(prompt)
    closed = tokenizer.encode("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert parser(tokenizer).is_reasoning_end(closed)

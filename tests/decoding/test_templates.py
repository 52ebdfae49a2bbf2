"""Each template writes what its family of models reads."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hive_expert.decoding.templates import TEMPLATES, expert_template, tells_of_tools
from hive_expert.manifest.adapter_model import PromptTemplate

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi {{ 1 }}\n<b>"}
ANSWER = {"role": "assistant", "content": "Hello."}
AGAIN = {"role": "user", "content": "And you?"}
TALK = [SYSTEM, USER, ANSWER, AGAIN]

# Written out from what each family publishes: Qwen2.5 (chatml), Stanford Alpaca, Llama 3, Phi 3,
# DeepSeek V3, Gemma 2 (which has no system turn), Mistral 7B Instruct v0.2.
WRITTEN = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n"
    "<|im_start|>user\nHi {{ 1 }}\n<b><|im_end|>\n"
    "<|im_start|>assistant\nHello.<|im_end|>\n"
    "<|im_start|>user\nAnd you?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "alpaca": "Be brief.\n\n### Instruction:\nHi {{ 1 }}\n<b>\n\n### Response:\nHello.</s>\n\n"
    "### Instruction:\nAnd you?\n\n### Response:\n",
    "llama": "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi {{ 1 }}\n<b><|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nAnd you?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "phi": "<|system|>\nBe brief.<|end|>\n<|user|>\nHi {{ 1 }}\n<b><|end|>\n"
    "<|assistant|>\nHello.<|end|>\n<|user|>\nAnd you?<|end|>\n<|assistant|>\n",
    "deepseek": "<s>Be brief.<|User|>Hi {{ 1 }}\n<b><|Assistant|>Hello.</s>"
    "<|User|>And you?<|Assistant|>".replace("|", "\uff5c"),
    "gemma": "<s><start_of_turn>user\nBe brief.\n\nHi {{ 1 }}\n<b><end_of_turn>\n"
    "<start_of_turn>model\nHello.<end_of_turn>\n"
    "<start_of_turn>user\nAnd you?<end_of_turn>\n<start_of_turn>model\n",
    "mistral": "<s>[INST] Be brief.\n\nHi {{ 1 }}\n<b> [/INST]Hello.</s>[INST] And you? [/INST]",
}
ALPACA_OPENING = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Bare: no vocabulary to speak of, no template of its own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bytes_only, bos_token="<s>", eos_token="</s>")


def rendered(tokenizer: Any, name: str, messages: list[dict[str, str]], *, asks: bool) -> str:
    return str(
        tokenizer.apply_chat_template(
            messages,
            chat_template=TEMPLATES[name].text,
            tokenize=False,
            add_generation_prompt=asks,
        )
    )


def test_there_is_one_for_every_name_of_the_manifest() -> None:
    assert set(TEMPLATES) == set(get_args(PromptTemplate)) == set(WRITTEN)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_conversation_is_written_as_the_family_reads_it(tokenizer: Any, name: str) -> None:
    assert rendered(tokenizer, name, TALK, asks=True) == WRITTEN[name]


@pytest.mark.parametrize("name", TEMPLATES)
def test_without_a_system_message_none_is_invented_but_alpaca_s_opening(
    tokenizer: Any, name: str
) -> None:
    written = rendered(tokenizer, name, [USER], asks=True)
    assert "system" not in written
    assert "Hi {{ 1 }}\n<b>" in written
    assert (ALPACA_OPENING in written) == (name == "alpaca")


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("messages", [[USER], [SYSTEM, USER], TALK])
def test_the_prompt_is_a_prefix_of_the_conversation_with_its_answer(
    tokenizer: Any, name: str, messages: list[dict[str, str]]
) -> None:
    prompt = rendered(tokenizer, name, messages, asks=True)
    whole = rendered(tokenizer, name, [*messages, ANSWER], asks=False)
    assert whole.startswith(prompt)
    answer = whole.removeprefix(prompt)
    end = TEMPLATES[name].end_of_turn or "</s>"
    assert answer.strip() == f"Hello.{end}"


@pytest.mark.parametrize(
    ("name", "base", "chosen"),
    [
        (None, "HuggingFaceTB/SmolLM2-135M-Instruct", None),
        ("chatml", "HuggingFaceTB/SmolLM2-135M-Instruct", None),
        ("alpaca", "HuggingFaceTB/SmolLM2-135M-Instruct", "alpaca"),
        ("llama", "meta-llama/Llama-3.2-1B-Instruct", None),
        ("chatml", "meta-llama/Llama-3.2-1B-Instruct", "chatml"),
        ("chatml", "org/unheard-of", "chatml"),
    ],
)
def test_the_base_s_own_is_used_for_its_own_family(
    name: str | None, base: str, chosen: str | None
) -> None:
    template = expert_template(name, base)
    assert (template.name if template else None) == chosen


WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object"}},
}
WITH_TOOLS = """<|im_start|>system
Be brief.

# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
<|im_start|>user
Hi {{ 1 }}
<b><|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>
<tool_call>
{"name": "weather", "arguments": {"city": "Rom"}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
cold
</tool_response><|im_end|>
<|im_start|>assistant
"""


def test_chatml_tells_of_tools_as_hermes_and_qwen_do(tokenizer: Any) -> None:
    calls = [
        {"type": "function", "function": {"name": "weather", "arguments": arguments}}
        for arguments in ({"city": "Oslo"}, '{"city": "Rom"}')
    ]
    messages: list[Any] = [
        SYSTEM,
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "cold"},
    ]
    text = tokenizer.apply_chat_template(
        messages,
        tools=[WEATHER],
        chat_template=TEMPLATES["chatml"].text,
        tokenize=False,
        add_generation_prompt=True,
    )
    assert text == WITH_TOOLS


def test_only_chatml_has_a_place_for_tools() -> None:
    assert [name for name, t in TEMPLATES.items() if tells_of_tools(t.text)] == ["chatml"]

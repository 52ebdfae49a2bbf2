"""Names and sizes of members."""

from __future__ import annotations

import pytest

from hive_expert.package import layout


@pytest.mark.parametrize(
    "path", ["a", "a/b.c", "A-Z_0.9/x", "a" * 200, "manifest.json", "soft_prompts/x.safetensors"]
)
def test_safe_paths(path: str) -> None:
    assert layout.unsafe_path(path) is None


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a b", "a\n", "é", "a\0", "~", "a" * 201],
)
def test_unsafe_paths(path: str) -> None:
    assert layout.unsafe_path(path)


def test_the_members_of_the_format() -> None:
    for path in (
        "manifest.json",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "soft_prompts/tone.safetensors",
        "grammar.gbnf",
        "README.md",
        "LICENSE",
        "tests/test_cases.json",
        "signature.sig",
    ):
        assert layout.unexpected_member(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "Manifest.json",
        "soft_prompts/.safetensors",
        "soft_prompts/a/b.safetensors",
        "adapter/x.json",
    ],
)
def test_anything_else_is_not_a_member(path: str) -> None:
    assert layout.unexpected_member(path)


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("tone", "soft_prompts/tone.safetensors"),
        ("Tone_1.5", "soft_prompts/Tone_1.5.safetensors"),
        ("tone of voice", "soft_prompts/tone-of-voice.safetensors"),
        ("../../tone", "soft_prompts/-..-tone.safetensors"),
        (".hidden", "soft_prompts/hidden.safetensors"),
        ("...", "soft_prompts/-.safetensors"),
        ("Ton\u0301", "soft_prompts/Ton-.safetensors"),
    ],
)
def test_a_soft_prompt_has_a_member_by_its_name(name: str, member: str) -> None:
    assert layout.soft_prompt_member(name) == member
    assert layout.is_weights(member)
    assert layout.unsafe_path(member) is None


def test_each_kind_of_member_has_its_limit() -> None:
    assert layout.max_bytes("manifest.json") == 1 << 20
    assert layout.max_bytes("signature.sig") == 4096
    assert layout.max_bytes("adapter/adapter_config.json") == 1 << 20
    assert layout.max_bytes("grammar.gbnf") == 1 << 20
    assert layout.max_bytes("README.md") == 16 << 20
    assert layout.max_bytes("adapter/adapter_model.safetensors") == 2 << 30

"""Semantic versions and base model slugs."""

from __future__ import annotations

import random
import re

import pytest

from hive_expert.manifest.slug import model_slug
from hive_expert.manifest.versions import SEMANTIC_VERSION, precedence

# https://semver.org/#spec-item-11, and plain numbers around it.
ORDERED = [
    "0.0.1",
    "0.2.0",
    "0.10.0",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "2.1.0",
    "10.0.0",
]


def test_versions_are_ordered_as_the_standard_says() -> None:
    shuffled = random.Random(0).sample(ORDERED, len(ORDERED))
    assert sorted(shuffled, key=precedence) == ORDERED
    assert all(re.match(SEMANTIC_VERSION, version) for version in ORDERED)


def test_build_metadata_does_not_count() -> None:
    assert precedence("1.0.0+a-b.1") == precedence("1.0.0")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m"),
        ("Qwen/Qwen3-0.6B", "qwen3-0.6b"),
        ("google/gemma-3-1b-it", "gemma-3-1b"),
        ("/models/My Model_v1/", "my-model-v1"),
        ("smollm2-135m", "smollm2-135m"),
        ("TinyLlama/TinyLlama-1.1B-Chat", "tinyllama-1.1b"),
    ],
)
def test_slugs(name: str, slug: str) -> None:
    assert model_slug(name) == slug
    assert model_slug(slug) == slug

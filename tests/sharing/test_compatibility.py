"""What is not served here is not installed, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hive_expert.errors import (
    InstallError,
    ManifestError,
)
from hive_expert.package.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from hive_expert.sharing.compatibility import Target
from hive_expert.sharing.install import install
from hive_expert.sharing.source import PathSource
from tests.package.samples import (
    forged,
    key,
    lora_tensors,
    peft_config,
    safetensors,
)
from tests.sharing.world import NAME, User, base_entry, package


@pytest.mark.parametrize(
    ("changes", "target", "reason"),
    [
        ({"base_models": base_entry(name="Qwen/Qwen3-0.6B")}, {}, "is made for Qwen/Qwen3-0.6B"),
        ({"base_models": base_entry(sha256="a" * 64)}, {"fingerprint": "b" * 64}, "weights aaaa"),
        ({}, {"max_rank": 1}, "has rank 2, more than 1"),
        ({"runtime": {"attention_kernel": "nobodys"}}, {}, "attention_kernel"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    changes: dict[str, Any], target: dict[str, Any], reason: str, user: User, tmp_path: Path
) -> None:
    rules = {"names": user.site().target.names, "fingerprint": None} | target
    try:
        made = package(tmp_path, **changes)
    except ManifestError as error:  # pack refuses it as well
        assert reason in str(error)
        return
    with pytest.raises(InstallError, match=reason):
        install([PathSource(made)], user.site(target=Target(**rules)))
    assert user.installed() == {}


def test_the_rank_of_a_pattern_counts(user: User, tmp_path: Path) -> None:
    tensors = lora_tensors(("q_proj",)) | lora_tensors(("v_proj",), rank=3)
    made = forged(
        tmp_path / "expert-sample-smollm2-135m-instruct.v0.1.0.expert",
        {
            ADAPTER_CONFIG: json.dumps(peft_config(rank_pattern={"v_proj": 3})).encode(),
            ADAPTER_WEIGHTS: safetensors(tensors),
        },
        signer=key("Ann"),
    )
    names = user.site().target.names
    with pytest.raises(InstallError, match="has rank 3, more than 2"):
        install([PathSource(made)], user.site(target=Target(names, None, max_rank=2)))
    install([PathSource(made)], user.site(target=Target(names, None, max_rank=3)))
    assert user.installed() == {NAME: "0.1.0"}


def test_the_pinned_weights_decide_not_the_name(user: User, tmp_path: Path) -> None:
    made = package(tmp_path, base_models=base_entry(name="a/copy", sha256="a" * 64))
    target = Target(("b/name",), "a" * 64)
    install([PathSource(made)], user.site(target=target))
    assert user.installed() == {NAME: "0.1.0"}

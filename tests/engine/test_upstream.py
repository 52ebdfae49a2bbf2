"""Every name of vLLM that we touch is there; if one were not, registration would say so."""

from __future__ import annotations

import pytest

from hive_expert.engine import plugin, upstream
from hive_expert.errors import EngineError


def test_the_installed_vllm_has_every_name() -> None:
    assert upstream.missing_names() == ()


@pytest.mark.parametrize(
    "name", ["vllm.lora.utils.no_such_name", "vllm.no_such_module.name", "no_such_package.a.b"]
)
def test_a_missing_name_stops_registration_with_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "NAMES", (name, "vllm.lora.utils.from_layer"))
    monkeypatch.setenv("VLLM_PLUGINS", plugin.NAME)
    with pytest.raises(EngineError) as caught:
        plugin.register()
    (problem,) = caught.value.problems
    assert problem.where == name
    assert plugin.VLLM_VERSION in problem.remedy

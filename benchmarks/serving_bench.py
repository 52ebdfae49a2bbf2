"""What all figures of `serving.py` share: scratch folders, a publisher, and servers to compare."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from hive_expert import locations
from hive_expert.adapters.base_model import resolve_base
from hive_expert.engine import plugin
from hive_expert.engine.base_options import BaseOptions
from hive_expert.engine.launch import EngineSettings, environment, vllm_arguments
from hive_expert.engine.plugin import serves_on
from hive_expert.engine.precision import unasked_dtype
from hive_expert.package.keys import SigningKey, generate_key
from hive_expert.package.trust import TrustStore
from hive_expert.serving.local_server import LocalServer, free_port, local_server, running_server

progress = Console(stderr=True)
OURS = ("--worker-extension-cls", "--scheduler-cls", "--distributed-executor-backend")
"""Arguments of vLLM that name code of ours."""


def end_as_usual_on_sigterm() -> None:
    """Stop the servers one has started when one is told to stop; Python would leave them behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@dataclass
class Bench:
    """One run: where things lie, who signs, and how much is measured."""

    base: Path
    """The base model's directory; its name is what servers call it."""
    folder: Path
    quick: bool
    signer: SigningKey = field(default_factory=lambda: generate_key("Benchmark"))

    def __post_init__(self) -> None:
        config, data = self.home / "config", self.home / "data"
        config.mkdir(parents=True, exist_ok=True)
        data.mkdir(exist_ok=True)
        # Compiled once for the user, not once for each run.
        kernels = locations.data_dir() / "cpu-kernel"
        kernels.mkdir(parents=True, exist_ok=True)
        if not (data / kernels.name).exists():
            (data / kernels.name).symlink_to(kernels)
        trust = TrustStore().with_key(self.signer.public, ("*",), datetime.now(UTC))
        trust.save(config / "trust.json")

    @property
    def home(self) -> Path:
        """HIVE_HOME of all servers: a package is unpacked once for all of them."""
        return self.folder / "home"

    def made(self, name: str) -> Path:
        """A new, empty folder."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder

    @contextmanager
    def hive(
        self,
        experts: Path,
        *options: str,
        jobs: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> Iterator[LocalServer]:
        """hive-serve over packages, as users start it; without batches unless `jobs`.

        Args:
            variables: more of its environment.
        """
        progress.print(f"starting hive-serve {' '.join(options)} …")
        log = self.folder / f"hive-{free_port()}.log"
        words = ("--base", str(self.base), *options)
        with local_server(
            experts, *words, home=self.home, log=log, jobs=jobs, variables=variables
        ) as server:
            yield server

    @contextmanager
    def vllm(
        self, adapters: Mapping[str, Path], *, slots: int, ours: bool
    ) -> Iterator[LocalServer]:
        """vLLM's own server with static adapters, on the arguments that hive-serve gives it.

        Args:
            ours: with our engine plugin, so that only the serving layer differs from hive-serve;
                stock vLLM otherwise.
        """
        from hive_expert.engine import in_process

        progress.print(f"starting vLLM's server {'with our engine' if ours else '(stock)'} …")
        port = free_port()
        settings = EngineSettings(
            base=resolve_base(str(self.base)),
            port=port,
            options=BaseOptions(unasked_dtype(serves_on())),
            max_slots=slots,
            max_cpu_experts=2 * slots,
        )
        arguments = vllm_arguments(settings)
        if not ours:
            for option in OURS:
                place = arguments.index(option)
                del arguments[place : place + 2]
        arguments += ["--lora-modules", *(f"{name}={path}" for name, path in adapters.items())]
        variables = os.environ | environment(settings)
        if ours:
            variables = in_process.environment(1) | variables
        variables |= {"VLLM_PLUGINS": plugin.NAME if ours else "", "HIVE_HOME": str(self.home)}
        command = [sys.executable, "-W", "ignore", "-m", "vllm.entrypoints.openai.api_server"]
        log = self.folder / f"vllm-{port}.log"
        url = f"http://127.0.0.1:{port}"
        with running_server([*command, *arguments], url, environment=variables, log=log) as server:
            yield server

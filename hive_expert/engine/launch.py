"""From settings to vLLM's own OpenAI server, with our two plugins on."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hive_expert.adapters.base_model import BaseModel
from hive_expert.engine import plugin
from hive_expert.engine.base_options import BaseOptions, cache_bytes, read_config
from hive_expert.engine.ending import Ending, end_at_once_when_told
from hive_expert.engine.parsers import Parsers
from hive_expert.errors import EngineError, Problem

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The maximum ranks that vLLM 0.32 allocates slots for."""

ADAPTED_MODULES = (
    "q_proj",
    "k_proj",
    "v_proj",
    "qkv_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "gate_up_proj",
    "down_proj",
)
"""Layers that get LoRA slots: the seven safe projections and the names vLLM packs them
under. Embedding and lm_head stay unwrapped, which spares every decode step their work
and avoids a crash with prompt embeddings on Llama (vLLM #51122)."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a user decides about the engine; `vllm_arguments` turns it into vLLM's words."""

    base: BaseModel
    host: str = "127.0.0.1"
    port: int = 8000
    options: BaseOptions = field(default_factory=BaseOptions)
    """How the base runs: precision, positions, attention."""
    parsers: Parsers = field(default_factory=Parsers)
    """What reads the markup in its answers."""
    max_model_len: int | None = None
    max_num_seqs: int = 64
    max_slots: int = 8
    """Adapters that can be in one batch."""
    max_cpu_experts: int = 32
    """Adapters kept in memory, those in slots included."""
    max_rank: int = 16
    kv_cache_gib: int = 1
    """KV cache on the CPU; vLLM's default there would take half the memory."""
    gpu_memory_share: float | None = None
    """Of a GPU's memory, for weights and KV cache together; None: vLLM's default."""
    tensor_parallel_size: int = 1
    """Processes, or GPUs, that each layer is split over."""
    max_logprobs: int = 20
    """Alternatives that a request may ask for each token."""
    probe_effect: bool = False
    """The server itself asks for some, of each adapter that is loaded; see `engine.effect`."""
    allowed_origins: tuple[str, ...] = ()
    """Sites whose pages a browser lets read the answers."""
    otlp_traces_endpoint: str | None = None
    """Where vLLM sends OpenTelemetry traces."""
    verbose: bool = False


def slot_rank(rank: int) -> int:
    """The smallest maximum rank vLLM offers that holds `rank`.

    Raises:
        EngineError: a rank above what vLLM can serve.
    """
    for allowed in RANKS:
        if rank <= allowed:
            return allowed
    raise EngineError(Problem("rank", f"{rank} is above {RANKS[-1]}, the most vLLM can serve"))


def vllm_arguments(settings: EngineSettings) -> list[str]:
    """The command line that vLLM's own server gets; the worker's extension, the scheduler and, on
    the CPU, the executor that it names are ours."""
    from hive_expert.engine import in_process
    from hive_expert.engine.effect import TOP

    arguments = ["--model", str(settings.base.directory)]
    arguments += ["--served-model-name", *settings.base.names]
    arguments += ["--host", settings.host, "--port", str(settings.port)]
    arguments += base_arguments(settings)
    if settings.max_model_len is not None:
        arguments += ["--max-model-len", str(settings.max_model_len)]
    if settings.tensor_parallel_size > 1:
        arguments += ["--tensor-parallel-size", str(settings.tensor_parallel_size)]
    arguments += ["--max-num-seqs", str(settings.max_num_seqs)]
    # Who waits for an answer goes before batches; see `serving.agents`.
    arguments += ["--scheduling-policy", "priority", "--scheduler-cls", SCHEDULER]
    # The door holds requests to their limit, which may be below what a probe needs.
    probed = TOP if settings.probe_effect else 0
    arguments += ["--max-logprobs", str(max(settings.max_logprobs, probed))]
    if settings.allowed_origins:
        arguments += ["--allowed-origins", json.dumps(settings.allowed_origins)]
    if settings.otlp_traces_endpoint is not None:
        arguments += ["--otlp-traces-endpoint", settings.otlp_traces_endpoint]
    arguments += ["--enable-lora", "--max-lora-rank", str(slot_rank(settings.max_rank))]
    arguments += ["--max-loras", str(settings.max_slots)]
    arguments += ["--max-cpu-loras", str(max(settings.max_cpu_experts, settings.max_slots))]
    arguments += ["--lora-target-modules", *ADAPTED_MODULES]
    arguments += ["--worker-extension-cls", f"{plugin.__name__}.WorkerExtension"]
    if in_process.is_possible(settings.tensor_parallel_size):
        arguments += ["--distributed-executor-backend", in_process.NAME]
    # torch.compile is off with LoRA on the CPU anyway, and only costs start-up time. On a GPU it
    # gives up CUDA graphs, for which gains and soft prompts are written: no parity test has run a
    # whole engine with them.
    arguments += ["--enforce-eager"]
    arguments += settings.parsers.arguments()
    # Grammars are checked against xgrammar's dialect; vLLM's "auto" falls back to a backend
    # that reads some of them differently, or fails on them in the engine.
    arguments += ["--structured-outputs-config.backend", "xgrammar"]
    # A small model that is free to write blanks between the parts of JSON may never stop.
    arguments += ["--structured-outputs-config.disable_any_whitespace", "true"]
    # The answer would name our build to every client; and nobody reads every request's line.
    arguments += ["--fingerprint-mode", "none", "--disable-uvicorn-access-log"]
    arguments += ["--uvicorn-log-level", "info" if settings.verbose else "warning"]
    return arguments


def base_arguments(settings: EngineSettings) -> list[str]:
    """vLLM's words for how the base model runs."""
    options = settings.options
    arguments = ["--dtype", options.dtype, "--enable-prefix-caching"]
    if options.rope is not None:
        overrides = options.rope.overrides(read_config(settings.base.directory))
        arguments += ["--hf-overrides", json.dumps(overrides)]
    if options.attention_backend is not None:
        arguments += ["--attention-backend", options.attention_backend]
    if settings.gpu_memory_share is not None:
        arguments += ["--gpu-memory-utilization", str(settings.gpu_memory_share)]
    return arguments


def require_room(settings: EngineSettings) -> None:
    """Raise EngineError when one request as long as the context would not fit into the KV cache.

    vLLM finds that out as well, half a minute later.
    """
    config = read_config(settings.base.directory)
    rope, own = settings.options.rope, config.get("max_position_embeddings")
    length = settings.max_model_len or (rope.context if rope else own)
    if not isinstance(length, int):
        return
    dtype = settings.options.dtype
    wide = dtype == "float32" or (dtype == "auto" and config.get("dtype") == "float32")
    # Each worker has a cache of its own, for its share of the heads.
    shares = min(settings.tensor_parallel_size, int(config.get("num_key_value_heads") or 1))
    needed = length * cache_bytes(config, 4 if wide else 2) / shares
    if needed > settings.kv_cache_gib * 2**30:
        raise EngineError(
            Problem(
                "--kv-cache-gib",
                f"{length} tokens take {needed / 2**30:.1f} GiB of KV cache, "
                f"{settings.kv_cache_gib} is given",
                f"--kv-cache-gib {math.ceil(needed / 2**30)}, or a smaller --max-model-len",
            )
        )


def require_split(settings: EngineSettings) -> None:
    """Raise EngineError when the base's layers cannot be shared out evenly."""
    config, parts = read_config(settings.base.directory), settings.tensor_parallel_size
    heads = config.get("num_attention_heads")
    if isinstance(heads, int) and not _splits(config, parts):
        possible = ", ".join(str(n) for n in range(1, heads + 1) if _splits(config, n))
        what = f"the base's layers cannot be shared out evenly over {parts}"
        raise EngineError(Problem("--tensor-parallel-size", what, f"one of {possible}"))


def _splits(config: Mapping[str, Any], parts: int) -> bool:
    """Whether vLLM can: fewer key-value heads than parts are repeated."""
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    whole = heads % parts == 0 and (kv_heads % parts == 0 or parts % kv_heads == 0)
    return whole and config.get("intermediate_size", 0) % parts == 0


def environment(settings: EngineSettings) -> dict[str, str]:
    """Environment variables the engine's processes need; a user's own values win."""
    variables = {
        "VLLM_PLUGINS": f"{plugin.NAME},{plugin.ENDPOINTS},{plugin.JOBS}",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_CPU_KVCACHE_SPACE": str(settings.kv_cache_gib),
        # The base is a local folder by now: nothing here may wait for a network.
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Longer than clients and proxies keep a connection (aiohttp 15 s, nginx 60 s): where a
        # server is the first to close, a request now and then meets a closing door. vLLM's is 5 s.
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "75",
    }
    return variables if settings.verbose else variables | QUIET


QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCH_LOGS": "-all",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TQDM_DISABLE": "1",
    # vLLM's own use of torch, and the semaphores its processes leave to the kernel.
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore::UserWarning:multiprocessing.resource_tracker",
}
"""What keeps libraries from talking over our own lines; `--verbose` lets them."""


NEVER = (
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    "VLLM_SERVER_DEV_MODE",
    "VLLM_ENABLE_COHERE_API",
    # One tenant could read another's answers there, by their ids.
    "VLLM_ENABLE_RESPONSES_API_STORE",
    "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH",
    # One expert whose numbers overflow would end the engine.
    "VLLM_RAISE_ON_LOGIT_NANS",
)
"""Switches of vLLM that mount what we do not serve, or keep serving without an engine."""

ALWAYS = {"VLLM_COMPUTE_NANS_IN_LOGITS": "1"}
"""Switches that our own parts need; see `engine.overflow`."""


SCHEDULER = "hive_expert.engine.yielding.scheduler"
"""See `engine.yielding`; named here since its module needs all of vLLM."""


SWITCH_S = 0.0005
"""How long a thread that verifies a package may keep Python's lock while the one that passes tokens
on waits for it, which it does several times a token. Python's own is 5 ms."""


def run_server(settings: EngineSettings, hive: object, jobs: object = None) -> None:
    """Serve until told to stop. `hive` reaches our endpoint plugins as `args.hive`, and `jobs` as
    `args.hive_jobs`; without jobs there are no batches.

    Raises:
        EngineError: the wrong vLLM, a broken installation of ours, the port is taken, or the engine
            died.
    """
    plugin.require_vllm()
    for name, value in environment(settings).items():
        os.environ.setdefault(name, value)
    # These decide whether our code is in force: no outside value may unset them.
    os.environ["VLLM_PLUGINS"] = environment(settings)["VLLM_PLUGINS"]
    os.environ.update(dict.fromkeys(NEVER, "0") | ALWAYS)
    plugin.require_entry_points()

    import uvloop
    from vllm.logger import configure_logging_from_args

    from hive_expert.engine import in_process
    from hive_expert.engine.cpu_kernel import choice as cpu_kernel

    cpu_kernel.prepare()
    args = parse_arguments(settings)
    for name, value in in_process.environment(settings.tensor_parallel_size).items():
        os.environ.setdefault(name, value)
    args.hive = hive
    args.hive_jobs = jobs
    args.hive_ending = ending = Ending()
    configure_logging_from_args(args)
    # A reload that is asked for before anything is loaded has nothing to do.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_at_once_when_told()
    sys.setswitchinterval(SWITCH_S)
    try:
        uvloop.run(_run_vllm(args))
    except OSError as error:
        raise EngineError(
            Problem(
                f"{settings.host}:{settings.port}",
                f"cannot listen: {error.strerror or error}",
                "choose another --port, or stop what listens there",
            )
        ) from error
    except RuntimeError as error:
        what = ending.failure or Problem("engine", f"did not start: {error}", "see the log above")
        raise EngineError(what) from error
    if ending.failure is not None:
        raise EngineError(ending.failure)


async def _run_vllm(args: Any) -> None:
    """vLLM's `run_server` without its handler of SIGTERM; see `engine.ending`."""
    from vllm.entrypoints.launchers.api_server.entry import run_server_worker
    from vllm.entrypoints.launchers.launcher import setup_server
    from vllm.utils.system_utils import decorate_logs

    decorate_logs("APIServer", skip_if_decorated=True)
    address, socket = setup_server(args, reuse_port=False)
    await run_server_worker(address, socket, args)


def parse_arguments(settings: EngineSettings) -> Any:
    """vLLM's own parse of :func:`vllm_arguments`, so that its checks apply."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    args = make_arg_parser(FlexibleArgumentParser()).parse_args(vllm_arguments(settings))
    validate_parsed_serve_args(args)
    return args

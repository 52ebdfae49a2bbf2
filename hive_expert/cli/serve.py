"""`hive-serve`: the OpenAI-compatible server over a directory of experts."""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hive_expert import __version__, locations
from hive_expert.cli.config_file import config_option
from hive_expert.cli.lifeline import end_with_starter
from hive_expert.cli.serve_access import (
    AccessOptions,
    access_options,
    door_settings,
    request_limits,
)
from hive_expert.cli.serve_answers import AnswerOptions, answer_options, sampling_options
from hive_expert.cli.serve_base import (
    BaseFlags,
    base_model_options,
    manifests_in,
    precision_told,
    served_base,
)
from hive_expert.cli.serve_experts import capacity_for, report, verify_ahead
from hive_expert.cli.serve_jobs import JobOptions, agents_source, job_options, job_settings
from hive_expert.cli.serve_replicas import (
    ReplicaOptions,
    click_context,
    replica_options,
    replica_settings,
    require_replicas,
)
from hive_expert.cli.supervise import Supervisor
from hive_expert.cli.terminal import HiveCommand, console, note, notes_to
from hive_expert.cli.trust_policy import trust_option
from hive_expert.decoding.sampling_fields import check_flags

if TYPE_CHECKING:
    from hive_expert.serving.guard import DoorSettings

EXAMPLES = """
\b
Examples:
  hive-serve --experts-dir experts.d
  hive-serve --experts-dir experts.d --base Qwen/Qwen3-0.6B --port 8080
  hive-serve --experts-dir experts/ --trust off        # unpacked, while you develop
  hive-serve --experts-dir experts.d --pin expert-sql --max-cpu-experts 16
  hive-serve --experts-dir experts.d --config configs/cpu-smollm2.toml
  hive-serve --experts-dir experts.d --rope-scaling yarn-128k --kv-cache-gib 3
  hive-serve --experts-dir experts.d --supervise --drain-seconds 60
  hive-serve --experts-dir experts.d --host 0.0.0.0 --api-key-file keys --admin-key-file admin
  hive-serve --experts-dir experts.d --agents agents.toml --max-job-requests 16
  hive-serve --experts-dir experts.d --replicas 2            # on Ray Serve; hive-expert[ray]
  hive-serve --experts-dir experts.d --replicas 1 --max-replicas 4 --requests-per-replica 16
\b
Then, from any OpenAI client:
  curl http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"model": "expert-sql", "messages": [
          {"role": "system", "content": "Dialect: sql\\nSchema:\\nusers(id, name, age)"},
          {"role": "user", "content": "Find all users older than 25."}]}'
"""


@click.command(cls=HiveCommand, epilog=EXAMPLES)
@click.version_option(__version__, prog_name="hive-serve")
@config_option
@click.option(
    "--experts-dir",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with .expert packages (or unpacked ones; unsigned with --trust off).",
)
@click.option(
    "--base", default="smollm2-135m", show_default=True, help="Slug, local path or hub name."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port to listen on.",
)
@trust_option
@base_model_options
@click.option(
    "--max-num-seqs",
    default=64,
    show_default=True,
    type=click.IntRange(min=1),
    help="Requests in one batch.",
)
@click.option(
    "--max-slots",
    default=8,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Experts in one batch.",
)
@click.option(
    "--max-cpu-experts",
    type=click.IntRange(min=1),
    help="Experts in memory, those in the batch included; default: what a quarter of the free "
    "memory holds. Those used longest ago make room.",
)
@click.option(
    "--pin",
    "pins",
    multiple=True,
    metavar="EXPERT",
    help="Load an expert at start and keep it in memory; repeatable. NAME follows new versions, "
    "NAME@VERSION does not.",
)
@click.option(
    "--max-rank",
    default=16,
    show_default=True,
    type=click.IntRange(1, 512),
    help="Largest adapter rank.",
)
@access_options
@job_options
@replica_options
@sampling_options
@answer_options
@click.option(
    "--drain-seconds",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Once told to stop (SIGTERM): how long requests may take to end.",
)
@click.option(
    "--supervise",
    is_flag=True,
    help="Start the server again when it dies, with the experts that were loaded.",
)
@click.option("--lifeline", hidden=True, type=click.IntRange(min=3), help="-")
@click.option("--recall", hidden=True, type=click.Path(dir_okay=False, path_type=Path), help="-")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: our own log as an object a line, with one for each request and its x-request-id.",
)
@click.option(
    "--otlp-traces-endpoint",
    metavar="URL",
    help="Send vLLM's OpenTelemetry traces there; a request's traceparent is kept.",
)
@click.option("--verbose", is_flag=True, help="vLLM's own log, too.")
def main(
    experts_dir: Path,
    base: str,
    host: str,
    port: int,
    trust: str,
    base_flags: BaseFlags,
    max_num_seqs: int,
    max_slots: int,
    max_cpu_experts: int | None,
    pins: tuple[str, ...],
    max_rank: int,
    access: AccessOptions,
    jobs: JobOptions,
    scale: ReplicaOptions,
    answers: AnswerOptions,
    drain_seconds: float,
    supervise: bool,
    lifeline: int | None,
    recall: Path | None,
    log_format: str,
    otlp_traces_endpoint: str | None,
    verbose: bool,
    **flags: float | None,
) -> None:
    """Serve a base model and its experts on an OpenAI-compatible endpoint.

    Every package is verified before it is served; one that fails is listed with its
    reason and the others go on. The folder is watched: packages that are added, replaced or
    removed count at once, and SIGHUP has it looked at anew.
    """
    if lifeline is not None:
        end_with_starter(lifeline)
    context = click_context()
    in_replicas = require_replicas(context, scale)
    _require_engine()
    from hive_expert.serving.logs import log_to

    log_to(sys.stderr, format_=log_format, verbose=verbose)  # type: ignore[arg-type]  # a click.Choice
    if log_format == "json":
        notes_to(logging.getLogger("hive_expert.cli"))
    # A supervised server, which is told where to recall from, may read the same --config.
    if supervise and recall is None:
        sys.exit(Supervisor(_own_command()).run())
    if max_cpu_experts is not None and max_cpu_experts < max_slots:
        raise click.UsageError("--max-cpu-experts counts those in slots, so it is at least that")
    sampling = check_flags(flags)
    door = door_settings(host, max_num_seqs, access, agents_source(jobs))
    limits = request_limits(access)
    if in_replicas:
        _serve_replicas(context, scale, door, jobs)
        return
    from hive_expert.adapters.base_model import resolve_base
    from hive_expert.catalog.inventory import Inventory
    from hive_expert.catalog.scan import host_of
    from hive_expert.engine.launch import (
        EngineSettings,
        require_room,
        require_split,
        run_server,
        slot_rank,
    )
    from hive_expert.engine.parsers import choose_parsers
    from hive_expert.package.store import PackageStore
    from hive_expert.package.trust import Policy, TrustStore
    from hive_expert.serving.recall import Recall
    from hive_expert.serving.state import ServeSettings
    from hive_expert.sharing.transaction import settle

    trusted = TrustStore.load(locations.trust_store())
    settle(experts_dir, trusted)  # what a killed hive install left undone
    with console.status("looking for the base model") as status:
        model = resolve_base(base, progress=lambda stage: status.update(f"base model: {stage}"))
        status.update("reading the experts directory")
        experts_host = host_of(model, slot_rank(max_rank))
        inventory = Inventory(
            experts_dir,
            experts_host,
            PackageStore(locations.package_store()),
            trusted,
            Policy(trust),
        )
        inventory.refresh(settle_s=0)
        served = served_base(base_flags, manifests_in(inventory.catalog()), model.directory)
        inventory.served = served
        catalog = inventory.catalog()
    report(catalog)
    # While the engine starts, in its own process; the endpoints wait for it (`Supply.start`).
    threading.Thread(target=verify_ahead, args=(inventory, pins), daemon=True).start()
    capacity = max_cpu_experts or capacity_for(
        catalog,
        experts_host,
        max_rank=max_rank,
        max_slots=max_slots,
        dtype=served.options.dtype,
    )
    if len(pins) >= capacity:
        raise click.UsageError(f"--pin: at most {capacity - 1}, so that others find a place")
    engine = EngineSettings(
        base=model,
        host=host,
        port=port,
        options=served.options,
        parsers=choose_parsers(
            model.directory,
            tool_calls=base_flags.tool_call_parser,
            reasoning=base_flags.reasoning_parser,
        ),
        max_model_len=base_flags.max_model_len,
        max_num_seqs=max_num_seqs,
        max_slots=max_slots,
        max_cpu_experts=capacity,
        max_rank=max_rank,
        kv_cache_gib=base_flags.kv_cache_gib,
        gpu_memory_share=base_flags.gpu_memory_share,
        tensor_parallel_size=base_flags.tensor_parallel_size,
        max_logprobs=limits.logprobs,
        probe_effect=answers.probe_effect,
        allowed_origins=tuple(sorted(door.origins)),
        otlp_traces_endpoint=otlp_traces_endpoint,
        verbose=verbose,
    )
    require_split(engine)
    if served.platform == "cpu":
        require_room(engine)
    settings = ServeSettings(
        inventory=inventory,
        host=experts_host,
        base_names=model.names,
        max_cpu_experts=capacity,
        pins=pins,
        flags=sampling,
        ignore_manifest_decoding=answers.ignore_manifest_decoding,
        on_invalid=answers.on_invalid,  # type: ignore[arg-type]  # click.Choice lists the same literals
        retries=answers.on_invalid_retries,
        cut_ranks=answers.cut_ranks,
        probe_effect=answers.probe_effect,
        route_max_experts=answers.route_max_experts,
        route_threshold=answers.route_threshold,
        door=door,
        limits=limits,
        drain_s=drain_seconds,
        recall=Recall(recall) if recall else None,
    )
    note(f"starting the engine on {model.name}{precision_told(served)} (about half a minute)")
    run_server(engine, settings, job_settings(jobs, max_num_seqs, access.max_body_mib))


def _serve_replicas(
    context: click.Context, scale: ReplicaOptions, door: DoorSettings, jobs: JobOptions
) -> None:
    from hive_expert.replicas.environment import prepare

    prepare(scale.ray_address)
    from hive_expert.replicas.run import run

    places, body = context.params["max_num_seqs"], context.params["max_body_mib"]
    settings = replica_settings(context, scale, door, job_settings(jobs, places, body))
    note(f"starting {scale.replicas} replicas on Ray Serve (about a minute)")
    run(settings)


def _own_command() -> list[str]:
    """This command line, to run again without a supervisor."""
    words = [word for word in sys.argv[1:] if word != "--supervise"]
    if "--lifeline" in words:  # the supervisor's own
        del words[(at := words.index("--lifeline")) : at + 2]
    return [sys.executable, "-m", "hive_expert.cli.serve", *words]


def _require_engine() -> None:
    """Say what to install before anything slow starts."""
    from hive_expert.errors import EngineError, Problem

    if importlib.util.find_spec("vllm") is None or importlib.util.find_spec("torch") is None:
        raise EngineError(
            Problem(
                "hive-serve", "vLLM is not installed", "pip install 'hive-expert[cpu]' or [cuda]"
            )
        )


if __name__ == "__main__":
    main()

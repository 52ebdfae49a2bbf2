"""What a server has beside its routes, made once its engine is up."""

from __future__ import annotations

import asyncio
import logging
from argparse import Namespace
from functools import partial
from typing import Any

from vllm.lora.request import LoRARequest
from vllm.v1.metrics.prometheus import get_prometheus_registry

from hive_expert.catalog.residency import Resident
from hive_expert.decoding.child import Child
from hive_expert.engine.lora_gauge import drop_lora_gauge
from hive_expert.engine.vllm_adapters import VllmAdapters
from hive_expert.router.route import Settings
from hive_expert.serving.answering import AnsweringClient
from hive_expert.serving.apply import values_of_base
from hive_expert.serving.automatic import Router
from hive_expert.serving.beside import beside
from hive_expert.serving.guard import Door
from hive_expert.serving.held import KeepingClient
from hive_expert.serving.lifetime import Lifetime
from hive_expert.serving.measured import MeasuringClient
from hive_expert.serving.overflow import OverflowClient, OverflowedAnswerError, overflowed
from hive_expert.serving.rendering import rendering_of
from hive_expert.serving.snapshot import snapshot
from hive_expert.serving.soft_prompt import SoftPromptRenderer
from hive_expert.serving.state import Hive, ServeSettings
from hive_expert.serving.structures import start_structures
from hive_expert.serving.supply import Supply
from hive_expert.serving.telemetry import StateCollector, Telemetry
from hive_expert.serving.validation import Validator
from hive_expert.serving.warmup import warm_grammars
from hive_expert.serving.worker_check import require_active_plugin

log = logging.getLogger("hive_expert.serving")


async def start(engine_client: Any, state: Any, args: Namespace) -> None:
    """Put on vLLM's application state what the routes need, and set going what runs beside them."""
    settings: ServeSettings = args.hive
    state.hive_door = settings.door.open()
    await require_active_plugin(engine_client)
    drop_lora_gauge(engine_client, get_prometheus_registry())
    models = state.openai_serving_models
    models.model_name = _public_name(settings.base_names[0])
    adapters = VllmAdapters(engine_client, models.lora_requests, probe_effect=settings.probe_effect)
    slots = engine_client.vllm_config.lora_config.max_loras
    resident = Resident(adapters, settings.max_cpu_experts, slots)
    supply = Supply(settings.inventory, resident, settings.inventory.catalog(), set(settings.pins))
    base_values = values_of_base(engine_client.model_config)
    state.hive = Hive(settings, supply, engine_client, base_values=base_values)
    state.hive_door.telemetry = Telemetry(get_prometheus_registry())
    get_prometheus_registry().register(
        StateCollector(partial(snapshot, state.hive, state.hive_door))
    )
    _stand_before_the_engine(state, settings)
    state.hive_router = Router(
        Settings(settings.route_max_experts, threshold=settings.route_threshold)
    )
    state.hive_rendering = rendering_of(
        engine_client.get_tokenizer(),
        thinks=bool(engine_client.vllm_config.structured_outputs_config.reasoning_parser),
    )
    state.hive_structures = await start_structures(engine_client)
    state.hive_validator = Validator(
        Child("hive_expert.decoding.validate_child"), settings.on_invalid, settings.retries
    )
    supply.attempt = state.hive_structures.require_expert
    if settings.recall is not None:
        supply.pins.update(settings.recall.read().pins)
    await supply.start()
    if settings.recall is not None:
        await settings.recall.load(state.hive.load)
    # Kept on the state: the event loop holds tasks only weakly.
    state.hive_tasks = [
        beside(
            "warming up grammars", warm_grammars(engine_client, state.hive, state.hive_structures)
        ),
        beside("watching the experts directory", supply.follow()),
        *_watch_over(state, args),
    ]
    log.info("ready: http://%s:%d/v1", args.host, args.port)


def _stand_before_the_engine(state: Any, settings: ServeSettings) -> None:
    """Have the classes that serve requests reach the engine, and render prompts, through ours."""
    hive: Hive = state.hive
    keeping = KeepingClient(hive.engine_client, hive.resident)
    for serving, error in (
        (state.openai_serving_chat, OverflowedAnswerError),
        (state.openai_serving_completion, OverflowedAnswerError),
        (state.openai_serving_responses, overflowed),
    ):
        serving.engine_client = MeasuringClient(OverflowClient(keeping, error))
        serving.online_renderer = SoftPromptRenderer(
            serving.online_renderer,
            hive.virtual_tokens,
            serving.model_config.max_model_len,
            settings.limits.prompt_tokens,
        )
    completions = state.openai_serving_completion
    completions.engine_client = AnsweringClient(completions.engine_client)


def _watch_over(state: Any, args: Namespace) -> list[asyncio.Task[None]]:
    """Watch over signals and the engine, and keep note of what is loaded."""
    hive: Hive = state.hive
    door: Door = state.hive_door
    settings = hive.settings

    async def reload_keys() -> None:
        door.keys = settings.door.keys.load(local=settings.door.local)

    async def rescan() -> None:
        await hive.supply.refresh(again=True)

    async def reload_agents() -> None:
        door.ledger.agents = settings.door.agents.load()

    lifetime = Lifetime(hive.engine_client, door.traffic, args.hive_ending, settings.drain_s)
    lifetime.reload.add("keys", reload_keys)
    lifetime.reload.add("agents", reload_agents)
    lifetime.reload.add("experts", rescan)
    tasks = [beside("watching the engine", lifetime.run(state))]
    if settings.recall is not None:
        tasks.append(beside("noting what is loaded", settings.recall.keep(hive.loaded)))
    return tasks


def _public_name(base_name: str) -> Any:
    """Replaces `OpenAIServingModels.model_name`: answers carry `expert-sql`, not its digest."""

    def model_name(lora_request: LoRARequest | None = None) -> str:
        if lora_request is None:
            return base_name
        return str(lora_request.lora_name).partition("@")[0]

    return model_name

"""What vLLM 0.32 can mount and this server leaves out, and why.

Nothing reads this to decide: whatever `routes.ROUTES` does not list is not served. It is here so
that a route which a new vLLM brings is noticed: a test mounts all that vLLM has, and demands that
each route stands in one of the two tables.
"""

from __future__ import annotations

from collections.abc import Mapping

_GET, _POST = "GET", "POST"

_BYPASS = "reaches a model past the expert's contract"
_WEIGHTS = "changes weights or what is loaded, past verification and trust"
_ENGINE = "stops, scales or inspects the engine"
_TELLS = "tells about the machine or about other users"
_OTHER_TASK = "serves models that do not generate text"
_PAGES = "pages for people; /openapi.json has their content"

REASONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    _BYPASS: (
        (_POST, "/v1/chat/completions/batch"),
        (_POST, "/v1/chat/completions/render"),
        (_POST, "/v1/chat/completions/derender"),
        (_POST, "/v1/completions/render"),
        (_POST, "/v1/completions/derender"),
        (_POST, "/v1/messages"),
        (_POST, "/v1/messages/count_tokens"),
        (_POST, "/v1/messages/render"),
        (_POST, "/v1/responses/render"),
        (_POST, "/cohere/v2/chat"),
        (_POST, "/cohere/v2/chat/render"),
        (_POST, "/inference/v1/generate"),
        (_POST, "/inference/v1/abort_requests"),
        (_POST, "/invocations"),
        (_POST, "/v1/systemone"),
        (_POST, "/generative_scoring"),
        (_GET, "/tokenizer_info"),
    ),
    "answers are not stored on this server": (
        (_GET, "/v1/responses/{response_id}"),
        (_POST, "/v1/responses/{response_id}/cancel"),
    ),
    _WEIGHTS: (
        (_POST, "/v1/load_lora_adapter"),
        (_POST, "/v1/unload_lora_adapter"),
        (_POST, "/adapters"),
        ("DELETE", "/adapters/{adapter_name}"),
        (_POST, "/init_weight_transfer_engine"),
        (_POST, "/shutdown_weight_transfer_engine"),
        (_POST, "/start_weight_update"),
        (_POST, "/start_draft_weight_update"),
        (_POST, "/update_weights"),
        (_POST, "/finish_weight_update"),
        (_POST, "/update_weight_version"),
        (_POST, "/weight_checker"),
        (_GET, "/weight_info"),
    ),
    _ENGINE: (
        (_POST, "/scale_elastic_ep"),
        (_POST, "/is_scaling_elastic_ep"),
        (_POST, "/fault_tolerance/apply"),
        (_GET, "/fault_tolerance/status"),
        (_POST, "/pause"),
        (_POST, "/resume"),
        (_GET, "/is_paused"),
        (_POST, "/abort_requests"),
        (_POST, "/collective_rpc"),
        (_POST, "/sleep"),
        (_POST, "/wake_up"),
        (_GET, "/is_sleeping"),
        (_POST, "/release_kv_cache_memory"),
        (_POST, "/reset_prefix_cache"),
        (_POST, "/reset_mm_cache"),
        (_POST, "/reset_encoder_cache"),
        (_POST, "/start_profile"),
        (_POST, "/stop_profile"),
        (_GET, "/get_world_size"),
    ),
    _TELLS: (
        (_GET, "/load"),
        (_GET, "/server_info"),
        (_GET, "/kv_event_sources"),
    ),
    "the health check is /health": (
        (_GET, "/ping"),
        (_POST, "/ping"),
    ),
    _OTHER_TASK: (
        (_POST, "/pooling"),
        (_POST, "/classify"),
        (_POST, "/score"),
        (_POST, "/v1/score"),
        (_POST, "/rerank"),
        (_POST, "/v1/rerank"),
        (_POST, "/v2/rerank"),
        (_POST, "/v1/embeddings"),
        (_POST, "/v2/embed"),
        (_POST, "/v1/audio/transcriptions"),
        (_POST, "/v1/audio/translations"),
        ("WEBSOCKET", "/v1/realtime"),
    ),
    _PAGES: (
        (_GET, "/docs"),
        (_GET, "/docs/oauth2-redirect"),
        (_GET, "/redoc"),
    ),
}

ABSENT: Mapping[tuple[str, str], str] = {
    route: reason for reason, routes in REASONS.items() for route in routes
}
"""(method, path template) → why it is left out."""

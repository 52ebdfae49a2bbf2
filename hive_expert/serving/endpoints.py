"""Our routes in vLLM's own server (entry point group `vllm.endpoint_plugins`).

A chat request takes vLLM's request type, gets its model resolved and the expert's decoding
contract applied, and goes on to vLLM's own handler, which does the whole protocol:
streaming, tools, logprobs, errors. The answer's body stays as it was, except that an
expert answers under the name the client called; what we know is in headers.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from vllm.entrypoints.openai.chat_completion import api_router as chat_api
from vllm.entrypoints.openai.completion import api_router as completion_api
from vllm.entrypoints.openai.responses import api_router as responses_api
from vllm.entrypoints.serve.utils.api_utils import validate_json_request

from hive_expert.decoding.binding import Bound
from hive_expert.decoding.effective import Effective, decides_structure
from hive_expert.decoding.prompt import messages_of
from hive_expert.decoding.validators import Check
from hive_expert.engine import plugin
from hive_expert.errors import HiveError
from hive_expert.router.route import Decision
from hive_expert.serving import admin_api, experts_api, page_api, route_api, tokenize_api
from hive_expert.serving.apply import (
    ExpertChatRequest,
    ExpertCompletionRequest,
    ExpertResponsesRequest,
    apply_effective,
    explicit_of,
)
from hive_expert.serving.automatic import (
    Router,
    answering_auto,
    header_of,
    turns_of_request,
)
from hive_expert.serving.guard import Guard, caller_of
from hive_expert.serving.held import HeldResponse
from hive_expert.serving.observation import CURRENT
from hive_expert.serving.overflow import telling
from hive_expert.serving.problems import error_response, shape_framework_errors
from hive_expert.serving.routes import keep_listed
from hive_expert.serving.soft_prompt import require_no_prompt_logprobs
from hive_expert.serving.startup import start
from hive_expert.serving.state import AUTO, MAX_ANNOUNCED, Hive, Permit, Target
from hive_expert.serving.structures import Structures
from hive_expert.serving.validation import Validator, request_check

log = logging.getLogger("hive_expert.serving")
router = APIRouter()

GRAMMAR_HEADER = "x-hive-grammar"
"""Request header: `off` leaves the expert's grammar out of this one request.

Header of an expert's answer: what constrained it, and where its prompt should have done so and did
not, why.
"""

DEBUG_HEADER = "x-hive-debug"
"""Request header: `1` asks for the effective decoding in `x-hive-decoding`."""


class HiveEndpoints:
    """vLLM's `EndpointPlugin` protocol: routes first, state once the engine is up."""

    name = plugin.ENDPOINTS
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        app.include_router(router)
        app.include_router(experts_api.router)
        app.include_router(admin_api.router)
        app.include_router(route_api.router)
        app.include_router(tokenize_api.router)
        app.include_router(page_api.router)
        app.add_middleware(Guard)
        shape_framework_errors(app)
        dropped = keep_listed(app)
        log.debug("routes of vLLM that are not served: %s", ", ".join(sorted(set(dropped))))

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        await start(engine_client, state, args)


@router.post("/v1/chat/completions", dependencies=[Depends(validate_json_request)])
async def create_chat_completion(request: ExpertChatRequest, raw_request: Request) -> Response:
    """Chat with the base model or an expert (`model`)."""
    return await _answer(request, raw_request, chat_api.create_chat_completion)


@router.post("/v1/completions", dependencies=[Depends(validate_json_request)])
async def create_completion(request: ExpertCompletionRequest, raw_request: Request) -> Response:
    """Complete a raw prompt with the base model or an expert (`model`)."""
    return await _answer(request, raw_request, completion_api.create_completion)


@router.post("/v1/responses", dependencies=[Depends(validate_json_request)])
async def create_response(request: ExpertResponsesRequest, raw_request: Request) -> Response:
    """A response of the base model or an expert (`model`); none is kept."""
    return await _answer(request, raw_request, _respond)


async def _respond(request: ExpertResponsesRequest, raw_request: Request) -> Response | None:
    response = await responses_api.create_responses(request, raw_request)
    return response if response is None else telling(response)


async def _answer(request: Any, raw_request: Request, handler: Any) -> Response:
    hive: Hive = raw_request.app.state.hive
    caller = caller_of(raw_request.scope)
    agents = raw_request.app.state.hive_door.ledger.agents
    try:
        async with AsyncExitStack() as needed:
            hive.settings.limits.require(
                request, media=hive.engine_client.model_config.is_multimodal_model
            )
            permit = partial(agents.require_allowed, caller.tenant)
            target, decision = await _answering(hive, request, raw_request, permit, needed)
            _observe(target, decision)
            require_no_prompt_logprobs(target, request)
            request.cache_salt = hive.cache_salts.salt(caller.tenant, request.cache_salt)
            request.priority = agents.priority(caller.tenant, caller.job, request.priority)
            request.model = target.model
            effective, check = await _decoding(hive, target, request, raw_request)
            response = await _generate(request, raw_request, handler, check)
            if response is None:
                # The client went away; vLLM has cancelled the request.
                return Response(status_code=499)
            response.headers.update(_headers(target, effective, raw_request))
            if decision is not None:
                response.headers["x-hive-route"] = header_of(decision)
            return HeldResponse(response, needed.pop_all())
    except HiveError as error:
        return error_response(error)


async def _answering(
    hive: Hive, request: Any, raw_request: Request, permit: Permit, needed: AsyncExitStack
) -> tuple[Target, Decision | None]:
    """Who answers, in memory until ``needed`` is closed; for `auto` also why."""
    if request.model != AUTO or AUTO in hive.settings.base_names:
        return await needed.enter_async_context(hive.answering(request.model, permit)), None
    turns = turns_of_request(await raw_request.json())
    router: Router = raw_request.app.state.hive_router
    return await needed.enter_async_context(answering_auto(hive, router, turns, permit))


async def _decoding(
    hive: Hive, target: Target, request: Any, raw_request: Request
) -> tuple[Effective, Check | None]:
    """Write the resolved decoding into the request; also the check of its answer, if any."""
    structures: Structures = raw_request.app.state.hive_structures
    body = await raw_request.json()
    messages = messages_of(body)
    grammar_off = raw_request.headers.get(GRAMMAR_HEADER, "").lower() == "off"
    explicit = explicit_of(request, body, grammar_off=grammar_off)
    ignored = hive.settings.ignore_manifest_decoding
    await structures.require_own(request)
    bound = None
    if not decides_structure(explicit, ignore_manifest=ignored):
        bound = await structures.bound(str(target), target.contract, messages)
    effective = hive.decoding(target.contract, explicit, bound)
    apply_effective(request, effective)
    if hasattr(request, "use_template"):
        # Part of what the adapter was trained on, so no matter of --ignore-manifest-decoding.
        raw_request.app.state.hive_rendering.write(
            request,
            target.contract.template,
            tools=explicit.own_structure == "tools",
            constrained=effective.grammar is not None or effective.json_schema is not None,
        )
    _announce(hive, target, effective)
    rule = target.contract.validation
    # An answer of another form than the expert's own is nothing for its check.
    if rule is None or explicit.own_structure is not None:
        return effective, None
    return effective, await request_check(rule, messages)


async def _generate(
    request: Any, raw_request: Request, handler: Any, check: Check | None
) -> Response | None:
    if check is None:
        response: Response | None = await handler(request, raw_request)
        return response
    validator: Validator = raw_request.app.state.hive_validator
    greedy = (await raw_request.json()).get("temperature") == 0
    return await validator.answer(
        request, check, lambda asked: handler(asked, raw_request), greedy=greedy
    )


def _observe(target: Target, decision: Decision | None) -> None:
    """Note who answers the request at hand."""
    seen = CURRENT.get()
    if seen is not None:
        seen.expert, seen.composed = target.names, target.composed
        seen.routed = decision is not None
        if target.parts:
            seen.where = target.residency.where
            seen.load_s = target.residency.load_ms / 1000


def _announce(hive: Hive, target: Target, effective: Effective) -> None:
    """Log how a model decodes, and what requests overrule its grammar: each once.

    What one request asks for, or has in its messages, is no matter of the log's.
    """
    if not target.parts:
        return
    if _is_new(hive, target.model):
        contract = target.contract
        note = "as each request's messages have it" if contract.binding is not None else ""
        usual = Bound(contract.structure, from_prompt=False, note=note)
        log.info("%s: decodes with %s", target, hive.decoding(contract, bound=usual).describe())
    source = effective.grammar_source
    if effective.grammar_overridden and _is_new(hive, f"{target.model} {source}"):
        log.info("%s: answers without its grammar (%s)", target, source)


def _is_new(hive: Hive, key: str) -> bool:
    """Whether this has not been logged yet, as far as is remembered."""
    if key in hive.announced:
        return False
    if len(hive.announced) >= MAX_ANNOUNCED:
        hive.announced.clear()
    hive.announced.add(key)
    return True


def _headers(target: Target, effective: Effective, raw_request: Request) -> dict[str, str]:
    residency = target.residency
    headers = {
        "x-hive-experts": str(target),
        "x-hive-residency": residency.where
        if residency.where == "hit"
        else f"{residency.where}; load_ms={residency.load_ms:.1f}",
    }
    if target.relative_error:
        headers["x-hive-truncation"] = f"{target.relative_error:.4f}"
    if target.parts:
        headers[GRAMMAR_HEADER] = effective.describe_grammar()
    if raw_request.headers.get(DEBUG_HEADER) == "1":
        headers["x-hive-decoding"] = effective.describe()
    return headers

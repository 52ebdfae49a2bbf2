"""`POST /tokenize` and `/detokenize`, by the names that requests use. SPEC section 10.

All experts have the base model's tokenizer; what an expert has of its own is the chat template.
Nothing is loaded for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import PrivateAttr
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.tokenize.protocol import (
    DetokenizeRequest,
    TokenizeChatRequest,
    TokenizeCompletionRequest,
)
from vllm.entrypoints.serve.utils.api_utils import validate_json_request

from hive_expert.catalog.composition import Composition, find_experts
from hive_expert.decoding.templates import Template
from hive_expert.errors import HiveError, Problem, RequestError
from hive_expert.serving.automatic import turns_of_request
from hive_expert.serving.problems import error_response
from hive_expert.serving.state import AUTO, Hive

router = APIRouter()


class ExpertTokenizeChatRequest(TokenizeChatRequest):
    """Messages, which the expert's own template may render."""

    _template: str | None = PrivateAttr(default=None)

    def use_template(self, template: Template, special_tokens: Mapping[str, int]) -> None:
        """Have this template render the messages."""
        self._template = template.text

    def build_chat_params(self, default_template: str | None, *options: Any) -> Any:
        """vLLM's, with the expert's template for the server's."""
        return super().build_chat_params(self._template or default_template, *options)


@router.post("/tokenize", dependencies=[Depends(validate_json_request)])
async def tokenize(
    request: ExpertTokenizeChatRequest | TokenizeCompletionRequest, raw_request: Request
) -> Response:
    """The tokens of a prompt, or of messages as `model` would read them.

    `max_model_len` is what the text may take: a soft prompt's positions are taken off.
    """
    state = raw_request.app.state
    try:
        state.hive.settings.limits.require(
            request, media=state.hive.engine_client.model_config.is_multimodal_model
        )
        found = await _named(request, raw_request)
        if isinstance(request, ExpertTokenizeChatRequest):
            own = found.contract.template if found else None
            state.hive_rendering.write(request, own, tools=bool(request.tools))
    except HiveError as error:
        return error_response(error)
    request.model = state.hive.settings.base_names[0]
    counted = await state.serving_tokenization.create_tokenize(request, raw_request)
    if found is not None and not isinstance(counted, ErrorResponse):
        counted.max_model_len -= found.virtual_tokens
    return _response(counted)


@router.post("/detokenize", dependencies=[Depends(validate_json_request)])
async def detokenize(request: DetokenizeRequest, raw_request: Request) -> Response:
    """The text of tokens."""
    state = raw_request.app.state
    try:
        await _named(request, raw_request)
        known = state.hive.engine_client.model_config.get_vocab_size()
        if any(token >= known for token in request.tokens):
            raise RequestError(Problem("tokens", f"tokens: there are only {known}"))
    except HiveError as error:
        return error_response(error)
    request.model = state.hive.settings.base_names[0]
    return _response(await state.serving_tokenization.create_detokenize(request, raw_request))


async def _named(request: Any, raw_request: Request) -> Composition | None:
    """The experts that `model` names, or that would answer messages for `auto`; None: the base.

    Raises:
        CatalogError, CompositionError: there are none that are served.
        RoutingError, RequestError: nobody can say who would answer.
    """
    hive: Hive = raw_request.app.state.hive
    model: str | None = request.model
    if model == AUTO and AUTO not in hive.settings.base_names:
        if not isinstance(request, ExpertTokenizeChatRequest):
            return None
        turns = turns_of_request(await raw_request.json())
        model = (await raw_request.app.state.hive_router.decide(hive, turns)).model
    if not model or model in hive.settings.base_names:
        return None
    await hive.supply.require(model)
    return find_experts(hive.catalog, model, hive.others)


def _response(told: Any) -> Response:
    status = told.error.code if isinstance(told, ErrorResponse) else 200
    return JSONResponse(told.model_dump(), status_code=status)

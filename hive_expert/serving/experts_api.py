"""`/v1/experts` and `/v1/models`: what this server can answer as."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from vllm.entrypoints.serve.engine.protocol import ModelCard, ModelList, ModelPermission

from hive_expert.catalog.catalog import Expert, Unavailable
from hive_expert.errors import HiveError
from hive_expert.serving.problems import error_response
from hive_expert.serving.state import Hive

router = APIRouter()


@router.get("/v1/experts")
async def list_experts(raw_request: Request) -> Response:
    """All experts of the server's directory, the unavailable ones with their reasons."""
    hive: Hive = raw_request.app.state.hive
    served = [_describe(hive, e) for e in hive.catalog.versions]
    return JSONResponse(
        {"object": "list", "data": served + [_explain(u) for u in hive.catalog.unavailable]}
    )


@router.get("/v1/experts/{name}")
async def show_expert(name: str, raw_request: Request) -> Response:
    """One expert by name, `NAME@VERSION` or `NAME#DIGEST`."""
    hive: Hive = raw_request.app.state.hive
    try:
        return JSONResponse(_describe(hive, hive.catalog.find(name)))
    except HiveError as error:
        return error_response(error)


@router.get("/v1/models")
async def list_models(raw_request: Request) -> Response:
    """Every name that `model` may take: the base's names and the experts."""
    hive: Hive = raw_request.app.state.hive
    length = hive.engine_client.model_config.max_model_len
    base = hive.settings.base_names[0]
    cards = [
        ModelCard(id=name, max_model_len=length, root=base, permission=[ModelPermission()])
        for name in hive.settings.base_names
    ]
    cards += [
        ModelCard(id=name, max_model_len=length, parent=base, permission=[ModelPermission()])
        for name in hive.catalog.names()
    ]
    return JSONResponse(ModelList(data=cards).model_dump())


def _describe(hive: Hive, expert: Expert) -> dict[str, Any]:
    metrics = expert.manifest.quality_metrics
    return {
        "id": expert.name,
        "object": "expert",
        "version": expert.version,
        "digest": f"sha256:{expert.digest}",
        "state": "available",
        "residency": "memory" if hive.resident.holds(expert) else "disk",
        "current": hive.catalog.experts[expert.name] is expert,
        "description": expert.manifest.description,
        "publisher": expert.publisher,
        "rank": expert.rank,
        "capabilities": list(expert.manifest.capabilities or ()),
        "quality": metrics.model_dump(exclude_none=True, mode="json") if metrics else None,
        "warnings": list(expert.warnings),
    }


def _explain(entry: Unavailable) -> dict[str, Any]:
    return {
        "id": entry.name,
        "object": "expert",
        "state": "unavailable",
        "source": entry.source,
        "problems": [
            {"where": p.where, "what": p.what, "remedy": p.remedy} for p in entry.problems
        ],
    }

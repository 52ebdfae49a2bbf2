"""`/v1/experts` and `/v1/models`: what this server can answer as."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from vllm.entrypoints.serve.engine.protocol import ModelCard, ModelList, ModelPermission

from hive_expert.catalog.catalog import Announced, Expert, Unavailable
from hive_expert.catalog.checks import Check, known_checks
from hive_expert.errors import HiveError
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.record import timestamp
from hive_expert.serving.auth import Caller, Keys
from hive_expert.serving.guard import presented_key
from hive_expert.serving.problems import error_response
from hive_expert.serving.routes import Access
from hive_expert.serving.state import AUTO, Hive

router = APIRouter()


@router.get("/v1/experts")
async def list_experts(raw_request: Request) -> Response:
    """All experts of the server's directory, the unavailable ones with their reasons.

    `x-hive-admin: yes` tells a caller that he may load, unload and pin them as well.
    """
    keys: Keys = raw_request.app.state.hive_door.keys
    caller = keys.admit(Access.ADMIN, presented_key(raw_request.headers))
    headers = {"x-hive-admin": "yes"} if isinstance(caller, Caller) else None
    return JSONResponse(listing(raw_request.app.state.hive), headers=headers)


@router.get("/v1/experts/{name}")
async def show_expert(name: str, raw_request: Request) -> Response:
    """One expert by name, `NAME@VERSION` or `NAME#DIGEST`."""
    hive: Hive = raw_request.app.state.hive
    try:
        await hive.supply.require(name)
        return JSONResponse(describe(hive, hive.catalog.find(name)))
    except HiveError as error:
        return error_response(error)


@router.get("/v1/models")
async def list_models(raw_request: Request) -> Response:
    """Every name that `model` may take: the base's names, the experts, and `auto`."""
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
    if AUTO not in hive.settings.base_names:
        cards.append(ModelCard(id=AUTO, max_model_len=length, permission=[ModelPermission()]))
    return JSONResponse(ModelList(data=cards).model_dump())


def listing(hive: Hive) -> dict[str, Any]:
    """All experts: those that are ready, those whose weights nobody has read yet, the others."""
    catalog, checks = hive.catalog, known_checks()
    data = [describe(hive, expert, checks) for expert in catalog.versions]
    data += [_introduce(hive, entry, checks) for entry in catalog.announced]
    data += [_explain(entry) for entry in catalog.unavailable]
    return {"object": "list", "data": data}


def describe(
    hive: Hive, expert: Expert, checks: Mapping[str, Check] | None = None
) -> dict[str, Any]:
    """One expert that is ready, and where it is now. ``checks`` are those of this machine, where
    the caller has read them already."""
    resident = hive.resident
    known = known_checks() if checks is None else checks
    return {
        **_manifest_facts(expert.manifest),
        "digest": f"sha256:{expert.digest}",
        "state": "available",
        "verified": True,
        "residency": resident.place(expert),
        "pinned": expert.digest in resident.pinned,
        "in_use": resident.users(expert),
        "requests": resident.requests[expert.digest],
        "last_used": _time(resident.last_request.get(expert.digest)),
        "loads": resident.loads[expert.digest],
        "evictions": resident.evictions[expert.digest],
        "current": hive.catalog.known.get(expert.name) is expert,
        "source": expert.source,
        "publisher": expert.publisher,
        "check": _check(known, expert.digest),
        "rank": expert.rank,
        "warnings": [*expert.warnings, *hive.settings.inventory.otherwise(expert)],
    }


def _time(seconds: float | None) -> str | None:
    return timestamp(datetime.fromtimestamp(seconds, UTC)) if seconds is not None else None


def _check(checks: Mapping[str, Check], digest: str) -> dict[str, Any] | None:
    """What `hive check` found of a package on this machine."""
    found = checks.get(digest)
    return found.model_dump(mode="json") if found else None


def _introduce(hive: Hive, entry: Announced, checks: Mapping[str, Check]) -> dict[str, Any]:
    """One whose weights are verified when it is first asked for.

    Digest and publisher are what its signature was made over; whether its weights are those is not
    known yet. An unsigned folder has neither.
    """
    facts, resident = entry.facts, hive.resident
    digest = facts.digest if facts else ""
    return {
        **_manifest_facts(entry.manifest),
        "digest": f"sha256:{digest}" if digest else None,
        "state": "announced",
        "verified": False,
        "residency": "disk",
        "pinned": digest in resident.pinned,
        "in_use": 0,
        "requests": resident.requests[digest],
        "last_used": _time(resident.last_request.get(digest)),
        "loads": resident.loads[digest],
        "evictions": resident.evictions[digest],
        "current": hive.catalog.known.get(entry.name) is entry,
        "source": entry.source,
        "publisher": facts.publisher if facts and facts.key_id else None,
        "check": _check(checks, digest),
    }


def _manifest_facts(manifest: Manifest) -> dict[str, Any]:
    metrics, constraints = manifest.quality_metrics, manifest.constraints
    return {
        "id": manifest.name,
        "object": "expert",
        "version": manifest.version,
        "description": manifest.description,
        "capabilities": list(manifest.capabilities or ()),
        "constraints": (
            constraints.model_dump(exclude_defaults=True, mode="json") if constraints else {}
        ),
        "quality": metrics.model_dump(exclude_none=True, mode="json") if metrics else None,
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

"""How `hive-build` shows manifests, packages and decisions: tables for people, values for scripts.

Text from a package is never read as markup; control characters cannot be in it (the strict JSON
reader refuses them).
"""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hive_expert.errors import HiveError, Problem
from hive_expert.manifest.fields import FieldStatus
from hive_expert.manifest.guidance import Advice
from hive_expert.manifest.model import Manifest
from hive_expert.package.examine import Examined
from hive_expert.package.open import Report
from hive_expert.package.trust_store import Pin

_COLOURS = {"enforced": "green", "passed": "green", "recorded": "dim", "refused": "bold red"}
_NO_DATE = "1970-01-01T00:00:00Z"


def show_fields(manifest: Manifest, rows: tuple[FieldStatus, ...]) -> None:
    """The field status table."""
    table = Table("field", "status", "how, or why", title=f"{manifest.name} {manifest.version}")
    table.columns[0].overflow = "fold"
    for row in rows:
        status = "passed on" if row.status == "passed" else row.status
        table.add_row(Text(row.path), Text(status, _COLOURS[row.status]), Text(row.detail))
    _out().print(table)


def show_advice(advice: tuple[Advice, ...]) -> None:
    """What usually does better; nothing is refused for it."""
    for one in advice:
        line = Text.assemble(("advice: ", "cyan"), one.path, ": ", one.text)
        _out().print(line, soft_wrap=True)


def show_package(package: Examined, sha256: str) -> None:
    """Everything `inspect` tells people; ``sha256`` is the file's."""
    out = _out()
    out.print(_facts_table(package, sha256))
    members = Table("member", "bytes", "sha256", title="members")
    members.columns[1].justify = "right"
    for member in package.members:
        members.add_row(Text(member.path), f"{member.size:,}", member.sha256[:16])
    out.print(members)
    manifest = Table("field", "value", title="manifest")
    for column in manifest.columns:
        column.overflow = "fold"
    for path, value in _flat(_manifest_document(package.manifest)):
        manifest.add_row(Text(path), Text(value))
    out.print(manifest)


def show_report(report: Report, policy: str, pin: Pin | None) -> None:
    """Everything `verify` tells people, but for the reasons of a refusal: those are errors."""
    out = _out()
    out.print(_facts_table(report.package))
    decision = report.decision
    if pin is not None:
        out.print(Text(f"pinned to {pin}"))
    for warning in decision.warnings:
        out.print(Text.assemble(("warning: ", "yellow"), warning), soft_wrap=True)
    verdict, colour = ("accepted", "green") if decision.accepted else ("refused", "red")
    out.print(Text.assemble((verdict, f"bold {colour}"), f" under the policy {policy}"))
    if decision.accepted:
        for reason in decision.reasons:
            out.print(Text(f"  {reason.what}"), soft_wrap=True)


def package_as_json(package: Examined, sha256: str) -> dict[str, Any]:
    """The same for scripts."""
    facts = package.facts
    return {
        "name": facts.name,
        "version": facts.version,
        "model": facts.model,
        "digest": facts.digest,
        "sha256": sha256,
        "publisher": facts.publisher,
        "created_at": facts.created_at,
        "signature": package.signature
        and {
            "algorithm": "ed25519",
            "key_id": package.signature.key_id,
            "public_key": package.signature.public_key.raw.hex(),
        },
        "members": [{"path": m.path, "size": m.size, "sha256": m.sha256} for m in package.members],
        "manifest": _manifest_document(package.manifest),
    }


def report_as_json(report: Report, policy: str, pin: Pin | None) -> dict[str, Any]:
    facts, decision = report.package.facts, report.decision
    return {
        "name": facts.name,
        "version": facts.version,
        "model": facts.model,
        "digest": facts.digest,
        "sound": True,
        "accepted": decision.accepted,
        "policy": policy,
        "key_id": facts.key_id,
        "signer": decision.signer,
        "publisher": facts.publisher,
        "created_at": facts.created_at,
        "pin": pin and pin.model_dump(mode="json", exclude_unset=True),
        "reasons": [_problem(p) for p in decision.reasons],
        "warnings": list(decision.warnings),
    }


def failure_as_json(error: HiveError) -> dict[str, Any]:
    """The same for a package that is not sound."""
    return {
        "sound": False,
        "accepted": False,
        "error": type(error).__name__,
        "reasons": [_problem(p) for p in error.problems],
    }


def _facts_table(package: Examined, sha256: str | None = None) -> Table:
    facts = package.facts
    table = Table(show_header=False, title=f"{facts.name} {facts.version}")
    made = "not stated" if facts.created_at == _NO_DATE else facts.created_at
    rows = {
        "for": package.manifest.base_models[0].name,
        "digest": facts.digest,
        **({"file's sha256": sha256} if sha256 else {}),
        "made": made,
        "publisher": f"{facts.publisher} (it says)" if facts.publisher else "not stated",
        "signed by": f"key {facts.key_id}" if facts.key_id else "nobody",
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


def _manifest_document(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(mode="json", exclude_unset=True, exclude={"integrity"})


def _flat(document: Any, path: str = "") -> list[tuple[str, str]]:
    """Leaves of a JSON value, one line each."""
    if isinstance(document, dict) and document:
        return [row for k, v in document.items() for row in _flat(v, f"{path}.{k}" if path else k)]
    if isinstance(document, list) and any(isinstance(v, dict | list) for v in document):
        return [row for i, v in enumerate(document) for row in _flat(v, f"{path}[{i}]")]
    return [(path, document if isinstance(document, str) else json.dumps(document))]


def _problem(problem: Problem) -> dict[str, str]:
    return {"where": problem.where, "what": problem.what, "remedy": problem.remedy}


def _out() -> Console:
    return Console(highlight=False)

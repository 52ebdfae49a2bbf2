"""Going on with an interrupted run, and only with the same run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from hive_expert.errors import Problem, TrainingError
from hive_expert.training.config import TrainingPlan
from hive_expert.training.datasets import file_digest

PLAN_FILE = "plan.json"


def run_identity(
    plan: TrainingPlan, data: Mapping[str, Path], max_steps: int | None
) -> dict[str, Any]:
    """What must be equal for a run to be the continuation of another."""
    return {
        "plan": plan.record(),
        "data": {split: file_digest(path) for split, path in data.items()},
        "max_steps": max_steps,
    }


def claim_checkpoints(directory: Path, identity: dict[str, Any], *, resume: bool) -> str | None:
    """The checkpoint to go on from, or None for a fresh start in an empty place."""
    record = directory / PLAN_FILE
    there = directory.is_dir() and get_last_checkpoint(str(directory)) is not None
    if not resume:
        if there:
            remedy = "give --resume to go on, or remove the directory to start over"
            raise TrainingError(Problem(str(directory), "holds checkpoints of another run", remedy))
        directory.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
        return None
    if there:
        _require_same_run(record, identity)
    last = _last_finished(directory)
    if last is None:
        raise TrainingError(
            Problem(str(directory), "has no checkpoint to resume from", "run without it")
        )
    return last


def _require_same_run(record: Path, identity: Mapping[str, Any]) -> None:
    previous = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    then, now = _fields(previous), _fields(identity)
    changed = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
    if changed:
        raise TrainingError(
            Problem(
                str(record),
                f"the run that was interrupted had another {', '.join(changed)}",
                "restore the manifest and data, or remove the directory to start over",
            )
        )


def _fields(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is, field by field, but for what is off: an older version has no word for it."""
    plan = dict(identity.get("plan") or {})
    fields = {f"plan.{key}": value for key, value in {**plan.pop("sft", {}), **plan}.items()}
    rest = {key: value for key, value in identity.items() if key != "plan"}
    return {k: v for k, v in (fields | rest).items() if v is not None and v is not False}


def _last_finished(directory: Path) -> str | None:
    """The newest checkpoint that was written to its end. What a kill left of later ones goes: it
    is of no use, and by its name the newest."""
    while directory.is_dir() and (last := get_last_checkpoint(str(directory))):
        if _is_finished(Path(last)):
            return str(last)
        shutil.rmtree(last)
    return None


def _is_finished(checkpoint: Path) -> bool:
    """Whether it has the file that is written last, whole."""
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return True

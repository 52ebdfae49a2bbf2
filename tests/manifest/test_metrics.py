from __future__ import annotations

from dataclasses import fields
from typing import get_args

from hive_expert.manifest.fields import field_status
from hive_expert.manifest.metrics import SCORED, SHARES
from hive_expert.manifest.parse import manifest_from
from hive_expert.training.cases import Metric
from hive_expert.training.evaluation_report import Standing
from tests.manifest.documents import smallest


def test_the_names_are_those_of_what_is_measured() -> None:
    assert get_args(Metric) == SCORED
    assert set(SHARES) <= {field.name for field in fields(Standing)}


def test_what_nobody_measures_is_refused_by_name() -> None:
    evaluation = {"metrics": ["valid", "bleu"], "thresholds": {"correct": 0.5, "rouge": 0.5}}
    manifest = manifest_from(smallest() | {"evaluation": evaluation})
    refused = {row.path: row for row in field_status(manifest) if row.status == "refused"}
    assert set(refused) == {"evaluation.metrics", "evaluation.thresholds"}
    for path, name in (("evaluation.metrics", "bleu"), ("evaluation.thresholds", "rouge")):
        assert f"does not measure {name};" in str(refused[path])

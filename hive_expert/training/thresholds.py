"""What a manifest's `evaluation` asks of a measurement: which metrics, and how much of each."""

from __future__ import annotations

from dataclasses import replace

from hive_expert.errors import ManifestError, Problem
from hive_expert.manifest.metrics import SHARES, share_of
from hive_expert.manifest.model import Evaluation
from hive_expert.training.cases import TestSuite
from hive_expert.training.claims import standing
from hive_expert.training.evaluation_report import EvaluationReport, Threshold


def require_measured(evaluation: Evaluation, suite: TestSuite) -> None:
    """Raise ManifestError naming every metric and threshold that these cases do not measure."""
    measured = [share for share in SHARES if share != "fields"] + [suite.metric]
    if any(case.schema is not None for case in suite.cases):
        measured.append("fields")
    problems = [
        Problem(f"evaluation.{field}", f"{name} is not measured", f"use {', '.join(measured)}")
        for field, names in (("metrics", evaluation.metrics), ("thresholds", evaluation.thresholds))
        for name in names
        if name not in measured
    ]
    if problems:
        raise ManifestError(*problems)


def held_to(evaluation: Evaluation, report: EvaluationReport, expert: str) -> EvaluationReport:
    """The report with the metrics that are to be shown, and the expert, if it was asked, held to
    the thresholds."""
    thresholds: list[Threshold] = []
    if any(one.model == expert for one in report.standings):
        mine = standing(report, expert)
        for metric, least in evaluation.thresholds.items():
            rate = getattr(mine, share_of(metric))
            thresholds.append(Threshold(metric, least, rate.value, rate.value >= least))
    return replace(report, metrics=evaluation.metrics, thresholds=tuple(thresholds))

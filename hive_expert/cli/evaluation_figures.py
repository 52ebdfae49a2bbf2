"""Writes what was measured of an expert into its manifest."""

from __future__ import annotations

from pathlib import Path

from hive_expert.cli.terminal import note
from hive_expert.manifest.migrate import plan_migration, write_migration
from hive_expert.manifest.parse import dump_manifest
from hive_expert.package.pack import read_any_manifest
from hive_expert.training.evaluation_report import (
    EvaluationReport,
    quality_metrics,
    with_quality_metrics,
)
from hive_expert.training.latency import Overhead, with_perf
from hive_expert.training.report import trained_steps


def write_quality(path: Path, report: EvaluationReport) -> None:
    """Fill `quality_metrics`. Raises UnfinishedError where answers were lost."""
    manifest = read_any_manifest(path)
    adapters = [adapter for base in manifest.base_models for adapter in base.adapters]
    steps = trained_steps(path.parent / adapters[0].path) if adapters else None
    metrics = quality_metrics(report, manifest.name, steps)
    if (migration := plan_migration(path)).needed:
        write_migration(migration)  # keeps the original
    path.write_bytes(dump_manifest(with_quality_metrics(manifest, metrics)))
    note(f"quality_metrics written to {path}")


def write_perf(path: Path, overhead: Overhead) -> None:
    """Fill `perf`."""
    manifest = read_any_manifest(path)
    path.write_bytes(dump_manifest(with_perf(manifest, overhead, path.parent)))
    note(f"perf written to {path}")

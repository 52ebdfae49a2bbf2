"""What `hive-train evaluate` asks: a file of test cases, or the rows of a test split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hive_expert.errors import Problem, UsageError
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.training_model import Dataset
from hive_expert.package.layout import TEST_CASES
from hive_expert.package.pack import read_any_manifest
from hive_expert.training.answer_checks import language_of
from hive_expert.training.cases import TestSuite, parse_test_cases
from hive_expert.training.config import mapping_of
from hive_expert.training.split_cases import split_suite


@dataclass(frozen=True, slots=True)
class Questions:
    """The cases, and the manifest of the expert that they are of, where one is at hand. ``home`` is
    the folder that its paths start from."""

    suite: TestSuite
    manifest: Manifest | None
    home: Path


def find_questions(
    test_cases: Path | None, dataset: Path | None, given: Path | None, written: Path | None
) -> Questions:
    """The cases or rows that are given, else the manifest's cases, else its test split.

    The manifest is the one ``given``, else that of the cases' folder, else the one to be
    ``written``. Raises UsageError where there is none of them, or two.
    """
    if test_cases and dataset:
        raise UsageError(Problem("--dataset", "goes not with --test-cases", "keep one of them"))
    beside = test_cases.parent.parent / "manifest.json" if test_cases else None
    path = given or (beside if beside and beside.is_file() else written)
    manifest = read_any_manifest(path) if path else None
    home = path.parent if path else Path()
    return Questions(_suite(test_cases, dataset, manifest, home), manifest, home)


def _suite(
    test_cases: Path | None, dataset: Path | None, manifest: Manifest | None, home: Path
) -> TestSuite:
    stated = manifest.evaluation.test_cases if manifest and manifest.evaluation else None
    usual = home / (stated or TEST_CASES)
    if not dataset and not test_cases and manifest and (stated or usual.is_file()):
        test_cases = usual
    if test_cases:
        try:
            return parse_test_cases(test_cases.read_bytes(), str(test_cases))
        except FileNotFoundError as error:
            what = f"{test_cases} does not exist"
            raise UsageError(Problem("evaluation.test_cases", what)) from error
    rows = (manifest and manifest.training and manifest.training.dataset) or Dataset()
    format_: str | None = None
    if dataset is None and rows.test_path:
        dataset, format_ = home / rows.test_path, rows.format
    if dataset is None:
        remedy = "give it, --dataset, or the --manifest of an expert that has test cases"
        raise UsageError(Problem("--test-cases", "there is nothing to ask", remedy))
    format_ = format_ or dataset.suffix.removeprefix(".").lower()
    return split_suite(dataset, format_, mapping_of(rows), language_of(manifest))

"""The child that scores answers to strangers' cases: `python -m hive_expert.training.score_child`.

A case brings a database script, a query, a JSON Schema with regular expressions: programs all of
them, and some never end.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from hive_expert.decoding.child_program import Job, serve
from hive_expert.training.cases import TestCase
from hive_expert.training.scoring import score_case


def prepare(greeting: dict[str, Any]) -> Job:
    """Nothing to get ready: the parsers were imported with this module."""
    logging.disable(logging.CRITICAL)  # sqlglot logs what it makes of odd statements
    return _score


def _score(message: dict[str, Any]) -> dict[str, Any]:
    case = {**message["case"], "messages": tuple(message["case"]["messages"])}
    return asdict(score_case(TestCase(**case), message["answer"]))


if __name__ == "__main__":
    serve(prepare)

"""Test cases: what training shows in other words, what it never shows, and what people wrote."""

from __future__ import annotations

import random

from hive_expert.training.generated import Case, Messages
from text_to_typescript import functions, phrasing, resources
from text_to_typescript.dataset import draw_task
from text_to_typescript.task import Split, Task

SHARES = {"function": 30, "unseen": 20, "pipeline": 18, "record": 16, "type": 16}
"""Percentages: functions of known families in other words; of families that training has not;
pipelines in combinations that it has not; objects and types of entities that it has not."""
_TEST: Split = "test"


def drawn_cases(seed: int, number: int) -> list[Case]:
    """Cases in exact shares; no request comes twice."""
    rng = random.Random(f"{seed}-test")
    unseen = list(functions.TEST.values())
    cases: list[Case] = []
    asked_before: set[str] = set()
    for kind, share in SHARES.items():
        made = 0
        while made < number * share // 100:
            if kind == "unseen":
                task = unseen[made % len(unseen)].task(rng, _TEST)
            else:
                task = draw_task(rng, kind, _TEST)
            asked = phrasing.messages(task, rng, _TEST)
            if asked.user in asked_before:
                continue
            asked_before.add(asked.user)
            made += 1
            about = task.family.split("/")[0]
            category = kind if about == kind else f"{kind}/{about}"
            cases.append(_case(f"{kind}-{made:03}", category, asked, task))
    return cases


def _case(identity: str, category: str, asked: Messages, task: Task) -> Case:
    return Case(
        identity, category, asked, task.code, {"tests": task.program_tests}, group=task.family
    )


def written_cases() -> list[Case]:
    """Requests that a person wrote, in words of their own."""
    cases = []
    for at, row in enumerate(resources.toml("other-hand.toml")["case"], start=1):
        asked = Messages("" if row.get("alone") else phrasing.SYSTEM, row["request"].strip())
        name = f"other-hand-{at:03}"
        extra = {"tests": row["tests"].strip()}
        cases.append(Case(name, f"other-hand/{row['kind']}", asked, row["code"].strip(), extra))
    return cases

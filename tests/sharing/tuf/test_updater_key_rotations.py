"""Keys change as the old ones say, and in no other way."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.sharing.tuf.repository import Client, TufRepository


@dataclass
class Step:
    """A root: its keys, how many must sign, who does, and whether users take it."""

    keys: list[int]
    threshold: int
    signing: list[int]
    taken: bool = True


FIVE = [10, 11, 12, 13, 14]
ROTATIONS = {
    "1-of-1-key-rotation": [Step([11], 1, [11]), Step([12], 1, [12, 11]), Step([12], 1, [12])],
    "1-of-1-key-rotation-unused-signatures": [
        Step([11], 1, [13, 11, 14]), Step([12], 1, [13, 12, 11, 14]), Step([12], 1, [13, 12, 14]),
    ],
    "3-of-5-sign-with-different-keycombos": [
        Step(FIVE, 3, [10, 12, 14]), Step(FIVE, 3, [10, 14, 11]), Step(FIVE, 3, [10, 11, 13]),
        Step(FIVE, 3, [10, 11, 13]),
    ],
    "3-of-5-one-key-rotated": [
        Step(FIVE, 3, [10, 12, 14]), Step([10, 11, 13, 14, 15], 3, [10, 14, 11]),
    ],
    "3-of-5-one-key-rotated-with-intermediate-step": [
        Step(FIVE, 3, [10, 12, 14]), Step([10, 11, 13, 14, 15], 3, [10, 12, 14, 15]),
        Step([10, 11, 13, 14, 15], 3, [10, 14, 15]),
    ],
    "3-of-5-all-keys-rotated-with-intermediate-step": [
        Step(FIVE, 3, [10, 12, 14]), Step([15, 16, 17, 18, 19], 3, [10, 12, 14, 15, 16, 17]),
        Step([15, 16, 17, 18, 19], 3, [15, 16, 17]),
    ],
    "1-of-3-threshold-increase-to-2-of-3": [
        Step([11, 12, 13], 1, [11]), Step([11, 12, 13], 2, [11, 12]),
    ],
    "2-of-3-threshold-decrease-to-1-of-3": [
        Step([11, 12, 13], 2, [11, 12]), Step([11, 12, 13], 1, [11, 12]),
        Step([11, 12, 13], 1, [11]),
    ],
    "1-of-2-threshold-increase-to-2-of-2": [Step([11], 1, [11]), Step([11, 12], 2, [11, 12])],
    "1-of-1-key-rotation-fail-not-signed-with-old-key": [
        Step([11], 1, [11]), Step([12], 1, [12, 13, 14], taken=False),
    ],
    "1-of-1-key-rotation-fail-not-signed-with-new-key": [
        Step([11], 1, [11]), Step([12], 1, [11, 13, 14], taken=False),
    ],
    "3-of-5-one-key-rotate-fails-not-signed-with-3-new-keys": [
        Step(FIVE, 3, [10, 12, 14]), Step([10, 11, 13, 14, 15], 3, [10, 12, 14], taken=False),
    ],
    "3-of-5-one-key-rotate-fails-not-signed-with-3-old-keys": [
        Step(FIVE, 3, [10, 12, 14]), Step([10, 11, 13, 14, 15], 3, [10, 14, 15], taken=False),
    ],
    "1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached": [
        Step([11, 12, 13], 1, [11]), Step([11, 12, 13], 2, [12], taken=False),
    ],
    "2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-reached": [
        Step([11, 12, 13], 2, [11, 12]), Step([11, 12, 13], 1, [11], taken=False),
    ],
}  # fmt: skip


@pytest.mark.parametrize("steps", ROTATIONS.values(), ids=ROTATIONS.keys())
def test_root_rotation(client: Client, repo: TufRepository, steps: list[Step]) -> None:
    repo.root.version = 0
    for step in steps:
        repo.set_keys("root", step.keys, step.threshold, step.signing)
        repo.publish_root()
    client.root = repo.files["metadata/1.root.json"]
    if steps[-1].taken:
        client.refresh()
        assert client.version("root") == len(steps)
    else:
        client.refuses("not signed by enough", root=len(steps) - 1)


OTHERS = {
    "1-of-1-key-rotation": Step([12], 1, [12]),
    "1-of-1-key-rotation-unused-signatures": Step([11], 1, [13, 11, 14]),
    "1-of-1-key-rotation-fail-not-signed-with-new-key": Step([12], 1, [11, 13, 14], taken=False),
    "3-of-5-not-signed-with-3-expected-keys": Step([10, 11, 13, 14, 15], 3, [10, 12, 14], False),
    "2-of-5-threshold-not-reached": Step([10, 11, 13, 14, 15], 3, [10, 14], taken=False),
    "3-of-5-sign-first-combo": Step(FIVE, 3, [10, 12, 14]),
    "3-of-5-sign-second-combo": Step(FIVE, 3, [10, 14, 11]),
    "3-of-5-sign-third-combo": Step(FIVE, 3, [10, 11, 13]),
    "3-of-5-sign-fourth-combo": Step(FIVE, 3, [11, 12, 13]),
    "3-of-5-sign-fifth-combo": Step(FIVE, 3, [12, 13, 14]),
}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("step", OTHERS.values(), ids=OTHERS.keys())
def test_non_root_rotations(seen: Client, repo: TufRepository, role: str, step: Step) -> None:
    repo.set_keys(role, step.keys, step.threshold, step.signing)
    repo.publish_root()
    repo.publish_all()
    if step.taken:
        seen.refresh()
        assert seen.version(role) == 2
    else:
        seen.refuses("not signed by enough", **{role: 1})

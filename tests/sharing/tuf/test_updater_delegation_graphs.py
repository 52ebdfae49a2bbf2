"""Targets metadata that hands parts of the list to others is refused, whatever its graph.

The suite asks in which order a client visits delegated roles. An index here is one list, signed by
one role: none is visited, and an index that has some is not read as if it had none.
"""

from __future__ import annotations

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, Targets

from tests.sharing.tuf.repository import FIRST, Client, TufRepository, in_days, signer

Edge = tuple[str, str]
GRAPHS: dict[str, list[Edge]] = {
    "basic-delegation": [("targets", "A")],
    "single-level-delegations": [("targets", "A"), ("targets", "B")],
    "two-level-delegations": [("targets", "A"), ("targets", "B"), ("B", "C")],
    "two-level-test-DFS-order-of-traversal": [
        ("targets", "A"), ("targets", "B"), ("A", "C"), ("A", "D"),
    ],
    "three-level-delegation-test-DFS-order-of-traversal": [
        ("targets", "A"), ("targets", "B"), ("A", "C"), ("C", "D"),
    ],
    "cyclic-graph": [("targets", "A"), ("targets", "B"), ("B", "C"), ("C", "D"), ("D", "B")],
    "two-roles-delegating-to-a-third": [("targets", "A"), ("targets", "B"), ("B", "C"), ("A", "C")],
}  # fmt: skip


def delegate(
    repo: TufRepository, edges: list[Edge], *, terminating: bool = False, path: str = "*",
    expires: float = 30,
) -> None:  # fmt: skip
    """Add roles, each with a list of its own, signed by a key that its delegator names."""
    roles: dict[str, Targets] = {"targets": repo.targets}
    for delegator, name in edges:
        child = roles.setdefault(name, Targets(version=1, expires=in_days(expires)))
        child.targets = dict(repo.targets.targets)
        parent = roles[delegator]
        parent.delegations = parent.delegations or Delegations({}, {})
        assert parent.delegations.roles is not None
        key = signer(50).public_key
        parent.delegations.keys[key.keyid] = key
        parent.delegations.roles[name] = DelegatedRole(name, [key.keyid], 1, terminating, [path])
        repo.signers[name] = [signer(50)]
    for name, role in roles.items():
        if name != "targets":
            repo.write(name, f"1.{name}.json", role)
            repo.snapshot.meta[f"{name}.json"] = repo.timestamp.snapshot_meta
    repo.publish_all()


def is_refused(client: Client, names: set[str]) -> None:
    client.refuses("hands parts of its list to others", targets=1)
    asked = {path.partition(".")[2].removesuffix(".json") for path in client.repository.asked}
    assert not asked & names


@pytest.mark.parametrize("terminating", [False, True])
@pytest.mark.parametrize("path", ["*", "*.py", "experts.json"])
@pytest.mark.parametrize("edges", GRAPHS.values(), ids=GRAPHS.keys())
def test_graph_traversal(
    seen: Client, repo: TufRepository, edges: list[Edge], path: str, terminating: bool
) -> None:
    delegate(repo, edges, path=path, terminating=terminating)
    is_refused(seen, {"A", "B", "C", "D"})


def test_targetfile_search(seen: Client, repo: TufRepository) -> None:
    """The list is with a delegated role alone."""
    delegate(repo, GRAPHS["basic-delegation"])
    repo.targets.targets = {}
    repo.write("targets", f"{repo.targets.version}.targets.json", repo.targets)
    is_refused(seen, {"A"})


def test_delegated_expiration(seen: Client, repo: TufRepository) -> None:
    delegate(repo, GRAPHS["basic-delegation"], expires=-5)
    is_refused(seen, {"A"})


def test_an_index_that_has_them_no_more_is_taken_again(seen: Client, repo: TufRepository) -> None:
    delegate(repo, GRAPHS["basic-delegation"])
    is_refused(seen, {"A"})
    repo.targets.delegations = None
    repo.publish_all()
    seen.refresh()
    assert seen.versions() == FIRST | {"timestamp": 3, "snapshot": 3, "targets": 3}

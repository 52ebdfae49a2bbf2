"""Who may be served, given who else is there, whom the user trusts and what he has seen."""

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.catalog.catalog import Announced
from hive_expert.catalog.standing import refusals, trust_beside
from hive_expert.manifest.parse import manifest_from
from hive_expert.package.trust import PackageFacts, Policy
from hive_expert.package.trust_store import Pin, TrustStore
from tests.package.samples import NOW, key, trusting

ADAPTER = {"type": "lora", "r": 4, "alpha": 8, "target_modules": ["q_proj"], "path": "w/"}
ANN = trusting("Ann")


def package(version: str, name: str = "expert-a", signer: str = "Ann", **limits: Any) -> Announced:
    document = {
        "schema_version": "2.0",
        "name": name,
        "version": version,
        "base_models": [{"name": "org/Tiny", "adapters": [ADAPTER]}],
        "constraints": limits or None,
    }
    facts = PackageFacts(
        name, version, "tiny", "", key(signer).key_id, signer, "2026-01-01T00:00:00Z"
    )
    document = {k: v for k, v in document.items() if v is not None}
    return Announced(manifest_from(document), f"{name}.v{version}", facts)


def refused(trust: TrustStore, *entries: Announced, policy: Policy = Policy.ENFORCE) -> set[str]:
    return set(refusals(entries, trust, policy, NOW))


SEEN = ANN.having_seen("expert-a/tiny", "0.2.0")


def test_an_older_version_beside_a_newer_one_is_no_step_back() -> None:
    assert refused(SEEN, package("0.1.0"), package("0.2.0")) == set()
    assert refused(SEEN, package("0.2.0"), package("0.10.0"), package("0.1.0")) == set()


def test_an_older_version_alone_is_a_step_back() -> None:
    assert refused(SEEN, package("0.1.0")) == {"expert-a.v0.1.0"}
    assert refused(SEEN, package("0.1.0"), policy=Policy.WARN) == set()


def test_a_newer_version_that_is_refused_covers_no_older_one() -> None:
    stranger = package("0.3.0", signer="Eve")
    assert refused(SEEN, package("0.1.0"), stranger) == {"expert-a.v0.1.0", "expert-a.v0.3.0"}


def test_another_expert_s_newer_version_covers_nothing() -> None:
    assert refused(SEEN, package("0.1.0"), package("9.0.0", "expert-b")) == {"expert-a.v0.1.0"}


def test_a_key_that_was_revoked_counts_from_then_on() -> None:
    assert refused(ANN.revoking(key("Ann").key_id, NOW), package("0.2.0")) == {"expert-a.v0.2.0"}


def test_a_pin_leaves_one_version() -> None:
    pinned = SEEN.with_pin("expert-a", Pin(version="0.1.0"))
    assert refused(pinned, package("0.1.0"), package("0.2.0")) == {"expert-a.v0.2.0"}


def test_without_trust_everything_stands() -> None:
    assert refused(TrustStore(), package("0.1.0", signer="Eve"), policy=Policy.OFF) == set()


@pytest.mark.parametrize("present", [True, False])
def test_what_an_expert_requires_must_be_there(present: bool) -> None:
    needy = package("1.0.0", requires=["expert-b"])
    others = [package("1.0.0", "expert-b")] if present else []
    found = refusals([needy, *others], ANN, Policy.ENFORCE, NOW)
    assert set(found) == (set() if present else {"expert-a.v1.0.0"})
    assert present or "expert-b is not served here" in str(found["expert-a.v1.0.0"])


def test_whoever_requires_one_that_lacks_its_own_is_refused_too() -> None:
    chain = [
        package("1.0.0", "expert-a", requires=["expert-b"]),
        package("1.0.0", "expert-b", requires=["expert-c"]),
        package("1.0.0", "expert-c", signer="Eve"),
        package("1.0.0", "expert-d"),
    ]
    assert refused(ANN, *chain) == {f"expert-{x}.v1.0.0" for x in "abc"}


def test_two_that_require_each_other_stand() -> None:
    pair = [package("1.0.0", "expert-a", requires=["expert-b"])]
    pair.append(package("1.0.0", "expert-b", requires=["expert-a"]))
    assert refused(ANN, *pair) == set()


def test_the_memory_of_versions_is_left_out_only_beside_a_newer_one() -> None:
    old, new = package("0.1.0"), package("0.2.0")
    assert trust_beside(old, [old, new], SEEN).seen == {}
    assert trust_beside(new, [old, new], SEEN) is SEEN
    assert trust_beside(old, [old, package("0.2.0", "expert-b")], SEEN) is SEEN

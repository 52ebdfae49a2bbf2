"""The trust decision, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from hive_expert.errors import Problem
from hive_expert.manifest.record import timestamp
from hive_expert.package.trust import Decision, PackageFacts, Policy, decide
from hive_expert.package.trust_store import Pin, TrustStore
from tests.package.samples import NOW, key, trusting

FACTS = PackageFacts(
    name="expert-sql",
    version="0.2.0",
    model="smollm2-135m",
    digest="d" * 64,
    key_id=key("Ann").key_id,
    publisher="Ann",
    created_at="2026-02-01T00:00:00Z",
)


def enforced(facts: PackageFacts, store: TrustStore) -> Decision:
    return decide(facts, store, Policy.ENFORCE, NOW)


def why(decision: Decision) -> str:
    return " ".join(map(str, decision.reasons))


def test_a_trusted_key_is_accepted_and_named() -> None:
    decision = enforced(FACTS, trusting("Ann"))
    assert decision == Decision(True, decision.reasons, (), "Ann")
    assert "signed by Ann" in why(decision)


def test_an_empty_store_accepts_nothing() -> None:
    assert not enforced(FACTS, TrustStore()).accepted


@pytest.mark.parametrize(
    ("facts", "store", "reason"),
    [
        (replace(FACTS, key_id=None), trusting("Ann"), "not signed"),
        (FACTS, trusting("Bo"), "do not trust"),
        (FACTS, trusting("Ann", patterns=("expert-json",)), "trusted for expert-json only"),
        (
            FACTS,
            trusting("Ann").with_pin("expert-sql", Pin(version="0.1.0")),
            "pinned to 0.1.0, and this is 0.2.0",
        ),
        (
            FACTS,
            trusting("Ann").with_pin("expert-sql", Pin(digest="e" * 64)),
            "pinned to digest eeeeeeeeeeee",
        ),
        (
            FACTS,
            trusting("Ann").having_seen("expert-sql/smollm2-135m", "0.3.0"),
            "goes back behind 0.3.0",
        ),
    ],
)
def test_each_doubt_refuses_under_enforce_and_warns_under_warn(
    facts: PackageFacts, store: TrustStore, reason: str
) -> None:
    decision = enforced(facts, store)
    assert not decision.accepted
    assert reason in why(decision)
    assert all(problem.remedy for problem in decision.reasons)
    lenient = decide(facts, store, Policy.WARN, NOW)
    assert lenient.accepted
    assert reason in " ".join(lenient.warnings)
    assert decide(facts, store, Policy.OFF, NOW) == Decision(
        True, decide(facts, store, Policy.OFF, NOW).reasons, (), lenient.signer
    )


KEY = FACTS.key_id or ""


@pytest.mark.parametrize(
    ("facts", "store", "what", "remedy"),
    [
        (
            replace(FACTS, key_id=None),
            trusting("Ann"),
            "the package is not signed",
            "get a signed one, or sign your own with hive-build sign",
        ),
        (
            FACTS,
            trusting("Bo"),
            f"signed by a key you do not trust, {KEY[:16]}… (Ann, it says)",
            "get the publisher's .pub.json from a place you believe, then: hive trust add FILE",
        ),
        (
            replace(FACTS, publisher=None),
            trusting("Bo"),
            f"signed by a key you do not trust, {KEY[:16]}… (no name, it says)",
            "get the publisher's .pub.json from a place you believe, then: hive trust add FILE",
        ),
        (
            FACTS,
            trusting("Ann").revoking(KEY, NOW),
            "signed by a key of Ann that you revoked at 2026-03-01T12:00:00Z",
            "get a package signed with another key",
        ),
        (
            FACTS,
            trusting("Ann", patterns=("expert-json", "acme-*")),
            "Ann is trusted for expert-json, acme-* only",
            "widen it with hive trust add --names",
        ),
        (
            FACTS,
            trusting("Ann").with_pin("expert-sql", Pin(version="0.1.0")),
            "is pinned to 0.1.0, and this is 0.2.0",
            "move the pin: hive trust pin expert-sql 0.2.0",
        ),
        (
            FACTS,
            trusting("Ann").having_seen("expert-sql/smollm2-135m", "0.3.0"),
            "version 0.2.0 goes back behind 0.3.0, which was used before",
            "if you mean it: hive trust pin expert-sql 0.2.0",
        ),
    ],
)
def test_a_doubt_says_what_it_is_about_and_what_to_do(
    facts: PackageFacts, store: TrustStore, what: str, remedy: str
) -> None:
    assert enforced(facts, store).reasons == (Problem("expert-sql", what, remedy),)


def test_a_refusal_names_a_known_signer_and_keeps_the_notes() -> None:
    store = trusting("Ann").with_pin("expert-sql", Pin(version="0.1.0"))
    facts = replace(FACTS, publisher="Your bank")
    note = "expert-sql: names Your bank as its publisher; you know Ann"
    refused = enforced(facts, store)
    assert refused == Decision(False, refused.reasons, (note,), "Ann")
    lenient = decide(facts, store, Policy.WARN, NOW)
    only_warns = Problem("expert-sql", "the trust policy only warns")
    assert lenient == Decision(True, (only_warns,), (str(refused.reasons[0]), note), "Ann")


def test_an_accepted_package_says_why() -> None:
    signed = Problem("expert-sql", "signed by Ann")
    assert enforced(FACTS, trusting("Ann")) == Decision(True, (signed,), (), "Ann")
    off = decide(FACTS, TrustStore(), Policy.OFF, NOW)
    assert off == Decision(True, (Problem("expert-sql", "trust is off"),))


@pytest.mark.parametrize(
    ("ahead", "noted"),
    [
        (timedelta(seconds=-1), False),
        (timedelta(seconds=1), False),
        (timedelta(days=1), False),
        (timedelta(days=1, seconds=1), True),
    ],
)
def test_a_clock_may_be_a_day_off(ahead: timedelta, noted: bool) -> None:
    made = timestamp(NOW + ahead)
    note = f"expert-sql: says it was made in the future, at {made}"
    decision = enforced(replace(FACTS, created_at=made), trusting("Ann"))
    assert decision.warnings == ((note,) if noted else ())


def test_every_doubt_is_reported_at_once() -> None:
    store = trusting("Bo").with_pin("expert-sql", Pin(version="0.1.0"))
    assert len(enforced(FACTS, store).reasons) == 2


@pytest.mark.parametrize("policy", [Policy.ENFORCE, Policy.WARN])
def test_a_revoked_key_is_refused_under_warn_as_well(policy: Policy) -> None:
    store = trusting("Ann").revoking(key("Ann").key_id, NOW - timedelta(days=1))
    decision = decide(FACTS, store, policy, NOW)
    assert not decision.accepted
    assert "revoked" in why(decision)
    assert decision.signer is None


def test_a_revocation_counts_for_packages_that_claim_to_be_older() -> None:
    """Whoever has the key can write any date."""
    store = trusting("Ann").revoking(key("Ann").key_id, NOW)
    assert not enforced(replace(FACTS, created_at="2001-01-01T00:00:00Z"), store).accepted


@pytest.mark.parametrize("clock", [timedelta(days=-9999), timedelta(days=9999)])
def test_a_clock_that_is_wrong_brings_no_revoked_key_back(clock: timedelta) -> None:
    store = trusting("Ann").revoking(key("Ann").key_id, NOW)
    decision = decide(FACTS, store, Policy.WARN, NOW + clock)
    assert not decision.accepted
    assert decision.signer is None


def test_a_pin_is_the_way_back_to_an_older_version() -> None:
    store = trusting("Ann").having_seen("expert-sql/smollm2-135m", "0.3.0")
    assert enforced(FACTS, store.with_pin("expert-sql", Pin(version="0.2.0"))).accepted
    assert enforced(FACTS, store.with_pin("expert-sql", Pin(digest="d" * 64))).accepted


def test_a_pin_does_not_replace_a_signature() -> None:
    store = TrustStore().with_pin("expert-sql", Pin(digest="d" * 64))
    assert not enforced(FACTS, store).accepted


@pytest.mark.parametrize("seen", ["0.2.0", "0.2.0-rc.1", "0.1.9"])
def test_the_same_or_a_newer_version_is_no_way_back(seen: str) -> None:
    assert enforced(FACTS, trusting("Ann").having_seen("expert-sql/smollm2-135m", seen)).accepted


def test_versions_for_another_base_model_are_another_line() -> None:
    assert enforced(FACTS, trusting("Ann").having_seen("expert-sql/qwen3-0.6b", "0.3.0")).accepted


def test_the_users_name_for_a_key_wins_over_the_packages() -> None:
    decision = enforced(replace(FACTS, publisher="Your bank"), trusting("Ann"))
    assert decision.accepted
    assert decision.signer == "Ann"
    assert "Your bank" in decision.warnings[0]


def test_a_policy_that_is_none_of_the_three_enforces() -> None:
    """Should a caller pass a text that is no policy, nothing slips through."""
    decision = decide(FACTS, TrustStore(), "Off", NOW)  # type: ignore[arg-type]
    assert not decision.accepted

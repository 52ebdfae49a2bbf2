"""Sound packages of publishers that the victim trusts, but not for this, or no longer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from hive_expert.package.trust_store import Pin, TrustStore
from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import ANN, MALLORY, package, sha256
from tests.package.samples import NOW, trusting

LINE = "expert-sample/smollm2-135m"


@attack_class("names outside what a publisher is trusted for")
def outside_patterns() -> Iterator[Attack]:
    only = trusting("Ann", patterns=("acme-*", "expert-sql"))
    for name in (
        "expert-sample",
        "expert-acme",
        "expert-acmesql",
        "expert-acm-e-sql",
        "expert-xacme-sql",
        "expert-sql2",
        "expert-sql-x",
        "expert-sq",
        "expert-json",
        "expert-a",
        "expert-expert-sql",
        "expert-expert-sql2",
        "expert-x-expert-sql",
        "expert-notacme-x",
        "expert-0",
    ):
        yield Attack(name, package(name=name), only)
    for index in range(16):
        yield Attack(f"expert-{index}", package(name=f"expert-{index}"), only)


@attack_class("keys that were revoked")
def revoked() -> Iterator[Attack]:
    for label, since in {
        "now": NOW,
        "by a clock that is ahead": NOW + timedelta(days=900),
        "yesterday": NOW - timedelta(days=1),
        "long ago": NOW - timedelta(days=900),
    }.items():
        trust = trusting("Ann").revoking(ANN.key_id, since)
        for version in (
            "0.1.0",
            "0.2.0",
            "9.0.0",
            "1.0.0-rc.1",
            "1.0.0+fix",
            *(f"1.{i}.0" for i in range(4)),
        ):
            data = package(version=version, description=f"Revoked {label}.")
            yield Attack(f"{label}: {version}", data, trust)


@attack_class("replay of older versions")
def rollback() -> Iterator[Attack]:
    for seen, versions in {
        "1.0.0": ("0.9.9", "0.1.0", "1.0.0-rc.1", "1.0.0-alpha", "0.99.99", "0.0.0", "1.0.0-0"),
        "1.10.0": ("1.9.0", "1.2.0", "1.9.99", "1.10.0-beta", "1.1.10"),
        "2.0.0-rc.2": ("2.0.0-rc.1", "2.0.0-beta.9", "2.0.0-alpha", "1.99.0", "2.0.0-1"),
        "10.0.0": ("9.0.0", "2.0.0", "9.99.99", "10.0.0-z"),
        "1.0.0+build.2": ("0.9.0+build.9", "1.0.0-x+build.9"),
    }.items():
        trust = trusting("Ann").having_seen(LINE, seen)
        for version in versions:
            data = package(version=version, description=f"Seen {seen}.")
            yield Attack(f"{version} after {seen}", data, trust)


@attack_class("packages other than the pinned one")
def pinned() -> Iterator[Attack]:
    by_version = trusting("Ann").with_pin("expert-sample", Pin(version="0.3.0"))
    for version in (
        "0.2.0",
        "0.3.1",
        "0.3.0-rc.1",
        "0.3.0+x",
        "0.4.0",
        "3.0.0",
        "0.30.0",
        "0.03.1"[:5],
    ):
        yield Attack(f"{version}, pinned to 0.3.0", package(version=version), by_version)
    good = sha256(package(version="0.3.0"))
    by_digest = trusting("Ann").with_pin("expert-sample", Pin(digest=good))
    for index in range(12):
        data = package(version="0.3.0", description=f"Not the same {index}.")
        yield Attack(f"other content {index}", data, by_digest)
    both = trusting("Ann").with_pin("expert-sample", Pin(version="0.3.0", digest=good))
    yield Attack("right version, other digest", package(version="0.3.0", _note="x"), both)


@attack_class("publishers nobody trusts")
def nobody() -> Iterator[Attack]:
    """Sound packages of Ann's, to a victim who trusts nobody, or somebody else."""
    for index in range(10):
        data = package(description=f"To a stranger {index}.")
        yield Attack(f"empty store {index}", data, TrustStore())
        data = package(description=f"To Bo's friend {index}.")
        yield Attack(f"trusts Bo {index}", data, trusting("Bo"))
    removed = trusting("Ann", "Mallory").without_key(MALLORY.key_id)
    for index in range(10):
        data = package(signer=MALLORY, description=f"Removed {index}.")
        yield Attack(f"removed key {index}", data, removed)

"""Fuzzing of everything that reads a stranger's bytes.

A few hundred inputs for each reader on every run; more with ``HIVE_FUZZ_EXAMPLES=100000``. The
law for all of them: the reader returns or raises a HiveError with reasons, within its time. An
input that broke it is named by its seed.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hive_expert.errors import HiveError
from hive_expert.manifest.adapter_model import Adapter
from hive_expert.manifest.fields import field_status
from hive_expert.manifest.parse import dump_manifest, parse_manifest
from hive_expert.package.adapter_config import check_adapter_config
from hive_expert.package.archive import read_archive
from hive_expert.package.layout import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    GRAMMAR,
    MANIFEST,
    README,
    SIGNATURE,
    TEST_CASES,
)
from hive_expert.package.open import open_package
from hive_expert.package.skim import skim
from hive_expert.package.statement import Signature, parse_signature, signed_message
from hive_expert.package.store import PackageStore
from hive_expert.package.tensors import check_adapter, read_tensors
from hive_expert.package.trust import Policy
from tests.manifest.documents import full, smallest
from tests.package.hostile.forge import packed, sealed
from tests.package.samples import (
    NOW,
    key,
    lora_tensors,
    manifest_document,
    peft_config,
    safetensors,
    sample_members,
    trusting,
)
from tests.property.mutations import (
    mutated_archive,
    mutated_bytes,
    mutated_json,
    mutated_safetensors,
)

PROCESSOR_SECONDS = 2.0
EXAMPLES = int(os.environ.get("HIVE_FUZZ_EXAMPLES", "300"))

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,  # time on a busy machine says nothing; see `bounded`
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
SEEDS = st.integers(0, 2**63 - 1)


class Hang(BaseException):
    """Raised where a reader is after its time; nobody may catch it."""


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Let the block have that much of the processor."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def refused(read: Callable[[], object], seconds: float = PROCESSOR_SECONDS) -> bool:
    """Whether the reader raised a HiveError; it says why, in a text of reasonable length."""
    with bounded(seconds):
        try:
            read()
        except HiveError as error:
            assert error.problems
            assert all(problem.what for problem in error.problems)
            assert len(str(error)) < 1 << 20
            str(error).encode()
            return True
    return False


def test_the_time_limit_works() -> None:
    def forever() -> None:
        while True:
            pass

    with pytest.raises(Hang):
        refused(forever, seconds=0.1)


def _version_1() -> dict[str, Any]:
    document = full()
    base = document.pop("base_models")[0]
    del document["integrity"]
    return {
        **document,
        "schema_version": "1.0",
        "base_model": {k: v for k, v in base.items() if k != "adapters"},
        "adapters": base["adapters"],
    }


DOCUMENTS = (full(), smallest(), _version_1())


@fuzz
@given(SEEDS)
def test_manifest(seed: int) -> None:
    random = Random(seed)
    data = mutated_json(random.choice(DOCUMENTS), random)

    def read() -> None:
        manifest = parse_manifest(data)
        field_status(manifest)
        assert parse_manifest(dump_manifest(manifest)) == manifest

    refused(read)


PACKED = packed(sealed({**sample_members(), README: b"# hello\n", GRAMMAR: b"root ::= 'a'\n"}))


@fuzz
@given(SEEDS)
def test_archive(seed: int) -> None:
    data = mutated_archive(PACKED, Random(seed))

    def read() -> None:
        for member in read_archive(BytesIO(data), len(data), "p.expert"):
            assert sum(len(chunk) for chunk in member.chunks) == member.size

    refused(read)


ADAPTER = Adapter.model_validate(manifest_document()["base_models"][0]["adapters"][0])
WEIGHTS = safetensors(lora_tensors())


@fuzz
@given(SEEDS)
def test_safetensors(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(mutated_safetensors(WEIGHTS, Random(seed)))
    refused(lambda: check_adapter(read_tensors(path, "w"), ADAPTER, "w"))


@fuzz
@given(SEEDS)
def test_adapter_config(seed: int) -> None:
    data = mutated_json(peft_config(), Random(seed))
    refused(lambda: check_adapter_config(data, ADAPTER, "c"))


MESSAGE = signed_message({MANIFEST: "0" * 64})
SIGNATURE_FILE = Signature(key().key_id, key().sign(MESSAGE), key().public).to_bytes()


@fuzz
@given(SEEDS)
def test_signature_file(seed: int) -> None:
    """What is not the very file is refused: by its form, or because it does not fit the message."""
    random = Random(seed)
    if random.random() < 0.5:
        data = mutated_bytes(SIGNATURE_FILE, random)
    else:
        data = mutated_json(json.loads(SIGNATURE_FILE), random)

    def read() -> None:
        found = parse_signature(data)
        found.public_key.verify(found.signature, MESSAGE, "s")

    assert refused(read) or data == SIGNATURE_FILE


TRUST = trusting("Ann")


@fuzz
@given(SEEDS)
def test_package(tmp_path: Path, seed: int) -> None:
    """Signed by a trusted publisher, so that nothing but the format's own rules is in the way."""
    path, store = tmp_path / "p.expert", PackageStore(tmp_path / "store")
    path.write_bytes(_mutated_package(Random(seed)))
    refused(lambda: skim(path))
    before = _stored(store)
    if refused(
        lambda: open_package(path, store=store, trust=TRUST, policy=Policy.ENFORCE, now=NOW)
    ):
        assert _stored(store) == before


def _stored(store: PackageStore) -> set[str]:
    return {place.name for place in store.root.glob("*") if len(place.name) == 64}


def _mutated_package(random: Random) -> bytes:
    members = sample_members()
    match random.randrange(5):
        case 0:
            members[ADAPTER_CONFIG] = mutated_json(peft_config(), random)
        case 1:
            members[ADAPTER_WEIGHTS] = mutated_safetensors(WEIGHTS, random)
        case 2:
            name = random.choice(
                (README, GRAMMAR, TEST_CASES, "soft_prompts/a.safetensors", "x.py")
            )
            members[name] = random.choice((b"", b"\xff", WEIGHTS, b"{}"))
        case 3:
            return mutated_archive(packed(sealed(members)), random)
    everything = sealed(members)
    if random.random() < 0.5:
        manifest = mutated_json(json.loads(everything[MANIFEST]), random)
        everything = sealed(members, manifest=manifest)
    if random.random() < 0.3:
        everything[SIGNATURE] = mutated_bytes(everything[SIGNATURE], random)
    if random.random() < 0.2:
        del everything[random.choice(list(everything))]
    return packed(everything)

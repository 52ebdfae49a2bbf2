"""What `model=expert-a:0.7+expert-b` means, and what it may not mean."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hive_expert.adapters import store as store_module
from hive_expert.adapters.base_model import BaseModel
from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.engine_format import read_form
from hive_expert.adapters.peft_adapter import read_adapter
from hive_expert.adapters.store import AdapterStore, ready_for_engine
from hive_expert.catalog.catalog import Catalog, Expert, assemble
from hive_expert.catalog.composition import (
    MAX_NAME,
    MAX_PARTS,
    Composition,
    build,
    find_experts,
    names_in,
)
from hive_expert.catalog.scan import Host
from hive_expert.decoding.contract import Contract
from hive_expert.errors import CompositionError, NotYetError, UnknownExpertError
from hive_expert.manifest.parse import manifest_from
from tests.adapters import tiny

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
ADAPTER = {"type": "lora", "r": 4, "alpha": 8, "target_modules": ["q_proj"], "path": "w/"}


def expert(
    name: str,
    *,
    version: str = "1.0.0",
    contract: Contract = Contract.EMPTY,
    adapter: Path = Path("nowhere"),
    **constraints: Any,
) -> Expert:
    document: dict[str, Any] = {
        "name": name,
        "version": version,
        "schema_version": "2.0",
        "base_models": [{"name": BASE, "adapters": [ADAPTER]}],
    }
    if constraints:
        document["constraints"] = constraints
    digest = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    return Expert(manifest_from(document), digest, adapter, contract, rank=4)


A, B, C = expert("expert-a"), expert("expert-b"), expert("expert-c")


def catalog(*experts: Expert) -> Catalog:
    return assemble(experts or (A, B, C))


def named(composition: Composition) -> list[tuple[str, float]]:
    return [(part.expert.name, part.weight) for part in composition.parts]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("expert-a", [("expert-a", 1)]),
        ("expert-a:0.5", [("expert-a", 0.5)]),
        ("expert-a+expert-b", [("expert-a", 1), ("expert-b", 1)]),
        ("expert-a:0.7+expert-b:0.3", [("expert-a", 0.7), ("expert-b", 0.3)]),
        ("expert-b:.25+expert-a:10", [("expert-a", 10), ("expert-b", 0.25)]),
        ("expert-a@1.0.0:2+expert-b", [("expert-a", 2), ("expert-b", 1)]),
    ],
)
def test_names_and_weights(model: str, expected: list[tuple[str, float]]) -> None:
    assert named(find_experts(catalog(), model)) == expected


def test_one_expert_at_full_weight_is_itself() -> None:
    assert find_experts(catalog(), "expert-a").alone is A
    assert find_experts(catalog(), "expert-a:1").alone is A
    assert find_experts(catalog(), "expert-a:0.5").alone is None


def test_a_version_may_have_a_plus() -> None:
    built = expert("expert-a", version="1.0.0+build5")
    found = find_experts(catalog(built, B), "expert-a@1.0.0+build5+expert-b")
    assert [p.expert for p in found.parts] == [built, B]


def test_the_order_makes_no_difference() -> None:
    left = find_experts(catalog(), "expert-a:0.7+expert-b")
    right = find_experts(catalog(), "expert-b+expert-a:0.7")
    assert (left.digest, left.engine_name) == (right.digest, right.engine_name)


def test_the_identity_depends_on_packages_and_weights() -> None:
    other = catalog(expert("expert-a", version="1.0.1"), B)
    found = {
        find_experts(catalog(), "expert-a+expert-b").digest,
        find_experts(catalog(), "expert-a:0.9+expert-b").digest,
        find_experts(other, "expert-a+expert-b").digest,
    }
    assert len(found) == 3


def test_what_stands_before_the_at_is_the_public_name() -> None:
    found = find_experts(catalog(), "expert-b+expert-a:0.7")
    assert found.engine_name.partition("@")[0] == "expert-a:0.7+expert-b"


def refused(model: str, *experts: Expert) -> str:
    with pytest.raises(CompositionError) as caught:
        find_experts(catalog(*experts), model)
    return str(caught.value)


@pytest.mark.parametrize(
    "weight", ["", "0", "0.0", "-1", "1e3", "nan", "inf", "0.1234", "10.1", "99", "1_0", "٣", " 1"]
)
def test_strange_weights_are_refused(weight: str) -> None:
    assert "no weight" in refused(f"expert-a:{weight}+expert-b")


def test_naming_an_expert_twice_is_refused() -> None:
    assert "twice" in refused("expert-a+expert-a:0.5")


def test_too_many_are_refused() -> None:
    many = [expert(f"expert-{n}") for n in range(MAX_PARTS + 1)]
    assert "more than 10" in refused("+".join(e.name for e in many), *many)


class Untouched(Catalog):
    """A catalog that nobody may ask."""

    def find(self, name: str) -> Expert:
        raise AssertionError(f"asked for {name[:40]}")


def test_too_many_are_refused_before_any_is_looked_up() -> None:
    model = "+".join(["expert-a"] * 100_000)
    with pytest.raises(CompositionError, match="more than 10"):
        find_experts(Untouched(), model)
    with pytest.raises(CompositionError, match="more than 10"):
        names_in(model)


def test_a_name_longer_than_any_is_unknown_before_it_is_looked_up() -> None:
    model = "expert-a+expert-" + "b" * MAX_NAME
    with pytest.raises(UnknownExpertError) as caught:
        find_experts(Untouched(), model)
    assert len(str(caught.value)) < MAX_NAME
    with pytest.raises(UnknownExpertError):
        names_in(model)


def test_the_longest_name_is_not_too_long() -> None:
    longest = expert("expert-" + "a" * 57, version="1.0.0-" + "b" * 58)
    found = find_experts(catalog(longest), f"{longest.name}@{longest.version}:10.000")
    assert found.parts[0].expert is longest


def test_an_unknown_member_is_unknown() -> None:
    with pytest.raises(UnknownExpertError, match="expert-z"):
        find_experts(catalog(), "expert-a+expert-z")


def test_constraints_are_checked_all_at_once() -> None:
    shy = expert("expert-shy", max_chain=2, incompatible_with=["expert-b"], requires=["expert-c"])
    text = refused("expert-shy+expert-a+expert-b", shy, A, B, C)
    assert "at most 1 others" in text
    assert "expert-shy does not go with expert-b" in text
    assert "expert-shy needs expert-c" in text
    assert named(find_experts(catalog(shy, A, C), "expert-shy+expert-c"))


def test_a_required_expert_is_required_of_one_alone_too() -> None:
    assert "ask for expert-x+expert-a" in refused(
        "expert-x", expert("expert-x", requires=["expert-a"])
    )


def test_its_contract_is_the_members_combined() -> None:
    left = expert("expert-a", contract=Contract(temperature=0.1, stop=(";",)), load_order=2)
    right = expert("expert-b", contract=Contract(temperature=0.9, stop=("END",)), load_order=8)
    both = catalog(left, right)
    assert find_experts(both, "expert-a+expert-b").contract.temperature == 0.9
    assert find_experts(both, "expert-a:1.5+expert-b").contract.temperature == 0.1
    assert set(find_experts(both, "expert-a+expert-b").contract.stop) == {";", "END"}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    directory = tiny.save_base(tmp_path / "base")
    return Host(BaseModel((BASE,), directory), BaseWeights(directory), AdapterStore.default(), 8)


def trained(host: Host, tmp_path: Path, *kinds: str) -> Catalog:
    experts = []
    for kind in kinds:
        tiny.train(tiny.CONFIGS[kind], tmp_path / kind)
        adapter = read_adapter(tmp_path / kind)
        ready = ready_for_engine(adapter, kind, host.weights, host.adapters)
        experts.append(expert(f"expert-{kind}", adapter=ready))
    return catalog(*experts)


def test_it_is_built_once(host: Host, tmp_path: Path) -> None:
    both = trained(host, tmp_path, "lora", "dora")
    found = find_experts(both, "expert-lora:0.5+expert-dora")
    assert read_form(build(found, host).adapter).rank == 7
    assert build(found, host) == build(find_experts(both, "expert-dora+expert-lora:0.5"), host)


def test_one_alone_is_not_built(host: Host, tmp_path: Path) -> None:
    one = trained(host, tmp_path, "lora")
    assert build(find_experts(one, "expert-lora"), host).adapter == tmp_path / "lora"


@pytest.mark.parametrize(
    ("kinds", "says"),
    [(("dora", "ia3"), "does not add up"), (("lora", "dora", "rslora"), "--max-rank 9")],
)
def test_what_does_not_add_up_is_refused(
    kinds: tuple[str, ...], says: str, host: Host, tmp_path: Path
) -> None:
    found = find_experts(trained(host, tmp_path, *kinds), "+".join(f"expert-{k}" for k in kinds))
    with pytest.raises(CompositionError, match=says):
        build(found, host)


def test_a_full_disk_is_no_fault_of_the_request(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(form: object, directory: Path) -> None:
        raise OSError(28, "No space left on device")

    found = find_experts(trained(host, tmp_path, "lora", "dora"), "expert-lora+expert-dora")
    monkeypatch.setattr(store_module, "write_form", full)
    with pytest.raises(NotYetError, match="No space left"):
        build(found, host)


def test_without_a_load_order_an_expert_counts_as_a_task() -> None:
    """As it does where experts leave memory."""
    silent = expert("expert-a", contract=Contract(temperature=0.1))
    early = expert("expert-b", contract=Contract(temperature=0.2), load_order=3)
    found = find_experts(catalog(silent, early), "expert-a+expert-b")
    assert (found.load_order, found.contract.temperature) == (10, 0.1)


def test_a_rank_that_is_too_large_is_cut_where_asked_for(host: Host, tmp_path: Path) -> None:
    kinds = ("lora", "dora", "rslora")
    found = find_experts(trained(host, tmp_path, *kinds), "+".join(f"expert-{k}" for k in kinds))
    narrow = replace(host, max_rank=4)
    built = build(found, narrow, cut=True)
    assert read_form(built.adapter).rank == 4
    assert 0 < built.relative_error < 1


def test_what_fits_is_not_cut(host: Host, tmp_path: Path) -> None:
    found = find_experts(trained(host, tmp_path, "lora", "dora"), "expert-lora+expert-dora")
    assert build(found, host, cut=True).relative_error == 0

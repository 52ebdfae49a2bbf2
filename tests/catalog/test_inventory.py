"""The experts directory over time: what arrives, is replaced, breaks, is mended and goes."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hive_expert.catalog import inventory as inventory_module
from hive_expert.catalog.inventory import Inventory
from hive_expert.engine.base_options import BaseOptions, ServedBase
from hive_expert.errors import CatalogError, HiveError, NotYetError, Problem, UnknownExpertError
from hive_expert.package.store import PackageStore
from hive_expert.package.trust import Policy
from tests.catalog.site import Site, damage, write_sources
from tests.package.samples import NOW, key


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: Path) -> Site:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    return Site.at(tmp_path, sources)


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """The files for which one of the functions that read was called."""
    calls: list[str] = []
    real: Callable[..., Any] = getattr(inventory_module, name)

    def counting(path: Path, *arguments: Any, **options: Any) -> Any:
        calls.append(path.name)
        return real(path, *arguments, **options)

    monkeypatch.setattr(inventory_module, name, counting)
    return calls


def test_a_package_is_announced_and_verified_when_asked_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = counted(monkeypatch, "verify")
    site.put()
    catalog = site.look()
    assert (catalog.names(), catalog.versions, verified) == (("expert-lora",), (), [])
    assert site.find("expert-lora") == "0.1.0"
    assert len(verified) == 1
    assert site.inventory.catalog().announced == ()


def test_nothing_is_read_twice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    announced = counted(monkeypatch, "announce")
    site.put()
    damage(site.put("expert-broken"), at=0.99)
    site.look()
    assert len(announced) == 2
    site.look()
    assert len(announced) == 2


def test_two_versions_are_served_at_once(site: Site) -> None:
    site.put(version="0.1.0")
    site.put(version="0.2.0")
    site.look()
    assert site.find("expert-lora") == "0.2.0"
    assert site.find("expert-lora@0.1.0") == "0.1.0"
    older = site.inventory.catalog().find("expert-lora@0.1.0")
    assert site.find(f"expert-lora#{older.digest[:8]}") == "0.1.0"
    # And after a restart, when the newer one has been seen before.
    again = Inventory(
        site.directory, site.inventory.host, site.inventory.store, site.inventory.trust,
        Policy.ENFORCE,
    )  # fmt: skip
    site.inventory = again
    site.look()
    assert site.find("expert-lora@0.1.0") == "0.1.0"


def test_an_unknown_version_is_told_from_an_unknown_name(site: Site) -> None:
    site.put(version="0.1.0")
    site.look()
    with pytest.raises(UnknownExpertError, match=r"did you mean expert-lora@0\.1\.0"):
        site.find("expert-lora@0.3.0")
    with pytest.raises(UnknownExpertError, match=r"did you mean expert-lora\?"):
        site.find("expert-lra")


def test_a_new_version_in_the_same_file_replaces_the_old_one(site: Site) -> None:
    site.put(file="a.expert")
    old = site.ready().find("expert-lora")
    site.put(version="0.2.0", file="a.expert")
    # Nobody has asked yet, and it is verified all the same: it takes a name that is served.
    catalog = site.look()
    assert [e.version for e in catalog.versions] == ["0.2.0"]
    assert catalog.find("expert-lora").digest != old.digest


def test_a_new_version_in_another_file_replaces_the_old_one_that_goes(site: Site) -> None:
    old = site.put(version="0.1.0")
    site.ready()
    new = site.put(version="0.2.0")
    old.unlink()
    assert new.name != old.name
    assert [e.version for e in site.look().versions] == ["0.2.0"]


def test_a_broken_replacement_leaves_the_old_version_serving(site: Site) -> None:
    site.put(file="a.expert")
    old = site.ready().find("expert-lora")
    damage(site.put(version="0.2.0", file="a.expert"))
    catalog = site.look()
    assert catalog.find("expert-lora") is old
    assert [u.source for u in catalog.unavailable] == ["a.expert"]
    site.put(version="0.3.0", file="a.expert")
    catalog = site.look()
    assert (catalog.find("expert-lora").version, catalog.unavailable) == ("0.3.0", ())


def test_a_replacement_that_trust_refuses_leaves_the_old_version_serving(site: Site) -> None:
    site.put(file="a.expert")
    site.ready()
    site.put(version="0.2.0", file="a.expert", signer="Eve")
    catalog = site.look()
    assert catalog.find("expert-lora").version == "0.1.0"
    assert "do not trust" in str(catalog.unavailable[0].problems)


NEEDS_TRITON = {"runtime": {"attention_kernel": "triton"}}


def test_an_expert_that_needs_the_base_otherwise_is_unavailable(site: Site) -> None:
    site.put(**NEEDS_TRITON)
    site.put("expert-needy", constraints={"requires": ["expert-lora"]})
    assert site.ready().names() == ("expert-lora", "expert-needy")
    site.inventory.served = ServedBase(BaseOptions(), {}, "cuda")
    catalog = site.look()
    assert catalog.names() == ()
    lora, needy = sorted(catalog.unavailable, key=lambda u: u.source)
    assert lora.problems[0].remedy == "start with --attention-kernel triton"
    # What requires it cannot be served either.
    assert "expert-lora" in needy.problems[0].what
    site.inventory.served = ServedBase(BaseOptions(attention_backend="TRITON_ATTN"), {}, "cuda")
    assert site.look().names() == ("expert-lora", "expert-needy")


def test_a_replacement_that_needs_the_base_otherwise_leaves_the_old_version(site: Site) -> None:
    site.inventory.served = ServedBase(BaseOptions(), {}, "cuda")
    site.put(file="a.expert")
    site.ready()
    site.put(version="0.2.0", file="a.expert", **NEEDS_TRITON)
    assert site.look().find("expert-lora").version == "0.1.0"


def test_who_is_trusted_later_is_served_then(site: Site) -> None:
    site.put(signer="Eve")
    assert site.look().names() == ()
    site.inventory.trust.edited(lambda store: store.with_key(key("Eve").public, ("*",), NOW))
    site.look()
    assert site.find("expert-lora") == "0.1.0"


def test_a_key_that_is_revoked_takes_its_experts_away(site: Site) -> None:
    site.put()
    assert site.ready().names() == ("expert-lora",)
    site.inventory.trust.edited(lambda store: store.revoking(key("Ann").key_id, NOW))
    catalog = site.look()
    assert catalog.names() == ()
    assert "revoked" in str(catalog.unavailable[0].problems)


def test_a_signed_folder_is_trusted_as_a_package(site: Site) -> None:
    folder = site.directory / "expert-lora"
    with tarfile.open(site.packed("expert-lora", "0.1.0")) as archive:
        archive.extractall(folder, filter="data")
    (entry,) = site.look().announced
    assert entry.facts is not None
    assert site.find("expert-lora") == "0.1.0"
    found = site.inventory.catalog().find("expert-lora")
    assert (found.publisher, found.digest) == ("Ann", entry.facts.digest)
    weights = folder / "adapter" / "adapter_model.safetensors"
    weights.chmod(0o600)
    damage(weights)
    assert site.look().find("expert-lora") is found, "the old content goes on"
    site.inventory.trust.edited(lambda store: store.revoking(key("Ann").key_id, NOW))
    assert site.look().names() == ()


def test_a_folder_without_a_signature_is_not(site: Site) -> None:
    shutil.copytree(site.sources / "expert-lora", site.directory / "expert-lora")
    for policy in (Policy.ENFORCE, Policy.WARN):
        site.inventory.policy = policy
        (entry,) = site.look(again=True).unavailable
        assert "without signature.sig" in str(entry.problems)
    site.inventory.policy = Policy.OFF
    assert site.look(again=True).names() == ("expert-lora",)


def test_a_removed_package_is_gone(site: Site) -> None:
    path = site.put()
    site.ready()
    path.unlink()
    catalog = site.look()
    assert (catalog.names(), catalog.unavailable) == ((), ())


def test_a_removed_version_gives_the_name_back_to_none_that_goes_behind(site: Site) -> None:
    """The older version beside it is then a step back, which the trust policy refuses."""
    site.put(version="0.1.0")
    newer = site.put(version="0.2.0")
    assert site.ready().names() == ("expert-lora",)
    newer.unlink()
    catalog = site.look()
    assert catalog.names() == ()
    assert "goes back" in str(catalog.unavailable[0].problems)


def test_a_file_on_its_way_is_no_error(site: Site) -> None:
    whole = site.packed("expert-lora", "0.1.0").read_bytes()
    path = site.directory / "a.expert"
    path.write_bytes(whole[:1000])
    assert site.inventory.refresh(settle_s=2) is True
    assert site.inventory.catalog().unavailable == ()
    site.now = 1
    path.write_bytes(whole)
    assert site.inventory.refresh(settle_s=2) is False
    assert site.find("expert-lora") == "0.1.0"


def test_a_file_that_stays_broken_is_listed(site: Site) -> None:
    (site.directory / "a.expert").write_bytes(b"\x1f\x8bnothing")
    assert site.inventory.refresh(settle_s=2)
    site.now = 3
    assert not site.inventory.refresh(settle_s=2)
    (entry,) = site.inventory.catalog().unavailable
    assert entry.source == "a.expert"


def test_broken_weights_are_found_when_it_is_asked_for(site: Site) -> None:
    damage(site.put())
    assert site.look().names() == ("expert-lora",)
    with pytest.raises(CatalogError, match="not served"):
        site.find("expert-lora")
    assert site.inventory.catalog().names() == ()


def test_a_full_disk_is_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put()
    site.look()
    real = PackageStore.adopt

    def full(*_: Any) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PackageStore, "adopt", full)
    with pytest.raises(CatalogError, match="No space left"):
        site.find("expert-lora")
    monkeypatch.setattr(PackageStore, "adopt", real)
    site.look()
    assert site.find("expert-lora") == "0.1.0"


def test_what_failed_is_tried_again_when_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(site.put(), at=0.99)
    site.look()
    announced = counted(monkeypatch, "announce")
    site.look()
    assert announced == []
    site.look(again=True)
    assert len(announced) == 1


def test_what_is_known_to_be_broken_is_not_announced_again(site: Site) -> None:
    damage(site.put())
    assert site.ready().names() == ()
    assert site.look(again=True).names() == ()


def test_files_of_what_went_away_are_let_go_unless_in_memory(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[str] = []
    monkeypatch.setattr(PackageStore, "let_go", lambda _, digest: gone.append(digest))
    site.put(file="a.expert")
    old = site.ready().find("expert-lora")
    site.put(version="0.2.0", file="a.expert")
    site.look()
    site.inventory.let_go(used=())
    assert gone == [], "it stands by as the new one's predecessor"
    site.put(version="0.3.0", file="a.expert")
    site.look()
    site.inventory.let_go(used={old.digest})
    assert gone == []
    site.inventory.let_go(used=())
    site.inventory.let_go(used=())
    assert gone == [old.digest]


def test_a_file_swapped_after_it_was_announced_is_not_taken_for_it(site: Site) -> None:
    site.put(file="a.expert")
    (entry,) = site.look().announced
    site.put(name="expert-other", file="a.expert")
    with pytest.raises(NotYetError, match="being replaced"):
        site.inventory.verify(entry)
    assert site.look().names() == ("expert-other",)


def test_an_expert_found_unfit_is_listed_until_it_is_replaced(site: Site) -> None:
    site.put(file="a.expert")
    found = site.ready().find("expert-lora")
    site.inventory.withdraw(found, (Problem("grammar", "does not compile"),))
    with pytest.raises(CatalogError, match="does not compile"):
        site.inventory.catalog().find("expert-lora")
    site.look()
    assert site.inventory.catalog().names() == ()
    site.put(version="0.2.0", file="a.expert")
    site.look()
    assert site.find("expert-lora") == "0.2.0"


@pytest.mark.parametrize("skimmed", [True, False])
def test_what_an_unfit_one_has_replaced_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, skimmed: bool
) -> None:
    site.put(file="a.expert")
    site.ready()
    if not skimmed:  # a package that another tool has made tells nothing until it is read
        monkeypatch.setattr(inventory_module, "announce", lambda *_, **__: None)
    site.put(version="0.2.0", file="a.expert")
    new = site.look().find("expert-lora")
    kept = site.inventory.catalog(without={new.digest})
    assert (new.version, kept.find("expert-lora").version) == ("0.2.0", "0.1.0")
    site.inventory.withdraw(new, (Problem("grammar", "does not compile"),))
    assert site.inventory.catalog().find("expert-lora").version == "0.1.0"


def test_a_revoked_one_does_not_stand_in_for_its_successor(site: Site) -> None:
    site.inventory.trust.edited(lambda store: store.with_key(key("Bob").public, ("*",), NOW))
    site.put(file="a.expert", signer="Bob")
    site.ready()
    site.inventory.trust.edited(lambda store: store.revoking(key("Bob").key_id, NOW))
    site.put(version="0.2.0", file="a.expert")
    new = site.look().find("expert-lora")
    assert site.inventory.catalog(without={new.digest}).names() == ()


def test_a_required_expert_that_comes_later_helps(site: Site) -> None:
    site.put(constraints={"requires": ["expert-helper"]})
    catalog = site.ready()
    assert catalog.names() == ()
    assert "expert-helper is not served here" in str(catalog.unavailable[0].problems)
    site.put(name="expert-helper")
    assert site.look().names() == ("expert-helper", "expert-lora")


def test_a_directory_that_goes_away_takes_nothing_with_it(site: Site) -> None:
    site.put()
    site.ready()
    site.directory.rename(site.directory.with_name("elsewhere"))
    with pytest.raises(HiveError, match="No such file"):
        site.look()
    assert site.inventory.catalog().names() == ("expert-lora",)


def test_the_first_are_verified_ahead_by_load_order(site: Site) -> None:
    for name, order in {"expert-a": 8, "expert-b": 2, "expert-c": 5}.items():
        site.put(name, constraints={"load_order": order})
    site.look()
    site.inventory.verify_ahead(["expert-a"], limit=2)
    assert set(site.inventory.catalog().experts) == {"expert-a", "expert-b"}


def test_a_package_twice_is_one_expert(site: Site) -> None:
    path = site.put(file="a.expert")
    shutil.copy(path, site.directory / "b.expert")
    catalog = site.ready()
    assert len(catalog.versions) == 1
    path.unlink()
    assert site.ready().names() == ("expert-lora",)

"""Derived adapters are made once, whole or not at all, and named by all they depend on."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from hive_expert.adapters import store as store_module
from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.engine_format import read_form
from hive_expert.adapters.normal_form import NormalForm
from hive_expert.adapters.peft_adapter import read_adapter
from hive_expert.adapters.peft_format import to_normal_form
from hive_expert.adapters.store import AdapterStore, Made, facts_of, ready_for_engine
from hive_expert.errors import AdapterError


@pytest.fixture
def store(home: Path) -> AdapterStore:
    return AdapterStore.default()


@pytest.fixture
def form(trained: Path, base: BaseWeights) -> NormalForm:
    return to_normal_form(read_adapter(trained / "dora"), base)


def forms(store: AdapterStore) -> set[str]:
    """The folders of forms, which are named by a hash."""
    return {path.name for path in store.root.iterdir() if len(path.name) == 64}


def test_a_form_is_made_once(store: AdapterStore, form: NormalForm) -> None:
    made = []

    def make() -> Made:
        made.append(1)
        return Made(form, {"rank": 3})

    first = store.fetch({"package": "a"}, make)
    assert store.fetch({"package": "a"}, make) == first
    assert len(made) == 1
    assert read_form(first).rank == form.rank
    assert facts_of(first) == {"recipe": {"package": "a"}, "rank": 3}


def test_the_path_depends_on_the_whole_recipe(store: AdapterStore, form: NormalForm) -> None:
    recipes = [{"package": "a"}, {"package": "b"}, {"package": "a", "base": "c"}]
    assert len({store.fetch(recipe, lambda: Made(form)) for recipe in recipes}) == 3


@pytest.mark.parametrize("kind", [OSError, SafetensorError])
def test_a_full_disk_is_told_from_a_bad_adapter(
    store: AdapterStore, form: NormalForm, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def full(form: NormalForm, directory: Path) -> None:
        raise kind("No space left on device")

    monkeypatch.setattr(store_module, "write_form", full)
    with pytest.raises(AdapterError, match="No space left") as caught:
        store.fetch({"package": "a"}, lambda: Made(form))
    assert isinstance(caught.value.__cause__, OSError)
    assert forms(store) == set()


def test_a_failure_leaves_nothing(
    store: AdapterStore, form: NormalForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(form: NormalForm, directory: Path) -> None:
        (directory / "adapter_config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "write_form", half)
    with pytest.raises(KeyboardInterrupt):
        store.fetch({"package": "a"}, lambda: Made(form))
    assert store.collect() == ()
    assert not list((store.root / "staging").iterdir())


def test_who_comes_second_takes_what_is_there(store: AdapterStore, form: NormalForm) -> None:
    def slow() -> Made:
        store.fetch({"package": "a"}, lambda: Made(form, {"by": 1}))
        return Made(form, {"by": 2})

    assert facts_of(store.fetch({"package": "a"}, slow))["by"] == 1
    assert len(forms(store)) == 1


def _fetch(root: Path, trained: Path) -> None:
    form = to_normal_form(read_adapter(trained / "dora"), BaseWeights(trained / "base"))
    AdapterStore(root).fetch({"package": "a"}, lambda: Made(form))


def test_a_form_nobody_has_fetched_is_collected(
    store: AdapterStore, form: NormalForm, trained: Path
) -> None:
    other = multiprocessing.get_context("spawn").Process(target=_fetch, args=(store.root, trained))
    other.start()
    other.join(120)
    mine = store.fetch({"package": "b"}, lambda: Made(form))
    theirs = forms(store) - {mine.name}
    assert len(theirs) == 1
    assert store.collect(theirs) == ()
    assert store.collect(unused_for=timedelta(days=1)) == ()
    assert set(store.collect()) == theirs
    assert forms(store) == {mine.name}


def _die_half_way(root: Path, trained: Path) -> None:
    def half(form: NormalForm, directory: Path) -> None:
        (directory / "adapter_config.json").write_text("{}")
        os.kill(os.getpid(), signal.SIGKILL)

    store_module.write_form = half
    _fetch(root, trained)


def test_what_a_killed_process_left_is_cleared(
    store: AdapterStore, form: NormalForm, trained: Path
) -> None:
    arguments = (store.root, trained)
    other = multiprocessing.get_context("spawn").Process(target=_die_half_way, args=arguments)
    other.start()
    other.join(120)
    assert other.exitcode == -signal.SIGKILL
    assert len(list((store.root / "staging").iterdir())) == 1
    assert forms(store) == set()
    made = store.fetch({"package": "a"}, lambda: Made(form))
    assert read_form(made).rank == form.rank
    assert list((store.root / "staging").iterdir()) == []


def test_lora_is_loaded_as_it_was_packaged(
    trained: Path, base: BaseWeights, store: AdapterStore
) -> None:
    adapter = read_adapter(trained / "lora")
    assert ready_for_engine(adapter, "d" * 64, base, store) == trained / "lora"
    assert not store.root.exists()


@pytest.mark.parametrize(
    "patterns", [{"rank_pattern": {"q_proj": 4}}, {"alpha_pattern": {"q_proj": 2}}]
)
def test_lora_with_patterns_is_converted_for_an_engine_that_reads_none(
    patterns: dict[str, dict[str, int]],
    adapter: Callable[[str], Path],
    base: BaseWeights,
    store: AdapterStore,
) -> None:
    folder = adapter("lora")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | patterns))
    found = read_adapter(folder)
    form = read_form(ready_for_engine(found, "d" * 64, base, store))
    for module, delta in to_normal_form(found, base).layers.items():
        assert torch.equal(form.layers[module].b, delta.b)


@pytest.mark.parametrize("name", ["dora", "ia3"])
def test_other_kinds_are_converted_once(
    name: str, trained: Path, base: BaseWeights, store: AdapterStore
) -> None:
    adapter = read_adapter(trained / name)
    ready = ready_for_engine(adapter, "d" * 64, base, store)
    assert ready.parent == store.root
    assert read_form(ready).has_gains
    assert ready_for_engine(adapter, "d" * 64, base, store) == ready
    assert ready_for_engine(adapter, "e" * 64, base, store) != ready

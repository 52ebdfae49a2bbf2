from __future__ import annotations

import random

import numpy as np
import pytest

from hive_expert.errors import RoutingError
from hive_expert.manifest.honoured import HONOURED
from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import manifest_from
from hive_expert.manifest.record import Record
from hive_expert.manifest.reference import records
from hive_expert.manifest.strict_json import join
from hive_expert.router.embeddings import COMPARED, comparable, load_embeddings
from hive_expert.router.index import DEFAULT_PRIORITY, RoutingIndex
from hive_expert.router.keywords import words_of
from tests.manifest.documents import changed, full
from tests.router.experts import four_manifests, index_of, manifest


def test_the_order_of_the_manifests_makes_no_difference() -> None:
    manifests = four_manifests()
    shuffled = [*manifests]
    random.Random(3).shuffle(shuffled)
    one, other = index_of(*manifests), index_of(*shuffled)
    assert [e.name for e in one.entries] == sorted(m.name for m in manifests)
    assert one.entries == other.entries
    for name in ("examples", "starts", "descriptions", "pair_weights", "biases"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_each_expert_owns_its_examples_and_at_least_one() -> None:
    with_examples = manifest("expert-b", routing={"examples": ["one", "two"]})
    index = index_of(manifest("expert-a", description="Answers in rhyme."), with_examples)
    assert index.starts.tolist() == [0, 1]
    assert len(index.examples) == 3
    rhyme, two = comparable(load_embeddings(), ["Answers in rhyme.", "two"])
    np.testing.assert_array_equal(index.examples[0], rhyme)
    np.testing.assert_array_equal(index.examples[2], two)


def test_an_expert_without_any_text_is_known_by_its_name() -> None:
    index = index_of(manifest("expert-poems"))
    (name,) = comparable(load_embeddings(), ["expert-poems"])
    np.testing.assert_array_equal(index.descriptions[0], name)


def test_an_entry_tells_what_routing_needs() -> None:
    (entry,) = index_of(
        manifest(
            "expert-a",
            capabilities=["task:new", "task:text-to-sql", "language:SQL", "database:duckdb"],
            constraints={"max_chain": 3},
            limitations=[{"pattern": "drop", "regex": True}],
            routing={"priority": 0.9},
        )
    ).entries
    assert entry.subject == "task:text-to-sql"
    assert entry.dialects == {"sql", "duckdb"}
    assert entry.priority == 0.9
    assert entry.constraints.max_chain == 3
    assert [pattern.pattern for pattern in entry.limitations] == ["drop"]


def test_what_a_manifest_leaves_out_has_a_default() -> None:
    (entry,) = index_of(manifest()).entries
    assert (entry.subject, entry.dialects, entry.priority) == (None, frozenset(), DEFAULT_PRIORITY)


def test_keywords_and_excluded_keywords_are_kept_apart() -> None:
    index = index_of(manifest(routing={"keywords": ["graph"], "exclude_keywords": ["bar graph"]}))
    words = words_of("a bar graph")
    assert [match.phrase for match in index.keywords.find(words)] == ["graph"]
    assert [match.phrase for match in index.excluded.find(words)] == ["bar graph"]


def test_two_manifests_of_one_name_are_refused() -> None:
    with pytest.raises(RoutingError, match="expert-a: is there twice"):
        index_of(manifest(), manifest())


def test_a_pattern_that_is_not_used_is_told() -> None:
    index = index_of(manifest(limitations=[{"pattern": "(a+)+b", "regex": True}]))
    assert len(index.warnings) == 1
    assert index.entries[0].limitations == ()


def test_there_may_be_no_experts() -> None:
    index: RoutingIndex = index_of()
    assert index.entries == ()
    assert index.examples.shape == (0, COMPARED)


def test_what_the_index_reads_is_told_as_the_routers_in_the_field_status_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails when the router starts to use a field, or stops, and the table does not follow."""
    read: set[tuple[type[Record], str]] = set()

    def spy(record: Record, name: str) -> object:
        read.add((type(record), name))
        return object.__getattribute__(record, name)

    subject = manifest_from(changed(full(), "limitations.0.regex", True))
    with monkeypatch.context() as patched:
        patched.setattr(Record, "__getattribute__", spy)
        index_of(subject)
    fields = {
        join(pattern, name)
        for pattern, record in records(Manifest, "", "Manifest")
        for name in record.model_fields
        if (record, name) in read
    }
    used = (fields & HONOURED.keys()) - {"name"}
    assert used == {path for path, entry in HONOURED.items() if "router" in entry.detail}
    assert {HONOURED[path].status for path in used} == {"enforced"}
    assert {"capabilities", "routing.keywords", "limitations[].pattern"} < used

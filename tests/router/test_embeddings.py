from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hive_expert.errors import RoutingError
from hive_expert.router import embeddings
from hive_expert.router.embeddings import COMPARED, HEAD, TAIL, comparable, load_embeddings

TEXTS = [
    "Find all users older than 25. Schema: users(id, name, age)",
    "Où est la gare ?",
    "用 SQL 写",
    "word",
]

# In a process of its own: importing wordllama configures the root logger.
THEIRS = """
import json, sys
from importlib.util import find_spec
from wordllama import WordLlama
folder = find_spec("wordllama").submodule_search_locations[0]
texts = json.load(sys.stdin)
whole, half = (
    WordLlama.load(cache_dir=folder, disable_download=True, trunc_dim=dimensions)
    for dimensions in (None, int(sys.argv[1]))
)
print(json.dumps([model.embed(texts, norm=True).tolist() for model in (whole, half)]))
"""


def test_they_are_what_wordllama_itself_computes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", THEIRS, str(COMPARED)],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
    )
    whole, half = json.loads(done.stdout.splitlines()[-1])
    table = load_embeddings()
    np.testing.assert_allclose([table.embed(text) for text in TEXTS], whole, atol=2e-3)
    np.testing.assert_allclose(comparable(table, TEXTS), half, atol=2e-3)


def test_texts_of_one_meaning_are_nearer_than_others() -> None:
    query, near, far = comparable(
        load_embeddings(),
        ["How many customers ordered?", "count of clients with purchases", "a poem about rain"],
    )
    assert query @ near > query @ far


def test_a_vector_has_unit_length_and_nothing_is_zeros() -> None:
    table = load_embeddings()
    assert np.linalg.norm(table.embed("word")) == pytest.approx(1)
    assert not table.embed("").any()
    assert not comparable(table, [""]).any()
    assert comparable(table, []).shape == (0, COMPARED)


def test_the_middle_of_a_long_text_is_not_read() -> None:
    table = load_embeddings()
    start, end = "s" * HEAD, "e" * TAIL
    one, other = (table.embed(f"{start}{middle}{end}") for middle in ("x" * 9, "y" * 999))
    np.testing.assert_array_equal(one, other)


def test_files_that_are_not_there_are_all_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "_package_folder", lambda: tmp_path)
    with pytest.raises(RoutingError) as caught:
        embeddings.load_embeddings.__wrapped__()
    assert len(caught.value.problems) == 2


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "_PACKAGE", "no_such_package_here")
    with pytest.raises(RoutingError, match="is not installed"):
        embeddings.load_embeddings.__wrapped__()

"""Static word embeddings: a text's meaning as the mean of its tokens' vectors.

The table and the tokenizer are two files inside the installed `wordllama` package. They are read
directly, since importing that package configures the root logger, imports an HTTP client, and
its loader doubles the table's memory; `tests/router/test_embeddings.py` holds the result equal.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from hive_expert.errors import Problem, RoutingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

Vector = NDArray[np.float32]

DIMENSIONS = 256
COMPARED = 128
"""So many of the first dimensions tell how near two texts are. The table was trained so that its
first half stands alone (Matryoshka representations, Kusupati et al. 2022), and at a thousand
experts the products with their examples are bound by how much memory is read for them."""
HEAD, TAIL = 320, 200
"""Characters of a text that are embedded, at its start and at its end."""

_PACKAGE = "wordllama"
_TABLE = Path("weights", "l2_supercat_256.safetensors")
_TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")


class Embeddings(Protocol):
    """Texts to unit vectors of DIMENSIONS; a text without tokens to zeros.

    Law: `embed` is `total`, which adds up the tokens' vectors, divided by its length.
    """

    def total(self, text: str) -> Vector: ...

    def embed(self, text: str) -> Vector: ...


class StaticEmbeddings:
    """The embeddings that `wordllama` ships (16 MB in float16), held in float32: to convert the
    rows of every text anew would take longer than everything else about it."""

    def __init__(self, table: NDArray[np.float16], tokenizer: Tokenizer) -> None:
        self._table = table.astype(np.float32)
        self._tokenizer = tokenizer

    def total(self, text: str) -> Vector:
        if len(text) > HEAD + TAIL:
            text = f"{text[:HEAD]} {text[-TAIL:]}"
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        if not ids:
            return np.zeros(DIMENSIONS, np.float32)
        total: Vector = self._table.take(ids, axis=0).sum(axis=0)
        return total

    def embed(self, text: str) -> Vector:
        return unit(self.total(text))


def unit(vector: Vector) -> Vector:
    """Of length 1; zeros stay zeros."""
    return vector / (math.sqrt(vector @ vector) or 1.0)


def comparable(embeddings: Embeddings, texts: Sequence[str]) -> Vector:
    """(texts, COMPARED): rows of length 1, to be multiplied with one another."""
    rows = [unit(embeddings.total(text)[:COMPARED]) for text in texts]
    return np.stack(rows) if rows else np.zeros((0, COMPARED), np.float32)


@lru_cache(maxsize=1)
def load_embeddings() -> StaticEmbeddings:
    """Read the table and the tokenizer of the installed `wordllama`, once per process.

    Raises:
        RoutingError: the package is not installed, or has not the files it should have.
    """
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder = _package_folder()
    missing = [name for name in (_TABLE, _TOKENIZER) if not (folder / name).is_file()]
    if missing:
        raise RoutingError(
            *(
                Problem(f"{_PACKAGE}/{name}", "is not in the installed package", "reinstall it")
                for name in missing
            )
        )
    table = load_file(folder / _TABLE)["embedding.weight"]
    return StaticEmbeddings(table, Tokenizer.from_file(str(folder / _TOKENIZER)))


def _package_folder() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise RoutingError(
            Problem(_PACKAGE, "is not installed; it holds the router's embeddings", "install it")
        )
    return Path(spec.submodule_search_locations[0])

"""Adapters made from others, each in a private folder named by what it was made from.

The engine loads adapters by path and vLLM's prefix cache is keyed by name and path, so a path must
never stand for two contents: a folder is written beside its place and put there by one rename, and
never changed after that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from safetensors import SafetensorError

from hive_expert import locations
from hive_expert.adapters.base_weights import BaseWeights
from hive_expert.adapters.engine_format import FORMAT, write_form
from hive_expert.adapters.normal_form import NormalForm
from hive_expert.adapters.peft_adapter import PeftAdapter
from hive_expert.adapters.peft_format import to_normal_form
from hive_expert.adapters.soft_prompt import SoftPromptFile, add_soft_prompt, neutral_form
from hive_expert.errors import AdapterError, Problem
from hive_expert.package.folders import FolderStore

_FACTS_FILE = "made_from.json"


@dataclass(frozen=True, slots=True)
class Made:
    """A form and what is worth telling about its making."""

    form: NormalForm
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdapterStore:
    """Normal forms on disk, by recipe.

    Law: a folder in the store holds all of the form its recipe describes, or is not there.
    """

    root: Path

    @classmethod
    def default(cls) -> AdapterStore:
        """The store under the user's data folder."""
        return cls(locations.data_dir() / "adapters")

    def fetch(self, recipe: Mapping[str, object], make: Callable[[], Made]) -> Path:
        """The folder of a recipe's form, which is made and written if it is not there yet.

        It stays there as long as this process lives. Whatever ``make`` raises leaves the store
        as it was; so does a disk that is full, which is an AdapterError caused by an OSError.

        Args:
            recipe: everything the form depends on, as a JSON object.
        """
        text = json.dumps([FORMAT, recipe], sort_keys=True, allow_nan=False)
        name = hashlib.sha256(text.encode()).hexdigest()
        folders = FolderStore(self.root, AdapterError)
        if (place := folders.hold(name)) is not None:
            return place
        made = make()
        try:
            with folders.staging() as staged:
                write_form(made.form, staged)
                facts = json.dumps({"recipe": recipe, **made.facts}, indent=2)
                (staged / _FACTS_FILE).write_text(facts + "\n")
                return folders.adopt(staged, name)
        except (OSError, SafetensorError) as error:
            # safetensors has an error of its own for a full disk.
            cause = error if isinstance(error, OSError) else OSError(str(error))
            problem = Problem(str(self.root), f"cannot be written: {error}", "make room there")
            raise AdapterError(problem) from cause

    def let_go(self, place: Path) -> None:
        """This process has no use any more for what :meth:`fetch` gave; other folders are left."""
        if place.parent == self.root:
            FolderStore(self.root, AdapterError).let_go(place.name)

    def drop(self, place: Path) -> None:
        """As `let_go`, and its folder goes, unless another process has fetched it too."""
        if place.parent == self.root:
            FolderStore(self.root, AdapterError).drop(place.name)

    def collect(
        self, keep: Collection[str] = (), *, unused_for: timedelta = timedelta(0)
    ) -> tuple[str, ...]:
        """Remove forms and leftovers that nobody needs; returns the names of the folders removed.

        Kept are the folders named in ``keep``, those that any living process has fetched, and
        those that were fetched within ``unused_for``. A removed form is made again when needed.
        """
        return FolderStore(self.root, AdapterError).collect(keep, unused_for=unused_for)


def facts_of(directory: Path) -> dict[str, object]:
    """What was written about a folder's making: its `recipe` and the maker's own facts."""
    facts: dict[str, object] = json.loads((directory / _FACTS_FILE).read_bytes())
    return facts


def ready_for_engine(
    adapter: PeftAdapter | None,
    digest: str,
    base: BaseWeights,
    store: AdapterStore,
    soft_prompt: SoftPromptFile | None = None,
) -> Path:
    """The directory the engine loads for what a package applies: an adapter, a soft prompt or both.

    A LoRA alone is loaded as it was packaged, unless layers have a rank or an alpha of their own,
    which vLLM does not read. All else is converted once for each pair of package and base weights.

    Args:
        digest: of the package that ``adapter`` and ``soft_prompt`` are parts of.

    Raises:
        AdapterError: it does not convert; see `to_normal_form` and `add_soft_prompt`.
    """
    assert adapter is not None or soft_prompt is not None, "there is nothing to apply"
    if adapter is not None and soft_prompt is None and adapter.config.is_plain_lora:
        return adapter.directory

    def make() -> Made:
        form = neutral_form(base) if adapter is None else to_normal_form(adapter, base)
        return Made(form if soft_prompt is None else add_soft_prompt(form, soft_prompt))

    return store.fetch({"package": digest, "base": base.fingerprint}, make)

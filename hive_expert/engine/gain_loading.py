"""How gains and soft prompts come into vLLM's workers: with the adapter's files, checked, into
the adapter's slot.

vLLM loads an adapter through its worker manager, keeps it in memory, and copies it into a slot of
every wrapped layer when a batch needs it. Each of the classes here extends one of these steps.
All that can be wrong is found while loading, so that copying cannot fail.
"""

from __future__ import annotations

from collections.abc import Container, Generator
from pathlib import Path
from typing import Any

from torch import Tensor
from vllm.lora import utils as lora_utils
from vllm.lora import worker_manager
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.model_manager import LRUCacheLoRAModelManager
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.utils import get_adapter_absolute_path, parse_fine_tuned_lora_name
from vllm.lora.worker_manager import LRUCacheWorkerLoRAManager
from vllm.v1.worker import lora_model_runner_mixin

from hive_expert.adapters.engine_format import has_our_parts, read_gains, read_soft_prompt
from hive_expert.engine import overflow, soft_prompt
from hive_expert.engine.finite_cache import FiniteCache
from hive_expert.engine.finite_cache import install as install_finite_cache
from hive_expert.engine.gains import GainSlots, LayerGains, Part
from hive_expert.engine.reading import PiecewiseModel, Reading, any_product
from hive_expert.errors import AdapterError, Problem


class GainPEFTHelper(PEFTHelper):
    """Accepts `use_dora` where, and only where, the files that make up for it are there."""

    @classmethod
    def from_local_dir(cls, lora_path: str, max_position_embeddings: int | None) -> GainPEFTHelper:
        helper: GainPEFTHelper = super().from_local_dir(lora_path, max_position_embeddings)
        if helper.use_dora and has_our_parts(Path(lora_path)):
            helper.use_dora = False
        return helper


class GainModelManager(LRUCacheLoRAModelManager):
    """Puts an adapter's gains and soft prompt into the slot that its A and B were put into."""

    embedding: soft_prompt.SoftPromptEmbedding | None = None
    """Takes the soft prompts; None where a worker has no input embedding."""

    def activate_adapter(self, lora_id: int) -> bool:
        fresh: bool = super().activate_adapter(lora_id)
        if fresh:
            index = self.lora_index_to_id.index(lora_id)
            adapter = self._registered_adapters[lora_id]
            # Adapters that vLLM makes itself to warm up have none of this.
            for name in getattr(adapter, "products", ()):
                layer = self.modules[name]
                if isinstance(layer, GainSlots):
                    layer.multiply_in(index)
            for name, gains in getattr(adapter, "gains", {}).items():
                self.modules[name].set_gains(index, gains)
            if self.embedding is not None:
                self.embedding.fill(index, getattr(adapter, "soft_prompt", None))
        return fresh

    def with_products(self, multiplied: Container[str]) -> frozenset[str]:
        """Wrapped layers of this worker in which an adapter has a product B A that is not zero.

        Args:
            multiplied: matrices with one, by the name each has before it is packed.
        """
        return frozenset(
            name
            for name in self.modules
            if any(part in multiplied for part in self.packed_modules.get(name, [name]))
        )

    def prepare_gains(self, gains: dict[str, Part], *, all_layers: bool) -> dict[str, LayerGains]:
        """An adapter's gains by wrapped layer, as this worker needs them.

        Args:
            gains: by the name a matrix has in vLLM before it is packed (`….q_proj`).
            all_layers: whether this worker has all of the model's layers; otherwise gains of
                unknown ones are another's.

        Raises:
            AdapterError: every gain that no layer can take.
        """
        left = dict(gains)
        prepared: dict[str, LayerGains] = {}
        problems: list[Problem] = []
        for name, layer in self.modules.items():
            parts = [left.pop(part, None) for part in self.packed_modules.get(name, [name])]
            if not any(parts):
                continue
            if not isinstance(layer, GainSlots):
                problems.append(Problem(name, f"gains for a {type(layer).__name__}"))
                continue
            try:
                prepared[name] = layer.prepare_gains(name, parts)
            except AdapterError as error:
                problems += error.problems
        if all_layers:
            problems += [Problem(name, "gains for a layer that is not adapted") for name in left]
        if problems:
            raise AdapterError(*problems)
        return prepared


class GainWorkerManager(LRUCacheWorkerLoRAManager):
    """Reads the gains and the soft prompt beside an adapter's A and B."""

    _manager_cls = GainModelManager

    finite_cache: FiniteCache | None = None
    """What looks after each step of a model on the CPU."""

    def __init__(self, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(vllm_config, *args, lora_model_cls=PiecewiseModel, **kwargs)
        self._has_all_layers = vllm_config.parallel_config.pipeline_parallel_size == 1
        self._readings: dict[int, Reading] = {}
        """Of adapters that are not added yet, by id."""

    def read_ahead(self, lora_request: Any, seconds: float | None = None) -> bool:
        """Read an adapter's files for about so long, or to the end; whether that is reached.

        The worker computes no tokens while it reads. Called again it goes on from there, and
        `add_adapter` takes what was read, and reads the rest.
        """
        number = lora_request.lora_int_id
        reading = self._readings.setdefault(number, Reading(self._steps(lora_request)))
        try:
            return reading.go_on(seconds)
        finally:
            if reading.failed:
                del self._readings[number]

    def remove_adapter(self, adapter_id: int) -> bool:
        self._readings.pop(adapter_id, None)
        removed: bool = super().remove_adapter(adapter_id)
        return removed

    def create_lora_manager(self, model: Any, vllm_config: Any) -> Any:
        adapted = super().create_lora_manager(model, vllm_config)
        manager = self._adapter_manager
        (punica_wrapper,) = manager.punica_wrapper_mapping.values()
        manager.embedding = soft_prompt.install(
            adapted, punica_wrapper, manager.lora_slots, self.max_num_batched_tokens
        )
        self.finite_cache = install_finite_cache(adapted, self._adapters_of)
        if self.finite_cache is not None:
            overflow.install()
        return adapted

    def _adapters_of(self, tokens: Tensor) -> set[str]:
        """Names of what computes these tokens of the step."""
        manager = self._adapter_manager
        (punica_wrapper,) = manager.punica_wrapper_mapping.values()
        slots = set(punica_wrapper._token_lora_indices[tokens].tolist())
        adapters = [manager.lora_index_to_id[slot] if slot >= 0 else None for slot in slots]
        registered = manager.list_adapters()
        return {
            getattr(registered.get(adapter), "name", f"adapter {adapter}") if adapter else "base"
            for adapter in adapters
        }

    def _load_adapter(self, lora_request: Any) -> Any:
        reading = self._readings.pop(lora_request.lora_int_id, None)
        return (reading or Reading(self._steps(lora_request))).result()

    def _steps(self, lora_request: Any) -> Generator[None, None, Any]:
        """Reads an adapter; returns it as `_load_adapter` would."""
        adapter = super()._load_adapter(lora_request)
        adapter.name = lora_request.lora_name
        yield
        multiplied: set[str] = set()
        for part in adapter.pieces():
            multiplied |= {name for name, delta in part.items() if any_product(delta)}
            yield
        adapter.products = self._adapter_manager.with_products(multiplied)
        directory = Path(get_adapter_absolute_path(lora_request.lora_path))
        gains = {self._engine_name(name): part for name, part in read_gains(directory).items()}
        yield
        adapter.gains = self._adapter_manager.prepare_gains(gains, all_layers=self._has_all_layers)
        yield
        adapter.soft_prompt = read_soft_prompt(directory)
        embedding = self._adapter_manager.embedding
        if adapter.soft_prompt is not None and embedding is not None:
            embedding.require_fit(lora_request.lora_name, adapter.soft_prompt)
        return adapter

    def _engine_name(self, module: str) -> str:
        """A layer's name in vLLM, which may differ from that in the checkpoint."""
        mapper = getattr(self._adapter_manager.model, "hf_to_vllm_mapper", None)
        if mapper is not None:
            mapper = mapper.get_rename_mapper()
        name, _ = parse_fine_tuned_lora_name(f"base_model.model.{module}.lora_A.weight", mapper)
        return str(name)


def install() -> None:
    """Have vLLM wrap its layers, and load adapters, with the classes above. Idempotent."""
    lora_utils._all_lora_classes = tuple(map(_with_gains, lora_utils._all_lora_classes))
    lora_model_runner_mixin.LRUCacheWorkerLoRAManager = GainWorkerManager
    worker_manager.PEFTHelper = GainPEFTHelper


def is_active(manager: Any) -> bool:
    """Whether a worker's model manager, and every linear layer it has wrapped, takes gains."""
    layers = [m for m in manager.modules.values() if isinstance(m, BaseLinearLayerWithLoRA)]
    return isinstance(manager, GainModelManager) and all(isinstance(m, GainSlots) for m in layers)


def takes_soft_prompts(worker: Any) -> bool:
    """Whether a worker's model reads its prompts through our embedding, if it reads them at all."""
    embedding = worker.lora_manager._adapter_manager.embedding
    return embedding is None or any(embedding is m for m in worker.get_model().modules())


def _with_gains(wrapper: type) -> type:
    # Layers other than linear ones (mixtures of experts, embeddings) are told apart by class name.
    if not issubclass(wrapper, BaseLinearLayerWithLoRA) or issubclass(wrapper, GainSlots):
        return wrapper
    return type(f"Gain{wrapper.__name__}", (GainSlots, wrapper), {})

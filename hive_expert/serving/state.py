"""What one running server holds, and how `hive-serve` hands it to the endpoint plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from hive_expert.catalog.catalog import DIGEST_PREFIX, Catalog, plain_name
from hive_expert.catalog.composition import Composition, Part, find_experts, names_in
from hive_expert.catalog.inventory import Inventory
from hive_expert.catalog.residency import Loadable, Residency, Resident
from hive_expert.catalog.scan import Host
from hive_expert.decoding.binding import Bound
from hive_expert.decoding.contract import Contract
from hive_expert.decoding.effective import Effective, Explicit, resolve
from hive_expert.serving.agents import BASE
from hive_expert.serving.cache_salt import CacheSalts
from hive_expert.serving.compositions import Composed, Compositions
from hive_expert.serving.guard import DoorSettings
from hive_expert.serving.limits import RequestLimits
from hive_expert.serving.recall import Loaded, Recall
from hive_expert.serving.supply import Supply
from hive_expert.serving.validation import OnInvalid

AUTO = "auto"
"""The `model` that asks the server to choose."""

Permit = Callable[[Collection[str]], None]
"""Raises AgentError unless whoever asks may ask all experts of these names (or `agents.BASE`)."""


def anybody(_: Collection[str]) -> None:
    """The permit of those who may ask whom they like."""


MAX_ANNOUNCED = 4096
"""Lines about models' decoding that are remembered, so as not to be logged again."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The user's decisions that concern requests, and the experts directory."""

    inventory: Inventory
    host: Host
    base_names: tuple[str, ...]
    max_cpu_experts: int | None = None
    """Experts and compositions in memory at most."""
    pins: tuple[str, ...] = ()
    """Experts that stay in memory."""
    flags: Mapping[str, float | int] = field(default_factory=dict)
    """Decoding fields given on the command line; they beat manifests (SPEC §7)."""
    ignore_manifest_decoding: bool = False
    cut_ranks: bool = False
    """Serve compositions whose ranks add up to too much by their nearest form that fits."""
    probe_effect: bool = False
    """Ask each expert once, when it is first loaded, whether it differs from the base."""
    on_invalid: OnInvalid = "report"
    """What follows from an answer that fails its expert's check."""
    retries: int = 2
    """How often it is asked again, if so."""
    route_max_experts: int = 1
    """How many experts may answer a request for `auto` together."""
    route_threshold: float | None = None
    """How probable an expert must be to answer one; the policy's own if None."""
    door: DoorSettings = field(default_factory=DoorSettings)
    """Who gets in, and how many at once."""
    limits: RequestLimits = field(default_factory=RequestLimits)
    """What one request may ask for."""
    drain_s: float = 30.0
    """How long requests may take to end once the server is told to stop."""
    recall: Recall | None = None
    """Where it is noted which experts are loaded, for the next run."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who answers a request: the base model (no parts), one expert or several."""

    model: str
    """The name vLLM knows it by."""
    parts: tuple[Part, ...]
    contract: Contract
    residency: Residency
    virtual_tokens: int = 0
    """Positions that a soft prompt takes before the text."""
    relative_error: float = 0.0
    """What cutting a composition's rank lost."""

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts))

    @property
    def names(self) -> str:
        """Who answers, without versions and weights."""
        return "+".join(part.expert.name for part in self.parts) or BASE

    @property
    def composed(self) -> bool:
        """Whether it is no expert as it is, but one with a weight, or several."""
        return bool(self.parts) and Composition(self.parts).alone is None


@dataclass
class Hive:
    """The live side of a server."""

    settings: ServeSettings
    supply: Supply
    engine_client: Any
    cache_salts: CacheSalts = field(default_factory=CacheSalts)
    announced: set[str] = field(default_factory=set)
    """What has been logged of each model's decoding."""
    virtual_tokens: dict[str, int] = field(default_factory=dict)
    """By the name vLLM knows, of models with a soft prompt; see `serving.soft_prompt`."""
    base_values: Mapping[str, float | int] = field(default_factory=dict)
    """Decoding fields that the base's generation config sets."""
    compositions: Compositions = field(init=False)

    def __post_init__(self) -> None:
        self.compositions = Compositions(
            self.settings.host, self.resident, cut=self.settings.cut_ranks, forget=self._forget
        )

    @property
    def catalog(self) -> Catalog:
        """As it is now: it is replaced whole, never edited."""
        return self.supply.catalog

    @property
    def resident(self) -> Resident:
        return self.supply.resident

    @asynccontextmanager
    async def answering(self, model: str | None, permit: Permit = anybody) -> AsyncIterator[Target]:
        """Resolve the `model` of a request; what it names is in memory while the block runs.

        Raises:
            AgentError: as `permit`, before anything is read, tried or loaded for this request.
            UnknownExpertError: no such model; names the nearest.
            CatalogError: it is known but unavailable.
            CompositionError: the experts it names do not go together.
            AdapterError: the engine refuses the adapter.
            NotYetError: it is being replaced, or there was no place to build it; try again.
            EngineError: nobody had the time to try its grammar.
        """
        if not model or model in self.settings.base_names:
            permit([BASE])
            yield Target(self.settings.base_names[0], (), Contract.EMPTY, Residency("hit"))
            return
        permit([plain_name(name) for name in names_in(model)])
        await self.supply.require(model)
        found = find_experts(self.catalog, model, self.others)
        for part in found.parts:
            await self.supply.require_fit(part.expert)
        contract = found.contract
        # One alone is there as it is: most requests are for one, and each context costs.
        built: AbstractAsyncContextManager[Loadable] = (
            nullcontext(found.alone)
            if found.alone is not None
            else self.compositions.using(found, self._served)
        )
        async with built as loadable:
            name, virtual_tokens = loadable.engine_name, found.virtual_tokens
            if virtual_tokens:
                self.virtual_tokens[name] = virtual_tokens
            error = loadable.relative_error if isinstance(loadable, Composed) else 0.0
            self.resident.count_request(loadable)
            async with self.resident.using(loadable) as residency:
                yield Target(name, found.parts, contract, residency, virtual_tokens, error)

    def decoding(
        self, contract: Contract, explicit: Explicit | None = None, bound: Bound | None = None
    ) -> Effective:
        """How an answer decodes under a contract; without a request's own wishes, if none are
        given."""
        return resolve(
            explicit or Explicit(),
            self.settings.flags,
            contract,
            ignore_manifest=self.settings.ignore_manifest_decoding,
            bound=bound,
            base=self.base_values,
        )

    @property
    def others(self) -> tuple[str, ...]:
        """What a request may name that is no expert."""
        return (*self.settings.base_names, AUTO)

    async def load(self, model: str) -> None:
        """Have in memory what a request for this model would need. Raises as `answering`."""
        async with self.answering(model):
            pass

    def loaded(self) -> Loaded:
        """What is in memory and what is pinned, by names that a request could use."""
        experts = {e.digest: f"{e.name}#{e.digest[:DIGEST_PREFIX]}" for e in self.catalog.versions}
        models = tuple(
            experts.get(held.digest) or held.engine_name.partition("@")[0]
            for held in self.resident.held()
        )
        return Loaded(models, tuple(sorted(self.supply.pins)))

    def _served(self) -> set[str]:
        return {expert.digest for expert in self.catalog.versions}

    def _forget(self, composed: Composed) -> None:
        self.virtual_tokens.pop(composed.engine_name, None)

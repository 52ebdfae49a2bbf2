"""One runtime form for every kind of adapter, and the algebra on it. Pure. SPEC section 6.

For each adapted linear layer ``x -> W x + b`` of the base model::

    y = gamma * (W (beta * x) + b) + shift + B A x        (* is by element)

LoRA has only A and B; DoRA has gamma and, where the base has a bias, a shift as well; IA3 has a
gamma, or a beta in its feedforward layers. The base's weights are never changed.

What a layer does *in addition* to the base, its delta, is linear in
``(gamma - 1, beta - 1, shift, B A)`` as long as no layer has both a gamma and a beta. So adapters
compose by summing deltas: exactly, in any order, by weights.

A form may begin with a soft prompt: learned embeddings that stand before those of the text. There
is no sum of two of them, so of the forms in a composition one at most has one, and brings it whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from hive_expert.errors import AdapterError, Problem


@dataclass(frozen=True, slots=True, eq=False)
class LayerDelta:
    """The normal form of one linear layer. Tensors must not be changed in place.

    Law: shapes agree, and at most one of gamma and beta is there (their product would make the
    delta depend on the order of composition).
    """

    a: Tensor
    """(rank, in); rank 0 if the layer has no low-rank part."""
    b: Tensor
    """(out, rank), the scale included."""
    gamma: Tensor | None = None
    """(out); None means 1."""
    shift: Tensor | None = None
    """(out); None means 0."""
    beta: Tensor | None = None
    """(in); None means 1."""

    def __post_init__(self) -> None:
        rank, in_size = self.a.shape
        out_size = self.b.shape[0]
        assert self.b.shape == (out_size, rank), "A and B have different ranks"
        assert self.gamma is None or self.gamma.shape == (out_size,)
        assert self.shift is None or self.shift.shape == (out_size,)
        assert self.beta is None or self.beta.shape == (in_size,)
        assert self.gamma is None or self.beta is None, "a layer has a gamma or a beta"

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    @property
    def in_size(self) -> int:
        return self.a.shape[1]

    @property
    def out_size(self) -> int:
        return self.b.shape[0]

    @property
    def has_gains(self) -> bool:
        """Whether it needs more than the low-rank part."""
        return self.gamma is not None or self.shift is not None or self.beta is not None

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The parts that are there, by name."""
        for name in ("a", "b", "gamma", "shift", "beta"):
            tensor = getattr(self, name)
            if tensor is not None:
                yield name, tensor


@dataclass(frozen=True, slots=True, eq=False)
class NormalForm:
    """An adapter: a delta for some of the base's linear layers, by module name, and a soft prompt.

    Laws, up to rounding (tests/property/test_normal_form.py):

    * ``apply`` of `compose(forms, weights)` adds to the base the weighted sum of what each form
      adds alone;
    * `compose` is commutative and associative; a weight of 0 leaves a form out, and one form of
      weight 1 is itself;
    * `scaled(scaled(f, v), w)` is `scaled(f, v * w)`;
    * the soft prompt of a composition is the one its forms have, as it is.
    """

    layers: Mapping[str, LayerDelta]
    base_fingerprint: str | None = None
    """The base weights it was derived from (SPEC section 15); None if it serves any."""
    soft_prompt: Tensor | None = None
    """(tokens, hidden): embeddings before those of the text."""
    rank: int = field(init=False)
    """The largest rank of a layer: what a slot must hold."""

    def __post_init__(self) -> None:
        assert self.soft_prompt is None or self.soft_prompt.dim() == 2
        object.__setattr__(self, "layers", MappingProxyType(dict(sorted(self.layers.items()))))
        object.__setattr__(self, "rank", max((d.rank for d in self.layers.values()), default=0))

    @property
    def has_gains(self) -> bool:
        return any(delta.has_gains for delta in self.layers.values())

    @property
    def virtual_tokens(self) -> int:
        """How many positions the soft prompt takes; 0 without one."""
        return 0 if self.soft_prompt is None else len(self.soft_prompt)


def apply(delta: LayerDelta, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The definition, as an equation: the output of an adapted layer for ``x`` (tokens, in)."""
    y = (x if delta.beta is None else x * delta.beta) @ weight.T
    if bias is not None:
        y = y + bias
    if delta.gamma is not None:
        y = y * delta.gamma
    if delta.shift is not None:
        y = y + delta.shift
    return y + (x @ delta.a.T) @ delta.b.T


def scaled(form: NormalForm, weight: float) -> NormalForm:
    """The form whose delta is ``weight`` times this one's.

    Raises:
        AdapterError: the weight is not a finite number.
    """
    return compose([form], [weight])


def compose(forms: Sequence[NormalForm], weights: Sequence[float]) -> NormalForm:
    """One form that does what all of them do: the weighted sum of their deltas.

    Ranks add up: A and weight * B are put side by side. See `truncate` where that is too much.

    Raises:
        AdapterError: every reason why they do not go together: different base weights, layers of
            different sizes, a layer that would have both a gamma and a beta, two soft prompts, a
            weight that is not a finite number.
    """
    used = [(f, float(w)) for f, w in zip(forms, weights, strict=True) if w != 0]
    problems = [*_unfit_weights(weights), *_unequal_bases(forms), *_unequal_sizes(forms)]
    problems += _cross_terms(form for form, _ in used)
    prompts = [form.soft_prompt for form, _ in used if form.soft_prompt is not None]
    if len(prompts) > 1:
        problems.append(
            Problem(
                "soft prompt",
                f"{len(prompts)} of the adapters have one, and they do not add up",
                "compose experts of which only one has a soft prompt",
            )
        )
    if problems:
        raise AdapterError(*problems)
    parts: dict[str, list[tuple[LayerDelta, float]]] = {}
    for form, weight in used:
        for module, delta in form.layers.items():
            parts.setdefault(module, []).append((delta, weight))
    fingerprints = {form.base_fingerprint for form in forms} - {None}
    return NormalForm(
        {module: _weighted_sum(deltas) for module, deltas in parts.items()},
        next(iter(fingerprints), None),
        next(iter(prompts), None),
    )


def truncate(form: NormalForm, rank: int) -> tuple[NormalForm, float]:
    """The nearest form whose layers have at most ``rank``, by SVD of each B A; gains are kept.

    Returns it with the relative error: the Frobenius norm of what was cut off from all B A,
    divided by that of all B A.
    """
    layers: dict[str, LayerDelta] = {}
    cut = whole = 0.0
    for module, delta in form.layers.items():
        if delta.rank == 0:
            layers[module] = delta
            continue
        # Of B A without ever forming it: B = Q1 R1 and Aᵀ = Q2 R2 leave a small R1 R2ᵀ.
        q1, r1 = torch.linalg.qr(delta.b.double())
        q2, r2 = torch.linalg.qr(delta.a.double().T)
        u, sigma, vt = torch.linalg.svd(r1 @ r2.T)
        size = len(sigma)
        energy = sigma.square()
        cut += float(energy[rank:].sum())
        whole += float(energy.sum())
        kept = min(rank, size)
        layers[module] = LayerDelta(
            a=(vt[:kept] @ q2.T).to(delta.a.dtype),
            b=((q1 @ u[:, :kept]) * sigma[:kept]).to(delta.b.dtype),
            gamma=delta.gamma,
            shift=delta.shift,
            beta=delta.beta,
        )
    cut_form = NormalForm(layers, form.base_fingerprint, form.soft_prompt)
    return cut_form, math.sqrt(cut / whole) if whole else 0.0


def _weighted_sum(deltas: Sequence[tuple[LayerDelta, float]]) -> LayerDelta:
    return LayerDelta(
        a=torch.cat([d.a for d, _ in deltas]),
        b=torch.cat([d.b * w for d, w in deltas], dim=1),
        gamma=_one_plus(_sum((w * (d.gamma - 1) for d, w in deltas if d.gamma is not None))),
        shift=_sum(w * d.shift for d, w in deltas if d.shift is not None),
        beta=_one_plus(_sum(w * (d.beta - 1) for d, w in deltas if d.beta is not None)),
    )


def _sum(vectors: Iterable[Tensor]) -> Tensor | None:
    found = list(vectors)
    return torch.stack(found).sum(dim=0) if found else None


def _one_plus(vector: Tensor | None) -> Tensor | None:
    return None if vector is None else 1 + vector


def _unfit_weights(weights: Sequence[float]) -> Iterator[Problem]:
    for position, weight in enumerate(weights):
        if not math.isfinite(weight):
            yield Problem(f"weight {position + 1}", f"{weight} is not a finite number")


def _unequal_bases(forms: Sequence[NormalForm]) -> Iterator[Problem]:
    found = sorted({f.base_fingerprint for f in forms if f.base_fingerprint is not None})
    if len(found) > 1:
        shown = ", ".join(f"{fingerprint[:12]}…" for fingerprint in found)
        yield Problem("base model", f"made for different base weights: {shown}")


def _unequal_sizes(forms: Sequence[NormalForm]) -> Iterator[Problem]:
    sizes: dict[str, set[tuple[int, int]]] = {}
    for form in forms:
        for module, delta in form.layers.items():
            sizes.setdefault(module, set()).add((delta.out_size, delta.in_size))
    for module, found in sizes.items():
        if len(found) > 1:
            yield Problem(module, f"has different sizes (out, in): {sorted(found)}")


def _cross_terms(forms: Iterable[NormalForm]) -> Iterator[Problem]:
    outputs: set[str] = set()
    inputs: set[str] = set()
    for form in forms:
        outputs |= {m for m, d in form.layers.items() if d.gamma is not None}
        inputs |= {m for m, d in form.layers.items() if d.beta is not None}
    for module in sorted(outputs & inputs):
        yield Problem(
            module,
            "one adapter scales its input and another its output, which does not add up",
            "compose experts of which only one adapts this layer by DoRA or IA3",
        )

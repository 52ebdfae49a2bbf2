"""From PEFT adapters to their normal form.

What PEFT computes in its own forward pass, and what it is in the normal form:

======================  =====================  ====  ==================  ==============
kind                    gamma                  beta  shift               B, A
======================  =====================  ====  ==================  ==============
LoRA                    1                      1     0                   scale B, A
DoRA                    m / ‖W + scale B A‖    1     (1 - gamma) * bias  gamma scale B, A
IA3                     l                      1     0                   none
IA3, feedforward        1                      l     0                   none
======================  =====================  ====  ==================  ==============

PEFT leaves the bias out of DoRA's scaling, hence the shift, and scales it with IA3. SPEC section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from safetensors import safe_open
from torch import Tensor

from hive_expert.adapters.base_weights import BaseWeights, updated_row_norms
from hive_expert.adapters.normal_form import LayerDelta, NormalForm
from hive_expert.adapters.peft_adapter import PeftAdapter
from hive_expert.adapters.peft_config import WEIGHTS_FILE, Kind, PeftConfig
from hive_expert.errors import AdapterError, Problem

NO_EFFECT = 2.0**-8
"""Gains nearer to 1 than this do nothing: rounding a magnitude to bfloat16 does as much."""


def to_normal_form(adapter: PeftAdapter, base: BaseWeights) -> NormalForm:
    """The same adapter in the normal form, in float32, computed in float64.

    Only DoRA reads the base's weights, and its form is bound to them.

    Raises:
        AdapterError: a layer the base has not, NaN or infinity, or an adapter without effect.
    """
    problems = [
        Problem(module, "no such layer in the base model")
        for module in adapter.layers
        if module not in base.shapes
    ]
    if problems:
        raise AdapterError(*problems)
    convert = _CONVERSIONS[adapter.config.kind]
    layers: dict[str, LayerDelta] = {}
    with safe_open(adapter.directory / WEIGHTS_FILE, "pt") as file:
        for module, parts in adapter.layers.items():
            tensors = {part: file.get_tensor(p.name).double() for part, p in parts.items()}
            layers[module] = convert(adapter.config, module, tensors, base)
    bound = base.fingerprint if adapter.config.kind == "dora" else None
    form = NormalForm(layers, bound)
    require_effect(form)
    return form


def require_effect(form: NormalForm) -> None:
    """Refuse a form that is not finite, or that would answer as the base alone does.

    Raises:
        AdapterError: names every part with NaN or infinity, or says that nothing has an effect.
    """
    problems = [
        Problem(f"{module}.{part}", "holds NaN or infinity")
        for module, delta in form.layers.items()
        for part, tensor in delta.tensors()
        if not bool(torch.isfinite(tensor).all())
    ]
    if not problems and not any(map(_has_effect, form.layers.values())):
        problems.append(
            Problem(
                WEIGHTS_FILE,
                "has no effect: every update is zero",
                "train it, or package the right checkpoint",
            )
        )
    if problems:
        raise AdapterError(*problems)


def _has_effect(delta: LayerDelta) -> bool:
    if bool(delta.a.any()) and bool(delta.b.any()):
        return True
    gains = [g - 1 for g in (delta.gamma, delta.beta) if g is not None]
    return any(float(gain.abs().max()) > NO_EFFECT for gain in gains)


def _from_lora(
    config: PeftConfig, module: str, parts: Mapping[str, Tensor], base: BaseWeights
) -> LayerDelta:
    b = parts["lora_B"] * config.scale_of(module)
    return LayerDelta(parts["lora_A"].float(), b.float())


def _from_dora(
    config: PeftConfig, module: str, parts: Mapping[str, Tensor], base: BaseWeights
) -> LayerDelta:
    a, b = parts["lora_A"], parts["lora_B"] * config.scale_of(module)
    norms = updated_row_norms(base, module, a, b)
    if not bool(norms.all()):
        raise AdapterError(
            Problem(module, "an updated row of weights is zero and has no direction")
        )
    gamma = parts["lora_magnitude_vector"].flatten() / norms
    bias = base.bias(module)
    return LayerDelta(
        a=a.float(),
        b=(gamma[:, None] * b).float(),
        gamma=gamma.float(),
        shift=None if bias is None else ((1 - gamma) * bias).float(),
    )


def _from_ia3(
    config: PeftConfig, module: str, parts: Mapping[str, Tensor], base: BaseWeights
) -> LayerDelta:
    out_size, in_size = base.shapes[module]
    gain = parts["ia3_l"].flatten().float()
    scales_input = config.scales_input(module)
    return LayerDelta(
        a=torch.empty(0, in_size),
        b=torch.empty(out_size, 0),
        gamma=None if scales_input else gain,
        beta=gain if scales_input else None,
    )


_Conversion = Callable[[PeftConfig, str, Mapping[str, Tensor], BaseWeights], LayerDelta]
_CONVERSIONS: dict[Kind, _Conversion] = {"lora": _from_lora, "dora": _from_dora, "ia3": _from_ia3}

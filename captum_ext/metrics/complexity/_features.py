"""The features' attributions, for metrics that look at nothing else."""

from __future__ import annotations

from torch import Tensor

from ..._core.arguments import Attributions, AttributionsType, FeatureMaskType, FrozenType, InputsType, as_attributions
from ..._core.features import Features
from ..._core.statistics import wide


def attributed(
    inputs: InputsType,
    attributions: AttributionsType,
    feature_mask: FeatureMaskType = None,
    *,
    aggregate: str = "sum",
    frozen: FrozenType = None,
) -> tuple[Attributions, Tensor, Tensor]:
    """The methods, the features' attributions `[methods, B, F]`, and the number of features `[B, 1]`.

    Features that an example lacks come last and are 0.
    """
    methods = as_attributions(attributions, inputs)
    x = Features(inputs, methods, feature_mask=feature_mask, frozen=frozen)
    phi = wide(x.totals(aggregate))
    return methods, phi, x.counts.to(phi.device)[:, None]

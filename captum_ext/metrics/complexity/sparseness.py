"""How few features carry an explanation: sparseness (Chalasani et al. 2020) and entropy (Bhatt et al. 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import (
    Attributions,
    AttributionsType,
    FeatureMaskType,
    FrozenType,
    Scores,
    TensorOrTuple,
    as_attributions,
    as_tuple,
)
from ..._core.card import metric
from ..._core.features import Features
from ..._core.signature import arguments_like
from ..._core.statistics import wide


def _magnitudes(
    inputs: TensorOrTuple,
    attributions: AttributionsType,
    feature_mask: FeatureMaskType = None,
    *,
    aggregate: str = "sum",
    frozen: FrozenType = None,
) -> tuple[Attributions, Tensor, Tensor]:
    """The methods, the features' absolute attributions `[methods, B, F]` and the examples' own numbers of features `[B, 1]`."""
    methods = as_attributions(attributions, as_tuple(inputs))
    x = Features(inputs, methods, feature_mask=feature_mask, frozen=frozen)
    magnitude = wide(x.totals(aggregate)).abs()
    return methods, magnitude, x.counts.to(magnitude.device)[:, None]


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Chalasani et al. 2020, arXiv:1810.06583",
)
@arguments_like(_magnitudes)
def sparseness(**arguments: Any) -> Scores:
    r"""The Gini index of the features' absolute attributions: 0 where all are equal, near 1 where one feature has everything.

    .. math:: G = \sum_{k=1}^F \frac{(2k - F - 1)\, |\phi|_{(k)}}{F \sum_i |\phi_i|}, \qquad |\phi|_{(1)} \le \dots \le |\phi|_{(F)}

    A feature is a group of `feature_mask`, else an element (or, for attributions with one channel, a position). It does not change with
    the scale of the attributions. Compare only scores over the same features: it says nothing of whether the explanation is right.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. Where one method of a mapping has one
            channel, positions are the features of all.
        feature_mask: Captum's, or a function of the inputs such as those of `captum_ext.feature_masks`.
        aggregate: a group's attribution is the `"sum"` of its elements', or the `"mean"`; taken before the absolute value.
        frozen: ids of `feature_mask` that are no features: their attribution does not count, such as those of special tokens or of padding.

    Returns:
        `[B]`, from 0 to `1 - 1 / F`, or a mapping name -> `[B]`. Higher is better (fewer features); about 0.41 for Gaussian noise.
        NaN where all attributions are 0. No model row.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions.

    Reference: Chalasani et al. 2020, "Concise Explanations of Neural Networks using Adversarial Training", arXiv:1810.06583. Quantus'
    `Sparseness` is this over elements; it adds 1e-8 to every attribution, so one of zeros scores 0 there.

    Example:
        >>> phi = torch.tensor([[0.0, 0.0, 0.0, -2.0], [1.0, 1.0, 1.0, 1.0]])
        >>> sparseness(phi, phi)
        tensor([0.7500, 0.0000])
    """
    methods, magnitude, count = _magnitudes(**arguments)
    ascending = magnitude.sort(-1).values  # a feature that an example lacks is 0, so first
    place = torch.arange(1, 1 + magnitude.shape[-1], device=count.device) - (magnitude.shape[-1] - count)  # k, [B, F]
    gini = ((2 * place - count - 1) * ascending).sum(-1) / (count[:, 0] * ascending.sum(-1))
    return methods.unpack(gini.clamp(min=0))  # below 0 by rounding alone


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="none",
    reference="Bhatt et al. 2020, arXiv:2005.00631",
)
@arguments_like(sparseness)
def entropy(**arguments: Any) -> Scores:
    r"""The entropy of the features' shares of the attribution: Bhatt's complexity, 0 where one feature has everything.

    .. math:: -\sum_{i=1}^F p_i \ln p_i, \qquad p_i = \frac{|\phi_i|}{\sum_j |\phi_j|}

    Its exponential is the number of features among which an attribution shared evenly would be as spread. The arguments, errors and
    cost are those of `sparseness`.

    Returns:
        `[B]` in nats, from 0 to :math:`\ln F`, or a mapping name -> `[B]`. Lower is better (fewer features); about :math:`\ln F - 0.28` for
        Gaussian noise. NaN where all attributions are 0. No model row.

    Raises:
        ValueError, TypeError: as `sparseness`.

    Reference: Bhatt et al. 2020, "Evaluating and Aggregating Feature-based Model Explanations", arXiv:2005.00631. Quantus' `Complexity` is
    this over elements.

    Example:
        >>> phi = torch.tensor([[0.0, 0.0, 0.0, -2.0], [1.0, 1.0, 1.0, 1.0]])
        >>> entropy(phi, phi).exp()
        tensor([1., 4.])
    """
    methods, magnitude, _ = _magnitudes(**arguments)
    share = magnitude / magnitude.sum(-1, keepdim=True)
    return methods.unpack(torch.special.entr(share).sum(-1).clamp(min=0))

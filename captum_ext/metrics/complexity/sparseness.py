"""How few features carry an explanation: sparseness (Chalasani et al. 2020) and entropy (Bhatt et al. 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.signature import arguments_like
from ._features import attributed


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Chalasani et al. 2020, arXiv:1810.06583",
)
@arguments_like(attributed)
def sparseness(**arguments: Any) -> Scores:
    r"""The Gini index of the features' absolute attributions: 0 if all are equal, near 1 if one feature has it all.

    .. math:: G = \sum_{k=1}^F \frac{(2k - F - 1)\, |\phi|_{(k)}}{F \sum_i |\phi_i|},
        \qquad |\phi|_{(1)} \le \dots \le |\phi|_{(F)}

    A feature is a group of `feature_mask`, or without one an element (a position, if attributions have one channel).
    The score does not depend on the scale of the attributions, and it says nothing about whether the explanation is
    right. Only compare scores over the same features.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. If one method of
            a mapping has one channel, the features of all are positions.
        feature_mask: as in Captum, or a function of the inputs such as those of `captum_ext.feature_masks`.
        aggregate: a group's attribution is the `"sum"` or the `"mean"` of its elements' attributions, taken before the
            absolute value.
        frozen: ids of `feature_mask` that do not count as features, such as special tokens or padding: their
            attribution is left out.

    Returns:
        `[B]`, from 0 to `1 - 1 / F`, or a mapping name -> `[B]`. Higher is better (fewer features); Gaussian noise
        scores about 0.41. NaN where all attributions are 0. No model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions.

    Reference: Chalasani et al. 2020, "Concise Explanations of Neural Networks using Adversarial Training",
    arXiv:1810.06583. Quantus' `Sparseness` is this score over elements, but adds 1e-8 to every attribution, so
    attributions of zeros score 0.

    Example:
        >>> phi = torch.tensor([[0.0, 0.0, 0.0, -2.0], [1.0, 1.0, 1.0, 1.0]])
        >>> sparseness(phi, phi)
        tensor([0.7500, 0.0000])
    """
    return attributed(**arguments).unpack(_gini)


def _gini(phi: Tensor, count: Tensor) -> Tensor:
    ascending = phi.abs().sort(-1).values  # features that an example lacks are 0 and come first
    k = torch.arange(1, 1 + phi.shape[-1], device=count.device) - (phi.shape[-1] - count)  # [B, F]
    gini = ((2 * k - count - 1) * ascending).sum(-1) / (count[:, 0] * ascending.sum(-1))
    return gini.clamp(min=0)  # only rounding makes it negative


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

    Its exponential is the number of equally important features that would have the same entropy. Takes the same
    arguments, raises the same errors and costs the same as `sparseness`.

    Returns:
        `[B]` in nats, from 0 to :math:`\ln F`, or a mapping name -> `[B]`. Lower is better (fewer features); Gaussian
        noise scores about :math:`\ln F - 0.28`. NaN where all attributions are 0. No model rows.

    Raises:
        ValueError, TypeError: as `sparseness`.

    Reference: Bhatt et al. 2020, "Evaluating and Aggregating Feature-based Model Explanations", arXiv:2005.00631.
    Quantus' `Complexity` is this score over elements.

    Example:
        >>> phi = torch.tensor([[0.0, 0.0, 0.0, -2.0], [1.0, 1.0, 1.0, 1.0]])
        >>> entropy(phi, phi).exp()
        tensor([1., 4.])
    """
    return attributed(**arguments).unpack(_entropy)


def _entropy(phi: Tensor, count: Tensor) -> Tensor:
    share = phi.abs() / phi.abs().sum(-1, keepdim=True)
    return torch.special.entr(share).sum(-1).clamp(min=0)

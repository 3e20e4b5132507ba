"""How far two explanations agree on the ranks of all features (Krishna et al. 2022)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.signature import arguments_like
from ..._core.statistics import mean_ranks, pearson
from ._pairs import Pair, beside_reference


@metric(
    higher_is_better=True,
    range=(-1, 1),
    rows="none",
    reference="Krishna et al. 2022, arXiv:2202.01602",
)
@arguments_like(beside_reference)
def rank_correlation(**arguments: Any) -> Scores:
    r"""Spearman's correlation of two explanations: that of the ranks they give to the features.

    .. math:: \operatorname{corr}_i\bigl(\operatorname{rank}_\phi i,\; \operatorname{rank}_{\phi'} i\bigr)

    over the features :math:`i`, for the attributions :math:`\phi` and the reference attributions :math:`\phi'`. A
    feature is a group of `feature_mask`, or without one an element (a position, if some map has one channel). Equally
    important features share the mean of their ranks.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        reference_attributions: those to compare with: another method's, another model's, or a known truth. For the
            agreement of all methods with each other:
            ``{name: rank_correlation(x, maps, other) for name, other in maps.items()}``.
        feature_mask: as in Captum, or a function of the inputs such as those of `captum_ext.feature_masks`.
        sign: features are ranked by the `"absolute_value"` of their attribution, by its `"positive"` or `"negative"`
            part, or by the attribution as it is (`"all"`).
        aggregate: a group's attribution is the `"sum"` or the `"mean"` of its elements' attributions.
        frozen: ids of `feature_mask` that do not count as features, such as special tokens.

    Returns:
        `[B]` from -1 to 1, or a mapping name -> `[B]`. Higher is better, if the reference is good; chance is 0. NaN
        where all features are equally important on one side. No model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, an unknown `sign` or `aggregate`.

    This is the value of `scipy.stats.spearmanr`. OpenXAI counts ranks without gaps, which differs if features are
    equally important.

    Reference: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning: A Practitioner's
    Perspective", arXiv:2202.01602.

    Example:
        >>> phi, other = torch.tensor([[4.0, -3.0, 2.0, 1.0]]), torch.tensor([[3.0, 4.0, 1.0, -2.0]])
        >>> rank_correlation(phi, phi, other)
        tensor([0.6000])
    """
    return beside_reference(**arguments).unpack(_correlation)


def _correlation(pair: Pair) -> Tensor:
    a, b = (mean_ranks(v, pair.where) for v in pair.importances)
    exact = torch.zeros_like(a[..., 0])  # ranks have no rounding
    return pearson(a, b, pair.where, exact, exact)


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Krishna et al. 2022, arXiv:2202.01602",
)
@arguments_like(rank_correlation)
def pairwise_rank_agreement(**arguments: Any) -> Scores:
    r"""The share of pairs of features that two explanations put in the same order.

    .. math:: \frac{2}{F (F - 1)} \sum_{i < j}
              \bigl[\operatorname{sign}(\phi_i - \phi_j) = \operatorname{sign}(\phi'_i - \phi'_j)\bigr]

    where :math:`\phi` stands for the attributions after `sign`, by default their absolute values. Two features that are
    equally important in one explanation agree if they are so in the other. All pairs are counted, by sorting and
    without draws. Takes the same arguments, raises the same errors and costs the same as `rank_correlation`.

    Returns:
        `[B]` from 0 to 1, or a mapping name -> `[B]`. Higher is better, if the reference is good; chance is 0.5 if no
        two features are equally important. NaN with a single feature.

    Raises:
        ValueError, TypeError: as `rank_correlation`.

    Without ties it is (1 + Kendall's tau) / 2. Krishna et al. and OpenXAI only ask whether the first feature of each
    pair is more important, so a tie agrees with one order and not with the other.

    Reference: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning: A Practitioner's
    Perspective", arXiv:2202.01602.

    Example:
        >>> phi, other = torch.tensor([[4.0, -3.0, 2.0, 1.0]]), torch.tensor([[3.0, 4.0, 1.0, -2.0]])
        >>> pairwise_rank_agreement(phi, phi, other)
        tensor([0.6667])
    """
    return beside_reference(**arguments).unpack(Pair.share_of_agreeing_pairs)

"""Faithfulness estimate (Alvarez-Melis & Jaakkola 2018): sensitivity-1 over every feature."""

from __future__ import annotations

from typing import Any

import torch

from ..._core.arguments import FeatureMaskType, Scores, TensorOrTuple, as_feature_mask, as_tuple
from ..._core.card import metric
from ..._core.signature import arguments_like
from .sensitivity_n import sensitivity_n


@metric(
    higher_is_better=True,
    range=(-1, 1),
    rows="B + B F, for F features",
    reference="Alvarez-Melis and Jaakkola 2018, arXiv:1806.07538",
)
@arguments_like(sensitivity_n, without=("n", "n_perturb_samples", "seed", "estimator"))
def faithfulness_estimate(inputs: TensorOrTuple, feature_mask: FeatureMaskType, **arguments: Any) -> Scores:
    r"""Correlation, over the features, of a feature's attribution and the drop of the output without the feature.

    .. math:: \operatorname{corr}_{i} \bigl( \phi_i,\; f(x) - f(x_{\setminus i}) \bigr)

    It is `sensitivity_n` at `n=1` with every feature taken once. The other arguments, errors and cost are as in
    `sensitivity_n` with as many draws as features, so images need a `feature_mask`.

    Returns:
        `[B]` from -1 to 1, or a mapping name -> `[B]`. Higher is better, chance is 0, and leaving features out one by
        one (occlusion) scores 1. NaN where all attributions are equal, or all features change the output by the same
        amount.

    Raises:
        ValueError, TypeError: as `sensitivity_n`.

    With `correlation="spearman"` it is the single deletion score of work on in-domain removal, and with
    `correlation="kendall"` the leave-one-out tau of ferret, which removes tokens: under both, any explanation that
    orders the features by their effects scores 1.

    Quantus also correlates with the drop of the output, but removes `features_in_step` features at once, by
    attribution.

    Reference: Alvarez-Melis and Jaakkola 2018, "Towards Robust Interpretability with Self-Explaining Neural Networks",
    arXiv:1806.07538.

    Example:
        >>> w = torch.tensor([[1.0, -2.0, 3.0]])
        >>> faithfulness_estimate(lambda x: x @ w[0], torch.ones(1, 3), {"gradient": w, "size": w.abs()})
        {'gradient': tensor([1.]), 'size': tensor([0.3974])}
    """
    masks = as_feature_mask(feature_mask, inputs)
    features = as_tuple(inputs) if masks is None else (torch.cat([m.flatten() for m in masks]).unique()[None],)
    most = sum(t[0].numel() for t in features)  # no example has more features
    return sensitivity_n(inputs=inputs, feature_mask=masks, n=1, n_perturb_samples=most, seed=0, **arguments)

"""Normalised area over the perturbation curve (Edin et al. 2025)."""

from __future__ import annotations

from typing import Any

import torch

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.removals import removals
from ..._core.signature import arguments_like
from .deletion import OF_THE_CURVE, deletion_curve
from .oracle_normalized import oracle_normalized

ROWS = (
    "at most 5 B F (F + 1) by search='beam', B F (F + 1) by 'greedy', B 2^F by 'exact'; "
    "and 4 B + B (M + 4) (F - 1), for M methods"
)
REFERENCE = "Edin et al. 2025, arXiv:2408.08137"


@metric(higher_is_better=True, range=(float("-inf"), float("inf")), rows=ROWS, reference=REFERENCE, relative=True)
@arguments_like(oracle_normalized, without=("score", "lower", "n_perturb_samples", "seed"), search="beam")
def normalized_aopc(**arguments: Any) -> Scores:
    r"""Area over the perturbation curve between that of the worst order of removal, 0, and of the best one, 1.

    .. math:: \frac{a(\phi) - \min_\pi a(\pi)}{\max_\pi a(\pi) - \min_\pi a(\pi)}, \qquad
              a(\pi) = \frac1F \sum_{k=1}^{F} \bigl( f(x) - f(x_{\setminus \pi(k)}) \bigr)

    where :math:`\pi(k)` are the first `k` of the example's :math:`F` features in an order. How much output there is to
    lose, and how fast it can be lost, depends on the model and the example; on this scale both count for nothing. So
    models can be compared too. For `F` features in each example it is
    ``partial(oracle_normalized, score=partial(aopc, n_steps=F + 1), lower="worst", search="beam")``. The other
    arguments and errors are as in `oracle_normalized`.

    Args:
        search: finds the best and the worst order: `"beam"`, which keeps the five best sets at every step, as in the
            paper; `"greedy"`; or `"exact"`, by which no score is outside 0..1.
        feature_mask: as in `deletion_curve`, with at most 32 features per example for the search, or 10 if it is exact.

    Returns:
        `[B]`, or a mapping name -> `[B]`. Higher is better; a random order has an expected score of 1/2 on an additive
        model. An attribution that beats the search is outside 0..1. NaN where the best order scores the same as the
        worst, up to the rounding of the outputs.

    Raises:
        ValueError, TypeError: as `deletion_curve`; more than 32 features, or 10 for an exact search.

    Reference: Edin et al. 2025, "Normalized AOPC: Fixing Misleading Faithfulness Metrics for Feature Attribution
    Explainability", arXiv:2408.08137.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> maps = {"best": w[None], "by index": torch.tensor([[3.0, 2.0, 1.0]]), "worst": -w[None]}
        >>> normalized_aopc(lambda x: x @ w, torch.ones(1, 3), maps)
        {'best': tensor([1.]), 'by index': tensor([0.3333]), 'worst': tensor([0.])}
    """
    return oracle_normalized(score=_mean_drop, lower="worst", **arguments)


@metric(higher_is_better=True, range=(float("-inf"), float("inf")), rows="2 B + M B (F - 1)", reference=REFERENCE)
@arguments_like(deletion_curve, without=OF_THE_CURVE)
def _mean_drop(**arguments: Any) -> Scores:
    """The mean drop as the features are removed one by one. Both ends, which all orders share, count half."""
    x = removals(**arguments)
    counts = x.every_count()
    curve = x.curve(counts, "morf")
    return x.unpack(torch.trapezoid(curve[..., :1] - curve, x.shares(counts)))

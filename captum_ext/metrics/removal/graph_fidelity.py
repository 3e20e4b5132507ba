"""Fidelity of graph explanations (Amara et al. 2022): whether the prediction changes without a subgraph, or on it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.checks import check_fraction
from ..._core.removals import Removals, removals
from ..._core.signature import arguments_like
from ..._core.sizes import SizeType, as_sizes
from ..._core.statistics import wide
from ..._core.target import NO_CLASS, check_threshold, is_predicted, predicted_class
from .deletion import OF_THE_CURVE, deletion_curve
from .rationales import SHARES

REFERENCE = "Amara et al. 2022, arXiv:2206.09677"
ROWS = "B + M B len(shares), for M methods"


@metric(higher_is_better=True, range=(0, 1), rows=ROWS, reference=REFERENCE)
@arguments_like(deletion_curve, without=(*OF_THE_CURVE, "activation"))
def positive_fidelity(*, shares: SizeType = SHARES, threshold: float | None = None, **arguments: Any) -> Scores:
    r"""How often the prediction becomes right or wrong when the most relevant features are replaced: fid+ of graphs.

    .. math:: \frac1{|K|} \sum_{k \in K} \Bigl| \bigl[ \hat y(x) = y \bigr]
        - \bigl[ \hat y(x_{\setminus \pi(k)}) = y \bigr] \Bigr|

    where :math:`\hat y` is the class of the largest output and :math:`\pi(k)` are the `k` most relevant features, such
    as the nodes or the edges of a graph that `feature_mask` tells apart. With a label as `target` this is the fidelity
    of *phenomenon* explanations; without one, :math:`y` is the prediction :math:`\hat y(x)` itself, which is the
    fidelity of *model* explanations. The drop of a probability in its place is `comprehensiveness`. The other
    arguments, errors and cost are as in `deletion_curve`, without `activation`.

    Args:
        target: the label :math:`y`, or None for the model's own prediction.
        shares: the sizes `K`, one or several: fractions of the example's own features (rounded, at least 1), or numbers
            of features.
        threshold: for a model with one output per row, which predicts class 1 where the output is above it, and else
            class 0: 0 for a logit, 0.5 for a probability. The `target` is then 0 or 1.

    Returns:
        `[B]`, from 0 to 1, or a mapping name -> `[B]`; the mean over examples is the paper's score. Higher is better:
        the features are necessary; compare with a random order. NaN where an output is NaN.

    Raises:
        ValueError, TypeError: as `comprehensiveness`; a model that does not return `[rows, classes]`, or that returns
            one output and no `threshold` is given.

    In `evaluate`, ``target="predicted"`` asks for the fidelity of model explanations.

    Reference: Amara et al. 2022, "GraphFramEx: Towards Systematic Evaluation of Explainability Methods for Graph Neural
    Networks", arXiv:2206.09677.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> def model(x):
        ...     return torch.stack((x @ w, torch.full((len(x),), 3.5)), 1)
        >>> positive_fidelity(model, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, shares=1)
        {'best': tensor([1.]), 'worst': tensor([0.])}
    """
    x = _predictions(threshold, **arguments)
    return x.unpack(_changes(x, as_sizes("shares", shares, x.sizes)[0], "morf"))


@metric(higher_is_better=False, range=(0, 1), rows=ROWS, reference=REFERENCE)
@arguments_like(positive_fidelity)
def negative_fidelity(*, shares: SizeType, threshold: float | None, **arguments: Any) -> Scores:
    r"""How often the prediction becomes right or wrong when only the most relevant features are kept: fid- of graphs.

    .. math:: \frac1{|K|} \sum_{k \in K} \Bigl| \bigl[ \hat y(x) = y \bigr]
        - \bigl[ \hat y(x_{\setminus \bar\pi(F - k)}) = y \bigr] \Bigr|

    where :math:`\bar\pi(F - k)` are all but the `k` most relevant features, and :math:`y` is as in `positive_fidelity`.
    The drop of a probability in its place is `sufficiency`. Takes the same arguments, raises the same errors and costs
    the same as `positive_fidelity`; arguments that both share with `deletion_curve` are explained there.

    Returns:
        `[B]`, from 0 to 1, or a mapping name -> `[B]`; the mean over examples is the paper's score. Lower is better:
        the features suffice; compare with a random order. NaN where an output is NaN.

    Raises:
        ValueError, TypeError: as `positive_fidelity`.

    Reference: Amara et al. 2022, "GraphFramEx: Towards Systematic Evaluation of Explainability Methods for Graph Neural
    Networks", arXiv:2206.09677.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> def model(x):
        ...     return torch.stack((x @ w, torch.full((len(x),), 3.5)), 1)
        >>> negative_fidelity(model, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, shares=1)
        {'best': tensor([0.]), 'worst': tensor([1.])}
    """
    x = _predictions(threshold, **arguments)
    return x.unpack(_changes(x, x.sizes[:, None] - as_sizes("shares", shares, x.sizes)[0], "lerf"))


@metric(higher_is_better=True, range=(0, 1), rows="B + 2 M B len(shares), for M methods", reference=REFERENCE)
@arguments_like(positive_fidelity)
def characterization_score(
    *, shares: SizeType, threshold: float | None, weight: float = 0.5, **arguments: Any
) -> Scores:
    r"""Whether the most relevant features are both necessary and sufficient: a harmonic mean of both fidelities.

    .. math:: \Bigl( \frac{w}{\mathrm{fid}_+} + \frac{1 - w}{1 - \mathrm{fid}_-} \Bigr)^{-1}

    with :math:`\mathrm{fid}_+` of `positive_fidelity` and :math:`\mathrm{fid}_-` of `negative_fidelity`, both of one
    example. Takes the same arguments and raises the same errors as they do; arguments shared with `deletion_curve` are
    explained there.

    Args:
        weight: the weight `w` of the positive fidelity, between 0 and 1.

    Returns:
        `[B]`, from 0 to 1, or a mapping name -> `[B]`; 0 where the positive fidelity is 0 or the negative one is 1, so
        with one size in `shares` it is 0 or 1. Higher is better; compare with a random order. NaN where an output is
        NaN. `B + 2 M B len(shares)` model rows for `M` methods.

    Raises:
        ValueError, TypeError: as `positive_fidelity`, and a `weight` that is not between 0 and 1.

    The paper takes the harmonic mean of the two means over a data set, which is never below the mean of these scores:
    ``1 / (weight / positive.mean() + (1 - weight) / (1 - negative.mean()))`` of the scores of both metrics.

    Reference: Amara et al. 2022, "GraphFramEx: Towards Systematic Evaluation of Explainability Methods for Graph Neural
    Networks", arXiv:2206.09677.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> def model(x):
        ...     return torch.stack((x @ w, torch.full((len(x),), 2.5)), 1)
        >>> characterization_score(model, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, shares=[1, 2])
        {'best': tensor([0.6667]), 'worst': tensor([0.])}
    """
    check_fraction("weight", weight, open_ends=True)
    x = _predictions(threshold, **arguments)
    sizes, _ = as_sizes("shares", shares, x.sizes)
    without, kept = _changes(x, sizes, "morf"), _changes(x, x.sizes[:, None] - sizes, "lerf")
    return x.unpack(1 / (weight / without + (1 - weight) / (1 - kept)))


def _predictions(threshold: float | None, *, target: Any, **arguments: Any) -> Removals:
    """Scores that differ where a prediction does: the class, or where there are labels, whether it is the label."""
    check_threshold(threshold)
    activation = partial(predicted_class if target is None else is_predicted, threshold=threshold)
    return removals(**arguments, target=target, activation=activation)


def _changes(x: Removals, counts: Tensor, mode: str) -> Tensor:
    """`[methods, B]`: the share of `counts` without which the prediction differs from that for the whole example."""
    curve = x.curve(torch.nn.functional.pad(counts, (1, 0)), mode)
    defined = ((curve != NO_CLASS) & ~curve.isnan()).all(-1)
    return wide(curve[..., 1:] != curve[..., :1]).mean(-1).where(defined, torch.nan)

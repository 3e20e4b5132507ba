"""The smallest set of the most relevant features that decides the prediction."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.checks import check_choice
from ..._core.removals import fractions, removals
from ..._core.signature import arguments_like
from ..._core.target import NO_CLASS, check_threshold, predicted_class
from .deletion import deletion_curve


@metric(
    higher_is_better=False,
    range=(0, 1),
    rows="2 B + M B (n_steps - 2), for M methods",
    reference="Gevaert et al. 2022, arXiv:2202.12270",
)
@arguments_like(deletion_curve, without=("mode", "start", "stop", "rounding", "target", "activation"))
def minimal_subset(n_steps: int, *, mode: str = "deletion", threshold: float | None = None, **arguments: Any) -> Scores:
    r"""The smallest share of the most relevant features whose removal changes the prediction, or that suffice for it.

    .. math:: \frac1F \min \bigl\{ k : \hat y(x_{\setminus \pi(k)}) \ne \hat y(x) \bigr\}
        \quad\text{or}\quad \frac1F \min \bigl\{ k : \hat y(x_{\setminus \bar\pi(F - k)}) = \hat y(x) \bigr\}

    where :math:`\hat y` is the class of the largest output, :math:`\pi(k)` are the `k` most and :math:`\bar\pi(F - k)`
    all other features. There is no `target`, as it is the model's own prediction that has to change. The other
    arguments, errors and cost are as in `deletion_curve`.

    Args:
        mode: `"deletion"` replaces the most relevant features until the prediction changes, `"insertion"` shows them
            until the prediction is that of the whole example.
        n_steps: `k` runs over :math:`\operatorname{round}(s F)` for this many evenly spaced shares `s` from 0 to 1,
            both included.
        threshold: for a model with one output per row, which predicts class 1 where the output is above it, and else
            class 0: 0 for a logit, 0.5 for a probability.

    Returns:
        `[B]`, from 0 to 1, or a mapping name -> `[B]`; 1 where the prediction never changes. Times `F`, the score is
        the number of features. Lower is better; compare with a random order, as the level depends on the model. NaN
        where an output is NaN.

    Raises:
        ValueError, TypeError: as `deletion_curve`; an unknown `mode`; a model that does not return `[rows, classes]`,
            or that returns one output and no `threshold` is given.

    AttriBench returns the number of features, and takes `num_steps = n_steps - 1` steps of equal size.

    Reference: Gevaert et al. 2022, "Evaluating feature attribution methods in the image domain", arXiv:2202.12270.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> def model(x):
        ...     return torch.stack((x @ w, torch.full((len(x),), 3.5)), 1)
        >>> minimal_subset(model, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, n_steps=4)
        {'best': tensor([0.3333]), 'worst': tensor([1.])}
    """
    check_choice("mode", mode, ("deletion", "insertion"))
    check_threshold(threshold)
    grid = fractions(0, 1, n_steps)
    x = removals(**arguments, target=None, activation=partial(predicted_class, threshold=threshold))
    counts = x.counts(grid)  # [B, n_steps]
    if mode == "deletion":
        classes = x.curve(counts, "morf")
        found = classes != classes[..., :1]
    else:
        classes = x.curve(x.sizes[:, None] - counts, "lerf")
        found = classes == classes[..., -1:]
    found[..., -1] = True  # if no smaller set is enough, all features count
    share = x.shares(counts).expand_as(found)
    smallest = share.gather(-1, found.int().argmax(-1, keepdim=True))[..., 0]
    return x.unpack(smallest.masked_fill((classes == NO_CLASS).any(-1), torch.nan))

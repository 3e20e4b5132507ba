"""Area over the perturbation curve (Samek et al. 2017)."""

from __future__ import annotations

from typing import Any

import torch

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.checks import check_choice
from ..._core.removals import OPPOSITE, fractions, removals
from ..._core.signature import arguments_like
from .deletion import INSIDE, deletion_curve


@metric(
    higher_is_better=True,
    range=(float("-inf"), float("inf")),
    rows=f"2 B + M B (n_steps - 2), for M methods; at most B + M B n_steps {INSIDE}",
    reference="Samek et al. 2017, arXiv:1509.06321",
    flipped_by=("mode", "lerf"),
)
@arguments_like(deletion_curve)
def aopc(mode: str, start: float, stop: float, n_steps: int, *, rounding: str, **arguments: Any) -> Scores:
    r"""Area over the perturbation curve: the mean drop of the output while features are replaced, by relevance.

    .. math:: \frac1{L + 1} \sum_{l=0}^{L} \bigl( f(x) - c(s_l) \bigr)

    over the `L + 1 = n_steps` points :math:`s_l`, from `start` to `stop`, of the curve `c` of `deletion_curve`. By
    default the first point is :math:`c(0) = f(x)`, as in the paper. The score is a plain mean of points, while
    `deletion` is an area by trapezoids. Takes the same arguments, raises the same errors and costs the same as
    `deletion_curve`, with `B` more rows if `start` is not 0.

    Returns:
        `[B]` on the scale of the output, or a mapping name -> `[B]`. Higher is better under MoRF, lower under LeRF; a
        random order has the same expected score under both, and on an additive model it is :math:`(f(x) - f(b)) / 2`.

    Raises:
        ValueError, TypeError: as `deletion_curve`.

    The paper replaces the 100 most relevant of an image's patches of 9 x 9 by uniform noise:
    `feature_mask=partial(patches, size=9)`, `baselines=uniform_noise`, `stop=0.157`, `n_steps=101`.

    Reference: Samek et al. 2017, "Evaluating the visualization of what a Deep Neural Network has learned",
    arXiv:1509.06321.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> aopc(lambda x: x @ w, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, n_steps=4)
        {'best': tensor([4.2500]), 'worst': tensor([2.7500])}
    """
    check_choice("mode", mode, OPPOSITE)
    grid = fractions(start, stop, n_steps, rounding)
    x = removals(**arguments)
    counts = x.counts(torch.cat((torch.zeros(1, device="cpu").to(grid), grid)), rounding)
    f_x, curve = x.curve(counts, mode).split((1, len(grid)), -1)
    return x.unpack((f_x - curve).mean(-1))

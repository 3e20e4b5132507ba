"""Iterative removal of features (Rieger & Hansen 2020)."""

from __future__ import annotations

from typing import Any

import torch

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.checks import check_choice
from ..._core.removals import OPPOSITE, removals
from ..._core.signature import arguments_like
from .deletion import deletion_curve


@metric(
    higher_is_better=True,
    range=(float("-inf"), float("inf")),
    rows="2 B + M B (S - 1), for M methods and S segments",
    reference="Rieger and Hansen 2020, arXiv:2003.08747",
    flipped_by=("mode", "lerf"),
    relative=True,
)
@arguments_like(deletion_curve, without=("start", "stop", "n_steps", "rounding"))
def irof(mode: str, **arguments: Any) -> Scores:
    r"""Iterative removal of features: the area over the curve of the relative output as segments are replaced.

    .. math:: 1 - \frac1S \int_0^S \frac{f\bigl(x_{\setminus \pi(l)}\bigr)}{f(x)} \, dl

    by the trapezoid rule over :math:`l = 0, 1, \dots, S`, where :math:`\pi(l)` are the `l` most (`mode="morf"`) or
    least (`"lerf"`) relevant of the example's own `S` segments. The arguments, errors and cost are as in
    `deletion_curve` with one step per segment. Segments are the groups of `feature_mask`, such as
    `captum_ext.feature_masks.superpixels`. The paper replaces them by the mean colour
    (`captum_ext.baselines.channel_mean`) and takes probabilities (`activation=partial(torch.softmax, dim=1)`).

    Returns:
        `[B]`, 0 where no removal changes the output, or a mapping name -> `[B]`. If the first segment takes all of the
        output, the score is `1 - 1 / (2 S)`. Higher is better under MoRF, lower under LeRF; a random order scores 1/2
        on an additive model with `f(b) = 0`. NaN where `f(x)` is 0.

    Raises:
        ValueError, TypeError: as `deletion_curve`.

    Quantus does not divide by the number of segments and leaves the whole image out (a curve that does not fall scores
    1). AttriBench returns the curve without the division by `f(x)`, which is `deletion_curve` with superpixels.

    Reference: Rieger and Hansen 2020, "IROF: a low resource evaluation metric for explanation methods",
    arXiv:2003.08747.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 3.0])
        >>> irof(lambda x: x @ w, torch.ones(1, 3), {"best": w[None], "worst": -w[None]})
        {'best': tensor([0.6250]), 'worst': tensor([0.3750])}
    """
    check_choice("mode", mode, OPPOSITE)
    x = removals(**arguments)
    counts = x.every_count()
    curve = x.curve(counts, mode)
    f_x = curve[..., :1]
    ratio = (curve / f_x).where(f_x != 0, torch.nan)
    # Shares grow by 1 / S per segment and stay at 1 after the example's last one: repeated points add nothing.
    return x.unpack(1 - torch.trapezoid(ratio, x.shares(counts)))

"""The cumulative prediction difference (Jang et al. 2025): every step counts, and none makes up for another."""

from __future__ import annotations

from typing import Any

import torch

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.checks import check_choice
from ..._core.removals import OPPOSITE, Removals
from ..._core.setting import Setting
from ..._core.signature import arguments_like
from ..._core.sizes import SizeType, as_sizes, several
from .deletion import OF_THE_CURVE, deletion_curve


@metric(
    higher_is_better=True,
    range=(0, float("inf")),
    rows="B + M B k, for M methods and the largest k",
    reference="Jang et al. 2025, arXiv:2506.05035",
    axis=("k", several("k")),
    flipped_by=("mode", "lerf"),
)
@arguments_like(deletion_curve, without=OF_THE_CURVE)
def cumulative_prediction_difference(k: SizeType = 0.2, mode: str = "morf", **setting: Any) -> Scores:
    r"""How far the output moves, step by step, while features are replaced one by one in the order of their size.

    .. math:: \sum_{i=1}^{k} \bigl| f\bigl(x_{\setminus \pi(i - 1)}\bigr) - f\bigl(x_{\setminus \pi(i)}\bigr) \bigr|

    where :math:`\pi(i)` are the `i` features with the largest (`mode="morf"`) or smallest (`"lerf"`) absolute
    attribution. Features that raise the output and features that lower it both count, where they would cancel out in
    the drop of the output after `k` of them, so that maps with both signs are not at a disadvantage. The paper has it
    for time series, where a feature is a variable at a time, but it holds for any input. The other arguments and errors
    are as in `deletion_curve`.

    Args:
        k: the number of features that are replaced, one or several: an int, or a float for a fraction of the example's
            own features (rounded, at least 1). With all of them, an additive model tells no map from another.
        mode: `"morf"`, or `"lerf"` for what the paper calls the cumulative prediction preservation.

    Returns:
        `[B]` for one `k`, `[B, len(k)]` for several, on the scale of the output, or a mapping name -> such scores.
        Higher is better under MoRF, lower under LeRF. On an additive model it is the sum of the absolute effects of the
        `k` features, and the effects themselves score highest of all maps. At most `B + M B k` model rows for `M`
        methods and the largest `k`.

    Raises:
        ValueError, TypeError: as `deletion_curve`, and a `k` of 0 or above the number of features of an example.

    The paper adds the differences of the probabilities of all classes (for two classes, twice that of one), and its
    code replaces 50 or 100 features of each series. Give `activation=partial(torch.softmax, dim=1)` for probabilities.

    Reference: Jang et al. 2025, "TIMING: Temporality-Aware Integrated Gradients for Time Series Explanation",
    arXiv:2506.05035.

    Example:
        >>> w = torch.tensor([1.0, -4.0, 2.0])
        >>> maps = {"best": w[None], "worst": 1 / w[None]}
        >>> cumulative_prediction_difference(lambda x: x @ w, torch.ones(1, 3), maps, k=2)
        {'best': tensor([6.]), 'worst': tensor([3.])}
    """
    check_choice("mode", mode, OPPOSITE)
    given = Setting(**setting)
    x = Removals(given.x, given.f, given.totals.map(torch.abs))
    sizes, one_size = as_sizes("k", k, x.sizes)  # [B, K]
    moved = x.curve(x.every_count(sizes.amax(1)), mode).diff(dim=-1).abs().cumsum(-1)  # [methods, B, most]
    scores = moved.gather(-1, (sizes - 1).to(moved.device).expand(len(moved), -1, -1))
    return x.unpack(scores[..., 0 if one_size else slice(None)])

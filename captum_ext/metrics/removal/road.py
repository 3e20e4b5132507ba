"""Remove and debias (Rong et al. 2022): removal with noisy linear imputation."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..._core.arguments import Scores, each
from ..._core.card import metric
from ..._core.imputation import NoisyLinear
from ..._core.signature import arguments_like
from ..._core.statistics import wide
from ..._core.target import check_threshold, is_predicted
from .deletion import deletion_curve


@metric(
    higher_is_better=False,
    range=(float("-inf"), float("inf")),
    rows="M B n_steps, for M methods",
    reference="Rong et al. 2022, arXiv:2202.00449",
    flipped_by=("mode", "lerf"),
)
@arguments_like(deletion_curve, baselines=NoisyLinear(), start=0.1, stop=0.9, n_steps=9)
def road(**arguments: Any) -> Scores:
    r"""Remove and debias (ROAD): the mean output while positions are replaced by values imputed from their neighbours.

    .. math:: \frac1{|S|} \sum_{s \in S} f\bigl(x_{\setminus \pi(k)}\bigr), \qquad k = \operatorname{round}(s F)

    over the shares `S` of removed features, 10, 20, ..., 90 % by default, the most relevant first (`mode="morf"`) or
    the least (`"lerf"`). Removed values are imputed by `baselines=captum_ext.baselines.NoisyLinear()`. The other
    arguments, errors and cost are as in `deletion_curve`, which returns the curve itself if given these `baselines`.
    The paper removes a position with all its channels. If attributions have all channels, give
    `feature_mask=captum_ext.feature_masks.pixels`; without it each element is removed and imputed by itself.

    Returns:
        `[B]` on the scale of the output, or a mapping name -> `[B]`. Lower is better under MoRF, higher under LeRF; a
        random order has the same expected score under both. `M B n_steps` model rows for `M` methods.

    Raises:
        ValueError, TypeError: as `deletion_curve`; inputs that are not images.

    Some peers state the share that is kept (road_evaluation's LeRF, grad-cam's percentiles). Here it is always the
    share that is removed.

    Reference: Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods",
    arXiv:2202.00449.

    Example:
        >>> x = torch.zeros(1, 1, 4, 4)
        >>> x[..., 1:3, 1:3] = 1.0
        >>> scores = road(lambda x: x.amax((1, 2, 3)), x, {"best": x, "worst": -x})
        >>> bool(scores["best"] < scores["worst"])
        True
    """
    return each(lambda curve: wide(curve).mean(-1).to(curve.dtype), deletion_curve(**arguments))


@metric(
    higher_is_better=False,
    range=(0, 1),
    rows="M B n_steps, for M methods",
    reference="Rong et al. 2022, arXiv:2202.00449",
    flipped_by=("mode", "lerf"),
)
@arguments_like(road, without=("activation",))
def road_accuracy(*, threshold: float | None = None, **arguments: Any) -> Scores:
    r"""Remove and debias (ROAD): how often the prediction is right while positions are imputed from their neighbours.

    .. math:: \frac1{|S|} \sum_{s \in S} \bigl[ \hat y(x_{\setminus \pi(k)}) = y \bigr],
        \qquad k = \operatorname{round}(s F)

    where :math:`\hat y` is the class of the largest output and `y` the `target`, over the shares `S` of `road`. The
    mean over examples is the paper's accuracy, averaged over the shares. The defaults are those of `road`, and there is
    no `activation`. The other arguments, errors and cost are as in `deletion_curve`.

    Args:
        threshold: for a model with one output per row, which predicts class 1 where the output is above it, and else
            class 0: 0 for a logit, 0.5 for a probability. The `target` is then 0 or 1.

    Returns:
        `[B]`, from 0 to 1, or a mapping name -> `[B]`. Lower is better under MoRF, higher under LeRF; a random order
        has the same expected score under both. NaN where an output is NaN. `M B n_steps` model rows for `M` methods.

    Raises:
        ValueError, TypeError: as `road`; a model that does not return `[rows, classes]`, or that returns one output and
            no `threshold` is given.

    Reference: Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods",
    arXiv:2202.00449.

    Example:
        >>> x = torch.zeros(1, 1, 4, 4)
        >>> x[..., 1:3, 1:3] = 1.0
        >>> def model(x):
        ...     return torch.stack((x.amax((1, 2, 3)), 0.8 * torch.ones(len(x))), 1)
        >>> scores = road_accuracy(model, x, {"best": x, "worst": -x}, target=0)
        >>> bool(scores["best"] < scores["worst"])
        True
    """
    check_threshold(threshold)
    return road(activation=partial(is_predicted, threshold=threshold), **arguments)

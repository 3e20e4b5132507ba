"""Symmetric relevance gain (Bluecher et al. 2024), also known as the area between the perturbation curves."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..._core.arguments import Scores, each
from ..._core.card import metric
from ..._core.removals import area_between
from ..._core.signature import arguments_like
from .deletion import ROWS_OF_BOTH, deletion_curve, removal_curves


@metric(
    higher_is_better=True,
    range=(float("-inf"), float("inf")),
    rows=ROWS_OF_BOTH,
    reference="Blücher et al. 2024, arXiv:2401.06654",
)
@arguments_like(deletion_curve, without=("mode",))
def srg(**arguments: Any) -> Scores:
    r"""Symmetric relevance gain: the area between the curves for least and for most relevant features first.

    .. math:: \frac{1}{s_1 - s_0} \int_{s_0}^{s_1} c_{\text{LeRF}}(s) - c_{\text{MoRF}}(s) \, ds

    by the trapezoid rule over the `n_steps` points from `start` :math:`s_0` to `stop` :math:`s_1`; `abpc` is another
    name for it. All arguments except `mode`, and all errors, are as in `deletion_curve`. Both orders are evaluated, so
    the cost is that of `removal_curves`.

    Returns:
        `[B]` on the scale of the output, or a mapping name -> `[B]`. Higher is better; random orders score 0 on
        average, on every model, and negated attributions have the opposite score.

    Raises:
        ValueError, TypeError: as `deletion_curve`.

    Peers differ: pnpxai takes the plain mean of points and cuts each difference off at -1; torchxai takes a running
    mean.

    Reference: Blücher et al. 2024, "Decoupling Pixel Flipping and Occlusion Strategy for Consistent XAI Benchmarks",
    arXiv:2401.06654.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> srg(lambda x: x @ w, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, n_steps=4)
        {'best': tensor([2.]), 'worst': tensor([-2.])}
    """
    area = area_between(arguments)

    def gain(curves: Tensor) -> Tensor:
        morf, lerf = area(curves).unbind(1)
        return lerf - morf

    return each(gain, removal_curves(**arguments))

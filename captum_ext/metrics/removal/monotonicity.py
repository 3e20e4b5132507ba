"""Whether the output rises with every feature that is shown (Arya et al. 2019)."""

from __future__ import annotations

from typing import Any

import torch

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.removals import removals
from ..._core.signature import arguments_like
from ..._core.statistics import rounding_of_outputs, wide
from .deletion import OF_THE_CURVE, deletion_curve


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="2 B + M B (F - 1), for M methods and F features",
    reference="Arya et al. 2019, arXiv:1909.03012",
)
@arguments_like(deletion_curve, without=OF_THE_CURVE)
def monotonicity(**arguments: Any) -> Scores:
    r"""Whether the output never falls as features are shown one by one, the least relevant first.

    .. math:: \bigl[ f(x_{\setminus \pi(F)}) \le f(x_{\setminus \pi(F - 1)}) \le \dots \le f(x) \bigr]

    where :math:`\pi(k)` are the `k` most relevant of the example's :math:`F` features. A fall no larger than the
    rounding of the outputs does not count. The arguments, errors and cost are as in `deletion_curve` with one step per
    feature.

    Returns:
        `[B]`, 1 or 0, or a mapping name -> `[B]`; the mean over examples is the share of monotonic ones. Higher is
        better. On an additive model all orders have the same score, a random one too: 1 if no feature lowers the
        output. NaN where an output is NaN.

    Raises:
        ValueError, TypeError: as `deletion_curve`.

    As in AIX360, features are ranked by their attributions, not by the absolute values. AIX360 ignores the first step,
    from no feature to the least relevant one.

    Reference: Arya et al. 2019, "One Explanation Does Not Fit All: A Toolkit and Taxonomy of AI Explainability
    Techniques", arXiv:1909.03012.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> monotonicity(lambda x: x @ w, torch.ones(1, 3), w[None])
        tensor([1.])
    """
    x = removals(**arguments)
    curve = x.curve(x.every_count(), "morf")
    never_falls = (curve.diff() <= rounding_of_outputs(curve, x.f.dtype)[..., None]).all(-1)
    return x.unpack(wide(never_falls).where(~curve.isnan().any(-1), torch.nan))

"""How much of the output the most relevant features hold: comprehensiveness, sufficiency (ERASER) and log-odds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.forward import warn_of_logits
from ..._core.removals import Removals, removals
from ..._core.signature import arguments_like
from ..._core.sizes import SizeType, as_sizes
from .deletion import OF_THE_CURVE, deletion_curve

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)  # ERASER's


@metric(
    higher_is_better=True,
    range=(float("-inf"), float("inf")),
    rows="B + M B len(shares), for M methods",
    reference="DeYoung et al. 2020, arXiv:1911.03429",
)
@arguments_like(deletion_curve, without=OF_THE_CURVE)
def comprehensiveness(*, shares: SizeType = SHARES, **arguments: Any) -> Scores:
    r"""The drop of the output when the most relevant features are replaced.

    .. math:: \frac1{|K|} \sum_{k \in K} f(x) - f\bigl(x_{\setminus \pi(k)}\bigr)

    where :math:`\pi(k)` are the `k` most relevant features. The other arguments, errors and cost are as in
    `deletion_curve`.

    Args:
        shares: the sizes `K`, one or several: fractions of the example's own features (rounded, at least 1), or numbers
            of features.

    Returns:
        `[B]` on the scale of the output (give `activation=partial(torch.softmax, dim=1)` for the paper's
        probabilities), or a mapping name -> `[B]`. Higher is better; a random order on an additive model scores the
        mean share times :math:`f(x) - f(b)`.

    Raises:
        ValueError, TypeError: as `deletion_curve`, and shares outside 0..1 or numbers above that of an example's
            features.

    ERASER divides the sum over `|K|` shares by `|K| + 1`, as it also counts removing nothing.

    Reference: DeYoung et al. 2020, "ERASER: A Benchmark to Evaluate Rationalized NLP Models", arXiv:1911.03429.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> comprehensiveness(lambda x: x @ w, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, shares=1)
        {'best': tensor([4.]), 'worst': tensor([1.])}
    """
    x = removals(**arguments)
    f_x, f_without = _without_most_relevant(x, shares)
    return x.unpack((f_x - f_without).mean(-1))


@metric(
    higher_is_better=False,
    range=(float("-inf"), float("inf")),
    rows="B + M B len(shares), for M methods",
    reference="DeYoung et al. 2020, arXiv:1911.03429",
)
@arguments_like(deletion_curve, without=OF_THE_CURVE)
def sufficiency(*, shares: SizeType = SHARES, **arguments: Any) -> Scores:
    r"""The drop of the output when only the most relevant features are kept.

    .. math:: \frac1{|K|} \sum_{k \in K} f(x) - f\bigl(x_{\setminus \bar\pi(F - k)}\bigr)

    where :math:`\bar\pi(F - k)` are all but the `k` most relevant features. The other arguments, errors and cost are as
    in `deletion_curve`.

    Args:
        shares: the sizes `K`, one or several: fractions of the example's own features (rounded, at least 1), or numbers
            of features.

    Returns:
        `[B]` on the scale of the output, or a mapping name -> `[B]`. Lower is better; a random order on an additive
        model scores one minus the mean share, times :math:`f(x) - f(b)`.

    Raises:
        ValueError, TypeError: as `comprehensiveness`.

    Reference: DeYoung et al. 2020, "ERASER: A Benchmark to Evaluate Rationalized NLP Models", arXiv:1911.03429.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> sufficiency(lambda x: x @ w, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, shares=1)
        {'best': tensor([3.]), 'worst': tensor([6.])}
    """
    x = removals(**arguments)
    sizes, _ = as_sizes("shares", shares, x.sizes)
    f_x, f_kept = _beside_whole(x, x.sizes[:, None] - sizes, "lerf")
    return x.unpack((f_x - f_kept).mean(-1))


@metric(
    higher_is_better=False,
    range=(float("-inf"), float("inf")),
    rows="B + M B len(shares), for M methods",
    reference="Chen et al. 2020, arXiv:2004.02015",
    relative=True,
)
@arguments_like(deletion_curve, without=OF_THE_CURVE)
def log_odds(*, shares: SizeType = SHARES, **arguments: Any) -> Scores:
    r"""The change of the logarithm of a probability when the most relevant features are replaced.

    .. math:: \frac1{|K|} \sum_{k \in K} \log \frac{f\bigl(x_{\setminus \pi(k)}\bigr)}{f(x)}

    where :math:`\pi(k)` are the `k` most relevant features. The other arguments, errors and cost are as in
    `deletion_curve`. The output has to be a probability: give `activation=partial(torch.softmax, dim=1)` where the
    model returns logits.

    Args:
        shares: the sizes `K`, one or several: fractions of the example's own features (rounded, at least 1), or numbers
            of features.

    Returns:
        `[B]` in nats, or a mapping name -> `[B]`. Lower is better; features that do not matter score 0, and a random
        order scores below 0 where features carry the prediction. NaN where an output is not above 0, with a warning if
        it is so in every example.

    Raises:
        ValueError, TypeError: as `comprehensiveness`.

    Reference: Chen et al. 2020, "Generating Hierarchical Explanations on Text Classification via Feature Interaction
    Detection", arXiv:2004.02015.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> log_odds(lambda x: (x @ w).exp(), torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, shares=1)
        {'best': tensor([-4.]), 'worst': tensor([-1.])}
    """
    x = removals(**arguments)
    f_x, f_without = _without_most_relevant(x, shares)
    warn_of_logits(((f_x <= 0) | (f_without <= 0)).any(-1), "is not above 0")
    defined = (f_x > 0) & (f_without > 0)
    return x.unpack((f_without / f_x).where(defined, torch.nan).log().mean(-1))


def _without_most_relevant(x: Removals, shares: SizeType) -> tuple[Tensor, Tensor]:
    return _beside_whole(x, as_sizes("shares", shares, x.sizes)[0], "morf")


def _beside_whole(x: Removals, counts: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    """`[methods, B, 1]` and `[methods, B, K]`: the outputs for the whole example, and without `counts` features."""
    curve = x.curve(torch.nn.functional.pad(counts, (1, 0)), mode)
    return curve[..., :1], curve[..., 1:]

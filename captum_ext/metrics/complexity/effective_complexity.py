"""Effective complexity (Nguyen and Martinez 2020)."""

from __future__ import annotations

from typing import Any

import torch

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.checks import check_count, check_fraction
from ..._core.removals import Removals
from ..._core.setting import Setting
from ..._core.signature import arguments_like
from ..._core.statistics import rounding_of_outputs, wide


@metric(
    higher_is_better=False,
    range=(0, 1),
    rows="2 B + M B (n_steps - 2), for M methods",
    reference="Nguyen et al. 2020, arXiv:2007.07584",
)
@arguments_like(Setting)
def effective_complexity(n_steps: int = 33, *, tolerance: float = 0.1, **setting: Any) -> Scores:
    r"""The smallest share of the features, by absolute attribution, that nearly preserves the output.

    .. math:: \frac1F \min \bigl\{ k : |f(x) - f(x_{M_k})| \le \varepsilon\, |f(x) - f(b)| \bigr\}

    where :math:`x_{M_k}` keeps the `k` features of largest :math:`|\phi_i|`, and the others are replaced by the
    baseline `b`. `k` runs over :math:`\operatorname{round}(s F)` for `n_steps` evenly spaced shares `s` from 0 to 1,
    which is every `k` if `n_steps` is above `F`. A loss no larger than the rounding of the outputs does not count.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. The methods of a
            mapping share the evaluations of the whole and of the empty example; if one of them has one channel, the
            features of all are positions.
        baselines: what replaces a feature: any of Captum's forms, or a function of the inputs, such as those of
            `captum_ext.baselines`. Default 0.
        feature_mask: as in Captum, or a function of the inputs such as those of `captum_ext.feature_masks`.
        n_steps: the number of shares to try.
        tolerance: :math:`\varepsilon`, the part of the output's whole change that may be lost.
        activation: applied to the model's whole output before the target is picked, such as
            ``partial(torch.softmax, dim=1)``.
        aggregate: a group's attribution is the `"sum"` or the `"mean"` of its elements' attributions, taken before the
            absolute value.
        frozen: ids of `feature_mask` that do not count as features, such as special tokens or padding: they are never
            removed.

    Returns:
        `[B]`, from 0 to 1, or a mapping name -> `[B]`; times `F`, the score is the number of features. Lower is better.
        0 where replacing all features changes nothing; a random order on an additive model scores about
        `1 - tolerance`. NaN where an output is NaN. At most `2 B + M B (n_steps - 2)` model rows for `M` methods.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a missing `target`, a `tolerance`
            outside 0..1.

    Reference: Nguyen et al. 2020, "On quantitative aspects of model interpretability", arXiv:2007.07584, who average
    over draws of the other features and bound a loss in its own units. Quantus' `EffectiveComplexity` does not use the
    model: it counts attributions above 1e-5.

    Example:
        >>> w = torch.tensor([[8.0, 1.0, 1.0, 0.0]])
        >>> effective_complexity(lambda x: x.sum(1), w, {"exact": w, "wrong": -w.flip(1)}, tolerance=0.2)
        {'exact': tensor([0.2500]), 'wrong': tensor([1.])}
    """
    tolerance = check_fraction("tolerance", tolerance)
    shares = torch.linspace(0, 1, check_count("n_steps", n_steps, least=2), dtype=torch.float64, device="cpu")
    given = Setting(**setting)
    x, f = given.x, given.f
    kept = (shares * x.counts[:, None]).round().long()  # [B, n_steps]
    removals = Removals(x, f, given.totals.map(torch.abs))
    f_kept = removals.curve(x.counts[:, None] - kept, "lerf")  # [methods, B, n_steps], from f(b) to f(x)
    lost = (f_kept[..., -1:] - f_kept).abs()
    bound = tolerance * lost[..., :1] + rounding_of_outputs(f_kept, f.dtype)[..., None]
    enough = (lost <= bound).int().argmax(-1)  # the first that is enough
    share = kept.to(enough.device).expand(len(enough), -1, -1).gather(2, enough[..., None])[..., 0]
    scores = (wide(share) / x.counts.to(share.device)).masked_fill(f_kept.isnan().any(-1), torch.nan)
    return given.unpack(scores)

"""Completeness (Sundararajan et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.checks import check_choice
from ..._core.features import Features
from ..._core.forward import Rows
from ..._core.setting import Setting
from ..._core.signature import arguments_like

# Functions of the attributions' surplus over the output's change, and of this change.
GAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "absolute": lambda surplus, change: surplus.abs(),
    "relative": lambda surplus, change: (surplus / change).abs().masked_fill(change == 0, torch.nan),
    "signed": lambda surplus, change: surplus,
}


@metric(
    higher_is_better=False,
    range=(float("-inf"), float("inf")),
    rows="2 B",
    reference="Sundararajan et al. 2017, arXiv:1703.01365",
    undirected_by=("gap", "signed"),
)
@arguments_like(Setting)
def completeness(*, gap: str = "absolute", **setting: Any) -> Scores:
    r"""How far the sum of the attributions is from the change of the output between baseline and input.

    .. math:: \Bigl| \sum_{i=1}^F \phi_i - \bigl(f(x) - f(b)\bigr) \Bigr|

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. The methods of a
            mapping share the model's evaluations.
        baselines: those of the explanation: any of Captum's forms, or a function of the inputs. Default 0.
        feature_mask: that of the explanation. If attributions repeat a group's value over its elements, also give
            `aggregate="mean"`.
        gap: `"absolute"` as above; `"relative"`, divided by :math:`|f(x) - f(b)|`; `"signed"`, without the absolute
            value: positive where the attributions add up to too much.
        activation: applied to the model's whole output before the target is picked, such as
            ``partial(torch.softmax, dim=1)``.
        aggregate: a group's attribution is the `"sum"` or the `"mean"` of its elements' attributions.
        frozen: ids of `feature_mask` that do not count as features, such as special tokens or padding: their
            attribution is left out, and they are never replaced.

    Returns:
        `[B]`, on the scale of the output (`"relative"`: a ratio), or a mapping name -> `[B]`. Lower is better, 0 is
        complete; `"signed"` has no direction. Attributions of 0 score :math:`|f(x) - f(b)|`, or for `"relative"` 1. NaN
        for `"relative"` where :math:`f(x) = f(b)`. `2 B` model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a missing `target`, an unknown
            `gap`.

    Reference: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", arXiv:1703.01365. `"signed"` is
    Captum's `compute_convergence_delta`. Quantus' `Completeness` says whether both sides are exactly equal.

    Example:
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> completeness(lambda x: (x**2).sum(1), x, {"exact": x**2, "gradient": 2 * x})
        {'exact': tensor([0.]), 'gradient': tensor([1.])}
    """
    check_choice("gap", gap, GAPS)
    given = Setting(**setting)
    explained = given.totals.sums()  # [methods, B]
    f_x, f_b = given.f.beside_whole([_empty(given.x)], given.f.batch)
    surplus = explained - (f_x - f_b)
    return given.unpack(GAPS[gap](surplus, f_x - f_b))


def _empty(x: Features) -> Rows:
    """Every example with all features replaced."""
    example = torch.arange(len(x.counts), device="cpu")
    return x.without(torch.ones(len(example), x.width, dtype=torch.bool, device=x.inputs[0].device), example), example

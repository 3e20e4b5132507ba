"""Completeness (Sundararajan et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import (
    AttributionsType,
    BaselinesType,
    FeatureMaskType,
    FrozenType,
    Scores,
    TensorOrTuple,
    as_attributions,
    as_tuple,
)
from ..._core.card import metric
from ..._core.checks import check_choice
from ..._core.features import Features
from ..._core.forward import Forward, Rows, whole
from ..._core.statistics import wide
from ..._core.target import TargetType

GAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of the surplus and the change of the output
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
def completeness(
    forward_func: Callable[..., Any],
    inputs: TensorOrTuple,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    gap: str = "absolute",
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = "sum",
    frozen: FrozenType = None,
    show_progress: bool = False,
) -> Scores:
    r"""How far the attributions are from adding up to the output's change from the baseline.

    .. math:: \Bigl| \sum_{i=1}^F \phi_i - \bigl(f(x) - f(b)\bigr) \Bigr|

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. The methods of a mapping share the
            model's evaluations.
        baselines: those of the explanation: Captum's forms, or a function of the inputs. Default 0.
        feature_mask: that of the explanation, for attributions that repeat a group's value over its elements, with `aggregate="mean"`.
        gap: `"absolute"` as above; `"relative"`, divided by :math:`|f(x) - f(b)|`; `"signed"`, without the bars: positive where the
            attributions add up to too much.
        activation: applied to the model's whole output before the target is picked, such as ``partial(torch.softmax, dim=1)``.
        aggregate: a group's attribution is the `"sum"` of its elements', or the `"mean"`.
        frozen: ids of `feature_mask` that are no features: their attribution is left out and they stay as they are, such as those of special tokens or of padding.

    Returns:
        `[B]`, on the scale of the output (`"relative"`: a ratio), or a mapping name -> `[B]`. Lower is better, 0 is complete; `"signed"` has no
        direction. Attributions of 0 score :math:`|f(x) - f(b)|`, or 1. NaN for `"relative"` where :math:`f(x) = f(b)`. `2 B` model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a missing `target`, an unknown `gap`.

    Reference: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", arXiv:1703.01365. `"signed"` is Captum's
    `compute_convergence_delta`. Quantus' `Completeness` says whether both sides are equal to the last bit.

    Example:
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> completeness(lambda x: (x**2).sum(1), x, {"exact": x**2, "gradient": 2 * x})
        {'exact': tensor([0.]), 'gradient': tensor([1.])}
    """
    check_choice("gap", gap, GAPS)
    methods = as_attributions(attributions, as_tuple(inputs))
    x = Features(inputs, methods, baselines, feature_mask, frozen)
    f = Forward(
        forward_func, x.inputs, target, additional_forward_args, activation, max_examples_per_batch, show_progress
    )
    explained = wide(x.totals(aggregate)).sum(-1)  # [methods, B]
    f_x, f_b = f(_whole_and_empty(x), 2 * f.batch).split(f.batch)
    surplus = explained - (f_x - f_b)
    return methods.unpack(GAPS[gap](surplus, f_x - f_b).to(methods.dtype(f.dtype)))


def _whole_and_empty(x: Features) -> Iterator[Rows]:
    """Every example, then every example with all features replaced."""
    _, example = rows = whole(x.inputs)
    yield rows
    yield x.without(torch.ones(len(example), x.width, dtype=torch.bool, device=x.inputs[0].device), example), example

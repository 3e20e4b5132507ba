"""Monotonicity correlation and non-sensitivity (Nguyen et al. 2020): attributions against what each feature does by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import (
    BaselinesType,
    Scores,
    TensorOrTuple,
    as_tuple,
)
from ..._core.card import metric
from ..._core.checks import check_count, check_fraction
from ..._core.draws import SeedType
from ..._core.setting import Setting
from ..._core.signature import arguments_like
from ..._core.statistics import rounding_of_sums, spearman
from ._single_effects import drawn_baselines, single_effects

ROWS = "B + B F n_perturb_samples, for F features; B + B F where what replaces them is not drawn"
REFERENCE = "Nguyen et al. 2020, arXiv:2007.07584"


@metric(higher_is_better=True, range=(-1, 1), rows=ROWS, reference=REFERENCE)
@arguments_like(Setting)
def monotonicity_correlation(
    baselines: BaselinesType, n_perturb_samples: int = 10, *, seed: SeedType = None, **setting: Any
) -> Scores:
    r"""Rank correlation, over the features, of an attribution's size and the expected squared change of the output without the feature.

    .. math:: \operatorname{corr}^{\mathrm{rank}}_i \Bigl(|\phi_i|,\; \mathbb{E}\bigl[(f(x) - f(x_{\setminus i}))^2\bigr]\Bigr)

    where :math:`x_{\setminus i}` is `x` with feature `i` replaced, each time by another draw where `baselines` draws.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. The methods of a mapping share the
            model's evaluations; where one of them has one channel, positions are the features of all.
        baselines: what replaces a feature: Captum's forms, or a function of the inputs. One that takes a `seed`, such as
            `captum_ext.baselines.gaussian_noise`, is drawn from `n_perturb_samples` times; anything else is evaluated once. Default 0.
        feature_mask: Captum's, or a function of the inputs such as those of `captum_ext.feature_masks`. Every feature costs model rows, so
            images need one.
        activation: applied to the model's whole output before the target is picked, such as ``partial(torch.softmax, dim=1)``.
        aggregate: a group's attribution is the `"sum"` of its elements' or the `"mean"`.
        frozen: ids of `feature_mask` that are no features: never removed, drawn or ranked, such as those of special tokens or of padding.
        seed: an int, or one per example, for baselines that are drawn; None follows `torch.manual_seed`.

    Returns:
        `[B]` from -1 to 1, or a mapping name -> `[B]`. Higher is better, chance is 0. NaN where all attributions are of one size, or all
        features change the output alike. `B + B F n_perturb_samples` model rows for `F` features, `B + B F` where nothing is drawn.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a missing `target`.

    Quantus' score is this one with `baselines=captum_ext.baselines.uniform_noise`, after a softmax.

    Reference: Nguyen et al. 2020, "On quantitative aspects of model interpretability", arXiv:2007.07584.

    Example:
        >>> w = torch.tensor([1.0, -2.0, 3.0, 0.0])
        >>> x = torch.ones(1, 4)
        >>> monotonicity_correlation(lambda x: x @ w, x, {"gradient": w[None], "by place": torch.tensor([[4.0, 3.0, 2.0, 1.0]])})
        {'gradient': tensor([1.]), 'by place': tensor([0.2000])}
    """
    given, sizes, effects, there = _sizes_and_effects(baselines, n_perturb_samples, seed, **setting)
    scores = spearman(sizes, effects, there, rounding_of_sums(sizes)[..., 0], torch.zeros_like(effects[:, 0]))
    return given.unpack(scores)


@metric(higher_is_better=False, range=(0, float("inf")), rows=ROWS, reference=REFERENCE)
@arguments_like(monotonicity_correlation)
def non_sensitivity(*, tolerance: float = 1e-5, **arguments: Any) -> Scores:
    r"""The number of features that have an attribution and do nothing, or do something and have no attribution.

    .. math:: \bigl| \{i : \phi_i = 0\} \,\triangle\, \{i : \mathbb{E}[(f(x) - f(x_{\setminus i}))^2] = 0\} \bigr|

    where :math:`x_{\setminus i}` is `x` with feature `i` replaced. The arguments are those of `monotonicity_correlation`, and one more.

    Args:
        tolerance: an attribution, or a root of a mean squared change, counts as 0 up to this share of the example's largest.
        baselines: a function of the inputs that takes a `seed`, such as `captum_ext.baselines.gaussian_noise`, is drawn from
            `n_perturb_samples` times, so that a feature whose replacement is by chance its value is not taken for one that does nothing.
        activation: applied to the model's whole output before the target is picked, such as ``partial(torch.softmax, dim=1)``.
        aggregate: a group's attribution is the `"sum"` of its elements' or the `"mean"`.
        frozen: ids of `feature_mask` that are no features.
        seed: an int, or one per example, for baselines that are drawn; None follows `torch.manual_seed`.

    Returns:
        `[B]`, a number of features, or a mapping name -> `[B]`. Lower is better; 0 is best. A random attribution, which is nowhere 0,
        scores the number of features that do nothing. NaN where the output is. Model rows as in `monotonicity_correlation`.

    Raises:
        ValueError, TypeError: as `monotonicity_correlation`; a `tolerance` outside 0..1.

    Quantus takes absolute thresholds of 1e-5.

    Reference: Nguyen et al. 2020, "On quantitative aspects of model interpretability", arXiv:2007.07584.

    Example:
        >>> w = torch.tensor([1.0, -2.0, 3.0, 0.0])
        >>> x = torch.ones(1, 4)
        >>> non_sensitivity(lambda x: x @ w, x, {"gradient": w[None], "ones": x, "zeros": 0 * x})
        {'gradient': tensor([0.]), 'ones': tensor([1.]), 'zeros': tensor([3.])}
    """
    check_fraction("tolerance", tolerance)
    given, sizes, effects, there = _sizes_and_effects(**arguments)
    differ = (_is_zero(sizes, tolerance) != _is_zero(effects, tolerance)) & there
    scores = differ.sum(-1).to(effects).masked_fill(effects.isnan().any(-1), torch.nan)
    return given.unpack(scores)


def _sizes_and_effects(
    baselines: BaselinesType, n_perturb_samples: int, seed: SeedType, inputs: TensorOrTuple, **setting: Any
) -> tuple[Setting, Tensor, Tensor, Tensor]:
    """Also the sizes of the attributions `[methods, B, F]`, and the effects and where there is a feature, `[B, F]` each."""
    draws = check_count("n_perturb_samples", n_perturb_samples)
    replacements = drawn_baselines(baselines, len(as_tuple(inputs)[0]), draws, seed)
    given = Setting(inputs=inputs, baselines=replacements[0], **setting)
    effects, there = single_effects(given.x, replacements, given.f)
    return given, given.phi.abs(), effects, there


def _is_zero(sizes: Tensor, tolerance: float) -> Tensor:
    return sizes <= tolerance * sizes.amax(-1, keepdim=True).clamp(max=torch.finfo(sizes.dtype).max)

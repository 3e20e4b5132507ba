"""Monotonicity correlation and non-sensitivity (Nguyen et al. 2020): attributions against single features' effects."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import BaselinesType, Scores, TensorOrTuple, as_tuple
from ..._core.card import metric
from ..._core.checks import check_count, check_fraction
from ..._core.draws import SeedType
from ..._core.estimates import Noise, jackknife, none_for, of_halves
from ..._core.setting import Setting
from ..._core.signature import arguments_like
from ..._core.statistics import rounding_of_sums, spearman
from ._single_effects import Changes, drawn_baselines, single_changes

ROWS = "B + B F n_perturb_samples, for F features; B + B F where what replaces them is not drawn"
REFERENCE = "Nguyen et al. 2020, arXiv:2007.07584"


@metric(higher_is_better=True, range=(-1, 1), rows=ROWS, reference=REFERENCE)
@arguments_like(Setting)
def monotonicity_correlation(
    baselines: BaselinesType, n_perturb_samples: int = 10, *, seed: SeedType = None, **setting: Any
) -> Scores:
    r"""Rank correlation, over the features, of a feature's absolute attribution and its mean squared effect.

    .. math:: \operatorname{corr}^{\mathrm{rank}}_i \bigl(|\phi_i|,\, \mathbb{E}[(f(x) - f(x_{\setminus i}))^2]\bigr)

    where :math:`x_{\setminus i}` is `x` with feature `i` replaced; the expectation is over the draws of `baselines`, if
    it is random.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. The methods of a
            mapping share the model's evaluations; if one of them has one channel, the features of all are positions.
        baselines: what replaces a feature: any of Captum's forms, or a function of the inputs. A function that takes a
            `seed`, such as `captum_ext.baselines.gaussian_noise`, is drawn from `n_perturb_samples` times; all other
            baselines are used once. Default 0.
        feature_mask: as in Captum, or a function of the inputs such as those of `captum_ext.feature_masks`. Images need
            one, as every feature costs model rows.
        activation: applied to the model's whole output before the target is picked, such as
            ``partial(torch.softmax, dim=1)``.
        aggregate: a group's attribution is the `"sum"` or the `"mean"` of its elements' attributions.
        frozen: ids of `feature_mask` that do not count as features, such as special tokens or padding: they are never
            removed, drawn or ranked.
        seed: an int, or one per example, for random baselines; None follows `torch.manual_seed`.

    Returns:
        `[B]` from -1 to 1, or a mapping name -> `[B]`. Higher is better, chance is 0. NaN where all absolute
        attributions are equal, or all features change the output by the same amount. `B + B F n_perturb_samples` model
        rows for `F` features, `B + B F` if the baselines are not random.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a missing `target`.

    Quantus' score is this one after a softmax, with `baselines=captum_ext.baselines.uniform_noise`.

    Reference: Nguyen et al. 2020, "On quantitative aspects of model interpretability", arXiv:2007.07584.

    Example:
        >>> w = torch.tensor([1.0, -2.0, 3.0, 0.0])
        >>> x = torch.ones(1, 4)
        >>> maps = {"gradient": w[None], "by place": torch.tensor([[4.0, 3.0, 2.0, 1.0]])}
        >>> monotonicity_correlation(lambda x: x @ w, x, maps)
        {'gradient': tensor([1.]), 'by place': tensor([0.2000])}
    """
    given, changes, draws = _drawn_changes(baselines, n_perturb_samples, seed, **setting)
    sizes, rounding = given.phi.abs(), rounding_of_sums(given.phi)[..., 0]

    def score(effects: Tensor) -> Tensor:
        return spearman(sizes, effects, changes.exists, rounding, torch.zeros_like(effects[:, 0]))

    def noise() -> Noise:
        return jackknife(lambda left: score(changes.effects(left)), draws) if draws else none_for(scores)

    scores = score(changes.effects())
    return given.unpack(scores, noise)


@metric(higher_is_better=False, range=(0, float("inf")), rows=ROWS, reference=REFERENCE, relative=True)
@arguments_like(monotonicity_correlation)
def non_sensitivity(*, tolerance: float = 1e-5, **arguments: Any) -> Scores:
    r"""The number of features with an attribution but no effect, or with an effect but no attribution.

    .. math:: \bigl| \{i : \phi_i = 0\} \,\triangle\, \{i : \mathbb{E}[(f(x) - f(x_{\setminus i}))^2] = 0\} \bigr|

    where :math:`x_{\setminus i}` is `x` with feature `i` replaced. The arguments are as in `monotonicity_correlation`,
    and `tolerance`.

    Args:
        tolerance: an attribution, or the root of a mean squared change, counts as 0 if it is at most this share of the
            example's largest.
        baselines: a function of the inputs that takes a `seed`, such as `captum_ext.baselines.gaussian_noise`, is drawn
            from `n_perturb_samples` times. So a feature whose replacement happens to equal its value does not pass for
            one without effect.
        activation: applied to the model's whole output before the target is picked, such as
            ``partial(torch.softmax, dim=1)``.
        aggregate: a group's attribution is the `"sum"` or the `"mean"` of its elements' attributions.
        frozen: ids of `feature_mask` that do not count as features.
        seed: an int, or one per example, for random baselines; None follows `torch.manual_seed`.

    Returns:
        `[B]`, a number of features, or a mapping name -> `[B]`. Lower is better; 0 is best. A random attribution, which
        is 0 nowhere, scores the number of features without effect. NaN where an output is NaN. Its standard error is
        NaN, as it counts what no draw changed. Model rows as in `monotonicity_correlation`.

    Raises:
        ValueError, TypeError: as `monotonicity_correlation`; a `tolerance` outside 0..1.

    Quantus uses absolute thresholds of 1e-5.

    Reference: Nguyen et al. 2020, "On quantitative aspects of model interpretability", arXiv:2007.07584.

    Example:
        >>> w = torch.tensor([1.0, -2.0, 3.0, 0.0])
        >>> x = torch.ones(1, 4)
        >>> non_sensitivity(lambda x: x @ w, x, {"gradient": w[None], "ones": x, "zeros": 0 * x})
        {'gradient': tensor([0.]), 'ones': tensor([1.]), 'zeros': tensor([3.])}
    """
    tolerance = check_fraction("tolerance", tolerance)
    given, changes, draws = _drawn_changes(**arguments)
    sizes = given.phi.abs()

    def score(effects: Tensor) -> Tensor:
        differ = (_is_zero(sizes, tolerance) != _is_zero(effects, tolerance)) & changes.exists
        return differ.sum(-1).to(effects).masked_fill(effects.isnan().any(-1), torch.nan)

    def noise() -> Noise:
        halves = [score(changes.effects(slice(first, None, 2))) for first in range(min(draws, 2))]
        return of_halves(torch.stack([halves[0], halves[-1]], -1), draws)

    scores = score(changes.effects())
    return given.unpack(scores, noise if draws else lambda: none_for(scores))


def _drawn_changes(
    baselines: BaselinesType, n_perturb_samples: int, seed: SeedType, inputs: TensorOrTuple, **setting: Any
) -> tuple[Setting, Changes, int]:
    """The setting, the changes of the output, and the number of draws: 0 for baselines that are not drawn."""
    draws = check_count("n_perturb_samples", n_perturb_samples)
    replacements = drawn_baselines(baselines, len(as_tuple(inputs)[0]), draws, seed)
    given = Setting(inputs=inputs, baselines=replacements[0], **setting)
    changes = single_changes(given.x, replacements, given.f)
    return given, changes, 0 if replacements[0] is baselines else draws


def _is_zero(sizes: Tensor, tolerance: float) -> Tensor:
    return sizes <= tolerance * sizes.amax(-1, keepdim=True).clamp(max=torch.finfo(sizes.dtype).max)

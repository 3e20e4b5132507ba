"""Sensitivity-n (Ancona et al. 2018)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from ..._core.arguments import Scores, as_sequence
from ..._core.card import metric
from ..._core.checks import check_choice, check_count
from ..._core.devices import rows_at, sent
from ..._core.draws import SeedType
from ..._core.estimates import among, jackknife, of_correlation
from ..._core.setting import Setting
from ..._core.sharing import shared_by_seed
from ..._core.signature import arguments_like
from ..._core.sizes import SizeType, as_sizes, several
from ..._core.statistics import CORRELATIONS, rounding_of_outputs, wide
from ..._core.subsets import random_subsets, scores_and_totals_without
from ._regression import FEWEST_DRAWS, Sums, linear_effects, regression

ROWS = "B + B len(n) n_perturb_samples, and B len(n) gradients with estimator='regression'"
WANTED_BY = "`estimator='regression'`"


@metric(
    higher_is_better=True,
    range=(-1, 1),
    rows=ROWS,
    reference="Ancona et al. 2018, arXiv:1711.06104",
    axis=("n", several("n")),
)
@arguments_like(Setting)
def sensitivity_n(
    n: SizeType,
    n_perturb_samples: int = 50,
    *,
    correlation: str = "pearson",
    estimator: str = "sample",
    seed: SeedType = None,
    **setting: Any,
) -> Scores:
    r"""Correlation, over random sets of `n` features, of a set's attribution and the drop of the output without it.

    .. math:: \operatorname{corr}_{|S| = n}\Bigl(\sum_{i \in S} \phi_i,\; f(x) - f(x_{\setminus S})\Bigr)

    A feature is a group of `feature_mask`, or without one an element (a position, if attributions have one channel).
    With superpixels as groups this is seg-sensitivity-n. Sets are drawn for each example without replacement. If an
    example has at most `n_perturb_samples` sets of `n` features, every set is taken once and the score is exact.

    Else the score is an estimate: by default, the correlation over the drawn sets. `estimator="regression"` uses what
    is known of all sets. With :math:`\gamma_i = (x_i - b_i)\, \partial_i f(x - \tfrac nF (x - b))`, gradient times
    distance at a share of the way to the baseline, the covariance of the sums of :math:`u, v \in \{\phi, \gamma\}` is

    .. math:: \operatorname{cov}_{|S| = n}\Bigl(\sum_{i \in S} u_i, \sum_{i \in S} v_i\Bigr)
        = \frac{n (F - n)}{F (F - 1)} \sum_{i=1}^F (u_i - \bar u)(v_i - \bar v)

    The drops are regressed on both sums. With the coefficients :math:`\beta`, these covariances :math:`C` and the
    unbiased variance :math:`\sigma^2` of the residuals, the score is

    .. math:: \frac{(C \beta)_\phi}{\sqrt{C_{\phi\phi}\, (\beta^\top C \beta + \sigma^2)}}

    That is exact on a linear model. On others it has the same limit as the default with many draws, and comes near it
    with fewer, the more so the more linear the model is: on logits rather than on probabilities.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. The methods of a
            mapping share the sets and the model's evaluations; if one of them has one channel, the features of all are
            positions.
        n: the size of the sets, one or several: an int, or a float for a fraction of the example's own features
            (rounded, at least 1).
        baselines: what replaces a feature: any of Captum's forms, or a function of the inputs. Default 0.
        feature_mask: as in Captum, or a function of the inputs such as those of `captum_ext.feature_masks`; ids need
            not be consecutive and may differ between examples.
        frozen: ids of `feature_mask` that do not count as features, such as special tokens or padding: they are never
            removed, drawn or ranked.
        activation: applied to the model's whole output before the target is picked, such as
            ``partial(torch.softmax, dim=1)``.
        aggregate: a group's attribution is the `"sum"` of its elements' attributions, as the formula has it, or their
            `"mean"`, for maps that repeat one value over a group.
        correlation: `"pearson"`, or of ranks `"spearman"` or `"kendall"` (:math:`\tau_b`, which allows for ties).
        estimator: `"sample"`, or `"regression"` for Pearson's correlation, as above. It takes a gradient for each
            example and size, which all methods share, and at least 5 draws. A model that takes no gradient of its
            inputs, as of token ids or after `detach`, is regressed on the attributions alone.
        seed: an int, or one per example; None follows `torch.manual_seed`. The draws depend on nothing else.

    Returns:
        `[B]` for one `n`, `[B, len(n)]` for several, from -1 to 1, or a mapping name -> such scores. Higher is better,
        chance is 0. NaN where the correlation is undefined: if all sets have the same attribution, or removing any of
        them changes the output by the same amount (as with all features). At most `B + B len(n) n_perturb_samples`
        model rows, and for the regression `B len(n)` more with their gradients.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a missing `target`, an `n` of 0
            or above the number of features of an example, a regression with fewer than 5 draws, with
            a correlation of ranks, or of a model whose gradient fails.

    Reference: Ancona et al. 2018, "Towards better understanding of gradient-based attribution methods",
    arXiv:1711.06104.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0, 3.0, 0.5])
        >>> x = torch.tensor([[1.0, 1.0, 2.0, 3.0]])
        >>> sensitivity_n(lambda x: x @ w, x, w * x, n=[1, 2])
        tensor([[1., 1.]])
    """
    check_choice("correlation", correlation, CORRELATIONS)
    draws = check_count("n_perturb_samples", n_perturb_samples)
    by_regression = _check_estimator(estimator, correlation, draws)
    given, sizes, subsets, effects, f_rows, phi_rows = _drawn(n, draws, by_regression, seed=seed, **setting)
    x, f, one_size = given.x, given.f, as_sequence("n", n)[1]
    observed = rows_at(f_rows, subsets.whole)[:, None, None] - rows_at(f_rows, subsets.row)  # [B, K, draws]
    methods = given.totals.methods
    explained = phi_rows[:methods, sent(subsets.row, phi_rows.device)]  # [methods, B, K, draws]
    where = sent(subsets.valid, observed.device)
    scores = CORRELATIONS[correlation](
        explained,
        observed,
        where,
        given.totals.rounding(),
        rounding_of_outputs(rows_at(f_rows, subsets.row), f.dtype),
    )
    complete, place = sent(subsets.complete, scores.device), 0 if one_size else slice(None)
    noise = partial(of_correlation, correlation, scores, explained, observed)
    if effects is not None:
        of_effects = torch.stack([rows_at(sums, subsets.row[:, k]) for k, sums in enumerate(phi_rows[methods:])], 1)
        found = partial(regression, Sums(sizes, x.counts, given.phi, explained, effects, of_effects), observed)
        scores = scores.where(scores.isnan() | complete, found(where))
        noise = partial(jackknife, lambda left: found(where & among(left, where)), draws, observed)
    return given.unpack(scores[..., place], lambda: noise().defined(scores, complete).map(lambda v: v[..., place]))


@shared_by_seed
def _drawn(n: SizeType, draws: int, by_regression: bool, *, seed: SeedType, **setting: Any) -> tuple[Any, ...]:
    """Returns what is computed with, the sizes, the subsets, linear effects, and the scores and totals of all rows."""
    given = Setting(**setting)
    x, f = given.x, given.f
    sizes, _ = as_sizes("n", n, x.counts)
    subsets = random_subsets(x.counts, sizes, draws, seed, x.inputs[0].device)
    effects = linear_effects(x, f, sizes, ~subsets.complete, WANTED_BY) if by_regression else None
    parts = given.totals if effects is None else torch.cat((wide(given.phi), effects))
    return given, sizes, subsets, effects, *scores_and_totals_without(subsets.rows, x, f, parts)


def _check_estimator(estimator: str, correlation: str, draws: int) -> bool:
    """Whether the estimator is the regression, for which more must hold."""
    check_choice("estimator", estimator, ("sample", "regression"))
    if estimator == "sample":
        return False
    if correlation != "pearson":
        raise ValueError(
            f"{WANTED_BY} estimates Pearson's correlation, got `correlation={correlation!r}`. Leave one of them out."
        )
    if draws < FEWEST_DRAWS:
        raise ValueError(
            f"`n_perturb_samples` must be at least {FEWEST_DRAWS} with {WANTED_BY}, as three numbers are fitted to the "
            f"draws; got {draws}."
        )
    return True

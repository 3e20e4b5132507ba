"""Scores with their standard errors."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from .._core.checks import describe
from .._core.estimates import (
    FEW,
    Estimate,
    depends_on_draws,
    few_draws,
    generator_states,
    none_for,
    unknown_for,
    with_noise,
)
from .._core.guard import frames_of_package


def with_stderr(metric: Callable[..., Any]) -> Callable[..., Estimate]:
    r"""Turns a metric into one that also says how far its random draws leave each score uncertain.

    The function that comes back takes the metric's arguments and returns `Estimate(score, stderr, n_eff)`, a named
    tuple of what the metric returns: tensors, or mappings name -> tensors. It costs no further model row, and the score
    is the metric's own, to the last bit. For a mean over draws and a correlation over draws

    .. math:: \mathrm{stderr} = \frac{\mathrm{sd}}{\sqrt n}, \qquad
              \mathrm{stderr} = \sqrt{\frac{n-1}{n} \sum_j \bigl(r_{(j)} - \bar r\bigr)^2}

    where :math:`r_{(j)}` is the correlation without draw `j` (the jackknife); it is
    :math:`(1 - r^2) \sqrt{1.06 / (n - 3)}` for Spearman's correlation of ranks, and for Kendall's
    :math:`(1 - \tau^2) \sqrt{0.437 / (n - 4)}`. Of `n` draws that change the output by :math:`d_j`, from their mean,

    .. math:: n_\mathrm{eff} = \frac{\bigl(\sum_j d_j^2\bigr)^2}{\sum_j d_j^4}

    carry the score; for a mean over draws, :math:`d_j` are the deviations of what is averaged. If these are 12 or more,
    about 95 % of intervals of two standard errors hold the score that endlessly many draws would give; with fewer, too
    few intervals do, and one warning per call says so.

    Args:
        metric: a metric, also one configured by `functools.partial`, or a function of your own.

    Returns:
        A function. `stderr` has the unit of the score; it is about the draws alone, not about the choice of examples.
        It is 0, and `n_eff` infinite, for a metric that draws nothing and where every set was taken. Both are NaN where
        the score is; with too few draws to tell, which is one, or up to three for a correlation; and where there is no
        standard error: for maxima over draws, such as `sensitivity_max`, which grow with every further draw; for
        `non_sensitivity`, which counts what no draw changed; for metrics that draw one model, class or denoised map per
        score; where your baselines are drawn; and for functions of your own that draw, unless they return what a metric
        of this package returned.

    Raises:
        TypeError: `metric` is no function, or returns something else than tensors. Otherwise as the metric.

    Reference: Efron and Stein 1981, "The Jackknife Estimate of Variance"; Fieller, Hartley and Pearson 1957, "Tests for
    Rank Correlation Coefficients. I", for the factors 1.06 and 0.437.

    Example:
        >>> import torch
        >>> from captum_ext.metrics import sensitivity_n
        >>> w, x = torch.arange(1.0, 21.0), torch.ones(1, 20)
        >>> score, stderr, n_eff = with_stderr(sensitivity_n)(lambda x: x @ w, x, w[None], n=5, seed=0)
        >>> score, bool(stderr < 1e-6), bool(n_eff > 12)
        (tensor([1.]), True, True)
    """
    if not callable(metric) or isinstance(metric, type):
        raise TypeError(f"`metric` must be a metric or a function of its arguments, got {describe(metric)}.")
    if isinstance(metric, functools.partial):
        return functools.partial(with_stderr(metric.func), *metric.args, **metric.keywords)
    function, drawn = with_noise(metric), depends_on_draws(metric)

    @functools.wraps(function)
    def estimated(*args: Any, **kwargs: Any) -> Estimate:
        devices = {t.device for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        before = generator_states(*devices)
        scores, found = function(*args, **kwargs)
        unknown = drawn or generator_states(*devices) != before  # as by a function of baselines that draws
        noise = found or (unknown_for(scores) if unknown else none_for(scores))
        if few := few_draws(noise):
            warnings.warn(FEW.format(what=f"{few:.0%} of the scores"), stacklevel=frames_of_package())
        return Estimate(scores, noise.stderr, noise.n_eff)

    estimated.returns_estimates = True  # type: ignore[attr-defined]
    return estimated

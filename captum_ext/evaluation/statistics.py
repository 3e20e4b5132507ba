"""The statistics behind the comparison of methods: plain functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Floats = npt.NDArray[np.float64]
MIN_EXAMPLES = 3  # with fewer there is no interval
MIN_PAIRS = 6  # with fewer no outcome of a two-sided signed-rank test is below 0.05
SIDES = {"two-sided": 2, "greater": 1, "less": 1}  # the alternatives of a test -> how many outcomes are the clearest
TIE = 1e-12  # means that differ by less, relative to the largest, are equal, so that rounding does not rank
BLOCK = 2**22  # counts of resampled examples held at once


def resampled_means(values: Floats, n_resamples: int, seed: int) -> Floats:
    """`[n_resamples, rows]`: means of `[rows, examples]` over resampled examples, which are the same for all rows.

    A mean is nan where none of the resampled examples has a value in the row.
    """
    rng, examples = np.random.default_rng(seed), values.shape[1]
    defined = np.isfinite(values)
    filled, present = np.where(defined, values, 0.0).T, defined.T.astype(np.float64)
    means = []
    for size in _blocks(n_resamples, max(1, BLOCK // examples)):
        drawn = rng.integers(examples, size=(size, examples)) + examples * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * examples).reshape(size, examples).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means.append((counts @ filled) / (counts @ present))
    return np.concatenate(means)


def _blocks(total: int, block: int) -> list[int]:
    return [min(block, total - start) for start in range(0, total, block)]


def bca(values: Floats, means: Floats, confidence: float) -> tuple[float, float]:
    """BCa bootstrap interval (Efron 1987) of the mean of `values`, from its resampled `means`.

    BCa is bias-corrected and accelerated. The jackknife's acceleration has a closed form for a mean, so many examples
    cost nothing extra. The interval is nan with fewer than 3 values, and the value itself where all are equal.
    """
    if len(values) < MIN_EXAMPLES:
        return np.nan, np.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    mean, least = values.mean(), 0.5 / len(means)
    below = ((means < mean).mean() + (means <= mean).mean()) / 2
    bias = special.ndtri(np.clip(below, least, 1 - least))
    deviation = (values - mean) / np.ptp(values)
    acceleration = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5)
    z = bias + special.ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(means, special.ndtr(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def intervals(values: Floats, means: Floats, confidence: float) -> list[tuple[float, float]]:
    """The BCa interval of the mean of each row `[rows, examples]`, from the resampled means of its defined values."""
    return [bca(v[np.isfinite(v)], m[np.isfinite(m)], confidence) for v, m in zip(values, means.T)]


def ranks_of(means: Floats) -> Floats:
    """`[..., methods]`: 1 for the largest; equal ones share the better rank; nan for nan."""
    tolerance = TIE * np.fmax.reduce(np.abs(means), axis=-1, keepdims=True)[..., None]
    larger = means[..., None, :] - means[..., :, None] > tolerance  # nan is never larger
    return np.where(np.isnan(means), np.nan, 1.0 + larger.sum(-1))


def rank_interval(ranks: Floats, confidence: float) -> tuple[float, float]:
    if not len(ranks):
        return np.nan, np.nan
    low, high = np.quantile(ranks, [(1 - confidence) / 2, (1 + confidence) / 2], method="inverted_cdf")
    return float(low), float(high)


def share_of_firsts(ranks: Floats) -> Floats:
    """`[methods]`, from ranks `[resamples, methods]`: how often a method is the first; nan if it never has a rank."""
    firsts = ranks == 1
    shares = (firsts / np.maximum(firsts.sum(1, keepdims=True), 1)).sum(0) / max(firsts.any(1).sum(), 1)
    return np.where(np.isfinite(ranks).any(0), shares, np.nan)


def rank_biserial(differences: Floats) -> Floats:
    """`[methods]`, from `[methods, examples]`: matched rank-biserial correlation; nan without a difference."""
    ranks = stats.rankdata(np.abs(differences), axis=-1, nan_policy="omit")
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(np.sign(differences) * ranks, -1) / np.nansum(ranks, -1))


def signed_rank_p(differences: Floats, alternative: str) -> float:
    if len(differences) < MIN_PAIRS:
        return np.nan
    return float(stats.wilcoxon(differences, zero_method="zsplit", alternative=alternative).pvalue)


def least_p(pairs: Any, alternative: str) -> Floats:
    """The p of the clearest outcome that so many pairs can have: all differences on one side, no two of a size."""
    return np.where(np.asarray(pairs) < MIN_PAIRS, np.nan, SIDES[alternative] * 0.5 ** np.asarray(pairs, np.float64))


def undecided(p: Floats, least: Floats, correction: str, level: float) -> npt.NDArray[np.bool_]:
    """Where even the clearest outcomes would not be significant after correction, so that nothing can be told.

    Outcomes with equal differences can have a smaller p than `least_p`, so a `p` below the level always counts.
    """
    return ~(corrected(least, correction) < level) & ~(p < level)


def pairs_needed(tests: int, level: float) -> int:
    """The least number of pairs with which one of so many two-sided tests can be below a level after correction."""
    return next(n for n in count(MIN_PAIRS) if tests * least_p(n, "two-sided") < level)


def corrected(p: Floats, correction: str) -> Floats:
    """The p-values corrected for their number; nan stays nan and does not count."""
    result, known = np.full(len(p), np.nan), np.isfinite(p)
    result[known] = CORRECTIONS[correction](p[known])
    return result


def _holm(p: Floats) -> Floats:
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty_like(p)
    result[order] = np.minimum(stepped, 1)
    return result


CORRECTIONS: dict[str, Callable[[Floats], Floats]] = {"holm": _holm, "bh": stats.false_discovery_control}


def spearman_of_examples(one: Floats, other: Floats) -> Floats:
    """`[examples]`: over the methods that both score; nan with fewer than 3, and where either scores all alike."""
    both = np.isfinite(one) & np.isfinite(other)
    both &= both.sum(0) >= 3
    x, y = (_centred_ranks(values, both) for values in (one, other))
    with np.errstate(invalid="ignore"):
        return np.clip((x * y).sum(0) / np.sqrt((x**2).sum(0) * (y**2).sum(0)), -1, 1)


def _centred_ranks(values: Floats, counted: npt.NDArray[np.bool_]) -> Floats:
    ranks = stats.rankdata(np.where(counted, values, np.nan), axis=0, nan_policy="omit")
    return np.where(counted, ranks - (counted.sum(0) + 1) / 2, 0.0)


def fisher_mean(correlations: Floats, methods: int) -> float:
    """The mean on Fisher's scale, of correlations drawn in as `comparison.agreement` says; nan of none."""
    if not len(correlations):
        return np.nan
    inside = 1 - 6 / (methods**3 - methods)
    return float(np.clip(np.tanh(np.arctanh(inside * correlations).mean()) / inside, -1, 1))


def krippendorff_alpha(ranks: Floats) -> float:
    """Ordinal alpha of `[methods, examples]` without gaps: the examples are the coders, the methods are judged."""
    methods, examples = ranks.shape
    if methods < 2 or examples < 2:
        return np.nan
    values, place = np.unique(ranks, return_inverse=True)
    place = place.reshape(ranks.shape)
    counts = np.stack([np.bincount(row, minlength=len(values)) for row in place]).astype(np.float64)
    totals = counts.sum(0)
    middle = totals.cumsum() - totals / 2
    distance = (middle[:, None] - middle) ** 2
    observed = ((counts @ distance) * counts).sum() / (examples - 1)
    expected = totals @ distance @ totals / (totals.sum() - 1)
    return float(1 - observed / expected) if expected > 0 else np.nan

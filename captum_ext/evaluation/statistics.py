"""The statistics behind the comparison of methods: plain functions of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, count
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
MOST_UNITS = 100_000  # more examples than these are resampled in as many groups
IN_CACHE = 2**14  # examples of which all methods' values fit into the processor's cache
ALWAYS_NORMAL = 51  # so many pairs are the fewest for which scipy takes the normal approximation, ties or none


def resampled_means(values: Floats | Sequence[Floats], n_resamples: int, seed: int) -> Floats:
    """`[n_resamples, rows]`: means of `[rows, examples]` over resampled examples, which are the same for all rows.

    A mean is nan where none of the resampled examples has a value in the row. More than `MOST_UNITS` examples are put
    at random into as many groups, whose sizes differ by one at most, and whole groups are resampled. As the groups are
    random, the means have the same centre and spread; a set of groups meets the spread with a relative error of
    1 / sqrt(2 * groups), 0.2 %, where 2000 resamples of the examples themselves have one of 1.6 %.
    """
    rng = np.random.default_rng(seed)
    sums, present = _of_units(values, rng)
    present = present[:, :1] if (present == present[:, :1]).all() else present  # one column is enough for all rows
    units, means = len(sums), []
    for size in _blocks(n_resamples, max(1, BLOCK // units)):
        drawn = rng.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means.append((counts @ sums) / (counts @ present))
    return np.concatenate(means)


def _of_units(values: Floats | Sequence[Floats], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """`[units, rows]` twice: the sum of the defined values of each unit that is resampled, and their number."""
    examples = len(values[0])
    if examples <= MOST_UNITS:
        defined = np.isfinite(values)
        return np.where(defined, values, 0.0).T, defined.T.astype(np.float64)
    unit = rng.permutation(examples) % MOST_UNITS
    sums, present = np.empty((2, len(values), MOST_UNITS))
    for i, row in enumerate(values):
        defined = np.isfinite(row)
        sums[i] = np.bincount(unit, np.where(defined, row, 0.0))
        present[i] = np.bincount(unit, defined)
    return sums.T, present.T


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
    # A product takes a tenth of the time of a third power, but has other last bits, which few examples keep.
    cubes = deviation**3 if len(values) <= MOST_UNITS else deviation**2 * deviation
    acceleration = cubes.sum() / (6 * (deviation**2).sum() ** 1.5)
    z = bias + special.ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(means, special.ndtr(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def intervals(values: Floats, means: Floats, confidence: float) -> list[tuple[float, float]]:
    """The BCa interval of the mean of each row `[rows, examples]`, from the resampled means of its defined values."""
    return [bca(v[np.isfinite(v)], m[np.isfinite(m)], confidence) for v, m in zip(values, means.T)]


def rounding_of(dtype: np.dtype[Any]) -> float:
    """The share of a score up to which a difference is rounding: a quarter of the digits, 6e-6 in float32."""
    return float(np.finfo(dtype).eps) ** 0.75 if np.issubdtype(dtype, np.floating) else 0.0


def difference(one: Floats, other: Floats, margin: Floats) -> Floats:
    """`one - other`, and 0 where that is no more than rounding, which may make a difference as large as `margin`."""
    found = one - other
    return np.where(np.abs(found) <= margin, 0.0, found)


def ranks_of(means: Floats, slack: float = 0.0) -> Floats:
    """`[..., methods]`: 1 for the largest; those that differ by rounding share the better rank; nan for nan.

    `slack` is the difference of two means that rounding of the scores may make.
    """
    tolerance = np.fmax(slack, TIE * np.fmax.reduce(np.abs(means), axis=-1, keepdims=True))
    rows, tolerances = means.reshape(-1, means.shape[-1]), tolerance.reshape(-1, 1)
    larger, known = _larger_by_order(rows, tolerances)
    for i in np.flatnonzero(~known):
        larger[i] = _larger_by_pairs(rows[i], tolerances[i])
    return np.where(np.isnan(means), np.nan, 1.0 + larger.reshape(means.shape))


def _larger_by_order(means: Floats, tolerance: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """`[rows, methods]`: how many means are larger, and `[rows]`: whether that is known from their order alone.

    It is if neighbours in that order fall into groups, within which no two means differ. They may not, as of three
    means the first and the last can differ where neither differs from the one in between.
    """
    order = np.argsort(-means, axis=-1, kind="stable")  # nan comes last
    ordered = np.take_along_axis(means, order, -1)
    starts = np.zeros(means.shape, np.intp)
    starts[:, 1:] = np.where(ordered[:, :-1] - ordered[:, 1:] > tolerance, np.arange(1, means.shape[-1]), 0)
    starts = np.maximum.accumulate(starts, axis=-1)
    apart = np.take_along_axis(ordered, starts, -1) - ordered > tolerance
    larger: npt.NDArray[np.intp] = np.zeros_like(order)
    np.put_along_axis(larger, order, starts, -1)
    return larger, ~np.any(apart | np.isinf(means), axis=-1)


def _larger_by_pairs(means: Floats, tolerance: Floats) -> npt.NDArray[np.intp]:
    return np.asarray((means - means[:, None] > tolerance).sum(-1))  # nan is never larger


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


@dataclass(frozen=True)
class SignedRanks:
    """Wilcoxon's signed ranks of the finite `differences` of pairs, which share the rank of their size where equal.

    `plus` and `minus` are the sums of the ranks of positive and of negative differences, among which those of zero
    differences are split, and `ties` is the sum of t^3 - t over all sets of t differences of one size.
    """

    differences: Floats
    plus: float
    minus: float
    ties: float

    @property
    def effect(self) -> float:
        """Matched rank-biserial correlation; nan without a pair."""
        return (self.plus - self.minus) / (self.plus + self.minus)

    def p(self, alternative: str = "two-sided") -> float:
        """As `scipy.stats.wilcoxon` has it with `zero_method="zsplit"`; nan with fewer than 6 pairs."""
        pairs = len(self.differences)
        if pairs < MIN_PAIRS:
            return np.nan
        if pairs < ALWAYS_NORMAL:
            return float(stats.wilcoxon(self.differences, zero_method="zsplit", alternative=alternative).pvalue)
        z = (self.plus - pairs * (pairs + 1) / 4) / self._deviation()
        above, below = float(special.ndtr(-z)), float(special.ndtr(z))
        return {"two-sided": 2 * min(above, below), "greater": above, "less": below}[alternative]

    def _deviation(self) -> float:
        """The standard deviation of `plus` where signs are fair coins."""
        n = float(len(self.differences))
        return float(np.sqrt((n * (n + 1) * (2 * n + 1) - self.ties / 2) / 24))


def signed_ranks(differences: Floats) -> SignedRanks:
    differences = np.asarray(differences[np.isfinite(differences)], np.float64)
    if not len(differences):
        return SignedRanks(differences, np.nan, np.nan, 0.0)
    # The bits of positive numbers are in the order of the numbers, so that one sort of integers takes along, in their
    # last bit, which differences are positive. It is several times as fast as a sort that returns an order.
    keys = np.sort((np.abs(differences).view(np.uint64) << np.uint64(1)) | (differences > 0))
    sizes, positive = keys >> np.uint64(1), keys & np.uint64(1)
    edges = np.flatnonzero(np.concatenate([[True], sizes[1:] != sizes[:-1], [True]]))
    tied = np.diff(edges).astype(np.float64)
    ranks = edges[:-1] + (tied + 1) / 2  # of each size
    of_zeros = ranks[0] * tied[0] if sizes[0] == 0 else 0.0
    plus = float((ranks * np.add.reduceat(positive, edges[:-1])).sum() + of_zeros / 2)
    return SignedRanks(differences, plus, float((ranks * tied).sum()) - plus, float((tied**3 - tied).sum()))


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


@dataclass(frozen=True)
class Ranked:
    """The methods' places on each example, by their `values` `[methods, examples]`, nan where undefined.

    `lead` is how many methods one is ahead of, less those that are ahead of it: twice its centred rank, in which equal
    methods, but for rounding, share the mean of their ranks. It is 0 where a method has no value, and where fewer than
    3 have one. `margins` `[methods, examples]` are how far rounding may move each value.
    """

    values: Floats
    margins: Floats

    @cached_property
    def defined(self) -> npt.NDArray[np.bool_]:
        return np.isfinite(self.values)

    @cached_property
    def lead(self) -> Floats:
        return np.where(self.defined.sum(0) >= 3, leads(self.values, self.margins), 0.0)

    @cached_property
    def spread(self) -> Floats:
        return np.asarray((self.lead**2).sum(0))

    def spearman(self, other: Ranked) -> Floats:
        """`[examples]`: over the methods that both score; nan with fewer than 3, and where either scores all alike."""
        with np.errstate(invalid="ignore"):
            r = np.clip((self.lead * other.lead).sum(0) / np.sqrt(self.spread * other.spread), -1, 1)
        gaps = (self.defined != other.defined).any(0)
        if gaps.any():
            both = self.defined[:, gaps] & other.defined[:, gaps]
            x, y = (Ranked(np.where(both, s.values[:, gaps], np.nan), s.margins[:, gaps]) for s in (self, other))
            r[gaps] = x.spearman(y)
        return r


def leads(values: Floats, margins: Floats) -> Floats:
    """`[methods, examples]`: by how many more methods one is ahead of than are ahead of it; 0 where undefined."""
    result = np.zeros(values.shape)
    for start in range(0, values.shape[1], IN_CACHE):
        part = slice(start, start + IN_CACHE)
        result[:, part] = _leads(values[:, part], margins[:, part])
    return result


def _leads(values: Floats, margins: Floats) -> Floats:
    result = np.zeros(values.shape)
    for i, j in combinations(range(len(values)), 2):
        gap, tie = values[i] - values[j], np.maximum(margins[i], margins[j])
        ahead = (gap > tie).view(np.int8) - (gap < -tie).view(np.int8)  # nan is neither
        result[i] += ahead
        result[j] -= ahead
    return result


def fisher_mean(correlations: Floats, methods: int) -> float:
    """The mean on Fisher's scale, of correlations drawn in as `comparison.agreement` says; nan of none."""
    return mean_of_fisher_sum(fisher_sum(correlations, methods), len(correlations), methods)


def fisher_sum(correlations: Floats, methods: int) -> float:
    return float(np.arctanh(_inside(methods) * correlations).sum()) if len(correlations) else 0.0


def mean_of_fisher_sum(total: float, number: int, methods: int) -> float:
    """From the sums of all parts of the correlations, added up."""
    if not number:
        return np.nan
    inside = _inside(methods)
    return float(np.clip(np.tanh(total / number) / inside, -1, 1))


def _inside(methods: int) -> float:
    return 1 - 6 / (methods**3 - methods)


def krippendorff_alpha(ranks: Floats) -> float:
    """Ordinal alpha of ranks `[methods, examples]`, whole or half numbers without gaps.

    The examples are the coders, the methods are judged.
    """
    methods, examples = ranks.shape
    if methods < 2 or examples < 2:
        return np.nan
    halves = (2 * ranks).astype(np.intp)
    counts = np.stack([np.bincount(row, minlength=halves.max() + 1) for row in halves]).astype(np.float64)
    counts = counts[:, counts.any(0)]
    totals = counts.sum(0)
    middle = totals.cumsum() - totals / 2
    distance = (middle[:, None] - middle) ** 2
    observed = ((counts @ distance) * counts).sum() / (examples - 1)
    expected = totals @ distance @ totals / (totals.sum() - 1)
    return float(1 - observed / expected) if expected > 0 else np.nan

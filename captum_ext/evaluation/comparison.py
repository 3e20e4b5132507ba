"""How methods compare, and how far the numbers can be trusted.

Plain functions that take an `xarray.Dataset` and return a `pandas.DataFrame`.

The dataset has one variable per metric over `attribution` (the method) and `example`. A metric with an axis of its own
(several sizes `n`) is several scores, told apart by the columns `axis` ("n") and `at` (5), which are both missing for a
metric with one score per example. Examples are assumed to be independent draws of the data that one wants to speak
about, so intervals resample examples and tests pair methods by example. A score that is NaN, infinite or above 1e300 is
undefined: it is left out, and counted. Only variables with the attribute `higher_is_better` can be ranked; curves have
none and are left out. Random numbers are drawn from `seed`, so every table repeats. A control character in a name is
shown as an escape.

Each table also has a function of scores that were read already (`summary_of` beside `summary`), for those who need
several tables of one dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .._core.checks import check_choice, check_count, check_fraction
from .._core.printing import printable
from .score import MetricType, Score, label, methods_of, metrics_of, noise_of, of_halves, points, presentable, scores
from .statistics import (
    CORRECTIONS,
    SIDES,
    Floats,
    Ranked,
    corrected,
    fisher_sum,
    intervals,
    krippendorff_alpha,
    leads,
    least_p,
    mean_of_fisher_sum,
    rank_interval,
    ranks_of,
    resampled_means,
    share_of_firsts,
    signed_ranks,
    undecided,
)

BLOCK = 2**17  # examples whose ranks are held at once
HALVES_AXES = ("attribution", "example", "half")


def summary(
    dataset: xr.Dataset, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0, metric: MetricType = None
) -> pd.DataFrame:
    """What each method scores on the average example, how sure that is, and its place among the methods.

    A row per metric, `axis`, `at` and method:

    - `mean` and `median` over the examples with a score; `low`, `high`: BCa bootstrap interval of the mean over
      examples. The interval is NaN with fewer than 3 scores, and the value itself where all scores are equal. More than
      100,000 examples are resampled in as many random groups, which is the same up to chance.
    - `rank`: 1 is the best mean; equal means share the better rank. `rank_low`, `rank_high` and `p_best`, the
      probability of rank 1 (ties share it), come from the same resamples of examples for all methods and metrics, so
      the difficulty of an example does not blur the ranks.
    - `tied_with_best` and `undecided`: as in :func:`tie_with_best`.
    - `undefined`: the share of examples without a score; `examples`: the number with one; `higher_is_better`.
    - `share_of_draws`: the share of the variance between examples that is noise of the metric's random draws, as in
      :func:`reliability`; NaN for a metric that draws nothing, and where its standard errors are not known.
    """
    return summary_of(scores(dataset, metric), confidence, n_resamples, seed)


def summary_of(
    found: Sequence[Score], confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    confidence, seed = check_fraction("confidence", confidence, open_ends=True), check_count("seed", seed, least=0)
    n_resamples = check_count("n_resamples", n_resamples)
    rows = [row for score in found for row in score.values]  # [scores * methods, examples]
    means = resampled_means(rows, n_resamples, seed).reshape(n_resamples, len(found), -1)
    return _table(_summary(score, means[:, i], confidence) for i, score in enumerate(found))


def _summary(score: Score, means: Floats, confidence: float) -> pd.DataFrame:
    frame = pd.DataFrame(score.values.T)  # its reductions skip nan
    ranks = ranks_of(score.turned(means), score.margin_of_means)  # [resamples, methods]
    observed = frame.mean().to_numpy()
    spans = intervals(score.values, means, confidence)
    rank_intervals = [rank_interval(r[np.isfinite(r)], confidence) for r in ranks.T]
    ties = _ties(score, confidence)
    return _rows(
        score,
        score.methods,
        mean=observed,
        low=[low for low, _ in spans],
        high=[high for _, high in spans],
        median=frame.median().to_numpy(),
        rank=ranks_of(score.turned(observed), score.margin_of_means),
        rank_low=[low for low, _ in rank_intervals],
        rank_high=[high for _, high in rank_intervals],
        p_best=share_of_firsts(ranks),
        tied_with_best=ties["tied_with_best"].to_numpy(),
        undecided=ties["undecided"].to_numpy(),
        undefined=frame.isna().mean().to_numpy(),
        examples=frame.count().to_numpy(),
        higher_is_better=score.higher_is_better,
        share_of_draws=np.nan if score.noise is None else _reliability(score.values, score.noise)["share"],
    )


def compare(
    dataset: xr.Dataset,
    metric: MetricType = None,
    baseline: str = "random",
    correction: str = "holm",
    alternative: str = "two-sided",
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Compares every other method with `baseline`, example by example.

    **Positive is better than the baseline**, whatever the metric's direction.

    A row per metric (all with a direction, or those named), `axis`, `at` and method, over the `pairs` examples on which
    both have a score:

    - `effect`: matched rank-biserial correlation, (R+ - R-) / (R+ + R-) of the ranks of the absolute differences: 1
      where the method is better on every example, 0 where neither is. NaN without a pair.
    - `median_difference`, in the metric's unit.
    - `p`: Wilcoxon signed-rank test, zero differences split between the sides. `alternative="greater"` asks for better
      than the baseline, `"less"` for worse. NaN with fewer than 6 pairs, where no outcome is below 0.05.
    - `p_corrected`: over all rows of this call, by `correction` `"holm"` (which bounds the chance of one false claim)
      or `"bh"` (which bounds the share of false claims); rows without a `p` do not count.
    - `better`: `p_corrected < alpha` and `effect > 0`.
    - `undecided`: there are too few pairs to tell. Even the clearest outcome, the same side better on all of them,
      would not be significant after the correction, so `better` being false says nothing about the method.
    """
    return compare_of(scores(dataset, metric), baseline, correction, alternative, alpha)


def compare_of(
    found: Sequence[Score],
    baseline: str = "random",
    correction: str = "holm",
    alternative: str = "two-sided",
    alpha: float = 0.05,
) -> pd.DataFrame:
    check_choice("correction", correction, CORRECTIONS)
    check_choice("alternative", alternative, SIDES)
    alpha = check_fraction("alpha", alpha, open_ends=True)
    baseline = printable(baseline) if isinstance(baseline, str) else baseline
    _check_baseline(baseline, found[0].methods)
    table = _table(_against(score, baseline, alternative) for score in found)
    table["p_corrected"] = corrected(table["p"].to_numpy(), correction)
    table["better"] = (table["p_corrected"] < alpha) & (table["effect"] > 0)
    least = least_p(table["pairs"], alternative)
    table["undecided"] = undecided(table["p_corrected"].to_numpy(), least, correction, alpha)
    return table


def _check_baseline(baseline: Any, methods: list[str]) -> None:
    if baseline not in methods:
        raise ValueError(
            f"`baseline` must be one of the methods {', '.join(map(repr, methods))}, got {baseline!r}. "
            "Evaluate the random control too, `captum_ext.random_attribution`, or name the method to compare with."
        )


def _against(score: Score, baseline: str, alternative: str) -> pd.DataFrame:
    others = [i for i, name in enumerate(score.methods) if name != baseline]
    differences = score.better_by(others, score.methods.index(baseline))
    ranked = [signed_ranks(d) for d in differences]
    return _rows(
        score,
        [score.methods[i] for i in others],
        baseline=baseline,
        effect=[ranks.effect for ranks in ranked],
        median_difference=pd.DataFrame(differences.T).median().to_numpy(),
        pairs=np.isfinite(differences).sum(-1),
        p=[ranks.p(alternative) for ranks in ranked],
    )


def tie_with_best(dataset: xr.Dataset, confidence: float = 0.95, metric: MetricType = None) -> pd.DataFrame:
    """Which methods cannot be distinguished from the best one.

    `best` is the method with the best mean (the first of equals). The others are compared with it example by example:
    two-sided Wilcoxon signed-rank test, Holm over the methods of the metric. `tied_with_best` is true of the best and
    of every method with a score whose `p_corrected` is not below `1 - confidence`. The best was picked on the same
    examples, so a method may be called worse a little too readily; only new data settles the difference.

    A tie means something only where a difference could have shown. `undecided` is true where it could not: so few
    examples have both scores that no outcome would be significant, and every method with a score counts as tied. The
    best itself is undecided where all the methods compared with it are.
    """
    confidence = check_fraction("confidence", confidence, open_ends=True)
    return _table(_ties(score, confidence) for score in scores(dataset, metric))


def _ties(score: Score, confidence: float) -> pd.DataFrame:
    means = pd.DataFrame(score.oriented.T).mean().to_numpy()
    scored = np.isfinite(means)
    best = int(np.where(scored, means, -np.inf).argmax())
    others = scored & (np.arange(len(means)) != best)
    differences = score.better_by(others, best)
    p, unclear = np.full(len(means), np.nan), np.zeros(len(means), dtype=bool)
    p[others] = corrected(np.array([signed_ranks(d).p() for d in differences]), "holm")
    least = least_p(np.isfinite(differences).sum(-1), "two-sided")
    unclear[others] = undecided(p[others], least, "holm", 1 - confidence)
    unclear[best] = others.any() and unclear[others].all()
    tied = scored & ~(p < 1 - confidence)
    return _rows(score, score.methods, best=scored & ~others, p_corrected=p, tied_with_best=tied, undecided=unclear)


def mean_ranks(dataset: xr.Dataset, metric: MetricType = None) -> pd.DataFrame:
    """`rank`: the mean over examples of a method's rank on the example; equal scores share the mean of their ranks.

    Rank 1 is the best. Examples without a score of the method are left out; the ranks on an example are among the
    methods that have a score there.
    """
    return _table(
        _rows(score, score.methods, rank=pd.DataFrame(_ranks_in_example(score).T).mean().to_numpy())
        for score in scores(dataset, metric)
    )


def agreement(dataset: xr.Dataset) -> pd.DataFrame:
    """Whether metrics rank the methods alike: a row per pair of metrics (and places on their axes).

    `correlation` is Spearman's over the methods, one per example, averaged by Fisher's z over the `examples` for which
    it exists. Every metric is first turned so that more is better. With few methods many correlations are exactly 1
    or -1, where z is infinite. So all are multiplied by c = 1 - 6 / (m^3 - m) for `m` methods, which is half the step
    from 1 to the next lower value, and the average is divided by it again: tanh(mean(artanh(c r))) / c. Perfect
    agreement on every example stays 1. An example counts if both metrics score at least 3 methods on it, and not all
    of them alike.
    """
    return agreement_of(scores(dataset))


def agreement_of(found: Sequence[Score]) -> pd.DataFrame:
    methods = len(found[0].methods)
    if methods < 3:
        raise ValueError(f"`agreement` correlates over methods and needs at least 3, got {methods}.")
    totals = np.array([_fisher_sums(found, block, methods) for block in _blocks_of_examples(found)]).sum(0)
    records = []
    for (one, other), (total, n) in zip(combinations(found, 2), totals):
        pair = (one.metric, one.axis, one.at, other.metric, other.axis, other.at)
        records.append((*pair, mean_of_fisher_sum(total, int(n), methods), int(n)))
    columns = ["metric", "axis", "at", "other", "other_axis", "other_at", "correlation", "examples"]
    return pd.DataFrame(records, columns=columns)


def _blocks_of_examples(found: Sequence[Score]) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, found[0].values.shape[1], BLOCK)]


def _fisher_sums(found: Sequence[Score], block: slice, methods: int) -> list[tuple[float, int]]:
    """For each pair of scores the sum on Fisher's scale over a block of examples, and how many have a correlation."""
    ranked = [
        Ranked(score.oriented[:, block], score.margins(block)) for score in found
    ]  # each once, for all of its pairs
    correlations = (one.spearman(other) for one, other in combinations(ranked, 2))
    known = (r[np.isfinite(r)] for r in correlations)
    return [(fisher_sum(r, methods), len(r)) for r in known]


def as_matrix(pairs: pd.DataFrame, found: Sequence[Score], column: str = "correlation") -> pd.DataFrame:
    """A column of `agreement_of` as a symmetric matrix with ones on its diagonal, labelled as the scores are."""
    names = [score.label for score in found]
    matrix = pd.DataFrame(np.eye(len(names)), names, names)
    for pair in pairs.itertuples():
        one = label(pair.metric, pair.axis, pair.at)
        other = label(pair.other, pair.other_axis, pair.other_at)
        matrix.loc[one, other] = matrix.loc[other, one] = getattr(pair, column)
    return matrix


def ranking_consistency(dataset: xr.Dataset) -> pd.DataFrame:
    """Whether a metric ranks the methods alike on every example: ordinal Krippendorff's `alpha` of the rankings.

    1 is the same ranking on every example, 0 is what chance gives. It is over the `examples` on which every method is
    scored; methods without a score anywhere are left out. NaN with fewer than 2 examples or `methods`, and where all
    scores of each example are equal.
    """
    return ranking_consistency_of(scores(dataset))


def ranking_consistency_of(found: Sequence[Score]) -> pd.DataFrame:
    return _table(_consistency(score) for score in found)


def _consistency(score: Score) -> pd.DataFrame:
    ranks = _ranks_in_example(score)
    ranks = ranks[np.isfinite(ranks).any(1)]
    ranks = ranks[:, np.isfinite(ranks).all(0)]
    return pd.DataFrame(
        {
            "metric": [score.metric],
            "axis": score.axis,
            "at": score.at,
            "alpha": krippendorff_alpha(ranks),
            "methods": ranks.shape[0],
            "examples": ranks.shape[1],
        }
    )


def reliability(results: Any) -> pd.DataFrame:
    """How much of the difference between examples is noise of the scores' random draws.

    A row per metric, `axis`, `at` and method: `noise`, the mean over examples of a score's variance by the draws, which
    is its squared standard error; `total`, the scores' variance over examples; `share` = noise / total, cut to [0, 1].
    A large share calls for more draws. `examples` counts those with both; all three are NaN with fewer than 2, and
    `share` is NaN where `total` is 0.

    `results` is a dataset with standard errors, as `evaluate(..., stderr=True)` makes it. Of a maximum there are the
    scores h1 and h2 from two halves of the draws, whose mean has the variance (h1 - h2)^2 / 4; these may also be given
    by themselves, as an array [attribution, example, half] or an `xarray.DataArray` with these dims (and the metric's
    axis).
    """
    return _table(
        pd.DataFrame({"metric": name, "axis": axis, "at": at, "attribution": methods, **_reliability(values, noise)})
        for name, axis, at, methods, values, noise in _noisy_scores(results)
    )


def _reliability(values: Floats, noise: Floats) -> dict[str, Any]:
    both = np.isfinite(values) & np.isfinite(noise)
    examples = both.sum(-1)
    mean = pd.DataFrame(np.where(both, noise, np.nan).T).mean().to_numpy()
    mean = np.where(examples > 1, mean, np.nan)
    total = pd.DataFrame(np.where(both, values, np.nan).T).var().to_numpy()
    share = np.clip(np.divide(mean, total, out=np.full_like(mean, np.nan), where=total > 0), 0, 1)
    return {"noise": mean, "total": total, "share": share, "examples": examples}


def _noisy_scores(results: Any) -> Iterator[tuple[Any, str | None, float, list[Any], Floats, Floats]]:
    """Metric, axis, place, methods, scores and their variance by the draws, for all of which the latter is known."""
    if not isinstance(results, xr.Dataset):
        variable = results if isinstance(results, xr.DataArray) else _three_axes(results)
        yield from _of_halves(variable.attrs.get("halves_of", variable.name), variable)
        return
    results = presentable(results)
    known = {name: noise for name in metrics_of(results) if (noise := noise_of(results, name)) is not None}
    if not known:
        raise ValueError(
            "`results` must have standard errors; `evaluate(..., stderr=True)` keeps those of metrics that draw."
        )
    for name, noise in known.items():
        for (axis, at, values), of_draws in zip(points(results[name], "attribution", "example"), noise):
            yield name, axis, at, methods_of(results), values, of_draws


def _of_halves(name: Any, variable: xr.DataArray) -> Iterator[tuple[Any, str | None, float, list[Any], Floats, Floats]]:
    if not set(HALVES_AXES) <= set(variable.dims) or variable.sizes["half"] != 2:
        raise ValueError(
            f"`results` must have the dims {', '.join(HALVES_AXES)}, two of half; got {dict(variable.sizes)}."
        )
    shown = [printable(m) if isinstance(m, str) else m for m in variable["attribution"].values.tolist()]
    for axis, at, values in points(variable, *HALVES_AXES):
        name = printable(name) if isinstance(name, str) else name
        yield name, axis, at, shown, values.mean(-1), of_halves(values)


def _three_axes(halves: Any) -> xr.DataArray:
    values = np.asarray(halves, dtype=np.float64)
    if values.ndim != 3:
        raise ValueError(f"`results` must have shape (methods, examples, 2), got {values.shape}.")
    return xr.DataArray(values, dims=HALVES_AXES)


def _ranks_in_example(score: Score) -> Floats:
    defined = np.isfinite(score.values)
    return np.where(defined, (defined.sum(0) + 1 - leads(score.oriented, score.margins())) / 2, np.nan)


def _rows(score: Score, methods: list[str], **columns: Any) -> pd.DataFrame:
    place = {"metric": score.metric, "axis": score.axis, "at": score.at}
    return pd.DataFrame({**place, "attribution": methods, **columns})


def _table(frames: Iterator[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(frames), ignore_index=True)

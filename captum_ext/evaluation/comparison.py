"""How methods compare, and how far the numbers may be trusted. Plain functions, `xarray.Dataset` in, `pandas.DataFrame` out.

Assumed throughout: the dataset has one variable per metric over `attribution` (the method) and `example`; a metric with an axis of its own
(several sizes `n`) is several scores, told apart by the columns `axis` ("n") and `at` (5), both missing for a metric with one score an example.
Examples are independent draws of the data one wants to speak about, so intervals resample examples and tests pair methods by example. A
score that is NaN or infinite is undefined: it is left out, and counted. Only variables with the attribute `higher_is_better` can be
ranked; curves have none and are left out. What is random repeats with its `seed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from .._core.checks import check_choice
from .statistics import (
    CORRECTIONS,
    Floats,
    bca,
    corrected,
    fisher_mean,
    krippendorff_alpha,
    rank_biserial,
    rank_interval,
    ranks_of,
    resampled_means,
    share_of_firsts,
    signed_rank_p,
    spearman_of_examples,
)

MetricType = str | Sequence[str] | None


@dataclass(frozen=True)
class Score:
    """One score of every method on every example: a metric, at one place of its axis if it has one."""

    metric: str
    axis: str | None
    at: float
    higher_is_better: bool
    values: Floats  # [methods, examples], nan where undefined

    @property
    def oriented(self) -> Floats:
        """The values, turned so that more is better."""
        return self.values if self.higher_is_better else -self.values

    @property
    def label(self) -> str:
        return label(self.metric, self.axis, self.at)


def label(metric: str, axis: Any, at: Any) -> str:
    """As in "sensitivity_n (n=5)"."""
    return f"{metric} ({plain_axis(axis)}={at:g})" if isinstance(axis, str) else metric


def plain_axis(axis: str) -> str:
    """Without the metric's name, which an axis has where two metrics are on different grids."""
    return axis.split(" (")[0]


def summary(
    dataset: xr.Dataset, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0, metric: MetricType = None
) -> pd.DataFrame:
    """What each method scores on the average example, how sure that is, and its place among the methods.

    A row per metric, `axis`, `at` and method:

    - `mean` and `median` over the examples with a score; `low`, `high`: BCa bootstrap interval of the mean over examples. It is NaN with
      fewer than 3 scores, and the value itself where all scores are equal.
    - `rank`: 1 is the best mean; equal means share the better rank. `rank_low`, `rank_high` and `p_best`, the probability of rank 1 (ties share it),
      are from the same resamples of examples for all methods and metrics, so what is hard about an example doesn't blur the ranks.
    - `tied_with_best`: as in :func:`tie_with_best`.
    - `undefined`: the share of examples without a score; `examples`: the number with one; `higher_is_better`.
    """
    _check_fraction("confidence", confidence)
    if n_resamples < 1:
        raise ValueError(f"`n_resamples` must be at least 1, got {n_resamples}.")
    methods, found = _methods(dataset), scores(dataset, metric)
    stacked = np.concatenate([score.values for score in found])  # [scores * methods, examples]
    means = resampled_means(stacked, n_resamples, seed).reshape(n_resamples, len(found), len(methods))
    return _table(_summary(score, methods, means[:, i], confidence) for i, score in enumerate(found))


def _summary(score: Score, methods: list[str], means: Floats, confidence: float) -> pd.DataFrame:
    frame = pd.DataFrame(score.values.T)  # its reductions skip nan
    ranks = ranks_of(means if score.higher_is_better else -means)  # [resamples, methods]
    observed = frame.mean().to_numpy()
    intervals = [bca(v[np.isfinite(v)], m[np.isfinite(m)], confidence) for v, m in zip(score.values, means.T)]
    rank_intervals = [rank_interval(r[np.isfinite(r)], confidence) for r in ranks.T]
    return _rows(
        score,
        methods,
        mean=observed,
        low=[low for low, _ in intervals],
        high=[high for _, high in intervals],
        median=frame.median().to_numpy(),
        rank=ranks_of(observed if score.higher_is_better else -observed),
        rank_low=[low for low, _ in rank_intervals],
        rank_high=[high for _, high in rank_intervals],
        p_best=share_of_firsts(ranks),
        tied_with_best=_ties(score, methods, confidence)["tied_with_best"].to_numpy(),
        undefined=frame.isna().mean().to_numpy(),
        examples=frame.count().to_numpy(),
        higher_is_better=score.higher_is_better,
    )


def compare(
    dataset: xr.Dataset,
    metric: MetricType = None,
    baseline: str = "random",
    correction: str = "holm",
    alternative: str = "two-sided",
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Every other method against `baseline`, example by example. **Positive is better than the baseline**, whatever the metric's direction.

    A row per metric (all with a direction, or those named), `axis`, `at` and method, over the `pairs` examples on which both have a score:

    - `effect`: matched rank-biserial correlation, (R+ - R-) / (R+ + R-) of the ranks of the absolute differences: 1 where the method is
      better on every example, 0 where neither is. NaN without a pair.
    - `median_difference`, in the metric's unit.
    - `p`: Wilcoxon signed-rank test, zero differences split between the sides. `alternative="greater"` asks for better than the baseline, `"less"`
      for worse. NaN with fewer than 6 pairs, of which no outcome is below 0.05.
    - `p_corrected`: over all rows of this call, by `correction` `"holm"` (the chance of one false claim) or `"bh"` (the share of false claims);
      rows without a `p` don't count.
    - `better`: `p_corrected < alpha` and `effect > 0`.
    """
    methods = _methods(dataset)
    check_choice("correction", correction, CORRECTIONS)
    check_choice("alternative", alternative, ("two-sided", "greater", "less"))
    _check_fraction("alpha", alpha)
    if baseline not in methods:
        raise ValueError(
            f"`baseline` must be one of the methods {_listed(methods)}, got {baseline!r}. "
            "Evaluate the random control too, `captum_ext.random_attribution`, or name the method to compare with."
        )
    table = _table(_against(score, methods, baseline, alternative) for score in scores(dataset, metric))
    table["p_corrected"] = corrected(table["p"].to_numpy(), correction)
    table["better"] = (table["p_corrected"] < alpha) & (table["effect"] > 0)
    return table


def _against(score: Score, methods: list[str], baseline: str, alternative: str) -> pd.DataFrame:
    others = [i for i, name in enumerate(methods) if name != baseline]
    differences = score.oriented[others] - score.oriented[methods.index(baseline)]
    return _rows(
        score,
        [methods[i] for i in others],
        baseline=baseline,
        effect=rank_biserial(differences),
        median_difference=pd.DataFrame(differences.T).median().to_numpy(),
        pairs=np.isfinite(differences).sum(-1),
        p=[signed_rank_p(d[np.isfinite(d)], alternative) for d in differences],
    )


def tie_with_best(dataset: xr.Dataset, confidence: float = 0.95, metric: MetricType = None) -> pd.DataFrame:
    """Which methods can't be told from the best one.

    `best` is the method with the best mean (the first of equals). The others are compared with it example by example: two-sided Wilcoxon signed-rank
    test, Holm over the methods of the metric. `tied_with_best` is true of the best and of every method with a score whose
    `p_corrected` is not below `1 - confidence`, also for want of pairs. The best was picked on the same examples, so a method may be called worse a
    little too readily; differences on new data are what settles it.
    """
    _check_fraction("confidence", confidence)
    return _table(_ties(score, _methods(dataset), confidence) for score in scores(dataset, metric))


def _ties(score: Score, methods: list[str], confidence: float) -> pd.DataFrame:
    means = pd.DataFrame(score.oriented.T).mean().to_numpy()
    scored = np.isfinite(means)
    best = int(np.where(scored, means, -np.inf).argmax())
    differences = np.delete(score.oriented, best, 0) - score.oriented[best]
    p = corrected(np.array([signed_rank_p(d[np.isfinite(d)], "two-sided") for d in differences]), "holm")
    p = np.insert(p, best, np.nan)
    is_best = scored & (np.arange(len(methods)) == best)
    return _rows(score, methods, best=is_best, p_corrected=p, tied_with_best=scored & ~(p < 1 - confidence))


def mean_ranks(dataset: xr.Dataset, metric: MetricType = None) -> pd.DataFrame:
    """`rank`: the mean over examples of a method's rank on the example, 1 the best; equal scores share the mean of their ranks.

    Examples without a score of the method are left out; the ranks on an example are among the methods that have a score there.
    """
    methods = _methods(dataset)
    return _table(
        _rows(score, methods, rank=pd.DataFrame(_ranks_in_example(score).T).mean().to_numpy())
        for score in scores(dataset, metric)
    )


def agreement(dataset: xr.Dataset) -> pd.DataFrame:
    """Whether metrics rank the methods alike: a row per pair of metrics (and places on their axes).

    `correlation` is Spearman's over the methods, one per example, averaged over the `examples` for which it exists by Fisher's z. More is turned to mean
    better in every metric first. With few methods many correlations are exactly 1 or -1, where z is infinite: all are drawn in by the factor
    c = 1 - 6 / (m^3 - m) of `m` methods, half the step from 1 to the next lower value, and the average is drawn out again: tanh(mean(artanh(c r))) / c. So
    perfect agreement on every example stays 1. An example counts with 3 methods or more that both metrics score, and not all alike.
    """
    methods, found = _methods(dataset), scores(dataset)
    if len(methods) < 3:
        raise ValueError(f"`agreement` correlates over methods and needs at least 3, got {len(methods)}.")
    records = []
    for one, other in combinations(found, 2):
        r = spearman_of_examples(one.oriented, other.oriented)
        r = r[np.isfinite(r)]
        pair = (one.metric, one.axis, one.at, other.metric, other.axis, other.at)
        records.append((*pair, fisher_mean(r, len(methods)), len(r)))
    columns = ["metric", "axis", "at", "other", "other_axis", "other_at", "correlation", "examples"]
    return pd.DataFrame(records, columns=columns)


def ranking_consistency(dataset: xr.Dataset) -> pd.DataFrame:
    """Whether a metric ranks the methods alike on every example: Krippendorff's `alpha`, ordinal, of the rankings per example.

    1: the same ranking on each; 0: what chance gives. Over the `examples` on which every method is scored; methods without a score anywhere are left
    out. NaN with fewer than 2 examples or `methods`, and where all scores of each example are equal.
    """
    return _table(_consistency(score) for score in scores(dataset))


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


def reliability(halves: Any) -> pd.DataFrame:
    """How much of the difference between examples is sampling noise of the score. A row per metric, `axis`, `at` and method.

    `halves`: the scores from two halves of the draws, as an array [attribution, example, half], an `xarray.DataArray` with these dims (and the
    metric's axis), or a dataset with variables that have the attribute `halves_of`. For the mean of the halves: `noise` = mean((h1 - h2)^2) / 4,
    its variance by the draws; `total` = its variance over examples; `share` = noise / total, cut to [0, 1]. A large share asks for more
    draws. Examples without both halves are left out; NaN with fewer than 2, and `share` is NaN where `total` is 0.
    """
    return _table(
        pd.DataFrame({"metric": name, "axis": axis, "at": at, "attribution": methods, **_noise(values)})
        for name, methods, variable in _halves(halves)
        for axis, at, values in _points(variable, "attribution", "example", "half")
    )


def _noise(values: Floats) -> dict[str, Any]:
    values = np.where(np.isfinite(values).all(-1, keepdims=True), values, np.nan)
    examples = np.isfinite(values[..., 0]).sum(-1)
    noise = pd.DataFrame(((values[..., 0] - values[..., 1]) ** 2).T).mean().to_numpy() / 4
    noise = np.where(examples > 1, noise, np.nan)
    total = pd.DataFrame(values.mean(-1).T).var().to_numpy()
    share = np.clip(np.divide(noise, total, out=np.full_like(noise, np.nan), where=total > 0), 0, 1)
    return {"noise": noise, "total": total, "share": share, "examples": examples}


def _halves(halves: Any) -> Iterator[tuple[Any, list[Any], xr.DataArray]]:
    """Name, methods and scores of everything given in halves."""
    dims = ("attribution", "example", "half")
    if isinstance(halves, xr.Dataset):
        variables = [v for v in halves.data_vars.values() if "halves_of" in v.attrs]
        if not variables:
            raise ValueError(
                "`halves` has no variable with the attribute `halves_of`, so no scores from halves of draws."
            )
    else:
        variables = [halves if isinstance(halves, xr.DataArray) else _three_axes(halves, dims)]
    for variable in variables:
        if not set(dims) <= set(variable.dims) or variable.sizes["half"] != 2:
            raise ValueError(f"`halves` must have the dims {', '.join(dims)}, two of half; got {dict(variable.sizes)}.")
        yield variable.attrs.get("halves_of", variable.name), variable["attribution"].values.tolist(), variable


def _three_axes(halves: Any, dims: tuple[str, ...]) -> xr.DataArray:
    values = np.asarray(halves, dtype=np.float64)
    if values.ndim != 3:
        raise ValueError(f"`halves` must have shape (methods, examples, 2), got {values.shape}.")
    return xr.DataArray(values, dims=dims)


def _ranks_in_example(score: Score) -> Floats:
    return np.asarray(stats.rankdata(-score.oriented, axis=0, nan_policy="omit"))


# The dataset


def scores(dataset: xr.Dataset, metric: MetricType = None) -> list[Score]:
    """Every score with a direction, or those of the metrics named; a metric with further axes gives one for each of their points."""
    _methods(dataset)
    directed = [str(name) for name in dataset.data_vars if dataset[name].attrs.get("higher_is_better") is not None]
    if not directed:
        raise ValueError(
            "`dataset` has no metric with a direction (`higher_is_better`), so there is nothing to rank. "
            "Curves have none: evaluate their areas too, such as `deletion` beside `deletion_curve`."
        )
    names = directed if metric is None else [metric] if isinstance(metric, str) else list(metric)
    for name in names:
        check_choice("metric", name, directed)
    return [score for name in names for score in _scores_of(name, dataset[name])]


def _scores_of(name: str, variable: xr.DataArray) -> Iterator[Score]:
    for axis, at, values in _points(variable, "attribution", "example"):
        higher = bool(variable.attrs["higher_is_better"])
        yield Score(name, axis, at, higher, np.where(np.isfinite(values), values, np.nan))


def _points(variable: xr.DataArray, *last: str) -> Iterator[tuple[str | None, float, Floats]]:
    """Axis, place and values `[*last]` at every place of the variable's own axis, if it has one."""
    variable = variable.astype(np.float64).transpose(..., *last)
    axes = [str(dim) for dim in variable.dims[: -len(last)]]
    if len(axes) > 1:
        raise ValueError(f"{variable.name!r} must have one axis besides {', '.join(last)} at most, got {axes}.")
    if not axes:
        yield None, np.nan, variable.values
    else:
        yield from ((axes[0], float(at), values) for at, values in zip(variable[axes[0]].values, variable.values))


def _methods(dataset: xr.Dataset) -> list[str]:
    if not isinstance(dataset, xr.Dataset):
        raise TypeError(
            f"`dataset` must be an xarray.Dataset, such as `Evaluation.dataset`, got {type(dataset).__name__}."
        )
    missing = {"attribution", "example"} - set(dataset.coords)
    if missing or not dataset.sizes["attribution"] or not dataset.sizes["example"]:
        raise ValueError(
            "`dataset` must have the coordinates `attribution` and `example`, neither of them empty; "
            f"got sizes {dict(dataset.sizes)} and coordinates {sorted(map(str, dataset.coords))}."
        )
    return [str(name) for name in dataset["attribution"].values]


def _rows(score: Score, methods: list[str], **columns: Any) -> pd.DataFrame:
    place = {"metric": score.metric, "axis": score.axis, "at": score.at}
    return pd.DataFrame({**place, "attribution": methods, **columns})


def _table(frames: Iterator[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(frames), ignore_index=True)


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"`{name}` must be between 0 and 1, neither included; got {value!r}.")


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))

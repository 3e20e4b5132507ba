"""Whether a metric can be trusted on one's own data: does it tell a map from a worse one, and ignore harmless changes?

These are the two questions of MetaQuantus (Hedström et al. 2023, arXiv:2302.07265), asked of scores that are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .._core.checks import check_count, check_fraction, describe
from .score import GROUP, Score, check_dataset, scores
from .statistics import Floats, Ranked, bca, difference, fisher_mean, resampled_means

WANTED = ("worse", "same")  # of disrupted maps, and of harmlessly changed ones


def meta_evaluation(
    dataset: xr.Dataset,
    disrupted: Any = None,
    harmless: Any = None,
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """How each metric takes a change of the maps: one that must make them worse, and one that must not matter.

    Args:
        disrupted: scores of the same examples by the same metrics, for maps that must be worse, such as those of
            `captum_ext.shuffled_attribution`: a dataset or an `Evaluation`, or a mapping from the name of a change to
            such. It may lack some of the methods. Leave out the random control, as shuffled noise is no worse.
        harmless: the same for changes that must not matter, such as maps times 3 by
            `captum_ext.changed_attribution`, or another implementation of the same model.
        confidence, n_resamples, seed: of the bootstrap interval over examples.

    Returns:
        a row per metric, `axis`, `at` and change:

        - `change` and what is `wanted` of the changed maps' scores: to be `"worse"`, or the `"same"`.
        - `beaten`: the share of methods and examples on which the map scores better than the changed one, ties as
          halves. 1 is best where worse scores are wanted, and 0.5 is a metric that is blind to the change. `low`,
          `high`: BCa bootstrap interval over examples, NaN with fewer than 3.
        - `tied`: the share of equal scores, up to rounding: 1 if the metric takes no notice of the change.
        - `same_ranks`: Spearman's correlation of the methods' scores before and after, one per example, averaged as in
          :func:`agreement`; 1 where the same scores are wanted. NaN with fewer than 3 methods, and where an example's
          scores are all alike.
        - `methods` that are compared, `examples` with both scores of one of them, and `ranked`, those with a
          correlation.

    Raises:
        ValueError, TypeError: no changed scores, or scores of other metrics, methods, examples or targets.
    """
    confidence, seed = check_fraction("confidence", confidence, open_ends=True), check_count("seed", seed, least=0)
    n_resamples = check_count("n_resamples", n_resamples)
    check_dataset(dataset)
    found = [
        _reaction(before, after, confidence, n_resamples, seed) | {"change": name, "wanted": wanted}
        for wanted, name, changed in _changes(dataset, disrupted, harmless)
        for before, after in _pairs(dataset, changed)
    ]
    first = ["metric", "axis", "at", "change", "wanted"]
    table = pd.DataFrame(found)
    return table[[*first, *table.columns.drop(first)]]


def _changes(dataset: xr.Dataset, *given: Any) -> Iterator[tuple[str, str, xr.Dataset]]:
    """What is wanted of a change, its name, and its scores in the order of the dataset's methods and examples."""
    names = ("disrupted", "harmless")
    if all(value is None for value in given):
        raise ValueError("`disrupted` or `harmless` must be given: scores of changed maps to compare with.")
    for argument, wanted, value in zip(names, WANTED, given):
        several = value if isinstance(value, Mapping) and not isinstance(value, xr.Dataset) else {argument: value}
        for name, changed in several.items() if value is not None else ():
            label = f"{argument}[{name!r}]" if several is value else argument
            yield wanted, str(name), _like(dataset, getattr(changed, "dataset", changed), label)


def _like(dataset: xr.Dataset, changed: Any, argument: str) -> xr.Dataset:
    if not isinstance(changed, xr.Dataset):
        raise TypeError(f"`{argument}` must be results of `evaluate`, got {describe(changed)}.")
    check_dataset(changed)
    for axis, wanted in (("attribution", "methods"), ("example", "examples")):
        ours, theirs = dataset[axis].values.tolist(), changed[axis].values.tolist()
        missing = set(theirs) - set(ours) if axis == "attribution" else set(theirs) ^ set(ours)
        if missing:
            raise ValueError(
                f"`{argument}` must have the {wanted} of the scores that it is compared with; {_some(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} in one of them only. Give methods the same names, and both "
                "calls of `evaluate` the same data."
            )
    _check_targets(dataset, changed, argument)
    methods = [name for name in dataset["attribution"].values.tolist() if name in changed["attribution"].values]
    changed = changed.sel(attribution=methods, example=dataset["example"].values)
    groups = {GROUP: ("example", dataset[GROUP].values)} if GROUP in dataset.coords else {}
    return changed.drop_vars(GROUP, errors="ignore").assign_coords(groups)


def _some(names: set[Any]) -> str:
    shown = sorted(names)[:4]
    return ", ".join(map(repr, shown)) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _check_targets(dataset: xr.Dataset, changed: xr.Dataset, argument: str) -> None:
    """Scores of another class tell nothing about the change of a map."""
    if "target" not in dataset.coords or "target" not in changed.coords:
        return
    other = changed["target"].sel(example=dataset["example"].values).values != dataset["target"].values
    if other.any():
        raise ValueError(
            f"`{argument}` explains another predicted class of example {dataset['example'].values[other][0]}, so its "
            "scores cannot be compared. Keep examples of one prediction, or give the classes with the data."
        )


def _pairs(dataset: xr.Dataset, changed: xr.Dataset) -> Iterator[tuple[Score, Score]]:
    """Each score before and after the change, for the methods of both."""
    before = scores(dataset.sel(attribution=changed["attribution"].values))
    after = {score.label: score for score in scores(changed)}
    if missing := {score.label for score in before} ^ after.keys():
        raise ValueError(
            f"Changed maps must be scored by the same metrics, with the same settings; {_some(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} in one of the results only."
        )
    for score in before:
        yield score, after[score.label]


def _reaction(before: Score, after: Score, confidence: float, n_resamples: int, seed: int) -> dict[str, Any]:
    a, b = before.oriented, after.oriented  # [methods, examples]
    known = np.isfinite(a) & np.isfinite(b)
    margins = before.margins(), after.margins()
    gap = difference(a, b, np.fmax(*margins))
    tied = known & (gap == 0)
    beaten = _of_examples(np.where(tied, 0.5, gap > 0), known)
    r = Ranked(a, margins[0]).spearman(Ranked(b, margins[1]))
    r = r[np.isfinite(r)]
    low, high = _interval(beaten, confidence, n_resamples, seed)
    return {
        "metric": before.metric,
        "axis": before.axis,
        "at": before.at,
        "beaten": beaten.mean() if len(beaten) else np.nan,
        "low": low,
        "high": high,
        "tied": _of_examples(tied, known).mean() if known.any() else np.nan,
        "same_ranks": fisher_mean(r, len(a)),
        "methods": len(a),
        "examples": len(beaten),
        "ranked": len(r),
    }


def _interval(values: Floats, confidence: float, n_resamples: int, seed: int) -> tuple[float, float]:
    if not len(values):
        return np.nan, np.nan
    return bca(values, resampled_means(values[None], n_resamples, seed)[:, 0], confidence)


def _of_examples(values: Any, known: Any) -> Floats:
    """`[examples]`: the mean over the methods with both scores, for examples that have such."""
    some = known.any(0)
    return np.asarray(np.where(known, values, 0)[:, some].sum(0) / known[:, some].sum(0))

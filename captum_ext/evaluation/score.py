"""What a dataset of scores holds: its methods, its metrics, and every score that can be ranked, by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .._core.checks import check_choice, describe
from .._core.printing import printable
from .axes import place_label, with_place
from .names import HALVES, OF, STDERR
from .statistics import Floats, difference, rounding_of

MetricType = str | Sequence[str] | None
LARGEST = 1e300  # larger scores cannot be added up
GROUP = "group"  # the coordinate over examples that says which of them belong together


@dataclass(frozen=True)
class Score:
    """One score of every method on every example: a metric, at one place of its axis if it has one."""

    metric: str
    axis: str | None
    at: float
    higher_is_better: bool
    methods: list[str]
    values: Floats  # [methods, examples], nan where undefined; with groups, an example is the mean of a group
    rounding: float = 0.0  # the share of a value up to which a difference is rounding of the type it is stored in
    noise: Floats | None = None  # [methods, examples]: the variance by the metric's random draws, where it is known
    sizes: Floats | None = None  # [methods, groups]: the mean size of a group's scores, which may cancel in their mean

    @property
    def oriented(self) -> Floats:
        """The values, turned so that more is better."""
        return self.turned(self.values)

    def margins(self, examples: slice = slice(None)) -> Floats:
        """`[methods, examples]`: how far rounding may move each value."""
        return self.rounding * np.abs((self.values if self.sizes is None else self.sizes)[:, examples])

    @cached_property
    def margin_of_means(self) -> float:
        """How far rounding may move apart the means of two methods."""
        return float(np.nan_to_num(pd.DataFrame(self.margins().T).mean()).max(initial=0))

    def better_by(self, methods: Any, other: int) -> Floats:
        """`[methods, examples]`: how much better these are than the other; 0 where that is no more than rounding."""
        values, sizes = self.oriented, np.abs(self.values if self.sizes is None else self.sizes)
        chosen = np.arange(len(values))[methods]
        found = np.empty((len(chosen), values.shape[1]))
        for row, i in zip(found, chosen):  # one after the other, as copies of all take longer than the work
            row[:] = difference(values[i], values[other], self.rounding * np.fmax(sizes[i], sizes[other]))
        return found

    def turned(self, values: Floats) -> Floats:
        return values if self.higher_is_better else -values

    @property
    def label(self) -> str:
        return label(self.metric, self.axis, self.at)


def label(metric: str, axis: Any, at: Any) -> str:
    """As in "sensitivity_n (n=5)"."""
    return with_place(metric, place_label([axis], [at])) if isinstance(axis, str) else metric


def labels(table: pd.DataFrame) -> list[str]:
    """The label of every row of a table with the columns `metric`, `axis` and `at`."""
    return [label(*place) for place in zip(table["metric"], table["axis"], table["at"])]


def own_axes(variable: xr.DataArray) -> list[str]:
    """The axis of a curve or of several sizes, or the axes of several curves, beside methods and examples."""
    return [str(dim) for dim in variable.dims if dim not in ("attribution", "example")]


def curves_of(variable: xr.DataArray, *last: str) -> Iterator[tuple[str, str | None, xr.DataArray]]:
    """Each part of a variable that has one axis of its own, with that axis, or none, with None.

    The first is the place on the axes before it, as in "order=morf", empty if there are none.
    """
    axes = [axis for axis in own_axes(variable) if axis not in last]
    for at in np.ndindex(*(variable.sizes[axis] for axis in axes[:-1])):
        part = variable.isel(dict(zip(axes, at)), drop=True)
        places = [variable[axis].values[i] for axis, i in zip(axes, at)]
        yield place_label(axes[:-1], places), axes[-1] if axes else None, part


def methods_of(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset["attribution"].values]


def metrics_of(dataset: xr.Dataset) -> list[str]:
    """All variables but those with the noise of another one's scores."""
    return [str(name) for name, v in dataset.data_vars.items() if not set(OF.values()) & v.attrs.keys()]


def part_of(dataset: xr.Dataset, metric: str, part: str) -> xr.DataArray | None:
    """The variable with that part of what is known of the noise of a metric's scores, if there is one."""
    variables = (v for v in dataset.data_vars.values() if OF[part] in v.attrs)
    return next((v for v in variables if printable(v.attrs[OF[part]]) == printable(metric)), None)


def presentable(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with names that can be printed, for all that shows them."""
    shown = {name: printable(str(name)) for name in {*dataset.variables, *dataset.dims}}
    dataset = dataset.rename({name: new for name, new in shown.items() if name != new})
    methods = dataset.coords.get("attribution")
    if methods is None or all(str(name).isprintable() for name in methods.values):
        return dataset
    return dataset.assign_coords(attribution=[printable(str(name)) for name in methods.values])


def failures_of(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """What failed, of which each has an entry in the attribute `failures`."""
    stored = dataset.attrs.get("failures", "[]")
    try:
        found = json.loads(stored)
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, list) or not all(isinstance(failure, dict) for failure in found):
        raise ValueError(f"The attribute `failures` of the results must be a list of mappings in JSON, got {stored!r}.")
    return found


def scores(dataset: xr.Dataset, metric: MetricType = None) -> list[Score]:
    """Every score with a direction, or those of the metrics named; a metric with an axis gives one for each place.

    Examples that the coordinate `group` puts together are not independent, so they count as one, with their mean.
    """
    check_dataset(dataset)
    dataset = presentable(dataset)
    directed = [str(name) for name in dataset.data_vars if dataset[name].attrs.get("higher_is_better") is not None]
    if not directed:
        raise ValueError(
            "`dataset` has no metric with a direction (`higher_is_better`), so there is nothing to rank. "
            "Curves have none: evaluate their areas too, such as `deletion` beside `deletion_curve`."
        )
    if not (metric is None or isinstance(metric, (str, Iterable))):
        raise TypeError(f"`metric` must be the name of a metric, several names or None, got {describe(metric)}.")
    names = directed if metric is None else [metric] if isinstance(metric, str) else list(metric)
    names = [printable(name) if isinstance(name, str) else name for name in names]
    if not names:
        raise ValueError(f"`metric` must name at least one metric, got {metric!r}. Leave it out for all of them.")
    for name in names:
        check_choice("metric", name, directed)
    methods, groups = methods_of(dataset), groups_of(dataset)
    return [score for name in names for score in _scores_of(name, dataset, methods, groups)]


def _scores_of(name: str, dataset: xr.Dataset, methods: list[str], groups: Sequence[int] | None) -> Iterator[Score]:
    higher, noise = bool(dataset[name].attrs["higher_is_better"]), noise_of(dataset, name)
    for axis, at, values in points(dataset[name], "attribution", "example"):
        values = np.where(np.abs(values) < LARGEST, values, np.nan)
        of_draws = None if noise is None else next(noise)
        sizes = None
        if groups is not None:
            of_draws = None if of_draws is None else grouped(of_draws, groups) / _known(of_draws, groups)
            values, sizes = grouped(values, groups), grouped(np.abs(values), groups)
        yield Score(name, axis, at, higher, methods, values, rounding_of(dataset[name].dtype), of_draws, sizes)


def noise_of(dataset: xr.Dataset, metric: str) -> Iterator[Floats] | None:
    """The variance by the draws `[methods, examples]`, at every place of the metric's own axes; None if unknown."""
    stderr, halves = (part_of(dataset, metric, part) for part in (STDERR, HALVES))
    if stderr is not None:
        return (values**2 for _, _, values in points(stderr, "attribution", "example"))
    if halves is not None:
        return (of_halves(values) for _, _, values in points(halves, "attribution", "example", "half"))
    return None


def of_halves(values: Floats) -> Floats:
    """Of the mean of two halves of the draws."""
    return np.asarray((values[..., 0] - values[..., 1]) ** 2 / 4)


def groups_of(dataset: xr.Dataset) -> list[int] | None:
    """The number of each example's group, in the order in which groups come; None where there are no groups.

    Where results without groups were joined to others, their labels are nan or empty, and each example is a group.
    """
    if GROUP not in dataset.coords:
        return None
    of_none = (dataset[GROUP].isnull() | (dataset[GROUP] == "")).values
    labels = [(i,) if of_none[i] else label for i, label in enumerate(dataset[GROUP].values.tolist())]
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return [numbers[label] for label in labels]


def grouped(values: Floats, groups: Sequence[int]) -> Floats:
    """`[methods, groups]`: over the defined values of each group; nan without one."""
    sums = np.stack([np.bincount(groups, row) for row in np.where(np.isfinite(values), values, 0)])
    with np.errstate(invalid="ignore"):
        return sums / _known(values, groups)


def _known(values: Floats, groups: Sequence[int]) -> Floats:
    """`[methods, groups]`: how many values are defined; nan where none is."""
    found = np.stack([np.bincount(groups, row) for row in np.isfinite(values)])
    return np.where(found, found, np.nan)


def points(variable: xr.DataArray, *last: str) -> Iterator[tuple[str | None, float, Floats]]:
    """Axis, place and values `[*last]` at every place of the variable's own axes, if it has any.

    Of two axes, the place on the first is in the name, as in "order=morf, fraction".
    """
    for place, axis, curve in curves_of(variable.astype(np.float64).transpose(..., *last), *last):
        if axis is None:
            yield None, np.nan, curve.values
        else:
            name = f"{place}, {axis}" if place else axis
            yield from ((name, float(at), values) for at, values in zip(curve[axis].values, curve.values))


def check_dataset(dataset: xr.Dataset) -> None:
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

"""The scores of a run as one labelled data set: save, load, merge, and the questions one asks of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .._core.checks import check_choice, describe
from . import comparison, display
from .files import check_writable
from .formats import FORMATS, format_of
from .score import own_axis
from .store import ShardStore, side_by_side


class Evaluation:
    """The scores of every method, metric and example.

    `dataset` is an `xarray.Dataset` with a variable per metric over `attribution` (the method's name), `example` (its
    place in the data set) and, for curves and several sizes, the metric's own axis (`fraction`, `n`). The attributes of
    a variable are `higher_is_better`, `metric`, `arguments` and `reference`; those of the dataset include the seed and
    the versions. What is missing or undefined is NaN.
    """

    def __init__(self, dataset: xr.Dataset):
        self.dataset = dataset

    @property
    def failures(self) -> list[dict[str, Any]]:
        """What failed under `on_error="record"`.

        Each failure has its attribution, metric, first and last example, and error.
        """
        return json.loads(self.dataset.attrs.get("failures", "[]"))

    def save(self, path: str | os.PathLike[str], format: str = "hdf5") -> None:
        """Writes the results, whole or not at all.

        `"hdf5"` is a file that h5py, xarray and netCDF read; `"csv"` is a folder of tables; `"zarr"` is a folder that
        xarray reads in parts (needs ``pip install "captum-ext[zarr]"``).
        """
        check_choice("format", format, FORMATS)
        FORMATS[format].save(self.dataset, check_writable(path))

    def to_dataframe(self) -> pd.DataFrame:
        """A tidy table with a row per score.

        Its columns are `metric`, `attribution`, `example`, `axis`, `at` (the place on the metric's own axis) and
        `score`.
        """
        return pd.concat(
            [_tidy(str(name), variable) for name, variable in self.dataset.data_vars.items()], ignore_index=True
        )

    def merge(self, *others: Evaluation) -> Evaluation:
        """Joins these scores with those of other methods, metrics or examples; no score may be in two of them."""
        merged, failures = self.dataset, self.failures
        for other in others:
            if not isinstance(other, Evaluation):
                raise TypeError(f"`others` must be results of `evaluate`, got {describe(other)}.")
            _check_disjoint(merged, other.dataset)
            merged, failures = _merged(merged, other.dataset), failures + other.failures
        return Evaluation(merged.assign_attrs(failures=json.dumps(failures)))

    def summary(self, **options: Any) -> pd.DataFrame:
        """Mean, interval over examples and rank of each method: see `captum_ext.evaluation.comparison.summary`."""
        return comparison.summary(self.dataset, **options)

    def compare(self, metric: str | None = None, baseline: str = "random", **options: Any) -> pd.DataFrame:
        """Tests every method against one, paired by example: see `captum_ext.evaluation.comparison.compare`."""
        return comparison.compare(self.dataset, metric, baseline, **options)

    def agreement(self) -> pd.DataFrame:
        """Whether metrics rank the methods alike: see `captum_ext.evaluation.comparison.agreement`."""
        return comparison.agreement(self.dataset)

    def ranking_consistency(self) -> pd.DataFrame:
        """Whether examples rank the methods alike: see `captum_ext.evaluation.comparison.ranking_consistency`."""
        return comparison.ranking_consistency(self.dataset)

    def reliability(self) -> pd.DataFrame:
        """How much of the scores' spread is noise of the draws: see `captum_ext.evaluation.comparison.reliability`.

        It needs the two halves of the draws: `evaluate(..., halves=True)`.
        """
        return comparison.reliability(self.dataset)

    def report(
        self,
        path: str | os.PathLike[str],
        data: Any = None,
        attributions: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        n_examples: int = 12,
        baseline: str = "random",
        confidence: float = 0.95,
    ) -> None:
        """Writes the results as one page: a single HTML file, whole or not at all.

        It shows the verdict in a sentence and what limits it, the table of scores with intervals, curves, examples one
        by one, the agreement of the metrics, and what is needed to repeat the run. Needs
        `pip install "captum-ext[report]"`.

        Args:
            path: where to write; nothing may be there yet.
            data: the data set that was evaluated, to show its inputs: images `[1 or 3, H, W]`, or vectors.
            attributions: what to show as maps. A mapping from a method's name to a tensor (or array, or tuple of them)
                with a row per example of the data set, or to a path that `attribute_dataset` wrote; or one such path
                for all methods. Methods without one are shown without a map.
            n_examples: how many examples to show, evenly spread over the data set.
            baseline: the method that the others should beat.
            confidence: the level of the intervals, and of the test whether a method is distinguishable from the best.
        """
        from ..report import write

        write(self.dataset, path, data, attributions, n_examples, baseline, confidence)

    def __repr__(self) -> str:
        return display.as_text(self.dataset)

    def _repr_html_(self) -> str:
        return display.as_html(self.dataset)


def assemble(store: ShardStore, variables: Mapping[str, Mapping[str, Any]]) -> xr.Dataset:
    """The shards of a finished run, side by side and labelled."""
    shards = [store.read(shard) for shard in range(len(store))]
    dataset = xr.Dataset(
        coords={"attribution": list(store.manifest["methods"]), "example": np.arange(store.manifest["examples"])}
    )
    for i, (name, about) in enumerate(variables.items()):
        scores = side_by_side([s[str(i)] for s in shards])
        dataset = _with_variable(dataset, variables, name, scores, about)
        if f"{i}.halves" in shards[0]:
            halves = side_by_side([s[f"{i}.halves"] for s in shards])
            dataset[f"{name}:halves"] = (*dataset[name].dims, "half"), halves, {"halves_of": name}
    failures = [f for s in shards for f in json.loads(str(s["failures"]))]
    about_run = {k: store.manifest[k] for k in ("seed", "batch_size", "device", "model") if k in store.manifest}
    about_run = {k: v if isinstance(v, (int, str)) else json.dumps(v) for k, v in about_run.items()}
    return dataset.assign_attrs(
        **about_run, **store.manifest["versions"], run_id=store.run_id, failures=json.dumps(failures)
    )


def _with_variable(
    dataset: xr.Dataset, taken: Mapping[str, Any], name: str, scores: np.ndarray[Any, Any], about: Mapping[str, Any]
) -> xr.Dataset:
    dims: tuple[str, ...] = ("attribution", "example")
    if scores.ndim == 3:
        axis, places = about["axis"] or ("point", None)
        places = list(range(scores.shape[2])) if places is None else places
        known = dataset.coords.get(axis)
        if axis in taken or (
            known is not None and (len(known) != len(places) or (known.to_numpy() != np.array(places)).any())
        ):
            axis = f"{axis} ({name})"  # another grid than the metrics before
        dataset = dataset.assign_coords({axis: places})
        dims = (*dims, axis)
    elif scores.ndim > 3:
        raise ValueError(
            f"Metric {name!r} gave scores of shape {scores.shape[1:]}; "
            "one value, or one axis of values, per example is needed."
        )
    attributes = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in about["attributes"].items()}
    return dataset.assign({name: (dims, scores, attributes)})


def load(path: str | os.PathLike[str]) -> Evaluation:
    """Results that `Evaluation.save` or `evaluate(path=...)` wrote, in any of the formats."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"`path` {path} does not exist.")
    try:
        dataset = format_of(path).load(path)
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"`path` {path} is not a result of captum_ext, or it is damaged: {error!r}.") from error
    if not {"attribution", "example"} <= set(dataset.dims):
        raise ValueError(f"`path` {path} is not a result of captum_ext: it has no axes `attribution` and `example`.")
    return Evaluation(dataset)


def _tidy(name: str, variable: xr.DataArray) -> pd.DataFrame:
    axis = own_axis(variable)
    frame = variable.rename("score").to_dataframe().reset_index()
    frame["metric"], frame["axis"], frame["at"] = name, axis, frame[axis] if axis else np.nan
    return frame[["metric", "attribution", "example", "axis", "at", "score"]]


def _merged(ours: xr.Dataset, theirs: xr.Dataset) -> xr.Dataset:
    for axis in set(ours.dims) & set(theirs.dims) - {"attribution", "example"}:
        if axis in ours.coords and not ours[axis].equals(theirs[axis]):  # another grid keeps an axis of its own
            theirs = theirs.rename(
                {axis: f"{axis} ({', '.join(str(n) for n, v in theirs.data_vars.items() if axis in v.dims)})"}
            )
    merged = xr.merge([ours, theirs], join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")
    methods = dict.fromkeys([*ours.attribution.values.tolist(), *theirs.attribution.values.tolist()])
    return merged.sel(attribution=list(methods))  # in the order they were given, not of the alphabet


def _check_disjoint(ours: xr.Dataset, theirs: xr.Dataset) -> None:
    for name in set(ours.data_vars) & set(theirs.data_vars):
        a, b = ours[name], theirs[name]
        if a.dims != b.dims or any(a.attrs.get(k) != b.attrs.get(k) for k in {*a.attrs, *b.attrs}):
            raise ValueError(
                f"Metric {name!r} is not the same in both results: {a.dims} {a.attrs} and {b.dims} {b.attrs}. "
                "Rename one of them."
            )
        methods = sorted(set(a.attribution.values.tolist()) & set(b.attribution.values.tolist()))
        examples = sorted(set(a.example.values.tolist()) & set(b.example.values.tolist()))
        both = (
            a.sel(attribution=methods, example=examples).notnull()
            & b.sel(attribution=methods, example=examples).notnull()
        ).any()
        if methods and examples and bool(both):
            raise ValueError(
                f"Both results have scores of metric {name!r} for methods {methods} "
                f"on examples {examples[0]} to {examples[-1]}."
            )

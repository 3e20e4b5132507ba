"""The scores of a run as one labelled data set: save, load, merge, and the questions one asks of it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from .._core.checks import check_choice, check_flag, describe
from .._core.estimates import FEW, Noise, few_draws
from .._core.guard import frames_of_package
from . import comparison, display, meta_evaluation, tables_for_text
from .advice import advice
from .axes import common_lengths, named_axes, place_label
from .contents import Contents
from .cost import COLUMNS as COLUMNS_OF_COSTS
from .files import as_path, replacing
from .formats import FORMATS, check_replaceable, load_any
from .kept_maps import Kept
from .labels import PREDICTED
from .names import AXES, COLUMNS, N_EFF, OF, STDERR
from .score import GROUP, failures_of, metrics_of, own_axes, part_of
from .store import of_all, side_by_side
from .verdict import ATTRIBUTES, decisions_of, listed, sentences, table, with_unfinished


class Evaluation:
    """The scores of every method, metric and example.

    `dataset` is an `xarray.Dataset` with a variable per metric over `attribution` (the method's name), `example` (its
    place in the data set) and, for curves and several sizes, the metric's own axis (`fraction`, `n`) or axes. The
    attributes of a variable are `higher_is_better`, `metric`, `arguments` and `reference`; those of the dataset include
    the seed and the versions. What is missing or undefined is NaN.

    `kept` has the maps of a dozen examples for the report, where `evaluate` made the results, or None.
    """

    def __init__(self, dataset: xr.Dataset, kept: Kept | None = None):
        self.dataset = dataset
        self.kept = kept

    @property
    def failures(self) -> list[dict[str, Any]]:
        """What failed under `on_error="record"`.

        Each failure has its attribution, metric, first and last example, and error.
        """
        return failures_of(self.dataset)

    @property
    def cost(self) -> pd.DataFrame:
        """Seconds and model rows of the run that `evaluate` made, over all its examples and workers.

        A row per `metric` and `attribution`; explanations have an empty `metric`. Methods that share a metric's model
        rows have one row, "several together". What several metrics share is counted where it was computed first. `rows`
        is NaN where the model is no module. Empty where the costs are not known. No comparison of results takes part in
        them, and on a GPU seconds are those of the calls, which may wait for work that an earlier one began.
        """
        return pd.DataFrame(columns=COLUMNS_OF_COSTS) if self.kept is None else self.kept.costs

    def save(self, path: str | os.PathLike[str], format: str = "hdf5", *, overwrite: bool = False) -> None:
        """Writes the results, whole or not at all.

        `"hdf5"` is a file that h5py, xarray and netCDF read; `"csv"` is a folder of tables; `"zarr"` is a folder that
        xarray reads in parts (needs ``pip install "captum-ext[zarr]"``). Each has checksums, which `load` compares; for
        the files of a folder they are in `SHA256SUMS`.

        With `overwrite`, a file at `path` is replaced, and so is a folder of results, but no other folder.
        """
        check_choice("format", format, FORMATS)
        target = check_replaceable(path, check_flag("overwrite", overwrite))
        with replacing(target) as place:
            FORMATS[format].save(self.dataset, place, self.kept)

    def to_dataframe(self) -> pd.DataFrame:
        """A tidy table with a row per score.

        Its columns are `metric`, `attribution`, `example`, `axis`, `at` (the place on the metric's own axis), `score`
        and, if the results have standard errors, `stderr`. Of two axes, the place on the first is in `axis`, as in
        "order=morf, fraction".
        """
        errors = {name: part_of(self.dataset, name, STDERR) for name in metrics_of(self.dataset)}
        frames = [_tidy(name, self.dataset[name], stderr) for name, stderr in errors.items()]
        if not any(stderr is not None for stderr in errors.values()):
            frames = [frame.drop(columns="stderr") for frame in frames]
        return pd.concat(frames, ignore_index=True)

    def merge(self, *others: Evaluation) -> Evaluation:
        """Joins these scores with those of other methods, metrics or examples; no score may be in two of them.

        What one of them had decided is left out: ask `verdict` again. Groups of examples must agree. Results of several
        models can be joined, once their methods have different names: a warning says which metrics are then compared.
        """
        merged, failures = self.dataset, self.failures
        for other in others:
            if not isinstance(other, Evaluation):
                raise TypeError(f"`others` must be results of `evaluate`, got {describe(other)}.")
            _check_disjoint(merged, other.dataset)
            _check_targets(merged, other.dataset)
            _check_groups(merged, other.dataset)
            _warn_of_other_model(merged, other.dataset)
            merged, failures = _merged(merged, other.dataset), failures + other.failures
        merged = merged.assign_attrs(failures=json.dumps(failures))
        merged.attrs = {k: v for k, v in merged.attrs.items() if k not in ATTRIBUTES}  # decided of one of them alone
        kept = next((one.kept for one in (self, *others) if one.kept is not None), None)
        return Evaluation(with_unfinished(merged, [self.dataset, *(other.dataset for other in others)]), kept)

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

        It needs the scores' standard errors: `evaluate(..., stderr=True)`.
        """
        return comparison.reliability(self.dataset)

    def meta_evaluation(self, disrupted: Any = None, harmless: Any = None, **options: Any) -> pd.DataFrame:
        """How each metric takes a change of the maps, such as `shuffled_attribution`.

        `disrupted` and `harmless` are results for changed maps, or mappings from the name of a change to results: see
        `captum_ext.evaluation.meta_evaluation.meta_evaluation`.
        """
        return meta_evaluation.meta_evaluation(self.dataset, disrupted, harmless, **options)

    def certainty(
        self, until: str | Mapping[str, str] | None = None, *, alpha: float | None = None, within: float | None = None
    ) -> pd.DataFrame:
        """How sure it is which of two methods is better on a typical example, and since which example.

        Takes the arguments of `evaluate`; what is left out is as it was there, or its default. The scores may have
        been computed without `until`; the order of their examples must not depend on the scores.

        A row per metric, `axis`, `at` and comparison of `method` with `other`:

        - `within`: the share of the method's lead over the control that is added to each difference. 0 is strict.
        - `mean_difference`, without that share. **Positive is better than the other**, whatever the metric's direction.
        - `log_e_value`: the logarithm of the evidence that the two are not equally good. The pair is decided once it
          reaches `threshold`.
        - `decided`: "better", "worse" or empty; `decided_at`: after how many examples, 0 if it is not decided.
        - `contradictory`: decided, but the mean (with the share of `within`) points the other way, as it may where
          differences are skewed. Such a pair never makes a method the best.
        - `examples` that count for the pair, and those `left_out`, as one of the scores is undefined. With groups these
          are numbers of groups.
        """
        return table(decisions_of(self.dataset, until, alpha, within))

    def verdict(
        self, until: str | Mapping[str, str] | None = None, *, alpha: float | None = None, within: float | None = None
    ) -> list[str]:
        """What is decided of each score, and what is not, in a sentence each: see `certainty`."""
        decisions = decisions_of(self.dataset, until, alpha, within)
        return sentences(decisions, self.dataset.attrs.get("examples_of_data", self.dataset.sizes["example"]))

    def advice(self, half_width: float | Mapping[str, float] | None = None, **options: Any) -> pd.DataFrame:
        """The draws, points and examples for a wanted certainty at least cost, from this pilot run.

        Takes the arguments of `captum_ext.evaluation.advice.advice`. It needs the scores' standard errors:
        `evaluate(..., stderr=True)`. The column `advice` of the table says each row in a sentence.
        """
        return advice(self.dataset, half_width, **options)

    def to_markdown(self, *, intervals: bool = True, **options: Any) -> str:
        """A table of methods by metrics for a README or an issue, with a sentence that explains its marks.

        An arrow points to the better side. The best mean is bold; one that cannot be distinguished from it is marked
        "=", and "?" where there are too few examples to tell.

        Args:
            intervals: whether the interval over examples stands behind each mean.
            options: the arguments of :meth:`summary`, such as `metric` and `confidence`.
        """
        return tables_for_text.to_markdown(self.dataset, intervals, options)

    def to_latex(self, *, intervals: bool = True, **options: Any) -> str:
        """As :meth:`to_markdown`, for a paper: a `tabular` that needs the LaTeX package booktabs.

        A mean that cannot be distinguished from the best is underlined. The sentence that explains the marks is a
        comment above the table.
        """
        return tables_for_text.to_latex(self.dataset, intervals, options)

    def report(
        self,
        path: str | os.PathLike[str],
        data: Any = None,
        attributions: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        tokens: Any = None,
        n_examples: int = 12,
        baseline: str = "random",
        confidence: float = 0.95,
        overwrite: bool = False,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        """Writes the results as one page: a single HTML file, whole or not at all.

        It shows the verdict in a sentence and what limits it, the table of scores with intervals, curves, examples one
        by one, the agreement of the metrics, and what is needed to repeat the run. Needs
        `pip install "captum-ext[report]"`.

        Args:
            path: where to write; nothing may be there yet, unless `overwrite` is True.
            data: the data set that was evaluated, to show its inputs: images `[1 or 3, H, W]`, volumes
                `[1 or 3, D, H, W]` as slices, series `[channels, T]` as lines, vectors as tables.
            attributions: what to show as maps; by default those of a dozen examples that `evaluate` kept. A mapping
                from a method's name to a tensor (or array, or tuple of them) with a row per example of the data set, or
                to a path that `attribute_dataset` wrote; or one such path for all methods. Methods without one are
                shown without a map.
            tokens: shows texts in place of pictures, each token coloured by its attribution. For each example of the
                data set a list of tokens, one for each column of the maps, or of pairs, as for
                `captum_ext.plots.tokens`. Maps `[tokens, embedding]` are summed over the embedding. The data set
                `f.data` of a `captum_ext.llm.LogProbability` has its own.
            n_examples: how many examples to show, evenly spread over the data set.
            baseline: the method that the others should beat.
            confidence: the level of the intervals, and of the test whether a method is distinguishable from the best.
            overwrite: whether to replace a file at `path`, such as an earlier report.
            class_names: the name of each class, shown in place of its number.
            feature_names: the names of a table's columns.
        """
        from ..report import write

        shown: dict[str, Any] = {"class_names": class_names, "feature_names": feature_names, "kept": self.kept}
        write(self.dataset, path, data, attributions, n_examples, baseline, confidence, tokens, overwrite, **shown)

    def __repr__(self) -> str:
        return display.as_text(self.dataset)

    def _repr_html_(self) -> str:
        return display.as_html(self.dataset)


def assemble(
    contents: Contents, metrics: Mapping[str, Callable[..., Any]], attributes: Mapping[str, Mapping[str, Any]]
) -> xr.Dataset:
    """The shards of a finished run, side by side and labelled; `attributes` are those of each metric's variable."""
    manifest, (spans, pieces) = contents.store.manifest, zip(*contents.pieces)
    arrays, examples = of_all(pieces), np.arange(spans[-1].stop)
    dataset = xr.Dataset(coords={"attribution": list(manifest["methods"]), "example": examples})
    for i, (name, metric) in enumerate(metrics.items()):
        scores = _of_pieces(spans, name, arrays[str(i)])
        dataset, axes = _with_axes(dataset, metrics, name, named_axes(metric, scores.shape[2:]))
        dims = ("attribution", "example", *axes)
        own = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in attributes[name].items()}
        dataset = dataset.assign({name: (dims, scores, own)})
        for part, attribute in OF.items():
            if f"{i}{part}" in arrays:
                of_part = side_by_side(arrays[f"{i}{part}"])
                dataset[f"{name}{part}"] = (*dims, "half")[: of_part.ndim], of_part, {attribute: name}
    if PREDICTED in pieces[0]:
        name = "target"
        while name in dataset.variables:
            name = f"predicted_{name}"
        dataset = dataset.assign_coords({name: ("example", side_by_side(arrays[PREDICTED])[0])})
    about_run = {k: manifest[k] for k in ("seed", "target", "batch_size", "device", "model") if k in manifest}
    about_run = {k: v if isinstance(v, (int, str)) else json.dumps(v) for k, v in about_run.items()}
    failures = json.dumps(contents.failures)
    return dataset.assign_attrs(**about_run, **manifest["versions"], run_id=contents.store.run_id, failures=failures)


def warn_of_few_draws(dataset: xr.Dataset) -> None:
    """Warns once if standard errors may be too small, and names the metrics."""
    parts = {name: (part_of(dataset, name, STDERR), part_of(dataset, name, N_EFF)) for name in metrics_of(dataset)}
    known = {name: (a.values, b.values) for name, (a, b) in parts.items() if a is not None and b is not None}
    shares = {name: few_draws(Noise(*map(torch.from_numpy, pair))) for name, pair in known.items()}
    if few := [f"{share:.0%} of metric {name!r}" for name, share in shares.items() if share]:
        warnings.warn(FEW.format(what=", ".join(few)), stacklevel=frames_of_package())


def _of_pieces(spans: Sequence[range], name: str, parts: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """The scores of all shards; those in which a metric failed for all methods have no values of its own axes."""
    scored = [piece for piece, part in enumerate(parts) if part.ndim > 2 or not np.isnan(part).all()]
    common_lengths(name, [parts[p].shape[2:] for p in scored], [spans[p] for p in scored])
    return side_by_side(parts)


def _with_axes(
    dataset: xr.Dataset, metrics: Collection[str], name: str, axes: Sequence[tuple[str, list[Any]]]
) -> tuple[xr.Dataset, list[str]]:
    """With the axes' coordinates, and the names that the axes have there."""
    names: list[str] = []
    for axis, places in axes:
        names.append(_free(axis, name, places, dataset, {*metrics, *AXES, *COLUMNS, *names}))
        dataset = dataset.assign_coords({names[-1]: places})
    return dataset, names


def _free(axis: str, metric: str, places: list[Any], dataset: xr.Dataset, taken: Collection[str]) -> str:
    """The axis's name, with the metric's where another metric has an axis of that name with other places."""
    while axis in taken or (axis in dataset.coords and not np.array_equal(dataset.coords[axis], places)):
        axis = f"{axis} ({metric})"
    return axis


def load(path: str | os.PathLike[str]) -> Evaluation:
    """Results that `Evaluation.save` or `evaluate(path=...)` wrote, in any of the formats.

    Raises:
        FileNotFoundError: nothing is at `path`.
        ValueError: it is something else, or it was damaged or changed since it was saved, which its checksums tell.
    """
    path = as_path(path)
    if not path.exists():
        raise FileNotFoundError(f"`path` {path} does not exist.")
    try:
        dataset, kept = load_any(path)
        failures_of(dataset)
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"`path` {path} is not a result of captum_ext, or it is damaged: {error!r}.") from error
    if not {"attribution", "example"} <= set(dataset.dims):
        raise ValueError(f"`path` {path} is not a result of captum_ext: it has no axes `attribution` and `example`.")
    return Evaluation(dataset, kept)


def _tidy(name: str, variable: xr.DataArray, stderr: xr.DataArray | None) -> pd.DataFrame:
    *outer, axis = own_axes(variable) or [""]
    frame = variable.rename("score").to_dataframe().reset_index()
    frame["stderr"] = np.nan if stderr is None else stderr.transpose(*variable.dims).to_numpy().reshape(-1)
    frame["metric"], frame["axis"], frame["at"] = name, axis or None, frame[axis] if axis else np.nan
    if outer:
        frame["axis"] = [f"{place_label(outer, at)}, {axis}" for at in zip(*(frame[o] for o in outer))]
    return frame[["metric", "attribution", "example", "axis", "at", "score", "stderr"]]


def _merged(ours: xr.Dataset, theirs: xr.Dataset) -> xr.Dataset:
    for axis in set(ours.dims) & set(theirs.dims) - {"attribution", "example"}:
        if axis in ours.coords and not ours[axis].equals(theirs[axis]):  # another grid keeps an axis of its own
            theirs = theirs.rename(
                {axis: f"{axis} ({', '.join(str(n) for n, v in theirs.data_vars.items() if axis in v.dims)})"}
            )
    known = [_without_empty_groups(dataset) for dataset in (ours, theirs)]
    merged = xr.merge(known, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")
    methods = dict.fromkeys([*ours.attribution.values.tolist(), *theirs.attribution.values.tolist()])
    merged = merged.sel(attribution=list(methods))  # in the order they were given, not of the alphabet
    if GROUP in merged.coords and merged[GROUP].dtype == object:  # nan in place of a string would be saved as "nan"
        merged = merged.assign_coords({GROUP: merged[GROUP].fillna("").astype(str)})
    whole = [c for c in merged.coords if c in ours.coords and not merged[c].isnull().any()]
    return merged.assign_coords({c: merged[c].astype(ours[c].dtype) for c in whole if ours[c].dtype.kind == "i"})


def _without_empty_groups(dataset: xr.Dataset) -> xr.Dataset:
    """With nan in place of the empty label of examples without a group."""
    if GROUP not in dataset.coords or dataset[GROUP].dtype.kind in "if":
        return dataset
    return dataset.assign_coords({GROUP: dataset[GROUP].where(dataset[GROUP] != "")})


def _check_groups(ours: xr.Dataset, theirs: xr.Dataset) -> None:
    """Checks that no example is in two groups, and that labels of groups are of one type."""
    if GROUP not in ours.coords or GROUP not in theirs.coords:
        return
    if len({dataset[GROUP].dtype.kind in "if" for dataset in (ours, theirs)}) > 1:
        raise TypeError(
            "Both results have groups, with integers as labels in one and strings in the other. Convert one of them, "
            "as in `Evaluation(result.dataset.assign_coords(group=result.dataset['group'].astype(str)))`."
        )
    labels = [_without_empty_groups(dataset)[GROUP].reset_coords(drop=True) for dataset in (ours, theirs)]
    a, b = xr.align(*labels)
    if different := a.example[((a != b) & a.notnull() & b.notnull()).values].values.tolist():
        raise ValueError(
            f"Both results have groups, which differ for example {different[0]}. To keep those of one result, take "
            "`Evaluation(result.dataset.drop_vars('group'))` of the other."
        )


def _check_targets(ours: xr.Dataset, theirs: xr.Dataset) -> None:
    """Checks that predicted classes, which a result has once for all its metrics, are the same in both.

    Nor may one metric explain the predicted class in one of them, and the data's target in the other.
    """
    shared = [name for name in ours.data_vars if name in theirs.data_vars]
    explained = [dataset.attrs.get("target") for dataset in (ours, theirs)]
    if shared and None not in explained and explained[0] != explained[1]:
        raise ValueError(
            f"Metric {shared[0]!r} explains another target in each result: they were made with target={explained[0]} "
            f"and target={explained[1]}, so their scores cannot be compared. Rename one of them."
        )
    if "target" not in ours.coords or "target" not in theirs.coords:
        return
    a, b = xr.align(ours["target"].reset_coords(drop=True), theirs["target"].reset_coords(drop=True))
    if different := a.example[(a != b).values].values.tolist():
        raise ValueError(
            f"Both results have predicted classes, which differ for example {different[0]}. To join them without, take "
            "`Evaluation(result.dataset.drop_vars('target'))` of one."
        )


def _warn_of_other_model(ours: xr.Dataset, theirs: xr.Dataset) -> None:
    models = {dataset.attrs["model"] for dataset in (ours, theirs) if "model" in dataset.attrs}
    shared = [name for name in metrics_of(ours) if name in metrics_of(theirs)]
    if len(models) > 1 and shared:
        warnings.warn(
            f"The results are of different models, and both have {listed([repr(name) for name in shared])}. A score in "
            "the unit of the model's output says nothing across models, as one may have larger outputs; compare scores "
            "without a unit, such as `oracle_normalized`, `sensitivity_n` or areas of probabilities.",
            stacklevel=3,
        )


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

"""What the report says, as plain records: each method by each metric, how the metrics agree, and the settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..evaluation import comparison, display
from . import words
from .records import Agreement, Cell, Column, Metric, Overview

ALPHA = 0.05  # of the comparison with the control


def check(dataset: xr.Dataset, baseline: str, confidence: float) -> None:
    if not isinstance(baseline, str):
        raise TypeError(f"`baseline` must be the name of a method, got {type(baseline).__name__}.")
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be between 0 and 1, neither included; got {confidence!r}.")
    if not dataset.sizes.get("attribution") or not dataset.sizes.get("example"):
        raise ValueError(f"The results have no scores to report: their sizes are {dict(dataset.sizes)}.")


def overview(dataset: xr.Dataset, baseline: str, confidence: float) -> Overview:
    methods = [str(name) for name in dataset["attribution"].values]
    if not display.directed_scores(dataset):
        verdict = "No metric here has a better side, so no method can be called the best."
        return Overview(verdict, words.caveats(dataset, None, None, baseline), methods, [], [0] * len(methods), False)
    table = comparison.summary(dataset, confidence)
    columns = list(_columns(table, _as_control(dataset, methods, baseline)))
    leads = [sum(c.cells[i].tied for c in columns) for i in range(len(methods))]
    return Overview(
        words.verdict(methods, columns, leads, dataset.sizes["example"]),
        words.caveats(dataset, table, agreement(dataset), baseline),
        methods,
        columns,
        leads,
        baseline in methods and len(methods) > 1,
    )


def _as_control(dataset: xr.Dataset, methods: list[str], baseline: str) -> set[tuple[str, str]]:
    """(column, method) of each method that was compared with the control and not found better."""
    if baseline not in methods or len(methods) < 2:
        return set()
    table = words.labelled(comparison.compare(dataset, baseline=baseline, alpha=ALPHA))
    doubtful = table[table["p_corrected"].notna() & ~table["better"]]
    return set(zip(doubtful["label"], doubtful["attribution"]))


def _columns(table: pd.DataFrame, as_control: set[tuple[str, str]]) -> Iterator[Column]:
    for label, rows in words.labelled(table).groupby("label", sort=False):
        span = rows[["low", "mean", "high"]].to_numpy(dtype=np.float64)
        form = display.number_format(span)
        cells = [_cell(row, span, form, (label, row.attribution) in as_control) for row in rows.itertuples()]
        yield Column(str(label), rows["axis"].iloc[0], bool(rows["higher_is_better"].iloc[0]), cells)


def _cell(row: Any, span: Any, form: Any, as_control: bool) -> Cell:
    bottom, top = np.nanmin(span, initial=np.inf), np.nanmax(span, initial=-np.inf)
    places = np.array([row.low, row.mean, row.high])
    drawn = top > bottom and np.isfinite(places).all()
    low, at, high = (100 * (places - bottom) / (top - bottom)).tolist() if drawn else (0.0, 0.0, 0.0)
    return Cell(
        row.mean,
        form(row.mean),
        f"{form(row.low)} to {form(row.high)}" if np.isfinite(row.low) else "",
        (low, at, high) if drawn else None,
        row.rank == 1,
        bool(row.tied_with_best),
        as_control,
        f"{row.undefined:.0%} undefined" if row.undefined else "",
    )


def agreement(dataset: xr.Dataset) -> Agreement | None:
    """How alike the metrics rank the methods, or None where there is nothing to correlate."""
    found = display.directed_scores(dataset)
    if len(found) < 2 or dataset.sizes["attribution"] < 3:
        return None
    labels = [score.label for score in found]
    grid = pd.DataFrame(np.eye(len(labels)), labels, labels)
    for pair in comparison.agreement(dataset).itertuples():
        one = comparison.label(pair.metric, pair.axis, pair.at)
        other = comparison.label(pair.other, pair.other_axis, pair.other_at)
        grid.loc[one, other] = grid.loc[other, one] = pair.correlation
    return Agreement(labels, grid.to_numpy(dtype=np.float64).tolist())


def metrics(dataset: xr.Dataset) -> list[Metric]:
    consistency: dict[str, list[str]] = {}
    if display.directed_scores(dataset):
        for row in comparison.ranking_consistency(dataset).itertuples():
            alpha = f"{row.alpha:.2f}" if np.isfinite(row.alpha) else "–"
            place = f"{comparison.plain_axis(row.axis)}={row.at:g}: " if isinstance(row.axis, str) else ""
            consistency.setdefault(str(row.metric), []).append(place + alpha)
    return [_metric(dataset[name], consistency.get(name, [])) for name in display.metrics_of(dataset)]


def _metric(variable: xr.DataArray, consistency: list[str]) -> Metric:
    about = variable.attrs
    arguments = _from_json(about.get("arguments", "{}"))
    pairs = arguments.items() if isinstance(arguments, dict) else [("arguments", arguments)]
    return Metric(
        str(variable.name),
        str(about.get("metric", "")),
        about.get("higher_is_better"),
        [(str(key), _plain(value)) for key, value in pairs],
        str(about.get("reference", "")),
        consistency,
    )


def settings(dataset: xr.Dataset) -> list[tuple[str, str]]:
    """All that the results say of the run: seed, batches, model, versions."""
    return [
        (str(k).replace("_", " "), _plain(_from_json(v))) for k, v in sorted(dataset.attrs.items()) if k != "failures"
    ]


def failures(dataset: xr.Dataset) -> list[dict[str, str]]:
    return [
        {str(k): _plain(v) for k, v in failure.items()} for failure in json.loads(dataset.attrs.get("failures", "[]"))
    ]


def _from_json(value: Any) -> Any:
    """Attributes that are no numbers or words were stored as JSON."""
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in "{[" else value
    except ValueError:
        return value


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)

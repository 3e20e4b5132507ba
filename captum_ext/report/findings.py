"""What the report says, as plain records read from the tables and from what the results say of themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .._core.checks import check_count, check_fraction
from ..evaluation import display
from ..evaluation.score import metrics_of, plain_axis
from . import words
from .records import Agreement, Cell, Column, Findings, Metric, Overview
from .tables import Tables


def check(dataset: xr.Dataset, baseline: Any, confidence: Any, n_examples: Any) -> None:
    if not isinstance(baseline, str):
        raise TypeError(f"`baseline` must be the name of a method, got {type(baseline).__name__}.")
    check_fraction("confidence", confidence, open_ends=True)
    check_count("n_examples", n_examples, least=0)
    if not dataset.sizes.get("attribution") or not dataset.sizes.get("example"):
        raise ValueError(f"The results have no scores to report: their sizes are {dict(dataset.sizes)}.")


def findings(dataset: xr.Dataset, tables: Tables) -> Findings:
    failed = failures(dataset)
    return Findings(
        display.headline(dataset),
        f"{tables.confidence:.0%}",
        tables.baseline,
        overview(tables, len(failed)),
        agreement(tables),
        metrics(dataset, tables),
        settings(dataset),
        failed,
    )


def overview(tables: Tables, n_failures: int = 0) -> Overview:
    caveats = words.caveats(tables, n_failures)
    methods = tables.methods
    if tables.summary is None:
        verdict = "No metric here has a better side, so no method can be called the best."
        return Overview(verdict, caveats, methods, [], [0] * len(methods), False)
    columns = list(_columns(tables.summary, _as_control(tables)))
    leads = [sum(c.cells[i].tied for c in columns) for i in range(len(methods))]
    verdict = words.verdict(methods, columns, leads, tables.examples)
    return Overview(verdict, caveats, methods, columns, leads, tables.against_control is not None)


def _as_control(tables: Tables) -> set[tuple[str, str]]:
    """(column, method) of each method that was compared with the control and not found better."""
    table = tables.against_control
    if table is None:
        return set()
    doubtful = table[table["p_corrected"].notna() & ~table["better"]]
    return set(zip(doubtful["label"], doubtful["attribution"]))


def _columns(table: pd.DataFrame, as_control: set[tuple[str, str]]) -> Iterator[Column]:
    for label, rows in table.groupby("label", sort=False):
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


def agreement(tables: Tables) -> Agreement | None:
    """How alike the metrics rank the methods, or None where there is nothing to correlate."""
    matrix = tables.agreement
    return None if matrix is None else Agreement(list(matrix), matrix.to_numpy(dtype=np.float64).tolist())


def metrics(dataset: xr.Dataset, tables: Tables) -> list[Metric]:
    consistency = {} if tables.consistency is None else _consistency(tables.consistency)
    return [_metric(dataset[name], consistency.get(name, [])) for name in metrics_of(dataset)]


def _consistency(table: pd.DataFrame) -> dict[str, list[str]]:
    """Metric -> what is said of its score, or of each of its scores."""
    said: dict[str, list[str]] = {}
    for row in table.itertuples():
        alpha = f"{row.alpha:.2f}" if np.isfinite(row.alpha) else "–"
        place = f"{plain_axis(row.axis)}={row.at:g}: " if isinstance(row.axis, str) else ""
        said.setdefault(str(row.metric), []).append(place + alpha)
    return said


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

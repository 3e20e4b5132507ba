"""What the report says, as plain records read from the tables and from what the results say of themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .._core.checks import check_choice, check_count, check_fraction
from ..evaluation import display
from ..evaluation.axes import plain_axis
from ..evaluation.comparison import as_matrix
from ..evaluation.score import failures_of, methods_of, metrics_of
from . import words
from .records import Agreement, Cell, Column, Findings, Metric, Overview
from .tables import Tables


def check(dataset: xr.Dataset, baseline: Any, confidence: Any, n_examples: Any) -> None:
    if not isinstance(baseline, str):
        raise TypeError(f"`baseline` must be the name of a method, got {type(baseline).__name__}.")
    if baseline != "random":  # the default, which may be missing
        check_choice("baseline", baseline, methods_of(dataset))
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
        words.with_decisions(overview(tables, len(failed)), dataset),
        agreement(tables),
        metrics(dataset, tables),
        settings(dataset),
        str(dataset.attrs.get("call", "")),
        failed,
    )


def overview(tables: Tables, n_failures: int = 0) -> Overview:
    caveats = words.caveats(tables, n_failures)
    methods = tables.methods
    if tables.summary is None:
        verdict = "No metric here has a better side, so no method can be called the best."
        return Overview(verdict, caveats, methods, [], [0] * len(methods), 0, False)
    columns = list(_columns(tables, tables.summary))
    counted = [column for column in columns if column.tells] or columns
    leads = [sum(c.cells[i].best or c.cells[i].tied for c in counted) for i in range(len(methods))]
    verdict = words.verdict(tables, columns, leads)
    return Overview(verdict, caveats, methods, columns, leads, len(counted), tables.against_control is not None)


def _columns(tables: Tables, summary: pd.DataFrame) -> Iterator[Column]:
    marks = {} if tables.against_control is None else _marks(tables.against_control)
    for label, rows in summary.groupby("label", sort=False):
        span = rows[["low", "mean", "high"]].to_numpy(dtype=np.float64)
        form = display.number_format(span)
        cells = [
            _cell(row, span, form, marks.get((label, row.attribution), (False, False))) for row in rows.itertuples()
        ]
        axis, higher = rows["axis"].iloc[0], bool(rows["higher_is_better"].iloc[0])
        family = tables.families.get(str(rows["metric"].iloc[0]), "")
        yield Column(str(label), axis, higher, family, cells, _tells(cells, tables))


def _tells(cells: list[Cell], tables: Tables) -> bool:
    among_the_best = {name for name, cell in zip(tables.methods, cells) if cell.best or cell.tied}
    return tables.baseline not in among_the_best and any(cell.worse for cell in cells)


def _marks(table: pd.DataFrame) -> dict[tuple[str, str], tuple[bool, bool]]:
    """(label, method) -> whether it is not shown to be better than the control, and whether that cannot be told."""
    table = table[table["pairs"] > 0]
    doubtful = ~table["better"] & ~table["undecided"]
    return dict(zip(zip(table["label"], table["attribution"]), zip(doubtful, table["undecided"])))


def _cell(row: Any, span: Any, form: Any, marks: tuple[bool, bool]) -> Cell:
    as_control, control_undecided = marks
    return Cell(
        value=row.mean,
        mean=form(row.mean),
        interval=f"{form(row.low)} to {form(row.high)}" if np.isfinite(row.low) else "",
        bar=_bar(row, span),
        best=row.rank == 1,
        tied=bool(row.tied_with_best and not row.undecided),
        undecided=bool(row.undecided),
        as_control=bool(as_control),
        control_undecided=bool(control_undecided),
        undefined=f"{row.undefined:.0%} undefined" if row.undefined else "",
    )


def _bar(row: Any, span: Any) -> tuple[float, float, float] | None:
    bottom, top = np.nanmin(span, initial=np.inf), np.nanmax(span, initial=-np.inf)
    places = np.array([row.low, row.mean, row.high])
    if not (top > bottom and np.isfinite(places).all()):
        return None
    low, at, high = (100 * (places - bottom) / (top - bottom)).tolist()
    return low, at, high


def agreement(tables: Tables) -> Agreement | None:
    """How alike the metrics rank the methods, or None where there is nothing to correlate."""
    if tables.agreement is None:
        return None
    matrix = as_matrix(tables.agreement, tables.scores)
    return Agreement(list(matrix), matrix.to_numpy(dtype=np.float64).tolist())


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
    """All that the results say about the run: seed, batches, model, versions."""
    return [
        (str(k).replace("_", " "), _plain(_from_json(v)))
        for k, v in sorted(dataset.attrs.items())
        if k not in ("failures", "call", display.SENTENCES, display.DECIDED_OF)
    ]


def failures(dataset: xr.Dataset) -> list[dict[str, str]]:
    return [{str(k): _plain(v) for k, v in failure.items()} for failure in failures_of(dataset)]


def _from_json(value: Any) -> Any:
    """Attributes that are neither numbers nor words were stored as JSON."""
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in "{[" else value
    except ValueError:
        return value


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)

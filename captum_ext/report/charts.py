"""Curves as drawings within the page: SVG in the colours of the style sheet, so that they follow light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from .. import plots
from ..evaluation.axes import plain_axis, with_place
from ..evaluation.display import number_format
from ..evaluation.score import curves_of, metrics_of, own_axes

SIZE = (5.4, 3.3)  # inches; small, so that its text can be read on a phone
VIEW_BOX = f"0 0 {72 * SIZE[0]:g} {72 * SIZE[1]:g}"
INK = "#010203"  # stands for the text's colour, which CSS knows
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "captum_ext",  # the same drawing each time
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Chart:
    """A curve's drawing, and its means as a table for those who cannot see it."""

    name: str
    axis: str
    direction: bool | None
    svg: Markup  # without its outermost tag
    places: list[str]
    means: list[list[str]]  # a row per method


def curves(dataset: xr.Dataset, confidence: float) -> list[Chart]:
    """A chart for each metric with an axis of its own, of two places or more; of two axes, for each on the first."""
    dataset = _one_curve_each(dataset)
    drawn = [name for name in metrics_of(dataset) if dataset.sizes.get(own_axis(dataset[name]), 0) > 1]
    return [_chart(dataset, name, f"chart{i}-", confidence) for i, name in enumerate(drawn)]


def _one_curve_each(dataset: xr.Dataset) -> xr.Dataset:
    """With a variable for each curve of a metric with two axes, such as "curves (order=morf)"."""
    for name in metrics_of(dataset):
        if len(own_axes(dataset[name])) > 1:
            curves = {with_place(name, place): curve for place, _, curve in curves_of(dataset[name])}
            dataset = dataset.drop_vars(name).assign(curves)
    return dataset


def own_axis(variable: xr.DataArray) -> str | None:
    return next(iter(own_axes(variable)), None)


def _chart(dataset: xr.Dataset, name: str, prefix: str, confidence: float) -> Chart:
    variable, axis = dataset[name].astype(np.float64), str(own_axis(dataset[name]))
    values = variable.transpose("attribution", "example", axis).values
    means = [pd.DataFrame(np.where(np.isfinite(v), v, np.nan)).mean() for v in values]  # skips nan
    form = number_format(means)
    return Chart(
        name,
        plain_axis(axis),
        dataset[name].attrs.get("higher_is_better"),
        Markup(_with_prefix(_svg(dataset, name, confidence), prefix)),
        [f"{place:.3g}" for place in variable[axis].values],
        [[form(v) for v in mean] for mean in means],
    )


def _svg(dataset: xr.Dataset, name: str, confidence: float) -> str:
    """What matplotlib writes within its outermost tag, in the style sheet's colours."""
    file = io.StringIO()
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        ax = figure.add_subplot()
        plots.curves(dataset, name, confidence, ax)
        ax.set_title("")
        ax.grid(alpha=0.25)
        figure.savefig(file, format="svg", transparent=True, metadata=NO_METADATA)
    _, _, svg = file.getvalue().partition("<svg")
    body = svg.partition(">")[2].rpartition("</svg>")[0]
    return _in_css_colours(_without(("metadata", "style"), body))


def _without(tags: tuple[str, ...], svg: str) -> str:
    for tag in tags:
        svg = re.sub(rf"<{tag}\b.*?</{tag}>", "", svg, flags=re.S)
    return svg


def _in_css_colours(svg: str) -> str:
    names: dict[str, str] = {INK: "currentColor"}
    names |= {color.lower(): f"var(--series-{i})" for i, color in enumerate(plots.COLORS)}
    named: Callable[[re.Match[str]], str] = lambda match: names.get(match[0].lower(), match[0])  # noqa: E731
    return re.sub(r"#[0-9a-fA-F]{6}\b", named, svg)


def _with_prefix(svg: str, prefix: str) -> str:
    """Ids that are no other drawing's."""
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)

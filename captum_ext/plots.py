"""Figures of an evaluation, and attributions drawn on their images and texts (`maps`, `tokens`).

Every other function takes an `Evaluation` or its `xarray.Dataset`. All but `tokens` return a matplotlib `Figure`.
Without `ax` they make a new figure, which pyplot does not keep open: a notebook shows it when it is the last value of a
cell, and a script saves it with `savefig`. With `ax` they draw on these axes and return their figure. Methods keep
their colour through all figures of a dataset. Needs matplotlib: `pip install "captum-ext[plots]"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from ._core.checks import check_choice, check_count, check_fraction, describe
from ._core.printing import printable
from ._token_texts import TokenTexts, as_values
from .evaluation import comparison
from .evaluation.axes import plain_axis, with_place
from .evaluation.display import arrow
from .evaluation.score import Score, curves_of, labels, methods_of, metrics_of, own_axes, presentable, scores
from .evaluation.statistics import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, distinct in any kind of colour vision; yellow is left out, which is faint on white
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES, HATCHES, MARKERS = ("-", "--", ":", "-."), ("", "//", "..", "xx"), "osD^"  # for each turn of the colours
AXES = {"fraction": "fraction of features", "n": "features in a subset, n"}
SHOWN: dict[str, Callable[[Any], Any]] = {
    "all": np.abs,
    "absolute_value": np.abs,
    "positive": lambda a: a > 0,
    "negative": lambda a: a < 0,
}
STARS, UNDECIDED = ((0.001, "***"), (0.01, "**"), (0.05, "*")), "?"


def curves(results: Any, metric: str, confidence: float = 0.95, ax: Axes | None = None) -> Figure:
    """The mean curve of each method over a metric's own axis.

    The band is the normal interval of the mean over examples. Also for a metric with several sizes `n`. A metric with
    two axes has several curves of each method, in the method's colour, and another kind of line for each. The legend
    lists the lines from top to bottom, by their mean height.
    """
    dataset = _dataset(results)
    variable = _variable(dataset, metric)
    if not own_axes(variable):
        having = ", ".join(repr(name) for name in metrics_of(dataset) if own_axes(dataset[name]))
        raise ValueError(f"`metric` {metric!r} has one score an example, no curve; curves here: {having}.")
    axis = own_axes(variable)[-1]
    figure, ax = _axes(ax, (7, 4))
    for k, (place, _, curve) in enumerate(curves_of(variable.astype(np.float64))):
        values = curve.transpose("attribution", "example", axis).values
        styles = [_turned(style, k) for style in _styles(dataset)]
        for name, rows, style in zip(methods_of(dataset), np.where(np.isfinite(values), values, np.nan), styles):
            frame = pd.DataFrame(rows)  # [examples, points]; its reductions skip nan
            name, half_width = with_place(name, place), _z(confidence) * frame.sem()
            _line_with_band(ax, variable[axis].values, frame.mean(), half_width, name, style)
    ax.set_xlabel(AXES.get(plain_axis(axis), axis))
    ax.set_ylabel(_with_direction(variable))
    ax.set_title(f"Mean over examples, {confidence:.0%} band", fontsize="medium")
    _legend(ax)
    return figure


def _turned(style: dict[str, Any], k: int) -> dict[str, Any]:
    """The same colour with the k-th next kind of line."""
    return {**style, "linestyle": LINES[(LINES.index(style["linestyle"]) + k) % len(LINES)]}


def _line_with_band(
    ax: Axes, x: Any, mean: pd.Series[float], half_width: pd.Series[float], name: str, style: dict[str, Any]
) -> None:
    ax.plot(x, mean, label=name, marker="o" if len(x) < 12 else "", markersize=4, **style)
    ax.fill_between(x, mean - half_width, mean + half_width, color=style["color"], alpha=0.15, linewidth=0)


def distributions(results: Any, metric: str, at: float | None = None, ax: Axes | None = None) -> Figure:
    """The scores of each method over the examples: violin, quartiles and median, with the best median on top.

    `at` chooses the place on the metric's own axis, if it has one.
    """
    score = _score(results, metric, at)
    names, styles = methods_of(_dataset(results)), _styles(_dataset(results))
    medians = pd.DataFrame(score.oriented.T).median().fillna(-np.inf).to_numpy()
    order = np.argsort(-medians, kind="stable")[::-1]  # drawn from below
    figure, ax = _axes(ax, (7, 1.2 + 0.45 * len(names)))
    for y, i in enumerate(order):
        _violin(ax, score.values[i][np.isfinite(score.values[i])], y, styles[i]["color"])
    ax.set_yticks(range(len(names)), [names[i] for i in order])
    ax.set_xlabel(_with_arrow(score.label, score.higher_is_better))
    ax.grid(axis="x", alpha=0.3)
    return figure


def _violin(ax: Axes, values: Floats, y: int, color: str) -> None:
    if not len(values):
        ax.annotate("no scores", (0.01, y), xycoords=("axes fraction", "data"), va="center", color="grey")
        return
    if np.ptp(values) > 0:
        bodies: Any = ax.violinplot(values, [y], orientation="horizontal", widths=0.8, showextrema=False)["bodies"]
        for body in bodies:
            body.set(facecolor=color, alpha=0.35, linewidth=0)
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    ax.plot([low, high], [y, y], color=color, linewidth=4, solid_capstyle="butt")
    ax.plot(median, y, "o", color="white", markeredgecolor=color, markersize=6)


def examples(
    results: Any,
    metric: str,
    at: float | None = None,
    n_examples: int = 12,
    confidence: float = 0.95,
    ax: Axes | None = None,
) -> Figure:
    """The scores of each method on single examples, evenly spread over the results.

    The bars are intervals by the standard errors of `evaluate(..., stderr=True)`: how far the score of that example
    would move with other random draws. A score without a standard error has no bar. `at` chooses the place on the
    metric's own axis, if it has one.
    """
    score, dataset = _score(results, metric, at), _dataset(results)
    count = dataset.sizes["example"]
    shown = np.unique(np.linspace(0, count - 1, min(check_count("n_examples", n_examples), count)).round().astype(int))
    reach = np.full(score.values.shape, np.nan) if score.noise is None else _z(confidence) * np.sqrt(score.noise)
    names, places = methods_of(dataset), np.arange(len(shown))
    figure, ax = _axes(ax, (2.5 + 0.5 * len(shown), 4))
    for i, (name, style) in enumerate(zip(names, _styles(dataset))):
        x = places + 0.6 * ((i + 0.5) / len(names) - 0.5)  # side by side
        marker = {"fmt": MARKERS[i // len(COLORS) % len(MARKERS)], "color": style["color"], "label": name}
        ax.errorbar(x, score.values[i, shown], reach[i, shown], markersize=4, capsize=2, elinewidth=1, **marker)
    ax.set_xticks(places, [str(number) for number in dataset["example"].values[shown]])
    ax.set_xlabel("example")
    ax.set_ylabel(_with_arrow(score.label, score.higher_is_better))
    if score.noise is not None:
        ax.set_title(f"{confidence:.0%} intervals over the random draws", fontsize="medium")
    _beside(ax, *ax.get_legend_handles_labels())
    return figure


def ranks(results: Any, metric: Any = None, ax: Axes | None = None) -> Figure:
    """Methods by metrics: the mean over examples of a method's rank on the example.

    Rank 1 is the best, and the best method is on top.
    """
    table = comparison.mean_ranks(_dataset(results), metric)
    grid = _pivot(table, "rank")
    grid = grid.loc[grid.mean(axis=1).sort_values(kind="stable").index]
    figure, ax = _axes(ax, _grid_size(grid))
    _heat_map(ax, grid, "viridis_r", 1, max(len(grid), 2), "mean rank over examples (1 = best)", "{:.1f}")
    return figure


def metric_correlation(results: Any, ax: Axes | None = None) -> Figure:
    """Whether the metrics rank the methods alike: Spearman's correlation over methods, averaged over examples.

    The numbers are those of :func:`captum_ext.evaluation.comparison.agreement`.
    """
    found = scores(_dataset(results))
    grid = comparison.as_matrix(comparison.agreement_of(found), found)
    figure, ax = _axes(ax, _grid_size(grid))
    _heat_map(ax, grid, "PuOr", -1, 1, "rank correlation of metrics over methods", "{:.2f}")
    return figure


def method_correlation(results: Any, metric: str, at: float | None = None, ax: Axes | None = None) -> Figure:
    """Whether methods do well on the same examples: Spearman's correlation over examples of their scores."""
    score, names = _score(results, metric, at), methods_of(_dataset(results))
    grid = pd.DataFrame(score.values.T, columns=names).corr(method="spearman", min_periods=3)
    figure, ax = _axes(ax, _grid_size(grid))
    _heat_map(ax, grid, "PuOr", -1, 1, "rank correlation of methods over examples", "{:.2f}")
    ax.set_title(score.label, fontsize="medium")
    return figure


def significance(
    results: Any, metric: Any = None, baseline: str = "random", ax: Axes | None = None, **options: Any
) -> Figure:
    """The effect of every method against `baseline`, with a bar per metric.

    `options` are those of :func:`captum_ext.evaluation.comparison.compare`. Stars mark the corrected p: `*` below
    0.05, `**` below 0.01, `***` below 0.001; a bar without a star is pale. A question mark in place of stars says that
    there are too few examples for any outcome to be significant.
    """
    dataset = _dataset(results)
    table = comparison.compare(dataset, metric, baseline, **options)
    effects, p, undecided = (_pivot(table, column) for column in ("effect", "p_corrected", "undecided"))
    order = effects.mean(axis=1).sort_values(ascending=False, kind="stable").index[::-1]
    effects = effects.loc[order]
    metrics, height = list(effects), 0.8 / len(effects.columns)
    figure, ax = _axes(ax, (7, 1.4 + len(effects) * max(0.4, 0.2 * len(metrics))))
    for k, name in enumerate(metrics):
        y = np.arange(len(effects)) + 0.4 - height * (k + 0.5)  # the first metric on top, as in the legend
        marks = [_stars(value, unclear) for value, unclear in zip(p[name][order], undecided[name][order])]
        _bars(ax, y, height, effects[name], marks, _fill(k))
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlim(-1.2 if effects.min().min() < 0 else -0.05, 1.2)
    ax.set_yticks(range(len(effects)), list(effects.index))
    ax.set_xlabel(f"effect against {printable(baseline)}: rank-biserial correlation (better →)")
    legend = "corrected p:  * < 0.05   ** < 0.01   *** < 0.001   pale: none of these"
    unclear = "   ?: too few examples to tell" if undecided.to_numpy().any() else ""
    ax.set_title(legend + unclear, fontsize="small")
    pyplot = _matplotlib().pyplot
    _beside(ax, [pyplot.Rectangle((0, 0), 1, 1, **_fill(k)) for k in range(len(metrics))], metrics)
    return figure


def _stars(p: float, undecided: bool) -> str:
    return next((mark for level, mark in STARS if p < level), UNDECIDED if undecided else "")


def _bars(
    ax: Axes, y: Any, height: float, effects: pd.Series[float], marks: Sequence[str], fill: dict[str, Any]
) -> None:
    for place, effect, mark in zip(y, effects.fillna(0), marks):
        ax.barh(place, effect, height * 0.9, alpha=0.3 if mark in ("", UNDECIDED) else 1, **fill)
        side = "left" if effect >= 0 else "right"
        offset = (4 if effect >= 0 else -4, -2)
        ax.annotate(mark, (effect, place), offset, textcoords="offset points", va="center", ha=side, fontsize="small")


def _fill(k: int) -> dict[str, Any]:
    hatch = HATCHES[k // len(COLORS) % len(HATCHES)]
    return {"facecolor": COLORS[k % len(COLORS)], "hatch": hatch, "edgecolor": "white"}


def convergence(
    results: Any, metric: str, at: float | None = None, confidence: float = 0.95, ax: Axes | None = None
) -> Figure:
    """The mean over the first k examples for growing k: whether more examples would change the picture.

    The band is the normal interval of that mean. Examples come in the order of the dataset;
    `dataset.isel(example=permutation)` gives another order.
    """
    score, dataset = _score(results, metric, at), _dataset(results)
    first = pd.DataFrame(score.values.T).expanding()  # [examples, methods]
    means, half_widths = first.mean(), _z(confidence) * first.std() / np.sqrt(first.count())
    k = np.arange(1, len(means) + 1)
    figure, ax = _axes(ax, (7, 4))
    for i, (name, style) in enumerate(zip(methods_of(dataset), _styles(dataset))):
        _line_with_band(ax, k, means[i], half_widths[i], name, style)
    settled = k > min(len(k) - 1, max(4, len(k) // 10))  # the first few examples would set the scale
    _limit_y(ax, (means - half_widths)[settled], (means + half_widths)[settled])
    ax.set_xlabel("examples")
    ax.set_ylabel(f"running mean of {_with_arrow(score.label, score.higher_is_better)}")
    ax.set_title(f"Mean of the first examples, {confidence:.0%} band", fontsize="medium")
    _legend(ax)
    return figure


def maps(
    inputs: Any,
    attributions: Mapping[str, Any],
    sign: str = "all",
    outlier_perc: float = 2,
    ax: Any = None,
    **options: Any,
) -> Figure:
    """Images with their attributions beside them: a row per example, a column per method.

    `inputs` are images [B, C, H, W] with 1 or 3 channels. `attributions` maps the name of each method to its maps
    [B, C or 1, H, W], whose channels are summed. Both are tensors or arrays. An image with values outside [0, 1] is
    stretched to that range. The maps are drawn by Captum's `visualize_image_attr`, and `sign`, `outlier_perc` and
    further options such as `method="blended_heat_map"` are Captum's; with both signs shown, purple is positive and
    orange negative. `ax`, if given, holds B x (methods + 1) axes.
    """
    check_choice("sign", sign, SHOWN)
    _check_maps(attributions)
    images = [_displayable(image) for image in _images("inputs", inputs)]
    pictures = {name: _images(f"attributions[{name!r}]", value, len(images)) for name, value in attributions.items()}
    figure, axes = _axes_grid(ax, len(images), len(pictures) + 1)
    for row, image in zip(axes, images):
        row[0].imshow(image, cmap="gray", vmin=0, vmax=1)
    for column, values in enumerate(pictures.values(), 1):
        for row, image, value in zip(axes, images, values):
            _attribution_map(row[column], value, image, {"sign": sign, "outlier_perc": outlier_perc, **options})
    for one, title in zip(axes[0], ["input", *pictures]):
        one.set_title(printable(str(title)), fontsize="medium")
    for one in axes.flat:
        one.set(xticks=[], yticks=[])
    return figure


def _check_maps(attributions: Any) -> None:
    if not isinstance(attributions, Mapping) or not attributions:
        raise TypeError(
            f"`attributions` must be a mapping from names to maps, with at least one, got {describe(attributions)}."
        )


def _attribution_map(ax: Axes, attribution: Floats, image: Floats, options: dict[str, Any]) -> None:
    from captum.attr import visualization

    total = attribution.sum(-1)  # [H, W]
    if not np.isfinite(total).all() or not SHOWN[options["sign"]](total).any():
        ax.imshow(np.ones(total.shape), cmap="gray", vmin=0, vmax=1)
        ax.text(0.5, 0.5, "nothing to show", transform=ax.transAxes, ha="center", va="center", fontsize="small")
        return
    cmap = {"cmap": "PuOr"} if options["sign"] == "all" else {}
    total = total / np.abs(total).max()  # Captum takes small maps for empty ones
    image = image if image.ndim == 3 else image[..., None]
    visualization.visualize_image_attr(
        total[..., None], image, plt_fig_axis=(ax.figure, ax), use_pyplot=False, **{**cmap, **options}
    )


def _images(name: str, value: Any, count: int | None = None) -> Floats:
    """`[B, H, W, C]`, channels last as pictures are drawn."""
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, dtype=np.float64)
    if (
        array.ndim != 4
        or (count is not None and len(array) != count)
        or (name == "inputs" and array.shape[1] not in (1, 3))
    ):
        wanted = "images [B, 1 or 3, H, W]" if count is None else f"maps [{count}, channels, H, W]"
        raise ValueError(f"`{name}` must be {wanted}, got shape {array.shape}.")
    return np.moveaxis(array, 1, -1)


def _displayable(image: Floats) -> Floats:
    if image.min() < 0 or image.max() > 1:
        image = (image - image.min()) / max(float(np.ptp(image)), 1e-12)
    return image[..., 0] if image.shape[-1] == 1 else image


def tokens(texts: Any, attributions: Mapping[str, Any]) -> TokenTexts:
    """Texts whose tokens are coloured by their attributions, a line per method; a notebook shows them.

    Purple tokens speak for the output, orange ones with a dotted line against it. Each line has a scale of its own, and
    pointing at a token shows its number. Needs no matplotlib; `str` of what comes back is plain text.

    Args:
        texts: a list of tokens for each text, with a token for each column of the maps; or with pairs of a string and
            the number of its column, None for what is no feature. `captum_ext.llm.LogProbability` has such pairs as
            `token_texts`.
        attributions: a mapping from the name of each method to its maps, `[B, F]`, or `[B, F, embedding]`, which are
            summed over the embedding. Tensors or arrays.

    Example:
        >>> tokens([["not", "good"]], {"Saliency": np.array([[-2.0, 0.5]])})
        0 Saliency: not (-2) good (0.5)
    """
    _check_maps(attributions)
    values = {name: _of_texts(f"attributions[{name!r}]", value, texts) for name, value in attributions.items()}
    return TokenTexts(list(texts), {str(name): rows for name, rows in values.items()})


def _of_texts(name: str, value: Any, texts: Any) -> list[Floats]:
    array = np.asarray(value.detach().cpu().double() if hasattr(value, "detach") else value)  # numpy has no bfloat16
    if array.ndim < 2:
        raise ValueError(
            f"`{name}` must be maps (B, features), a row for each text, got {describe(value)} of shape {array.shape}. "
            "Of Captum's LLMAttributionResult give `f.attributions(result)`."
        )
    if len(array) != len(texts):
        raise ValueError(f"`{name}` must have a row for each of {len(texts)} texts, got {len(array)}.")
    return [as_values(row, text, name) for row, text in zip(array, texts)]


# What the figures share


def _matplotlib() -> Any:
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            '`captum_ext.plots` needs matplotlib. Install it with: pip install "captum-ext[plots]"'
        ) from error
    return matplotlib


def _new_figure(size: tuple[float, float]) -> Any:
    """A figure made by pyplot, so that a notebook knows how to show it, and closed, so that none is left open."""
    pyplot = _matplotlib().pyplot
    figure = pyplot.figure(figsize=size, layout="constrained")
    pyplot.close(figure)
    return figure


def _axes(ax: Axes | None, size: tuple[float, float]) -> tuple[Any, Axes]:
    _matplotlib()
    figure = _new_figure(size) if ax is None else ax.figure
    ax = figure.add_subplot() if ax is None else ax
    if ax.name == "rectilinear":
        ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def _axes_grid(ax: Any, rows: int, columns: int) -> tuple[Any, Any]:
    _matplotlib()
    if ax is None:
        figure = _new_figure((1.9 * columns, 2.0 * rows + 0.2))
        return figure, figure.subplots(rows, columns, squeeze=False)
    axes = np.asarray(ax, dtype=object)
    if axes.size != rows * columns:
        raise ValueError(
            f"`ax` must hold {rows} x {columns} axes, a row per example, input and methods; got {axes.size}."
        )
    return axes.flat[0].figure, axes.reshape(rows, columns)


def _heat_map(ax: Axes, grid: pd.DataFrame, cmap: str, low: float, high: float, title: str, form: str) -> None:
    ax.spines[:].set_visible(False)
    image = ax.imshow(grid.to_numpy(dtype=np.float64), cmap=cmap, vmin=low, vmax=high, aspect="auto")
    ax.set_xticks(range(grid.shape[1]), list(grid), rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(grid.shape[0]), list(grid.index))
    ax.tick_params(length=0)
    ax.figure.colorbar(image, ax=ax, label=title)
    for (i, j), value in np.ndenumerate(grid.to_numpy(dtype=np.float64)):
        dark = np.isfinite(value) and image.cmap(image.norm(value))[:3] @ np.array([0.3, 0.6, 0.1]) < 0.5
        text = form.format(value) if np.isfinite(value) else "–"
        ax.text(j, i, text, ha="center", va="center", color="white" if dark else "black", fontsize="small")


def _grid_size(grid: pd.DataFrame) -> tuple[float, float]:
    return 3.5 + 0.65 * grid.shape[1], 1.8 + 0.42 * grid.shape[0]


def _pivot(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Methods x metrics, both in the order of the table."""
    names = labels(table)
    wide = table.assign(label=names).pivot(index="attribution", columns="label", values=column)
    return wide.loc[table["attribution"].unique(), list(dict.fromkeys(names))]


def _legend(ax: Axes) -> None:
    """A legend beside the axes, with the lines from top to bottom."""
    lines = [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    lines = sorted(lines, key=lambda line: -_height(line))
    _beside(ax, lines, [str(line.get_label()) for line in lines])


def _height(line: Any) -> float:
    y = np.asarray(line.get_ydata(), dtype=np.float64)
    return float(y[np.isfinite(y)].mean()) if np.isfinite(y).any() else -np.inf


def _beside(ax: Axes, handles: Sequence[Any], names: Sequence[str]) -> None:
    ax.legend(handles, names, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _z(confidence: float) -> float:
    from scipy import special

    check_fraction("confidence", confidence, open_ends=True)
    return float(special.ndtri((1 + confidence) / 2))


def _limit_y(ax: Axes, low: pd.DataFrame, high: pd.DataFrame) -> None:
    bottom, top = low.min().min(), high.max().max()
    if top > bottom:
        ax.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))


def _with_direction(variable: xr.DataArray) -> str:
    return _with_arrow(str(variable.name), variable.attrs.get("higher_is_better"))


def _with_arrow(name: str, higher_is_better: bool | None) -> str:
    if higher_is_better is None:
        return name
    return f"{name} ({'higher' if higher_is_better else 'lower'} is better {arrow(higher_is_better)})"


def _dataset(results: Any) -> xr.Dataset:
    dataset = getattr(results, "dataset", results)
    if not isinstance(dataset, xr.Dataset):
        raise TypeError(f"`results` must be an Evaluation or its xarray.Dataset, got {type(results).__name__}.")
    return presentable(dataset)


def _styles(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """A colour for each method by its place in the dataset; where the colours are used up, another kind of line."""
    places = range(dataset.sizes["attribution"])
    return [{"color": COLORS[i % len(COLORS)], "linestyle": LINES[i // len(COLORS) % len(LINES)]} for i in places]


def _variable(dataset: xr.Dataset, metric: str) -> xr.DataArray:
    metric = printable(metric) if isinstance(metric, str) else metric
    check_choice("metric", metric, metrics_of(dataset))
    return dataset[metric]


def _score(results: Any, metric: str, at: float | None) -> Score:
    """The one score that `metric` and `at` name."""
    if metric is None:
        raise TypeError("`metric` must be the name of a metric, got None.")
    found = scores(_dataset(results), metric)
    chosen = found if at is None else [score for score in found if np.isclose(score.at, at)]
    if len(chosen) != 1:
        places = ", ".join(str(score.at) for score in found if score.axis is not None)
        raise ValueError(f"`at` must name one place on the axis of {metric!r} ({places or 'it has none'}), got {at!r}.")
    return chosen[0]

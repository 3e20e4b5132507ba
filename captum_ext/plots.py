"""Figures of an evaluation, and attributions drawn on their images and texts (`maps`, `tokens`).

Every other function takes an `Evaluation` or its `xarray.Dataset`. All but `tokens` draw on the matplotlib axes `ax`,
or on those of a new figure, and return them: a notebook shows the figure, and a script saves it with
`ax.figure.savefig`. Methods keep their colour through all figures of a dataset. Needs matplotlib:
`pip install "captum-ext[plots]"`.

In the examples, `result` is that of

>>> from captum.attr import InputXGradient, Saliency
>>> from captum_ext import evaluate, metrics, random_attribution
>>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
>>> data = [(torch.randn(8), 0) for _ in range(12)]
>>> methods = {"saliency": Saliency, "input x gradient": InputXGradient, "random": random_attribution}
>>> scores = {"deletion": metrics.deletion, "insertion": metrics.insertion, "deletion curve": metrics.deletion_curve}
>>> result = evaluate(model, data, methods, scores)
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
from .evaluation.score import (
    Score,
    curves_of,
    grouped,
    groups_of,
    labels,
    methods_of,
    metrics_of,
    own_axes,
    presentable,
    scores,
)
from .evaluation.statistics import Floats, intervals, resampled_means

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# One for each method. Any two differ in each kind of colour vision, and all stand out from white (tests/test_plots.py).
COLORS = (
    *("#0072b2", "#d55e00", "#009e73", "#bc1b86", "#000000", "#ae86bc"),
    *("#6b0000", "#435e1b", "#8643ff", "#1b365e", "#6b0094", "#000dc9"),
)
LINES, MARKERS = ("-", "--", ":", "-."), "osD^"  # for each turn of the colours
FEW_BANDS = 6  # more methods have whiskers in place of bands, which would hide each other
PLACES = 25  # at which an interval of a running mean is computed
N_RESAMPLES = 2000  # as in the tables
AXES = {"fraction": "fraction of features", "n": "features in a subset, n"}
SHOWN: dict[str, Callable[[Any], Any]] = {
    "all": np.abs,
    "absolute_value": np.abs,
    "positive": lambda a: a > 0,
    "negative": lambda a: a < 0,
}
STARS, UNDECIDED = ((0.001, "***"), (0.01, "**"), (0.05, "*")), "?"


def curves(results: Any, metric: str, confidence: float = 0.95, ax: Axes | None = None) -> Axes:
    """The mean curve of each method over a metric's own axis.

    Around it is the bootstrap interval of the mean over examples, as in the tables: a band, or with more than six
    methods whiskers, each method's at places of its own. Also for a metric with several sizes `n`. A metric with two
    axes has several curves of each method, in the method's colour, and another kind of line for each. The names stand
    at the ends of the lines.

    Example:
        >>> ax = curves(result, "deletion curve")
        >>> ax.get_ylabel()
        'output for the class'
    """
    dataset = _dataset(results)
    variable = _variable(dataset, metric)
    if not own_axes(variable):
        having = ", ".join(repr(name) for name in metrics_of(dataset) if own_axes(dataset[name]))
        raise ValueError(f"`metric` {metric!r} has one score an example, no curve; curves here: {having}.")
    axis = own_axes(variable)[-1]
    ax = _axes(ax, (7, 4))
    for k, (place, _, curve) in enumerate(curves_of(variable.astype(np.float64))):
        styles = [_turned(style, k) for style in _styles(dataset)]
        means, low, high = _mean_curves(curve.transpose("attribution", axis, "example").values, dataset, confidence)
        for i, (name, style) in enumerate(zip(methods_of(dataset), styles)):
            _line(ax, variable[axis].values, means[i], with_place(name, place), style)
            _interval(ax, variable[axis].values, low[i], high[i], style["color"], (i, len(styles)))
    ax.set_xlabel(AXES.get(plain_axis(axis), axis))
    ax.set_ylabel(printable(str(variable.attrs.get("drawn", _with_direction(variable)))))
    ax.set_title(f"{variable.name}: mean over examples, {confidence:.0%} interval", fontsize="medium")
    _names_at_ends(ax)
    return ax


def _mean_curves(values: Floats, dataset: xr.Dataset, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Means of `[methods, points, examples]` and their intervals, `[methods, points]` each; groups count as one."""
    check_fraction("confidence", confidence, open_ends=True)
    groups, rows = groups_of(dataset), np.where(np.isfinite(values), values, np.nan).reshape(-1, values.shape[-1])
    rows = rows if groups is None else grouped(rows, groups)
    bounds = intervals(rows, resampled_means(rows, N_RESAMPLES, 0), confidence)
    means = pd.DataFrame(rows.T).mean().to_numpy()  # skips nan
    mean, low, high = (part.reshape(values.shape[:2]) for part in (means, *np.array(bounds).T))
    return mean, low, high


def _turned(style: dict[str, Any], k: int) -> dict[str, Any]:
    """The same colour with the k-th next kind of line."""
    return {**style, "linestyle": LINES[(LINES.index(style["linestyle"]) + k) % len(LINES)]}


def _line(ax: Axes, x: Any, mean: Any, name: str, style: dict[str, Any]) -> None:
    ax.plot(x, mean, label=name, marker="o" if len(x) < 12 else "", markersize=4, **style)


def _interval(ax: Axes, x: Any, low: Floats, high: Floats, color: str, number: tuple[int, int]) -> None:
    """A band, or of many lines whiskers, of the i-th line of so many."""
    i, count = number
    if count <= FEW_BANDS:
        ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        return
    step = max(1, min(count, len(x) // 3))
    own = slice(i % step, None, step)
    ax.vlines(np.asarray(x)[own], low[own], high[own], color=color, linewidth=1)


def distributions(results: Any, metric: str, at: float | None = None, ax: Axes | None = None) -> Axes:
    """The scores of each method over the examples: violin, quartiles and median, with the best median on top.

    `at` chooses the place on the metric's own axis, if it has one.

    Example:
        >>> ax = distributions(result, "deletion")
        >>> ax.get_xlabel()
        'deletion (lower is better ↓)'
    """
    score = _score(results, metric, at)
    names, styles = methods_of(_dataset(results)), _styles(_dataset(results))
    medians = pd.DataFrame(score.oriented.T).median().fillna(-np.inf).to_numpy()
    order = np.argsort(-medians, kind="stable")[::-1]  # drawn from below
    ax = _axes(ax, (7, 1.2 + 0.45 * len(names)))
    for y, i in enumerate(order):
        _violin(ax, score.values[i][np.isfinite(score.values[i])], y, styles[i]["color"])
    ax.set_yticks(range(len(names)), [names[i] for i in order])
    ax.set_xlabel(_with_arrow(score.label, score.higher_is_better))
    ax.grid(axis="x", alpha=0.3)
    return ax


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
) -> Axes:
    """The scores of each method on single examples, evenly spread over the results.

    The bars are intervals by the standard errors of `evaluate(..., stderr=True)`: how far the score of that example
    would move with other random draws. A score without a standard error has no bar. `at` chooses the place on the
    metric's own axis, if it has one.

    Example:
        >>> ax = examples(result, "deletion", n_examples=4)
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['0', '4', '7', '11']
    """
    score, dataset = _score(results, metric, at), _dataset(results)
    count = dataset.sizes["example"]
    shown = np.unique(np.linspace(0, count - 1, min(check_count("n_examples", n_examples), count)).round().astype(int))
    reach = np.full(score.values.shape, np.nan) if score.noise is None else _z(confidence) * np.sqrt(score.noise)
    names, places = methods_of(dataset), np.arange(len(shown))
    ax = _axes(ax, (2.5 + 0.5 * len(shown), 4))
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
    return ax


def ranks(results: Any, metric: Any = None, ax: Axes | None = None) -> Axes:
    """Methods by metrics: the mean over examples of a method's rank on the example.

    Rank 1 is the best, and the best method is on top.

    Example:
        >>> ax = ranks(result)
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['deletion', 'insertion']
    """
    table = comparison.mean_ranks(_dataset(results), metric)
    grid = _pivot(table, "rank")
    grid = grid.loc[grid.mean(axis=1).sort_values(kind="stable").index]
    ax = _axes(ax, _grid_size(grid))
    _heat_map(ax, grid, "viridis_r", 1, max(len(grid), 2), "mean rank over examples (1 = best)", "{:.1f}".format)
    return ax


def metric_correlation(results: Any, ax: Axes | None = None) -> Axes:
    """Whether the metrics rank the methods alike: Spearman's correlation over methods, averaged over examples.

    The numbers are those of :func:`captum_ext.evaluation.comparison.agreement`.

    Example:
        >>> ax = metric_correlation(result)
        >>> ax.figure.savefig("agreement.pdf")  # doctest: +SKIP
    """
    found = scores(_dataset(results))
    grid = comparison.as_matrix(comparison.agreement_of(found), found)
    ax = _axes(ax, _grid_size(grid))
    _heat_map(ax, grid, "PuOr", -1, 1, "rank correlation over methods", "{:.2f}".format)
    return ax


def method_correlation(results: Any, metric: str, at: float | None = None, ax: Axes | None = None) -> Axes:
    """Whether methods do well on the same examples: Spearman's correlation over examples of their scores.

    Example:
        >>> ax = method_correlation(result, "deletion")
        >>> ax.get_title()
        'deletion'
    """
    score, names = _score(results, metric, at), methods_of(_dataset(results))
    grid = pd.DataFrame(score.values.T, columns=names).corr(method="spearman", min_periods=3)
    ax = _axes(ax, _grid_size(grid))
    _heat_map(ax, grid, "PuOr", -1, 1, "rank correlation over examples", "{:.2f}".format)
    ax.set_title(score.label, fontsize="medium")
    return ax


def significance(
    results: Any, metric: Any = None, baseline: str = "random", ax: Axes | None = None, **options: Any
) -> Axes:
    """The effect of every method against `baseline` on every metric, the best method on top.

    An effect is a rank-biserial correlation: 1 where the method is better on every example, -1 where it is worse.

    `options` are those of :func:`captum_ext.evaluation.comparison.compare`. Stars mark the corrected p: `*` below
    0.05, `**` below 0.01, `***` below 0.001; an effect without a star is pale. A question mark in place of stars says
    that there are too few examples for any outcome to be significant.

    Example:
        >>> ax = significance(result)
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['input x gradient', 'saliency']
    """
    table = comparison.compare(_dataset(results), metric, baseline, **options)
    table["mark"] = [_stars(p, unclear) for p, unclear in zip(table["p_corrected"], table["undecided"])]
    effects, marks = _pivot(table, "effect"), _pivot(table, "mark")
    order = effects.mean(axis=1).sort_values(ascending=False, kind="stable").index
    effects, marks = effects.loc[order], marks.loc[order].to_numpy()
    ax = _axes(ax, _grid_size(effects))
    label = f"effect against {printable(baseline)}"
    _heat_map(ax, effects, "PuOr", -1, 1, label, "{:+.2f}".format, marks)
    unclear = "   ?: too few examples to tell" if (marks == UNDECIDED).any() else ""
    ax.set_title(f"corrected p:  * < 0.05   ** < 0.01   *** < 0.001   pale: none{unclear}", fontsize="small")
    return ax


def _stars(p: float, undecided: bool) -> str:
    return next((mark for level, mark in STARS if p < level), UNDECIDED if undecided else "")


def convergence(
    results: Any, metric: str, at: float | None = None, confidence: float = 0.95, ax: Axes | None = None
) -> Axes:
    """The mean over the first k examples for growing k: whether more examples would change the picture.

    The band, or with more than six methods whiskers, is the bootstrap interval of that mean, as in the tables. Examples
    come in the order of the dataset; `dataset.isel(example=permutation)` gives another order.

    Example:
        >>> ax = convergence(result, "deletion")
        >>> ax.get_xlabel()
        'examples'
    """
    check_fraction("confidence", confidence, open_ends=True)
    score, dataset = _score(results, metric, at), _dataset(results)
    means = pd.DataFrame(score.values.T).expanding().mean()  # [examples, methods]
    k = np.unique(np.linspace(1, len(means), min(PLACES, len(means))).round().astype(int))
    low, high = np.moveaxis(np.array([_running_interval(score.values[:, :count], confidence) for count in k]), -1, 0)
    ax = _axes(ax, (7, 4))
    for i, (name, style) in enumerate(zip(methods_of(dataset), _styles(dataset))):
        _line(ax, np.arange(1, len(means) + 1), means[i], name, style)
        _interval(ax, k, low[:, i], high[:, i], style["color"], (i, len(score.methods)))
    settled = k > min(len(means) - 1, max(4, len(means) // 10))  # the first few examples would set the scale
    _limit_y(ax, pd.DataFrame(low[settled]), pd.DataFrame(high[settled]))
    ax.set_xlabel("examples")
    ax.set_ylabel(f"running mean of {_with_arrow(score.label, score.higher_is_better)}")
    ax.set_title(f"Mean of the first examples, {confidence:.0%} interval", fontsize="medium")
    _names_at_ends(ax)
    return ax


def _running_interval(values: Floats, confidence: float) -> list[tuple[float, float]]:
    return intervals(values, resampled_means(values, N_RESAMPLES, 0), confidence)


def maps(
    inputs: Any,
    attributions: Mapping[str, Any],
    sign: str = "all",
    outlier_perc: float = 2,
    ax: Any = None,
    *,
    names: Sequence[str] | None = None,
    **options: Any,
) -> Any:
    """Images with their attributions beside them: a row per example, a column per method.

    `inputs` are images [B, C, H, W] with 1 or 3 channels. `attributions` maps the name of each method to its maps
    [B, C or 1, H, W], whose channels are summed. Both are tensors or arrays. An image with values outside [0, 1] is
    stretched to that range. The maps are drawn by Captum's `visualize_image_attr`, and `sign`, `outlier_perc` and
    further options such as `method="blended_heat_map"` are Captum's; with both signs shown, purple is positive and
    orange negative, as a key below the maps says, and each map has a scale of its own. `names` stand beside the images,
    such as the class and its probability. `ax`, if given, holds B x (methods + 1) axes, and such an array comes back.

    Example:
        >>> image = torch.rand(1, 3, 8, 8)
        >>> axes = maps(image, {"random": torch.randn(1, 1, 8, 8)}, names=["tabby cat, 93 %"])
        >>> axes.shape, axes[0, 0].get_ylabel()
        ((1, 2), 'tabby cat, 93 %')
    """
    check_choice("sign", sign, SHOWN)
    _check_maps(attributions)
    images = [_displayable(image) for image in _images("inputs", inputs)]
    pictures = {name: _images(f"attributions[{name!r}]", value, len(images)) for name, value in attributions.items()}
    if names is not None and (isinstance(names, str) or len(names) != len(images)):
        raise ValueError(f"`names` must be a name for each of {len(images)} images, got {describe(names)}.")
    axes = _axes_grid(ax, len(images), len(pictures) + 1)
    for row, image in zip(axes, images):
        row[0].imshow(image, cmap="gray", vmin=0, vmax=1)
    for column, values in enumerate(pictures.values(), 1):
        for row, image, value in zip(axes, images, values):
            _attribution_map(row[column], value, image, {"sign": sign, "outlier_perc": outlier_perc, **options})
    for one, title in zip(axes[0], ["input", *pictures]):
        one.set_title(printable(str(title)), fontsize="medium")
    for one in axes.flat:
        one.set(xticks=[], yticks=[])
    for row, name in zip(axes, names or []):
        row[0].set_ylabel(printable(str(name)), fontsize="small")
    if sign == "all" and "cmap" not in options:
        _key_of_signs(axes)
    return axes


def _key_of_signs(axes: Any) -> None:
    """Under the maps, what their colours mean."""
    colors = _matplotlib().cm.ScalarMappable(_matplotlib().colors.Normalize(-1, 1), "PuOr")
    bar = axes.flat[0].figure.colorbar(
        colors, ax=list(axes.flat), location="bottom", shrink=0.4, aspect=30, pad=0.02, ticks=[-1, 0, 1]
    )
    bar.ax.set_xticklabels(["against the output", "0", "for the output"], fontsize="small")


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
    array = np.asarray(value.detach().cpu().double() if hasattr(value, "detach") else value, dtype=np.float64)
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
    """A figure made by pyplot, so that a notebook shows it."""
    return _matplotlib().pyplot.figure(figsize=size, layout="constrained")


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    _matplotlib()
    ax = _new_figure(size).add_subplot() if ax is None else ax
    if ax.name == "rectilinear":
        ax.spines[["top", "right"]].set_visible(False)
    return ax


def _axes_grid(ax: Any, rows: int, columns: int) -> Any:
    _matplotlib()
    if ax is None:
        return _new_figure((1.9 * columns, 2.0 * rows + 0.6)).subplots(rows, columns, squeeze=False)
    axes = np.asarray(ax, dtype=object)
    if axes.size != rows * columns:
        raise ValueError(
            f"`ax` must hold {rows} x {columns} axes, a row per example, input and methods; got {axes.size}."
        )
    return axes.reshape(rows, columns)


def _heat_map(
    ax: Axes,
    grid: pd.DataFrame,
    cmap: str,
    low: float,
    high: float,
    title: str,
    form: Callable[[float], str],
    marks: Any = None,
) -> None:
    """Numbers on their colours; with marks, those that have no star are pale."""
    values = grid.to_numpy(dtype=np.float64)
    marks = np.full(values.shape, "", dtype=object) if marks is None else marks
    pale = np.isin(marks, ["", UNDECIDED]) & bool((marks != "").any() or title.startswith("effect"))
    ax.spines[:].set_visible(False)
    image = ax.imshow(values, cmap=cmap, vmin=low, vmax=high, aspect="auto", alpha=np.where(pale, 0.3, 1.0))
    ax.set_xticks(range(grid.shape[1]), list(grid), rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(grid.shape[0]), list(grid.index))
    ax.tick_params(length=0)
    ax.figure.colorbar(_matplotlib().cm.ScalarMappable(image.norm, image.cmap), ax=ax, label=title)
    for (i, j), value in np.ndenumerate(values):
        dark = np.isfinite(value) and not pale[i, j] and _lightness(image.cmap(image.norm(value))) < 0.5
        text = f"{form(value)}\n{marks[i, j]}".strip() if np.isfinite(value) else "–"
        ax.text(j, i, text, ha="center", va="center", color="white" if dark else "black", fontsize="small")


def _lightness(rgba: Any) -> float:
    return float(np.dot(rgba[:3], [0.3, 0.6, 0.1]))


def _grid_size(grid: pd.DataFrame) -> tuple[float, float]:
    return 3.5 + 0.65 * grid.shape[1], 1.8 + 0.42 * grid.shape[0]


def _pivot(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Methods x metrics, both in the order of the table."""
    names = labels(table)
    wide = table.assign(label=names).pivot(index="attribution", columns="label", values=column)
    return wide.loc[table["attribution"].unique(), list(dict.fromkeys(names))]


def _names_at_ends(ax: Axes) -> None:
    """The names of the lines right of their ends, as far apart as their letters need; a legend if there is no room."""
    lines = [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    size = _matplotlib().rcParams["font.size"] * 0.9
    step = 1.25 * size / 72 * ax.figure.dpi / max(ax.get_window_extent().height, 1)  # share of the height of the axes
    if len(lines) * step > 1.1:
        lines = sorted(lines, key=lambda line: -_end(line)[1])
        _beside(ax, lines, [str(line.get_label()) for line in lines])
        return
    ax.get_ylim()  # makes the limits final
    heights = [ax.transLimits.transform((0, _end(line)[1]))[1] for line in lines]
    for line, height in zip(lines, _apart(np.nan_to_num(heights, nan=0, neginf=0), step)):
        arrow: dict[str, Any] = {
            "arrowstyle": "-",
            "color": line.get_color(),
            "shrinkA": 1,
            "shrinkB": 1,
            "relpos": (0, 0.5),
        }
        arrow |= {"linestyle": line.get_linestyle(), "linewidth": 1.5}
        end = _end(line) if np.isfinite(_end(line)[1]) else (1.02, height)
        coords = "data" if np.isfinite(_end(line)[1]) else "axes fraction"
        ax.annotate(
            *(str(line.get_label()), end, (1.06, height), coords, "axes fraction", arrow),
            va="center",
            fontsize=size,
            annotation_clip=False,
        )


def _end(line: Any) -> tuple[float, float]:
    """The last point of a line; of one without points, below all others."""
    x, y = (np.asarray(data, dtype=np.float64) for data in (line.get_xdata(), line.get_ydata()))
    known = np.flatnonzero(np.isfinite(y))
    return (float(x[known[-1]]), float(y[known[-1]])) if len(known) else (np.nan, -np.inf)


def _apart(heights: Floats, step: float) -> Floats:
    """Places in the same order, nearest to the heights, at least a step apart and if possible between 0 and 1."""
    order = np.argsort(heights, kind="stable")
    blocks: list[list[float]] = []
    for height in heights[order].clip(0, 1).tolist():
        blocks.append([height])
        while len(blocks) > 1 and _lowest(blocks[-2], step) + len(blocks[-2]) * step > _lowest(blocks[-1], step):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    places = np.concatenate([_lowest(block, step) + step * np.arange(len(block)) for block in blocks])
    inside = np.minimum(np.maximum(places, step * np.arange(len(places))), 1 - step * np.arange(len(places))[::-1])
    found = np.empty(len(places))
    found[order] = inside
    return found


def _lowest(block: list[float], step: float) -> float:
    """Where the lowest of neighbours stands that are a step apart, with the mean height that they should have."""
    return float(np.mean(block) - step * (len(block) - 1) / 2)


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

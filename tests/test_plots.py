"""Every figure says whose scores it shows, is drawn where it is told to, and leaves nothing open."""

from __future__ import annotations

import ast
import inspect
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from captum_ext import plots
from captum_ext.evaluation import comparison

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

METHODS = ["Gradient", "Occlusion", "Lime", "random"]

DRAWN = {
    "curves": lambda data, **kwargs: plots.curves(data, "removal_curve", **kwargs),
    "curves of sizes": lambda data, **kwargs: plots.curves(data, "sized", **kwargs),
    "distributions": lambda data, **kwargs: plots.distributions(data, "up", **kwargs),
    "distributions at": lambda data, **kwargs: plots.distributions(data, "sized", at=5, **kwargs),
    "examples": lambda data, **kwargs: plots.examples(data, "down", **kwargs),
    "ranks": plots.ranks,
    "method_correlation": lambda data, **kwargs: plots.method_correlation(data, "up", **kwargs),
    "significance": plots.significance,
    "significance of one": lambda data, **kwargs: plots.significance(data, "down", **kwargs),
    "convergence": lambda data, **kwargs: plots.convergence(data, "down", **kwargs),
}
EVERY = {**DRAWN, "metric_correlation": plots.metric_correlation}


@pytest.fixture
def data():
    return scores_of(np.random.default_rng(5))


def scores_of(rng, examples=25):
    quality = np.array([0.9, 0.6, 0.3, 0.0])
    places = np.linspace(0, 1, 5)
    up = quality[:, None] + 0.2 * rng.normal(size=(4, examples))
    down = np.exp(-quality[:, None] + rng.normal(size=(4, examples)))
    down[1, :3] = np.nan
    sized = quality[:, None, None] + 0.1 * rng.normal(size=(4, examples, 2))
    curve = np.exp(-quality[:, None, None] * places) + 0.1 * rng.normal(size=(4, examples, 5))
    axes = ("attribution", "example")
    return xr.Dataset(
        {
            "up": (axes, up, {"higher_is_better": True}),
            "down": (axes, down, {"higher_is_better": False}),
            "sized": ((*axes, "n"), sized, {"higher_is_better": True}),
            "removal_curve": ((*axes, "fraction (removal_curve)"), curve),
            "up:halves": ((*axes, "half"), np.stack([up, up], -1), {"halves_of": "up"}),
            "down stderr": (axes, np.full_like(down, 0.1), {"stderr_of": "down"}),
        },
        coords={
            "attribution": METHODS,
            "example": np.arange(examples),
            "n": [2, 5],
            "fraction (removal_curve)": places,
        },
    )


@pytest.fixture
def images():
    return torch.rand(2, 3, 8, 8)


@pytest.fixture(autouse=True)
def _no_figure_is_left_open():
    pyplot.close("all")
    yield
    pyplot.close("all")


def texts(figure):
    for ax in figure.axes:
        ax.get_xticklabels(), ax.get_yticklabels()  # which gives the ticks their texts
    return " | ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize("name", EVERY)
def test_a_figure_comes_back_and_pyplot_holds_none(name, data):
    figure = EVERY[name](data)
    assert isinstance(figure, Figure)
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("name", EVERY)
def test_the_figure_can_be_saved_without_a_warning(name, data, tmp_path, recwarn):
    EVERY[name](data).savefig(tmp_path / "figure.png", dpi=40)
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert not recwarn.list


@pytest.mark.parametrize("name", DRAWN)
def test_every_methods_name_is_written(name, data):
    written = texts(DRAWN[name](data))
    assert all(method in written for method in METHODS)


@pytest.mark.parametrize("name", EVERY)
def test_it_is_drawn_on_the_axes_that_are_given(name, data):
    figure, (left, right) = pyplot.subplots(1, 2)
    assert EVERY[name](data, ax=right) is figure
    assert right.has_data()
    assert not left.has_data()
    assert pyplot.get_fignums() == [figure.number]


@pytest.mark.parametrize("name", EVERY)
def test_an_evaluation_serves_as_its_dataset(name, data):
    assert isinstance(EVERY[name](SimpleNamespace(dataset=data)), Figure)


@pytest.mark.parametrize("name", EVERY)
def test_a_method_without_a_score_is_no_obstacle(name, data, recwarn):
    for variable in data.data_vars.values():
        variable.values[2] = np.nan
    texts(EVERY[name](data))
    assert not recwarn.list


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("examples", [1, 2])
def test_one_or_two_examples_are_no_obstacle(name, examples, data, recwarn):
    texts(EVERY[name](data.isel(example=slice(examples))))
    assert not recwarn.list


def line(figure, name):
    return next(one for one in figure.axes[0].get_lines() if one.get_label() == name)


def test_curves_show_the_mean_and_its_normal_interval(data):
    figure = plots.curves(data, "removal_curve", confidence=0.9)
    values = data["removal_curve"].values[1]
    np.testing.assert_allclose(line(figure, "Occlusion").get_ydata(), values.mean(0))
    band = figure.axes[0].collections[1].get_paths()[0].vertices[:, 1]
    half_width = 1.6448536 * values.std(0, ddof=1) / 5
    assert band.max() == pytest.approx((values.mean(0) + half_width).max())
    assert band.min() == pytest.approx((values.mean(0) - half_width).min())


def test_curves_skip_missing_scores(data):
    values = data["removal_curve"].values
    values[1, :20], values[1, 20] = np.nan, np.inf
    figure = plots.curves(data, "removal_curve")
    np.testing.assert_allclose(line(figure, "Occlusion").get_ydata(), values[1, 21:].mean(0))


def test_the_legend_has_the_lines_from_top_to_bottom(data):
    legend = plots.curves(data, "sized").axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == METHODS
    legend = plots.curves(data, "removal_curve").axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == METHODS[::-1]


@pytest.mark.parametrize("plot", [plots.distributions, plots.method_correlation, plots.convergence])
def test_a_figure_of_one_metric_needs_its_name(plot, data):
    with pytest.raises(TypeError, match="`metric` must be the name of a metric, got None"):
        plot(data, None)


def test_a_method_keeps_its_colour_through_the_figures(data):
    colors = {
        line(figure, "Lime").get_color() for figure in (plots.curves(data, "sized"), plots.convergence(data, "up"))
    }
    assert len(colors) == 1
    assert len({style["color"] + style["linestyle"] for style in plots._styles(many_methods())}) == 20


def many_methods():
    return xr.Dataset(coords={"attribution": [f"m{i}" for i in range(20)]})


def test_axes_say_what_they_show_and_which_way_is_better(data):
    assert plots.distributions(data, "down").axes[0].get_xlabel() == "down (lower is better ↓)"
    assert plots.distributions(data, "sized", at=2).axes[0].get_xlabel() == "sized (n=2) (higher is better ↑)"
    assert plots.curves(data, "removal_curve").axes[0].get_xlabel() == "fraction of features"
    assert "down (lower is better ↓)" in plots.convergence(data, "down").axes[0].get_ylabel()


def test_the_best_method_is_on_top(data):
    for figure in (plots.distributions(data, "up"), plots.significance(data, "up")):
        ticks = [t.get_text() for t in figure.axes[0].get_yticklabels()]
        assert ticks[-1] == "Gradient"  # the y axis goes up
    assert [t.get_text() for t in plots.ranks(data).axes[0].get_yticklabels()] == METHODS


def test_a_method_without_scores_is_named_as_such(data):
    data["up"].values[2] = np.nan
    assert "no scores" in texts(plots.distributions(data, "up"))


def cells(figure):
    return np.asarray(figure.axes[0].get_images()[0].get_array().filled(np.nan))


def test_ranks_are_the_mean_ranks_methods_by_metrics(data):
    figure = plots.ranks(data)
    columns = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert columns == ["up", "down", "sized (n=2)", "sized (n=5)"]
    expected = comparison.mean_ranks(data, "down")["rank"]
    np.testing.assert_allclose(cells(figure)[:, 1], expected)
    assert f"{expected[3]:.1f}" in texts(figure)
    assert cells(plots.ranks(data, ["down", "sized"])).shape == (4, 3)


def test_metric_correlation_is_symmetric_with_the_agreement_in_it(data):
    grid = cells(plots.metric_correlation(data))
    np.testing.assert_array_equal(grid, grid.T)
    np.testing.assert_array_equal(np.diag(grid), 1)
    np.testing.assert_allclose(grid[np.triu_indices(4, 1)], comparison.agreement(data)["correlation"])


def test_method_correlation_is_spearmans_over_examples(data):
    expected = pd.DataFrame(data["down"].values.T).corr("spearman")
    np.testing.assert_allclose(cells(plots.method_correlation(data, "down")), expected)


def test_significance_shows_the_effects_and_marks_the_corrected_p(data):
    data["up"].values[1:] += np.array([0.15, 0.38, 0.7])[:, None]  # all but Gradient are close to Lime
    table = comparison.compare(data, "up", baseline="Lime", correction="bh")
    figure = plots.significance(data, "up", baseline="Lime", correction="bh")
    bars = figure.axes[0].patches
    np.testing.assert_allclose(sorted(b.get_width() for b in bars), sorted(table["effect"]))
    stars = [t.get_text() for t in figure.axes[0].texts]
    by_effect = table.sort_values("effect")["p_corrected"]
    assert stars == ["***" if p < 0.001 else "**" if p < 0.01 else "*" if p < 0.05 else "" for p in by_effect]
    assert [b.get_alpha() < 1 for b in bars] == [mark == "" for mark in stars]
    assert stars != stars[::-1]
    left, right = figure.axes[0].get_xlim()
    assert all(left < b.get_width() < right for b in bars)


@pytest.mark.parametrize("examples", range(1, 8))
def test_significance_says_where_there_are_too_few_examples_to_tell(examples, data):
    """Twelve tests take 9 examples."""
    figure = plots.significance(data.isel(example=slice(examples)))
    assert {t.get_text() for t in figure.axes[0].texts} == {"?"}
    assert figure.axes[0].get_title().endswith("?: too few examples to tell")
    assert all(bar.get_alpha() < 1 for bar in figure.axes[0].patches)
    assert "too few" not in texts(plots.significance(data))


def test_more_metrics_than_colours_are_still_told_apart(data):
    fills = [tuple(plots._fill(k).values()) for k in range(20)]
    assert len(set(fills)) == 20


def test_convergence_is_the_running_mean(data):
    figure = plots.convergence(data, "down")
    for i, name in enumerate(METHODS):
        values = data["down"].values[i]
        expected = [np.mean(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan for v in running(values)]
        np.testing.assert_allclose(line(figure, name).get_ydata(), expected)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    last = band[band[:, 0] == 25, 1]
    values = data["down"].values[0]
    assert np.ptp(last) == pytest.approx(2 * 1.959964 * values.std(ddof=1) / 5)


def running(values):
    return [values[: k + 1] for k in range(len(values))]


def test_maps_have_a_row_per_example_and_a_column_per_method(images):
    attributions = {"Gradient": torch.randn(2, 3, 8, 8), "Occlusion": torch.randn(2, 1, 8, 8).numpy()}
    figure = plots.maps(images, attributions)
    assert len(figure.axes) == 2 * 3
    assert [ax.get_title() for ax in figure.axes[:3]] == ["input", "Gradient", "Occlusion"]
    shown = figure.axes[2].get_images()[0].get_array()
    total = attributions["Occlusion"][0, 0]
    assert np.sign(shown[total != 0]).tolist() == np.sign(total[total != 0]).tolist()
    np.testing.assert_allclose(figure.axes[0].get_images()[0].get_array(), images[0].permute(1, 2, 0))
    assert pyplot.get_fignums() == []


def test_maps_are_drawn_on_the_axes_that_are_given(images):
    figure, axes = pyplot.subplots(2, 2)
    assert plots.maps(images, {"Gradient": images}, ax=axes) is figure
    assert all(ax.get_images() for ax in axes.flat)
    with pytest.raises(ValueError, match=r"`ax` must hold 2 x 3 axes.*got 4"):
        plots.maps(images, {"Gradient": images, "Lime": images}, ax=axes)


def test_captums_options_reach_captum_and_it_opens_no_window(images, monkeypatch):
    monkeypatch.setattr(pyplot, "show", lambda *args, **kwargs: pytest.fail("a window"))
    attributions = {"Gradient": torch.randn(2, 3, 8, 8)}
    figure = plots.maps(images, attributions, sign="positive", method="blended_heat_map")
    assert len(figure.axes[1].get_images()) == 2


@pytest.mark.parametrize(
    ("value", "sign"), [(0.0, "all"), (float("nan"), "all"), (-1.0, "positive"), (1.0, "negative")]
)
def test_a_map_without_anything_to_show_says_so(value, sign, images, recwarn):
    assert "nothing to show" in texts(plots.maps(images, {"dead": torch.full((2, 3, 8, 8), value)}, sign=sign))
    assert not recwarn.list


def test_tiny_attributions_and_images_out_of_range_are_stretched(images, recwarn):
    figure = plots.maps(10 * images - 5, {"tiny": 1e-9 * torch.randn(2, 3, 8, 8)})
    shown = figure.axes[0].get_images()[0].get_array()
    assert (shown.min(), shown.max()) == (0, 1)
    assert np.abs(figure.axes[1].get_images()[0].get_array()).max() == 1
    assert not recwarn.list


def test_grey_images_are_shown(images):
    assert plots.maps(images[:, :1], {"Gradient": images}).axes[0].get_images()[0].get_array().shape == (8, 8)


def test_a_wrong_name_shape_or_place_is_an_error_that_helps(data, images):
    with pytest.raises(TypeError, match=r"`results` must be an Evaluation or its xarray.Dataset, got list"):
        plots.ranks([])
    with pytest.raises(ValueError, match=r"`metric` must be one of 'up', 'down', 'sized', 'removal_curve', got 'left'"):
        plots.curves(data, "left")
    with pytest.raises(ValueError, match="`correction` must be"):
        plots.significance(data, correction="none")
    for draw in (plots.curves, plots.convergence):
        with pytest.raises(ValueError, match="`confidence` must be a number between 0 and 1, neither included, got 95"):
            draw(data.isel(n=[0]), "sized", confidence=95)
    with pytest.raises(ValueError, match="got 'up:halves'"):
        plots.curves(data, "up:halves")
    with pytest.raises(
        ValueError, match=r"'up' has one score an example, no curve; curves here: 'sized', 'removal_curve'\."
    ):
        plots.curves(data, "up")
    with pytest.raises(ValueError, match=r"`at` must name one place on the axis of 'sized' \(2.0, 5.0\), got None"):
        plots.convergence(data, "sized")
    with pytest.raises(ValueError, match=r"\(it has none\), got 3"):
        plots.distributions(data, "up", at=3)
    with pytest.raises(ValueError, match=r"`inputs` must be images \[B, 1 or 3, H, W\], got shape \(2, 3, 8\)"):
        plots.maps(images[..., 0], {"Gradient": images})
    with pytest.raises(
        ValueError, match=r"`attributions\['Lime'\]` must be maps \[2, channels, H, W\], got shape \(1, 3"
    ):
        plots.maps(images, {"Lime": images[:1]})
    with pytest.raises(ValueError, match=r"`sign` must be one of 'all'.*got 'both'"):
        plots.maps(images, {"Lime": images}, sign="both")


@pytest.mark.parametrize("name", EVERY)
def test_without_matplotlib_the_error_says_what_to_install(name, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "captum-ext\[plots\]"'):
        EVERY[name](data)


def test_matplotlib_is_imported_only_to_draw():
    """At the top of the module nothing but types is of matplotlib."""
    imports = [
        node for node in ast.parse(inspect.getsource(plots)).body if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    assert len(imports) > 5
    assert not [ast.unparse(node) for node in imports if "matplotlib" in ast.unparse(node)]


def test_maps_of_tokens_may_be_of_half_precision_and_need_a_row_for_each_text():
    half = torch.tensor([[1.0, -0.5]], dtype=torch.bfloat16)
    assert str(plots.tokens([["a", "b"]], {"phi": half})) == str(plots.tokens([["a", "b"]], {"phi": half.float()}))
    for wrong, got in ((half[0], r"Tensor of shape \(2,\)"), (object(), r"object of shape \(\)")):
        with pytest.raises(ValueError, match=r"`attributions\['phi'\]` must be maps \(B, features\).* got " + got):
            plots.tokens([["a", "b"]], {"phi": wrong})

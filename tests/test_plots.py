"""Every figure says whose scores it shows, is drawn where it is told to, and leaves nothing open."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from itertools import pairwise
from pathlib import Path
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
from matplotlib.axes import Axes  # noqa: E402

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


def texts(drawn):
    figure = drawn.figure if hasattr(drawn, "figure") else drawn.flat[0].figure
    for ax in figure.axes:
        ax.get_xticklabels(), ax.get_yticklabels()  # which gives the ticks their texts
    return " | ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize("name", EVERY)
def test_axes_come_back_of_a_figure_that_pyplot_shows(name, data):
    ax = EVERY[name](data)
    assert isinstance(ax, Axes)
    assert pyplot.get_fignums() == [ax.figure.number]


@pytest.mark.parametrize("name", EVERY)
def test_the_figure_can_be_saved_without_a_warning(name, data, tmp_path, recwarn):
    EVERY[name](data).figure.savefig(tmp_path / "figure.png", dpi=40)
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert not recwarn.list


@pytest.mark.parametrize("name", DRAWN)
def test_every_methods_name_is_written(name, data):
    written = texts(DRAWN[name](data))
    assert all(method in written for method in METHODS)


@pytest.mark.parametrize("name", EVERY)
def test_it_is_drawn_on_the_axes_that_are_given(name, data):
    figure, (left, right) = pyplot.subplots(1, 2)
    assert EVERY[name](data, ax=right) is right
    assert right.has_data()
    assert not left.has_data()
    assert pyplot.get_fignums() == [figure.number]


@pytest.mark.parametrize("name", EVERY)
def test_an_evaluation_serves_as_its_dataset(name, data):
    assert isinstance(EVERY[name](SimpleNamespace(dataset=data)), Axes)


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


def line(ax, name):
    return next(one for one in ax.get_lines() if one.get_label() == name)


def band(collection, x):
    """The lower and the upper end of a band at a place."""
    vertices = collection.get_paths()[0].vertices
    return vertices[np.isclose(vertices[:, 0], x), 1].min(), vertices[np.isclose(vertices[:, 0], x), 1].max()


@pytest.mark.parametrize("grouped", [False, True])
def test_curves_show_the_mean_and_its_interval_as_the_tables_do(grouped, data):
    data["removal_curve"].attrs["higher_is_better"] = True
    if grouped:
        data = data.assign_coords(group=("example", np.arange(25) // 2))
    ax = plots.curves(data, "removal_curve", confidence=0.9)
    table = comparison.summary(data, 0.9, metric="removal_curve")
    for i, method in enumerate(METHODS):
        rows = table[table["attribution"] == method]
        np.testing.assert_allclose(line(ax, method).get_ydata(), rows["mean"])
        ends = [band(ax.collections[i], x) for x in rows["at"]]
        np.testing.assert_allclose(ends, rows[["low", "high"]], rtol=1e-6, atol=0.02)  # other draws of examples


def test_intervals_stay_within_what_the_scores_can_be():
    values = np.zeros((2, 30, 3))
    values[0, 0], values[1] = 1, 0.99
    values[1, 0] = 1
    dims = ("attribution", "example", "fraction")
    few = xr.Dataset({"p": (dims, values)}, {"attribution": ["a", "b"], "example": range(30), "fraction": [0, 0.5, 1]})
    low, high = np.array([band(one, 0.5) for one in plots.curves(few, "p").collections]).T
    assert (low >= 0).all()
    assert (high <= 1).all()


def test_many_methods_have_whiskers_that_do_not_hide_each_other():
    rng, dims = np.random.default_rng(0), ("attribution", "example", "fraction")
    coords = {"attribution": [f"m{i}" for i in range(9)], "example": range(8), "fraction": np.linspace(0, 1, 33)}
    many = xr.Dataset({"p": (dims, rng.random((9, 8, 33)))}, coords)
    ax = plots.curves(many, "p")
    places = [{segment[0, 0] for segment in one.get_segments()} for one in ax.collections]
    assert len(places) == 9
    assert all(3 <= len(of_one) <= 5 for of_one in places)
    assert not set.intersection(*places)
    assert len(set.union(*places)) == 33


def test_what_a_curve_shows_is_said_beside_it(data):
    assert plots.curves(data, "removal_curve").get_ylabel() == "removal_curve"
    data["removal_curve"].attrs["drawn"] = "probability of the class"
    assert plots.curves(data, "removal_curve").get_ylabel() == "probability of the class"


def test_curves_skip_missing_scores(data):
    values = data["removal_curve"].values
    values[1, :20], values[1, 20] = np.nan, np.inf
    ax = plots.curves(data, "removal_curve")
    np.testing.assert_allclose(line(ax, "Occlusion").get_ydata(), values[1, 21:].mean(0))


@pytest.mark.parametrize("metric", ["sized", "removal_curve"])
def test_names_stand_at_the_ends_of_their_lines_and_apart(metric, data):
    ax = plots.curves(data, metric)
    ax.figure.canvas.draw()
    names = sorted(ax.texts, key=lambda text: text.xyann[1])
    ends = {name: line(ax, name).get_ydata()[-1] for name in METHODS}
    assert [text.get_text() for text in names] == sorted(METHODS, key=ends.get)
    boxes = [text.get_window_extent() for text in names]
    assert all(above.y0 >= below.y1 - 1 for below, above in pairwise(boxes))
    assert max(box.x1 for box in boxes) <= ax.figure.bbox.x1  # nothing is cut
    assert [text.arrow_patch.get_edgecolor()[:3] for text in names] == [
        matplotlib.colors.to_rgb(line(ax, text.get_text()).get_color()) for text in names
    ]
    assert ax.get_legend() is None


def test_more_names_than_there_is_room_for_are_a_legend_from_top_to_bottom():
    dims = ("attribution", "example", "fraction")
    values = np.broadcast_to(np.arange(40.0)[:, None, None], (40, 2, 2))
    coords = {"attribution": [f"m{i}" for i in range(40)], "example": range(2), "fraction": [0, 1]}
    legend = plots.curves(xr.Dataset({"p": (dims, values)}, coords), "p").get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [f"m{i}" for i in range(40)][::-1]


@pytest.mark.parametrize("heights", [[0.5, 0.5, 0.5], [0.0, 0.01, 0.9], [1.0, 0.99, 0.98, 0.1], [0.3]])
def test_places_are_apart_in_order_and_within_the_axes(heights):
    places, order = plots._apart(np.array(heights), 0.1), np.argsort(heights, kind="stable")
    assert (np.diff(places[order]) >= 0.1 - 1e-9).all()
    assert places.min() >= -1e-9
    assert places.max() <= 1 + 1e-9
    if heights[0] == 0.5:
        np.testing.assert_allclose(places, [0.4, 0.5, 0.6])  # around where they should be


@pytest.mark.parametrize("plot", [plots.distributions, plots.method_correlation, plots.convergence])
def test_a_figure_of_one_metric_needs_its_name(plot, data):
    with pytest.raises(TypeError, match="`metric` must be the name of a metric, got None"):
        plot(data, None)


def test_a_method_keeps_its_colour_through_the_figures(data):
    colors = {line(ax, "Lime").get_color() for ax in (plots.curves(data, "sized"), plots.convergence(data, "up"))}
    assert len(colors) == 1
    assert len({style["color"] + style["linestyle"] for style in plots._styles(many_methods())}) == 20


MATRICES = {  # Machado, Oliveira and Fernandes 2009, at full severity, of linear RGB
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def oklab(colors, vision):
    """As seen, in Ottosson's space, in which a distance of 0.02 is just noticed."""
    rgb = np.array([matplotlib.colors.to_rgb(color) for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(MATRICES[vision]).T, 0, 1)
    cones = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
    axes = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
    return np.cbrt(seen @ np.array(cones).T) @ np.array(axes).T


def dark_colors():
    css = (
        (Path(plots.__file__).parent / "report/templates/style.css").read_text().split("prefers-color-scheme: dark")[1]
    )
    return re.findall(r"--series-\d+: (#\w{6});", css)


@pytest.mark.parametrize("vision", MATRICES)
@pytest.mark.parametrize("colors", [plots.COLORS, dark_colors()], ids=["on white", "on dark"])
def test_any_two_of_twelve_methods_differ_in_every_kind_of_colour_vision(colors, vision):
    """The seven colours of before came as near as 0.012 for the colour-blind."""
    seen = oklab(colors, vision)
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[np.triu_indices(len(seen), 1)]
    assert len(seen) == 12
    assert distances.min() > (0.15 if vision == "normal" else 0.07)


def many_methods():
    return xr.Dataset(coords={"attribution": [f"m{i}" for i in range(20)]})


def test_axes_say_what_they_show_and_which_way_is_better(data):
    assert plots.distributions(data, "down").get_xlabel() == "down (lower is better ↓)"
    assert plots.distributions(data, "sized", at=2).get_xlabel() == "sized (n=2) (higher is better ↑)"
    assert plots.curves(data, "removal_curve").get_xlabel() == "fraction of features"
    assert "down (lower is better ↓)" in plots.convergence(data, "down").get_ylabel()


def test_the_best_method_is_on_top(data):
    ticks = [t.get_text() for t in plots.distributions(data, "up").get_yticklabels()]
    assert ticks[-1] == "Gradient"  # the y axis goes up
    assert [t.get_text() for t in plots.ranks(data).get_yticklabels()] == METHODS
    assert next(iter(plots.significance(data).get_yticklabels())).get_text() == "Gradient"


def test_a_method_without_scores_is_named_as_such(data):
    data["up"].values[2] = np.nan
    assert "no scores" in texts(plots.distributions(data, "up"))


def cells(ax):
    return np.asarray(ax.get_images()[0].get_array().filled(np.nan))


def test_ranks_are_the_mean_ranks_methods_by_metrics(data):
    ax = plots.ranks(data)
    columns = [t.get_text() for t in ax.get_xticklabels()]
    assert columns == ["up", "down", "sized (n=2)", "sized (n=5)"]
    expected = comparison.mean_ranks(data, "down")["rank"]
    np.testing.assert_allclose(cells(ax)[:, 1], expected)
    assert f"{expected[3]:.1f}" in texts(ax)
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
    ax = plots.significance(data, "up", baseline="Lime", correction="bh")
    table = table.sort_values("effect", ascending=False)
    np.testing.assert_allclose(cells(ax)[:, 0], table["effect"])
    stars = [text.get_text().partition("\n")[2] for text in ax.texts]
    assert stars == [
        "***" if p < 0.001 else "**" if p < 0.01 else "*" if p < 0.05 else "" for p in table["p_corrected"]
    ]
    assert [float(text.get_text().partition("\n")[0]) for text in ax.texts] == table["effect"].round(2).tolist()
    assert [alpha < 1 for alpha in ax.get_images()[0].get_alpha()[:, 0]] == [mark == "" for mark in stars]
    assert stars != stars[::-1]


@pytest.mark.parametrize("examples", range(1, 8))
def test_significance_says_where_there_are_too_few_examples_to_tell(examples, data):
    """Twelve tests take 9 examples."""
    ax = plots.significance(data.isel(example=slice(examples)))
    assert {t.get_text()[-1] for t in ax.texts} <= {"?", "–"}
    assert ax.get_title().endswith("?: too few examples to tell")
    assert (ax.get_images()[0].get_alpha() < 1).all()
    assert "too few" not in texts(plots.significance(data))


def test_convergence_is_the_running_mean(data):
    ax = plots.convergence(data, "down")
    table = comparison.summary(data, metric="down")
    for i, name in enumerate(METHODS):
        values = data["down"].values[i]
        expected = [np.mean(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan for v in running(values)]
        np.testing.assert_allclose(line(ax, name).get_ydata(), expected)
        np.testing.assert_allclose(band(ax.collections[i], 25), table[["low", "high"]].iloc[i], rtol=0.05)


def running(values):
    return [values[: k + 1] for k in range(len(values))]


def test_maps_have_a_row_per_example_and_a_column_per_method(images):
    attributions = {"Gradient": torch.randn(2, 3, 8, 8), "Occlusion": torch.randn(2, 1, 8, 8).numpy()}
    axes = plots.maps(images, attributions, names=["cat, 93 %", "dog, 51 %"])
    assert axes.shape == (2, 3)
    assert [ax.get_title() for ax in axes[0]] == ["input", "Gradient", "Occlusion"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["cat, 93 %", "dog, 51 %"]
    key = texts(axes).split(" | ")
    assert {"against the output", "for the output"} <= set(key)
    shown = axes[0, 2].get_images()[0].get_array()
    total = attributions["Occlusion"][0, 0]
    assert np.sign(shown[total != 0]).tolist() == np.sign(total[total != 0]).tolist()
    np.testing.assert_allclose(axes[0, 0].get_images()[0].get_array(), images[0].permute(1, 2, 0))
    with pytest.raises(ValueError, match="`names` must be a name for each of 2 images, got str 'cat'"):
        plots.maps(images, attributions, names="cat")


def test_maps_may_be_of_half_precision(images):
    phi = torch.randn(2, 1, 8, 8).bfloat16()
    axes = [plots.maps(images.to(dtype), {"a": phi.to(dtype)}) for dtype in (torch.bfloat16, torch.float32)]
    half, single = ([ax.get_images()[0].get_array() for ax in drawn.flat] for drawn in axes)
    assert all(map(np.array_equal, half[1::2], single[1::2]))


def test_maps_are_drawn_on_the_axes_that_are_given(images):
    axes = pyplot.subplots(2, 2)[1]
    assert (plots.maps(images, {"Gradient": images}, ax=axes) == axes).all()
    assert all(ax.get_images() for ax in axes.flat)
    with pytest.raises(ValueError, match=r"`ax` must hold 2 x 3 axes.*got 4"):
        plots.maps(images, {"Gradient": images, "Lime": images}, ax=axes)


def test_captums_options_reach_captum_and_it_opens_no_window(images, monkeypatch):
    monkeypatch.setattr(pyplot, "show", lambda *args, **kwargs: pytest.fail("a window"))
    attributions = {"Gradient": torch.randn(2, 3, 8, 8)}
    axes = plots.maps(images, attributions, sign="positive", method="blended_heat_map")
    assert len(axes[0, 1].get_images()) == 2
    assert "for the output" not in texts(axes)  # which is no colour there


@pytest.mark.parametrize(
    ("value", "sign"), [(0.0, "all"), (float("nan"), "all"), (-1.0, "positive"), (1.0, "negative")]
)
def test_a_map_without_anything_to_show_says_so(value, sign, images, recwarn):
    assert "nothing to show" in texts(plots.maps(images, {"dead": torch.full((2, 3, 8, 8), value)}, sign=sign))
    assert not recwarn.list


def test_tiny_attributions_and_images_out_of_range_are_stretched(images, recwarn):
    axes = plots.maps(10 * images - 5, {"tiny": 1e-9 * torch.randn(2, 3, 8, 8)})
    shown = axes[0, 0].get_images()[0].get_array()
    assert (shown.min(), shown.max()) == (0, 1)
    assert np.abs(axes[0, 1].get_images()[0].get_array()).max() == 1
    assert not recwarn.list


def test_grey_images_are_shown(images):
    assert plots.maps(images[:, :1], {"Gradient": images})[0, 0].get_images()[0].get_array().shape == (8, 8)


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

"""Curves within the page: in the style sheet's colours, with ids of their own, and with their means beside them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib import pyplot

from captum_ext import plots
from captum_ext.report import charts

from .runs import METHODS, result


@pytest.fixture(scope="module")
def drawn():
    return charts.curves(result().dataset, 0.95)


def test_every_metric_with_an_axis_is_drawn_and_no_other(drawn):
    assert [(c.name, c.axis, c.direction) for c in drawn] == [
        ("sized", "n", True),
        ("a/curve $x", "fraction", None),
        ("b<i>", "fraction", None),
    ]
    assert charts.curves(result().dataset.isel(n=[0])[["sized", "up"]], 0.95) == []


def test_the_means_are_those_of_the_defined_scores(drawn):
    values = result().dataset["sized"].values
    assert drawn[0].places == ["1", "5"]
    np.testing.assert_allclose([[float(m) for m in row] for row in drawn[0].means], np.nanmean(values, 1), atol=0.005)


def test_a_drawing_is_well_formed_in_the_pages_colours_and_without_a_network(drawn):
    for chart in drawn:
        ElementTree.fromstring(f'<svg xmlns:xlink="x">{chart.svg}</svg>')
        assert set(re.findall(r"var\(--series-\d\)", chart.svg)) == {f"var(--series-{i})" for i in range(len(METHODS))}
        assert not any(colour.lower() in chart.svg.lower() for colour in (*plots.COLORS, charts.INK))
        assert "http" not in chart.svg
        assert "<style" not in chart.svg


def test_ids_of_two_drawings_do_not_meet(drawn):
    ids = [set(re.findall(r'\bid="([^"]+)"', chart.svg)) for chart in drawn]
    assert all(ids)
    assert not ids[1] & ids[2]
    for chart, own in zip(drawn, ids):
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', chart.svg)) <= {(i, "") for i in own} | {
            ("", i) for i in own
        }


def test_the_callers_settings_of_matplotlib_and_figures_stay_as_they_are():
    before, figures = dict(pyplot.rcParams), pyplot.get_fignums()
    charts.curves(result().dataset[["b<i>"]], 0.95)
    assert dict(pyplot.rcParams) == before
    assert pyplot.get_fignums() == figures


def test_the_style_sheet_has_a_colour_for_each_of_the_plots():
    css = (charts.__file__.rsplit("/", 1)[0]) + "/templates/style.css"
    with open(css) as file:
        assert set(re.findall(r"--series-(\d+):", file.read())) == {str(i) for i in range(len(plots.COLORS))}

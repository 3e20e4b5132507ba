"""What a result looks like in a terminal and in a notebook."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from captum_ext import Evaluation
from captum_ext.evaluation import display

METHODS = ["good", "bad", "<script>alert(1)</script>"]


def result(**attributes):
    axes = ("attribution", "example")
    dataset = xr.Dataset(
        {
            "up": (axes, [[2.0, 4.0], [1.0, 1.0], [np.nan, np.nan]], {"higher_is_better": True}),
            "down": ((*axes, "n"), np.arange(12.0).reshape(3, 2, 2) / 1000, {"higher_is_better": False}),
            "curve": ((*axes, "fraction"), np.zeros((3, 2, 2))),
            "up:halves": ((*axes, "half"), np.zeros((3, 2, 2)), {"halves_of": "up"}),
        },
        coords={"attribution": METHODS, "example": [0, 1], "n": [1, 5], "fraction": [0.0, 1.0]},
        attrs=attributes,
    )
    return Evaluation(dataset)


def test_the_text_has_the_means_an_arrow_per_metric_and_a_mark_at_the_best(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert repr(result()).splitlines() == [
        "Evaluation: 3 methods on 2 examples, 3 metrics",
        "                   method  up ↑   down (n=1) ↓   down (n=5) ↓",
        "                     good  3.00*       0.00100*        0.0020*",
        "                      bad  1.00        0.00500         0.0060",
        "<script>alert(1)</script>     –        0.00900         0.0100",
        display.LEGEND,
        "Without a better side: curve.",
    ]


def test_a_narrow_terminal_gets_the_columns_below_each_other(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    lines = repr(result()).splitlines()
    assert sum(line.lstrip().startswith("method") for line in lines) == 2
    assert max(map(len, lines[1:-2])) <= 50


def test_failures_are_counted():
    assert "1 failure, see `failures`." in repr(result(failures=json.dumps([{"metric": "up"}])))


@pytest.mark.parametrize("sizes", [{"attribution": 0}, {"example": 0}, {}])
def test_a_result_without_scores_is_still_shown(sizes):
    dataset = result().dataset.isel({name: slice(size) for name, size in sizes.items()})
    for shown in (Evaluation(dataset), Evaluation(dataset[["curve"]]), Evaluation(xr.Dataset())):
        assert repr(shown).startswith("Evaluation: ")
        assert "Evaluation" in shown._repr_html_()


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_in_a_notebook_it_is_a_table_with_names_as_text():
    parsed = Tags(result()._repr_html_())
    assert "script" not in parsed.tags
    assert METHODS[2] in parsed.text
    assert parsed.tags.count("strong") >= 1 + 3
    assert {"table", "caption", "details"} <= set(parsed.tags)


def test_a_name_cannot_steer_the_terminal():
    dataset = result().dataset.assign_coords(attribution=["a\x1b[2J", "b\nc", "d"])
    assert "\x1b" not in repr(Evaluation(dataset))
    assert r"b\u000ac" in repr(Evaluation(dataset))


def test_numbers_of_a_column_have_as_many_decimals():
    form = display.number_format([0.01234, -0.5, np.nan])
    assert [form(v) for v in (0.01234, -0.5, np.nan, np.inf)] == ["0.012", "-0.500", "–", "–"]
    assert display.number_format([1234.5])(1234.5) == "1234"
    assert display.number_format([2e-9])(2e-9) == "2.00e-09"
    assert display.number_format([])(np.nan) == "–"


def test_the_summary_has_a_block_per_metric_with_the_best_first():
    scores = np.random.default_rng(0).normal(size=(3, 40)) + np.array([0, 5, 4.9])[:, None]
    scores[0, 0] = np.nan
    dataset = xr.Dataset(
        {"up": (("attribution", "example"), scores, {"higher_is_better": True})},
        {"attribution": ["low", "best", "close"], "example": np.arange(40)},
    )
    head, best, close, low, _, legend = display.summary_text(dataset, n_resamples=200).splitlines()
    assert head == "up ↑"
    assert best.split()[:2] == ["best", "*"]
    assert close.split()[:2] == ["close", "="]
    assert low.startswith("    low   ")
    assert low.endswith("2% undefined")
    assert "95% interval" in legend
    assert "too few" not in legend


def test_the_summary_says_which_share_is_noise_of_the_draws():
    axes, scores = ("attribution", "example"), np.random.default_rng(0).normal(size=(2, 40))
    dataset = xr.Dataset(
        {
            "up": (axes, scores, {"higher_is_better": True}),
            "up stderr": (axes, np.full_like(scores, 0.5), {"stderr_of": "up"}),
        },
        {"attribution": ["a", "b"], "example": np.arange(40)},
    )
    text = display.summary_text(dataset, n_resamples=20)
    assert [line.split()[-2:] for line in text.splitlines()[1:3]] == [["by", "draws"]] * 2
    assert "noise of the metric's random draws" in text
    assert "draws" not in display.summary_text(dataset.drop_vars("up stderr"), n_resamples=20)


@pytest.mark.parametrize("examples", range(1, 8))
def test_too_few_examples_are_said_to_be_so_and_are_no_tie(examples):
    scores = np.random.default_rng(0).normal(size=(3, examples)) + np.array([0, 5, 50])[:, None]
    variable = (("attribution", "example"), scores, {"higher_is_better": True})
    dataset = xr.Dataset({"up": variable}, {"attribution": ["low", "close", "best"], "example": np.arange(examples)})
    _, *rows, _, legend = display.summary_text(dataset, n_resamples=10).splitlines()
    mark = "" if examples >= 7 else "?"  # two tests: 2 * 2 / 2^5 is not below 0.05
    assert [row.split()[1].strip("-.0123456789") for row in rows] == ["*", mark, mark]
    assert legend.endswith("* best mean, = not distinguishable from it, ? too few examples to tell.") == bool(mark)

"""Scores that differ by no more than the rounding of their type are equal, in every table and for the stop rule."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from captum_ext import Evaluation
from captum_ext.evaluation.verdict import decisions_of

METHODS = ["one", "other", "random"]


def results(factor: float, dtype) -> Evaluation:
    """`other` is `one` times the factor on every one of 200 examples; the control is far behind."""
    draw = np.random.default_rng(0)
    one = draw.uniform(1, 2, 200)
    values = np.stack([one, one * factor, one - 1 + 0.1 * draw.normal(size=200)]).astype(dtype)
    again = np.stack([values[1], values[0], values[2]])
    attributes = {"higher_is_better": True, "metric": "srg", "arguments": "{}"}
    axes = ("attribution", "example")
    variables = {"srg": (axes, values, attributes), "again": (axes, again, attributes)}
    return Evaluation(xr.Dataset(variables, {"attribution": METHODS, "example": range(200)}, {"failures": "[]"}))


@pytest.mark.parametrize(("dtype", "rounding"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_a_difference_of_rounding_decides_nothing(dtype, rounding):
    result = results(1 + rounding, dtype)
    assert (result.dataset["srg"][1] > result.dataset["srg"][0]).mean() > 0.5  # so it would decide
    against = result.compare("srg", baseline="one").set_index("attribution")
    assert against.loc["other", ["effect", "median_difference", "better"]].tolist() == [0, 0, False]
    table = result.summary(metric="srg").set_index("attribution")
    assert table["rank"].tolist() == [1, 1, 3]
    assert table["tied_with_best"].tolist() == [True, True, False]
    assert table["p_best"].tolist() == [0.5, 0.5, 0]
    assert result.agreement()["correlation"].iloc[0] == pytest.approx(1)
    decided = decisions_of(result.dataset, {"srg": "ranking"}, within=0)
    assert decided.best(0) == []
    assert decided.difference[(decided.method == 0) & (decided.other == 1)] == 0
    assert [line.split()[0] for line in str(result).splitlines() if line.rstrip().endswith("*")] == ["one", "other"]


@pytest.mark.parametrize(("dtype", "more"), [(np.float32, 1e-4), (np.float64, 1e-10)])
def test_a_difference_beyond_rounding_decides(dtype, more):
    result = results(1 + more, dtype)
    against = result.compare("srg", baseline="one").set_index("attribution")
    assert against.loc["other", "effect"] == 1
    assert against.loc["other", "better"]
    assert result.summary(metric="srg")["rank"].tolist() == [2, 1, 3]
    assert result.agreement()["correlation"].iloc[0] == pytest.approx(0.5)
    assert decisions_of(result.dataset, {"srg": "best"}, within=0).best(0) == [1]


def test_nor_does_it_where_the_mean_is_near_zero():
    """Then rounding is small beside the scores, and not beside their mean."""
    draw = np.random.default_rng(1)
    for _ in range(20):
        one = draw.uniform(-1, 1, 100).astype(np.float32)
        one -= one.mean()
        values = np.stack([one, one + draw.uniform(-1, 1, 100).astype(np.float32) * 1e-7 * one, one - 2])
        attributes = {"higher_is_better": True, "metric": "srg", "arguments": "{}"}
        coordinates = {"attribution": METHODS, "example": range(100)}
        dataset = xr.Dataset({"srg": (("attribution", "example"), values, attributes)}, coordinates, {"failures": "[]"})
        table = Evaluation(dataset).summary()
        assert table["rank"].tolist() == [1, 1, 3]
        assert table[["rank_low", "rank_high"]].to_numpy().tolist() == [[1, 1], [1, 1], [3, 3]]


def test_nor_does_it_where_the_scores_of_a_group_cancel():
    """Then it is small beside the scores of the group, and not beside their mean."""
    draw = np.random.default_rng(2)
    half = draw.uniform(1, 2, 60).astype(np.float32)
    one = np.concatenate([half, -half])
    other = np.concatenate([half * np.float32(1 + 3e-7), -half])  # better by a little in every group
    values = np.stack([one, other, one - 3 + draw.normal(size=120).astype(np.float32)])
    attributes = {"higher_is_better": True, "metric": "srg", "arguments": "{}"}
    axes = ("attribution", "example")
    coordinates = {"attribution": METHODS, "example": range(120), "group": ("example", [*range(60)] * 2)}
    found = xr.Dataset({"srg": (axes, values, attributes)}, coordinates, {"failures": "[]"})
    result = Evaluation(found.assign(again=(axes, values[[1, 0, 2]], attributes)))
    against = result.compare("srg", baseline="one").set_index("attribution")
    assert against.loc["other", ["effect", "median_difference", "pairs"]].tolist() == [0, 0, 60]
    assert result.summary(metric="srg")["rank"].tolist() == [1, 1, 3]
    assert result.agreement()["correlation"].iloc[0] == pytest.approx(1)

"""How metrics take changed maps: exact cases, and what cannot be compared."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from captum_ext import Evaluation, changed_attribution, evaluate, metrics, random_attribution, shuffled_attribution
from captum_ext.metrics import metric

W = torch.tensor([3.0, -1.0, 2.0, 0.5, -4.0, 1.5], dtype=torch.float64)
X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
DATA = torch.utils.data.TensorDataset(X, torch.zeros(12, dtype=torch.long))
EXACT, HALF_RIGHT, SIZE = X * W, X * W.clamp(min=0), (X * W).abs()
MAPS = {"exact": EXACT, "half right": HALF_RIGHT, "size": SIZE, "random": random_attribution}
TRIPLE = partial(torch.mul, other=3)


@metric(higher_is_better=True)
def constant(inputs, attributions):
    return torch.full((len(inputs),), 0.7)


@metric(higher_is_better=False)
def largest(inputs, attributions):
    return attributions.amax(1)


@metric(higher_is_better=True)
def undefined(inputs, attributions):
    return torch.full((len(inputs),), torch.nan)


METRICS = {
    "srg": partial(metrics.srg, n_steps=7),
    "sensitivity_n": partial(metrics.sensitivity_n, n=[2, 3], n_perturb_samples=20),
    "sparseness": metrics.sparseness,
    "constant": constant,
    "largest": largest,
    "undefined": undefined,
}


def scored(maps):
    linear = torch.nn.Linear(6, 1, bias=False).double()
    linear.weight.data = W[None].clone()
    return evaluate(torch.nn.Sequential(linear, torch.nn.Flatten(0)), DATA, maps, METRICS, target=None)


def each_of(change, maps=MAPS):
    return {name: change(maps[name]) for name in maps}


def row(table, metric, change, at=None):
    found = table[(table["metric"] == metric) & (table["change"] == change)]
    found = found if at is None else found[found["at"] == at]
    assert len(found) == 1
    return found.iloc[0]


@pytest.fixture(scope="module")
def table():
    shuffled = scored(each_of(shuffled_attribution, {"exact": EXACT}))
    harmless = {"times 3": scored(each_of(lambda m: changed_attribution(m, TRIPLE)))}
    return scored(MAPS).meta_evaluation(shuffled, harmless)


def test_the_exact_attribution_of_an_additive_model_beats_every_shuffled_copy(table):
    for name, at in (("srg", None), ("sensitivity_n", 2), ("sensitivity_n", 3)):
        found = row(table, name, "disrupted", at)
        assert found[["beaten", "low", "high", "tied"]].tolist() == [1, 1, 1, 0]
        assert found[["methods", "examples"]].tolist() == [1, 12]
        assert found["wanted"] == "worse"
        assert math.isnan(found["same_ranks"])  # there is one method


@pytest.mark.parametrize("name", ["constant", "sparseness", "largest"])
def test_a_metric_that_does_not_look_at_the_places_is_blind_to_shuffling(table, name):
    assert row(table, name, "disrupted")[["beaten", "low", "high", "tied"]].tolist() == [0.5, 0.5, 0.5, 1]


@pytest.mark.parametrize(("name", "at"), [("srg", None), ("sensitivity_n", 2), ("sparseness", None)])
def test_a_metric_of_order_or_shape_stays_the_same_when_maps_are_scaled(table, name, at):
    found = row(table, name, "times 3", at)
    assert found[["beaten", "tied", "same_ranks"]].tolist() == [0.5, 1, pytest.approx(1, abs=1e-12)]
    assert found[["wanted", "methods", "ranked"]].tolist() == ["same", 4, 12]


def test_a_metric_of_values_does_not(table):
    found = row(table, "largest", "times 3")
    assert found["tied"] == 0
    largest_values = torch.stack([m.amax(1) for m in (EXACT, HALF_RIGHT, SIZE, random_attribution()(X))])
    assert found["beaten"] == (largest_values > 0).double().mean()  # a smaller one is better
    assert found["same_ranks"] == pytest.approx(1)  # all methods are scaled alike


def test_ranks_of_a_constant_metric_and_what_is_undefined_are_nan(table):
    found = row(table, "constant", "times 3")
    assert math.isnan(found["same_ranks"])
    assert found["ranked"] == 0
    found = row(table, "undefined", "times 3")
    assert found[["beaten", "low", "high", "tied", "same_ranks"]].isna().all()
    assert found["examples"] == 0


def made(values, methods=("a", "b", "c"), higher=True, **coords):
    values = np.asarray(values, np.float64)
    variable = (("attribution", "example"), values, {"higher_is_better": higher})
    return xr.Dataset({"m": variable}, {"attribution": list(methods), "example": np.arange(values.shape[1]), **coords})


def test_shares_and_ranks_by_hand():
    before, after = [[3, 2, 1], [2, np.nan, 5], [1, 1, 2]], [[1, 2, 3], [2, 0, 4], [5, 0, 1]]
    found = Evaluation(made(before)).meta_evaluation(made(after)).iloc[0]
    by_example = [(1 + 0.5 + 0) / 3, (0.5 + 1) / 2, (0 + 1 + 1) / 3]  # the NaN does not count
    assert found["beaten"] == pytest.approx(np.mean(by_example))
    assert found["tied"] == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert found["ranked"] == 2
    c = 1 - 6 / 24  # as `agreement` draws correlations in
    assert found["same_ranks"] == pytest.approx(np.tanh(np.mean(np.arctanh([-1 * c, 0.5 * c]))) / c)
    opposite = Evaluation(made(before, higher=False)).meta_evaluation(made(after, higher=False)).iloc[0]
    assert opposite["beaten"] == pytest.approx(1 - np.mean(by_example))


def test_methods_and_examples_are_matched_by_name():
    before, after = np.random.default_rng(0).normal(size=(2, 3, 8))
    moved = made(after).isel(attribution=[2, 0, 1], example=[*range(4, 8), *range(4)])
    expected = Evaluation(made(before)).meta_evaluation(harmless=made(after))
    assert Evaluation(made(before)).meta_evaluation(harmless=moved).equals(expected)


def test_a_group_counts_once():
    before, after = np.random.default_rng(0).normal(size=(2, 3, 8))
    groups = np.repeat(np.arange(4), 2)
    found = Evaluation(made(before, group=("example", groups))).meta_evaluation(made(after)).iloc[0]
    means = [values.reshape(3, 4, 2).mean(-1) for values in (before, after)]
    assert found["examples"] == 4
    assert found["beaten"] == (means[0] > means[1]).mean()


def test_the_interval_is_that_of_the_summary_of_the_shares():
    before, after = np.random.default_rng(1).normal(size=(2, 3, 40))
    found = Evaluation(made(before)).meta_evaluation(made(after), confidence=0.8, n_resamples=500, seed=3).iloc[0]
    shares = made([(before > after).mean(0)], ["shares"])
    summary = Evaluation(shares).summary(confidence=0.8, n_resamples=500, seed=3).iloc[0]
    assert found[["beaten", "low", "high"]].tolist() == summary[["mean", "low", "high"]].tolist()


RIGHT = made(np.zeros((3, 4)))
WRONG = {
    "nothing to compare with": (ValueError, "`disrupted` or `harmless` must be given", {}),
    "no results": (TypeError, "`disrupted` must be results of `evaluate`, got int 3", {"disrupted": 3}),
    "no results under a name": (
        TypeError,
        r"`harmless\['noise'\]` must be results of `evaluate`, got NoneType",
        {"harmless": {"noise": None}},
    ),
    "another method": (
        ValueError,
        "`disrupted` must have the methods .*; 'z' is in one of them only",
        {"disrupted": made(np.zeros((3, 4)), "abz")},
    ),
    "other examples": (
        ValueError,
        "`disrupted` must have the examples .*; 3 is in one of them only",
        {"disrupted": made(np.zeros((3, 3)))},
    ),
    "another metric": (
        ValueError,
        "scored by the same metrics, with the same settings; 'm', 'other' are in one",
        {"disrupted": RIGHT.rename(m="other")},
    ),
    "another class": (
        ValueError,
        "`disrupted` explains another predicted class of example 2",
        {"disrupted": RIGHT.assign_coords(target=("example", [0, 0, 1, 0]))},
    ),
    "a confidence of 1": (ValueError, "`confidence` must be", {"disrupted": RIGHT, "confidence": 1}),
    "no resamples": (ValueError, "`n_resamples` must be", {"disrupted": RIGHT, "n_resamples": 0}),
    "half a seed": (TypeError, "`seed` must be an integer", {"disrupted": RIGHT, "seed": 0.5}),
}


@pytest.mark.parametrize(("error", "match", "arguments"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_compared_is_refused(error, match, arguments):
    base = RIGHT.assign_coords(target=("example", [0, 0, 0, 0]))
    with pytest.raises(error, match=match):
        Evaluation(base).meta_evaluation(**arguments)

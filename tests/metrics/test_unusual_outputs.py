"""Outputs that are NaN, integers, or off by their rounding: no metric takes one of these for a good score, a crash or
an effect.
"""

from __future__ import annotations

import math
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captum_ext import metrics
from captum_ext._core.statistics import rounding_of_outputs
from captum_ext.feature_masks import pixels


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def classes_model(x):
    """`[rows, 3]`"""
    return torch.stack([x.flatten(1).sum(1), x.flatten(1).square().sum(1), torch.ones(len(x)).to(x)], 1)


SCORES = {
    "consistency": partial(
        metrics.consistency,
        classes_model,
        other_attributions=normal(60, 2, 3, 3, seed=2),
        other_classes=torch.arange(60) % 3,
        discretize=lambda rows: rows[:, :1].sign(),
    ),
    "consistency of one output": partial(
        metrics.consistency,
        lambda x: classes_model(x)[:, 0],
        other_attributions=normal(60, 2, 3, 3, seed=2),
        other_classes=torch.arange(60) % 2,
        discretize=lambda rows: rows[:, :1].sign(),
    ),
    "effective_complexity": partial(metrics.effective_complexity, classes_model, target=0),
    "minimal_subset": partial(metrics.minimal_subset, classes_model),
    "minimal_subset by insertion": partial(metrics.minimal_subset, classes_model, mode="insertion"),
    "monotonicity": partial(metrics.monotonicity, classes_model, target=0),
    "road_accuracy": partial(metrics.road_accuracy, classes_model, target=0, baselines=0.0),
}


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_an_output_that_is_nan_has_no_score_and_leaves_its_neighbours_alone(score):
    x, phi = normal(3, 2, 3, 3), normal(3, 2, 3, 3, seed=1)
    broken = x.clone()
    broken[1] = math.nan
    scores = score(inputs=broken, attributions=phi)
    assert scores.isnan().tolist() == [False, True, False]
    assert torch.equal(scores[[0, 2]], score(inputs=x, attributions=phi)[[0, 2]])


RELATIVE = {
    "input": metrics.relative_input_stability,
    "output": metrics.relative_output_stability,
    "representation": partial(metrics.relative_representation_stability, layer="0"),
}


class NanWhere(nn.Module):
    """`[rows, 3]`, but NaN for rows whose first element is negative."""

    def forward(self, x):
        return classes_model(x).masked_fill(x.flatten(1)[:, :1] < 0, math.nan)


@pytest.mark.parametrize("score", RELATIVE.values(), ids=RELATIVE)
def test_a_copy_whose_output_is_nan_keeps_no_class(score):
    model, x = nn.Sequential(nn.Identity(), NanWhere()), normal(3, 6).abs() + 1
    call = {"inputs": x, "explanation_func": torch.square}
    of_nan = score(model, perturb_func=lambda rows: -rows, **call)
    assert of_nan.isnan().all()

    def some(rows):
        """Of every two copies of an example, the second is NaN."""
        return torch.stack([rows[0::2] * 1.001, -rows[1::2]], 1).flatten(0, 1)

    assert_close(
        score(model, perturb_func=some, n_perturb_samples=2, **call),
        score(model, perturb_func=lambda rows: rows * 1.001, n_perturb_samples=1, **call),
    )


def test_an_explanation_that_is_not_finite_has_no_complexity_and_leaves_its_neighbours_alone():
    model, x = nn.Linear(4, 2).double(), normal(4, 4)

    def explained(maps):
        return metrics.efficient_mprt(model, lambda net: lambda rows: maps * net.weight.sum(), x)

    broken = x.clone()
    broken[1, 0], broken[2, 0] = math.nan, math.inf
    scores = explained(broken)
    assert scores.isnan().tolist() == [False, True, True, False]
    assert torch.equal(scores[[0, 3]], explained(x)[[0, 3]])


OF_SUBSETS = {
    "sensitivity_n": partial(metrics.sensitivity_n, n=3, n_perturb_samples=20, seed=0),
    "faithfulness_correlation": partial(metrics.faithfulness_correlation, seed=0),
    "faithfulness_estimate": metrics.faithfulness_estimate,
    "monotonicity_correlation": metrics.monotonicity_correlation,
    "non_sensitivity": metrics.non_sensitivity,
    "monotonicity": metrics.monotonicity,
    "effective_complexity": metrics.effective_complexity,
}


@pytest.mark.parametrize("score", OF_SUBSETS.values(), ids=OF_SUBSETS)
def test_outputs_of_an_integer_type_score_as_the_same_numbers(score):
    x, phi = normal(3, 8), normal(3, 8, seed=1)

    def counts(rows):
        return (10 * rows).round().long().sum(1)

    assert_close(score(counts, x, phi), score(lambda rows: counts(rows).double(), x, phi))


def test_a_fall_within_the_rounding_of_the_outputs_is_none():
    """As where a feature does nothing and the next batch adds up in another order."""
    x, phi = normal(4, 6).abs() + 1, normal(4, 6, seed=1)
    calls = iter(range(1000))

    def of_uneven_batches(rows, units=8):
        return rows[:, :3].sum(1) * (1 - units * (next(calls) % 2) * torch.finfo(rows.dtype).eps)

    for dtype in (torch.float32, torch.float64):
        score = partial(metrics.monotonicity, inputs=x.to(dtype), attributions=phi.to(dtype), max_examples_per_batch=1)
        assert score(of_uneven_batches).tolist() == [1] * 4
        assert score(partial(of_uneven_batches, units=100)).tolist() == [0] * 4


def test_the_limit_does_not_change_whether_a_network_in_float32_is_monotonic():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 32), nn.Linear(32, 1))
    for parameter in net.parameters():
        parameter.data.abs_()  # it rises with every pixel
    x = torch.rand(6, 1, 8, 8) * (torch.rand(6, 1, 8, 8) > 0.7)
    for limit in (1, 2, 7, None):
        scores = metrics.monotonicity(net, x, torch.randn(6, 1, 8, 8), max_examples_per_batch=limit)
        assert scores.tolist() == [1] * 6


def test_without_tolerance_the_whole_output_is_kept_but_for_its_rounding():
    x = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    calls = iter(range(1000))

    def model(rows):
        return rows[:, :2].sum(1) * (1 - 4 * (next(calls) % 2) * torch.finfo(rows.dtype).eps)

    phi = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    for start in (0, 1):
        calls = iter(range(start, 1000))
        assert metrics.effective_complexity(model, x, phi, tolerance=0.0, max_examples_per_batch=1).tolist() == [0.5]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64], ids=str)
def test_what_rounding_is_depends_on_the_type_of_the_outputs_and_of_their_sums(dtype):
    units = {torch.float64: 2.0**-48, torch.float32: 2.0**-19, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
    assert rounding_of_outputs(torch.tensor([[1.0, -4.0]]).double(), dtype).tolist() == [4 * units.get(dtype, 0.0)]


def test_road_removes_a_position_with_its_channels_where_pixels_are_the_features():
    x, phi = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)

    def model(rows):
        return rows.flatten(1).cos().sum(1)

    of_positions = metrics.road(model, x, phi.mean(1, keepdim=True))
    assert_close(metrics.road(model, x, phi, feature_mask=pixels), of_positions)
    assert not torch.allclose(metrics.road(model, x, phi), of_positions)


def test_an_increase_over_nan_is_none():
    x = torch.tensor([[1.0, math.nan], [1.0, 2.0]])
    assert metrics.increase_in_confidence(lambda rows: rows.sum(1), x, torch.ones(2, 2).cumsum(1)).isnan().tolist() == [
        True,
        False,
    ]


OF_PROBABILITIES = {
    "log_odds": (metrics.log_odds, -1.0),
    "average_drop": (metrics.average_drop, -1.0),
    "average_gain": (metrics.average_gain, 3.0),
}


@pytest.mark.parametrize(("score", "output"), OF_PROBABILITIES.values(), ids=OF_PROBABILITIES)
def test_logits_in_place_of_probabilities_are_warned_of_where_no_example_has_a_score(score, output):
    x = normal(3, 4)
    with pytest.warns(UserWarning, match="must be a probability .* give `activation=partial") as caught:
        assert score(lambda rows: 0 * rows[:, 0] + output, x, x).isnan().all()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for right in (0.5, math.nan):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            score(lambda rows, right=right: 0 * rows[:, 0] + right, x, x)
            some = score(lambda rows: (rows[:, 0] > x[0, 0] - 1) * output + 0.5, x, x)
        assert some.shape == (3,)

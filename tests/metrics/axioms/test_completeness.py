"""Completeness: identities, the naive loop, Captum's convergence delta."""

import math
from functools import partial

import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.metrics import completeness

from ... import oracles
from ...conftest import smooth_model

closely = partial(assert_close, rtol=1e-9, atol=1e-12)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def naive(model, x, phi, baseline, gap, feature_mask=None, aggregate="sum", positions=False):
    scores = []
    for b, features in enumerate(oracles.features_of(x, feature_mask, positions)):
        example, phi_b = oracles.example_of(x, b), oracles.example_of(phi, b)
        total = math.fsum(oracles.attribution_of(s, phi_b, aggregate, positions) for s in features)
        change = oracles.score(model, example) - oracles.score(model, oracles.without(example, features, baseline))
        surplus = total - change
        scores.append({"signed": surplus, "absolute": abs(surplus), "relative": abs(surplus / change)}[gap])
    return expected(scores)


def test_exact_attributions_of_a_linear_model_are_complete(linear, w, x):
    for gap in ("absolute", "relative", "signed"):
        closely(completeness(linear, x, w * (x - 0.5), 0.5, gap=gap), expected([0.0] * 3))


def test_what_is_added_to_one_attribution_is_the_gap(linear, w, x):
    phi, change = w * (x - 0.5), (w * (x - 0.5)).sum(1)
    phi[:, 2] -= 7
    closely(completeness(linear, x, phi, 0.5), expected([7.0] * 3))
    closely(completeness(linear, x, phi, 0.5, gap="signed"), expected([-7.0] * 3))
    closely(completeness(linear, x, phi, 0.5, gap="relative"), 7 / change.abs())


def test_attributions_of_0_miss_the_whole_change(x):
    nothing = torch.zeros_like(x)
    closely(completeness(smooth_model, x, nothing), (smooth_model(x) - smooth_model(nothing)).abs())
    closely(completeness(smooth_model, x, nothing, gap="relative"), expected([1.0] * 3))


def test_the_relative_gap_is_undefined_where_the_output_does_not_change(x):
    scores = completeness(
        lambda rows: rows[:, 0], x, x, baselines=(x * expected([[1.0], [0.0], [1.0]]),), gap="relative"
    )
    assert scores.isnan().tolist() == [True, False, True]
    assert completeness(lambda rows: rows[:, 0], x, torch.zeros_like(x), baselines=x).tolist() == [0.0] * 3


def test_the_signed_gap_is_captums_convergence_delta(x):
    method = IntegratedGradients(smooth_model)
    phi, delta = method.attribute(x, baselines=0.3, n_steps=7, return_convergence_delta=True)
    closely(completeness(smooth_model, x, phi, 0.3, gap="signed"), delta)
    closely(completeness(smooth_model, x, {"ig": phi}, 0.3)["ig"], delta.abs())
    gradient = InputXGradient(smooth_model).attribute(x)
    assert (completeness(smooth_model, x, gradient, 0.3) > completeness(smooth_model, x, phi, 0.3)).all()


@given(
    shape=st.sampled_from([(1,), (5,), (2, 2, 2)]),
    batch=st.integers(1, 3),
    gap=st.sampled_from(["absolute", "relative", "signed"]),
    groups=st.sampled_from([None, 2, 4]),
    limit=st.sampled_from([None, 1, 3]),
    aggregate=st.sampled_from(["sum", "mean"]),
)
def test_values_are_those_of_the_naive_loop(shape, batch, gap, groups, limit, aggregate):
    x, phi = normal(batch, *shape), normal(batch, *shape, seed=1)
    mask = None if groups is None else torch.randint(groups, (batch, *shape)) * 7
    score = completeness(smooth_model, x, phi, 0.25, mask, gap=gap, aggregate=aggregate, max_examples_per_batch=limit)
    closely(score, naive(smooth_model, x, phi, [0.25], gap, mask, aggregate))


def test_a_groups_repeated_value_counts_once_with_the_mean(linear, w, x):
    mask = torch.tensor([[0, 0, 1, 1, 1, 4]])
    of_group = torch.stack(
        [(w * x)[:, mask[0] == g].sum(1) for g in mask[0].tolist()], 1
    )  # as FeatureAblation repeats it
    closely(completeness(linear, x, of_group, feature_mask=mask, aggregate="mean"), expected([0.0] * 3))
    assert (completeness(linear, x, of_group, feature_mask=mask) > 1).all()


def test_tuples_and_one_channel_give_the_values_of_the_naive_loop():
    x, phi = (normal(3, 2), normal(3, 2, 2)), (normal(3, 2, seed=1), normal(3, 2, 2, seed=2))
    closely(completeness(smooth_model, x, phi, (0.5, -1.0)), naive(smooth_model, x, phi, [0.5, -1.0], "absolute"))
    image, positions = normal(2, 3, 2, 2), normal(2, 1, 2, 2, seed=1)
    closely(
        completeness(smooth_model, image, positions),
        naive(smooth_model, image, positions, [0], "absolute", positions=True),
    )


@pytest.mark.parametrize("limit", [None, 1, 2])
def test_two_rows_an_example_serve_all_methods(limit, x):
    model = oracles.Recorder(smooth_model)
    completeness(model, x, {"a": x, "b": -x}, max_examples_per_batch=limit)
    assert model.rows == 2 * 3
    assert max(model.sizes) <= (limit or 64)

"""Effective complexity: identities, the naive loop, what it asks the model."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.metrics import effective_complexity

from ... import oracles
from ...conftest import smooth_model

closely = partial(assert_close, rtol=1e-12, atol=1e-12)


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def total(rows):
    return rows.flatten(1).sum(1)


def naive(model, x, phi, baseline, tolerance, n_steps, feature_mask=None, aggregate="sum"):
    shares = []
    for b, features in enumerate(oracles.features_of(x, feature_mask)):
        example, phi_b = oracles.example_of(x, b), oracles.example_of(phi, b)
        sizes = [abs(oracles.attribution_of(s, phi_b, aggregate)) for s in features]
        order = oracles.order(sizes, "lerf")  # the least first
        f_x = oracles.score(model, example)
        f_b = oracles.score(model, oracles.without(example, features, baseline))
        for s in oracles.grid(0, 1, n_steps):
            k = round(s * len(features))
            lost = abs(
                f_x
                - oracles.score(
                    model, oracles.without(example, [features[i] for i in order[: len(order) - k]], baseline)
                )
            )
            if lost <= tolerance * abs(f_x - f_b):
                break
        shares.append(k / len(features))
    return expected(shares)


def test_it_counts_the_features_that_an_additive_output_needs():
    x = expected([[8.0, 1.0, 1.0, 0.0], [3.0, 3.0, 3.0, 1.0]])
    score = partial(effective_complexity, total, x, x)
    closely(score(tolerance=0.0), expected([0.75, 1.0]))
    closely(score(tolerance=0.1), expected([0.5, 0.75]))
    closely(score(tolerance=0.5), expected([0.25, 0.5]))
    closely(score(tolerance=1.0), expected([0.0, 0.0]))


def test_a_better_order_needs_no_more_features():
    x = normal(4, 9).abs()
    scores = effective_complexity(total, x, {"exact": x, "noise": normal(4, 9, seed=1), "wrong": 1 / x})
    assert (scores["exact"] <= scores["noise"]).all()
    assert (scores["exact"] < scores["wrong"]).all()


def test_the_sign_and_the_scale_of_the_attributions_do_not_matter():
    x, phi = normal(3, 6), normal(3, 6, seed=1)
    score = partial(effective_complexity, smooth_model, x)
    closely(score(phi.abs()), score(phi))
    closely(score(-5 * phi), score(phi))


def test_where_replacing_everything_changes_nothing_no_feature_is_needed():
    x = normal(2, 5)
    closely(effective_complexity(lambda rows: torch.ones(len(rows)).double(), x, x), expected([0.0, 0.0]))
    closely(effective_complexity(total, x, x, baselines=x), expected([0.0, 0.0]))


def test_a_random_order_scores_what_the_docstring_says():
    x = torch.ones(200, 100, dtype=torch.float64)
    scores = effective_complexity(total, x, normal(200, 100), n_steps=101, tolerance=0.2)
    closely(scores, expected([0.8] * 200))


@given(
    shape=st.sampled_from([(1,), (5,), (2, 2, 2)]),
    batch=st.integers(1, 3),
    n_steps=st.integers(2, 12),
    tolerance=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    groups=st.sampled_from([None, 2, 4]),
    limit=st.sampled_from([None, 1, 3]),
    aggregate=st.sampled_from(["sum", "mean"]),
)
def test_values_are_those_of_the_naive_loop(shape, batch, n_steps, tolerance, groups, limit, aggregate):
    x, phi = normal(batch, *shape), normal(batch, *shape, seed=1)
    mask = None if groups is None else torch.randint(groups, (batch, *shape)) * 7
    score = effective_complexity(
        smooth_model,
        x,
        phi,
        0.25,
        mask,
        n_steps=n_steps,
        tolerance=tolerance,
        max_examples_per_batch=limit,
        aggregate=aggregate,
    )
    closely(score, naive(smooth_model, x, phi, [0.25], tolerance, n_steps, mask, aggregate))


def test_tuples_give_the_values_of_the_naive_loop():
    x, phi = (normal(3, 2), normal(3, 2, 2)), (normal(3, 2, seed=1), normal(3, 2, 2, seed=2))
    score = effective_complexity(smooth_model, x, phi, (0.5, -1.0), tolerance=0.2)
    closely(score, naive(smooth_model, x, phi, [0.5, -1.0], 0.2, 33))


@pytest.mark.parametrize("limit", [None, 1, 4])
def test_it_costs_the_rows_of_its_card(limit):
    x, model = normal(3, 100), oracles.Recorder(total)
    methods = {"a": x, "b": normal(3, 100, seed=1)}
    effective_complexity(model, x, methods, n_steps=6, max_examples_per_batch=limit)
    assert model.rows == 2 * 3 + 2 * 3 * (6 - 2)
    assert max(model.sizes) <= (limit or 64)

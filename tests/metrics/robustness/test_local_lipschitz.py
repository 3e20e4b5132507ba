"""The local Lipschitz estimate and continuity: identities and the naive loop."""

import math
from functools import partial

import pytest
import torch
from captum.attr import InputXGradient
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.metrics import continuity, local_lipschitz

from ... import oracles
from ...oracles import Recorder, RecordingPerturbation

closely = partial(assert_close, rtol=1e-9, atol=1e-12)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def curved(rows):
    return torch.sin(rows * 3) * rows + rows.flatten(1).sum(1).reshape(-1, *[1] * (rows.dim() - 1))


def naive(explain, x, draws, order, order_of_inputs):
    scores = []
    for b, copies in enumerate(draws):
        before, places = explained(explain, oracles.example_of(x, b)), oracles.elements(oracles.example_of(x, b))
        slopes = []
        for copy in copies:
            moved = [after - places[place] for place, after in oracles.elements(copy).items()]
            change = [after - b4 for after, b4 in zip(explained(explain, copy), before)]
            slopes.append(oracles.norm(change, order) / oracles.norm(moved, order_of_inputs))
        scores.append(max(slopes))
    return expected(scores)


def explained(explain, example):
    value = explain(*(t[None] for t in example))
    return [v for t in oracles.tensors_of(value) for v in t.flatten().tolist()]


@pytest.mark.parametrize("search", ["random", "vertices", "block"])
@pytest.mark.parametrize("radius", [0.02, 0.5])
def test_a_linear_explanation_has_its_own_constant(search, radius, x):
    arguments = {"search": search, "perturb_radius": radius, "seed": 0}
    closely(local_lipschitz(lambda rows: -3 * rows + 1, x, **arguments), expected([3.0] * 3))
    closely(local_lipschitz(lambda rows: rows[:, :1] * 0, x, **arguments), expected([0.0] * 3))


def test_gradient_times_input_of_a_linear_model_is_as_steep_as_its_steepest_weight_at_most(linear, w, x):
    explain = InputXGradient(linear)
    assert (local_lipschitz(explain, x, seed=0) <= w.abs().max()).all()
    along = torch.zeros(6).double()
    along[w.abs().argmax()] = 0.5
    closely(local_lipschitz(explain, x, lambda rows: rows + along), w.abs().max().expand(3))
    closely(local_lipschitz(explain, x, norm_ord=math.inf, search="vertices"), w.abs().max().expand(3))


def test_continuity_of_a_linear_explanation_is_the_ratio_of_the_norms(x):
    step = expected([1.0, -2.0, 0.0, 2.0, 0.0, 0.0])
    closely(continuity(lambda rows: 4 * rows, x, lambda rows: rows + step), expected([4 * 5 / 3] * 3))
    at_corners = continuity(lambda rows: 4 * rows, x, search="vertices")
    closely(at_corners, expected([4 * math.sqrt(6)] * 3))


def test_a_copy_that_is_the_example_itself_counts_as_0(x):
    closely(local_lipschitz(curved, x, lambda rows: rows.clone()), expected([0.0] * 3))
    closely(continuity(curved, x, lambda rows: rows.clone()), expected([0.0] * 3))


def test_they_are_in_units_of_the_explanation(x):
    for metric in (local_lipschitz, continuity):
        closely(metric(lambda rows: -7 * curved(rows), x, seed=0), 7 * metric(curved, x, seed=0))


@given(
    shape=st.sampled_from([(1,), (5,), (2, 3)]),
    batch=st.integers(1, 3),
    n=st.integers(1, 6),
    limit=st.sampled_from([None, 1, 5]),
    norm_ord=st.sampled_from(["fro", 1, math.inf]),
)
def test_values_are_those_of_the_naive_loop(shape, batch, n, limit, norm_ord):
    x, order = normal(batch, *shape), 2 if norm_ord == "fro" else norm_ord
    perturb = RecordingPerturbation()
    limits = {"n_perturb_samples": n, "max_examples_per_batch": limit}
    score = local_lipschitz(curved, x, perturb, norm_ord=norm_ord, **limits)
    closely(score, naive(curved, x, perturb.draws(batch), order, order))
    perturb = RecordingPerturbation()
    closely(continuity(curved, x, perturb, **limits), naive(curved, x, perturb.draws(batch), 1, 2))


def test_tuples_give_the_values_of_the_naive_loop():
    x = normal(2, 3), normal(2, 2, 2, seed=1)

    def mixed(a, b):
        return a**2 + b.flatten(1).sum(1, keepdim=True), torch.cos(b) * a.sum(1).reshape(-1, 1, 1)

    for metric, orders in ((local_lipschitz, (2, 2)), (continuity, (1, 2))):
        perturb = RecordingPerturbation()
        score = metric(lambda rows: mixed(*rows), x, perturb)
        closely(score, naive(mixed, x, perturb.draws(2), *orders))


@pytest.mark.parametrize("metric", [local_lipschitz, continuity])
@pytest.mark.parametrize("search", ["random", "block"])
def test_they_explain_each_example_once_and_each_draw(metric, search, x):
    explain = Recorder(curved)
    metric(explain, x, n_perturb_samples=5, max_examples_per_batch=2, search=search)
    assert explain.rows == 3 + 3 * 5
    assert max(explain.sizes) <= 2

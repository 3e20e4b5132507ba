"""Average sensitivity: identities, the naive loop, and how it stands to the maximum."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.metrics import sensitivity_avg, sensitivity_max

from ... import oracles
from ...oracles import Recorder, RecordingPerturbation

closely = partial(assert_close, rtol=1e-9, atol=1e-12)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def curved(rows):
    return torch.sin(rows * 3) * rows + rows.flatten(1).sum(1).reshape(-1, *[1] * (rows.dim() - 1))


def naive(x, draws, order):
    """The mean, over an example's copies, of the score that the maximum gives to one copy."""
    singles = [[oracles.sensitivity_max(curved, x[[b]], [[d]], order)[0] for d in of_b] for b, of_b in enumerate(draws)]
    return expected([math.fsum(s) / len(s) for s in singles])


def test_a_constant_explanation_does_not_move(x):
    closely(sensitivity_avg(torch.ones_like, x), torch.zeros(3).double())
    closely(sensitivity_avg(torch.zeros_like, x), torch.zeros(3).double())


@given(
    shape=st.sampled_from([(1,), (5,), (2, 3)]),
    batch=st.integers(1, 3),
    n=st.integers(1, 6),
    limit=st.sampled_from([None, 1, 5]),
    norm_ord=st.sampled_from(["fro", 1, math.inf]),
)
def test_values_are_those_of_the_naive_loop(shape, batch, n, limit, norm_ord):
    x, perturb = normal(batch, *shape), RecordingPerturbation()
    score = sensitivity_avg(curved, x, perturb, n_perturb_samples=n, norm_ord=norm_ord, max_examples_per_batch=limit)
    closely(score, naive(x, perturb.draws(batch), 2 if norm_ord == "fro" else norm_ord))


@pytest.mark.parametrize("search", ["random", "vertices"])
def test_it_is_no_more_than_the_maximum_over_the_same_draws_and_equal_for_one(search, x):
    arguments = {"search": search, "seed": 4, "perturb_radius": 0.5}
    assert (sensitivity_avg(curved, x, **arguments) < sensitivity_max(curved, x, **arguments)).all()
    one = arguments | {"n_perturb_samples": 1}
    closely(sensitivity_avg(curved, x, **one), sensitivity_max(curved, x, **one))


def test_it_does_not_grow_with_the_draws():
    x = normal(40, 3)
    few, many = (sensitivity_avg(curved, x, n_perturb_samples=n, seed=0).mean() for n in (2, 200))
    assert abs(few / many - 1) < 0.1


def test_new_noise_each_time_scores_what_the_docstring_says():
    noise = sensitivity_avg(torch.randn_like, torch.zeros(5, 5000).double(), n_perturb_samples=5)
    assert_close(noise, torch.full((5,), math.sqrt(2)).double(), rtol=0.05, atol=0)


@pytest.mark.parametrize("limit", [None, 1, 4])
def test_it_explains_each_example_once_and_each_draw(limit, x):
    explain = Recorder(curved)
    sensitivity_avg(explain, x, n_perturb_samples=5, max_examples_per_batch=limit)
    assert explain.rows == 3 + 3 * 5
    assert max(explain.sizes) <= (limit or 64)

"""Coherency: the naive loop, closed forms, and what makes it undefined."""

from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch.testing import assert_close

from captum_ext.metrics import average_drop, coherency

from ...conftest import smooth_model

closely = partial(assert_close, rtol=1e-12, atol=1e-12, equal_nan=True)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(*values):
    return torch.tensor(values, dtype=torch.float64)


def swirl(x, target=None):
    """A map with one channel."""
    return (3 * x).sin().sum(1, keepdim=True)


def by_hand(explain, x):
    scores = []
    for row in x:
        phi = explain(row[None])[0]
        weights = (phi - phi.min()) / (phi.max() - phi.min())
        of_shown = explain((row * weights)[None])[0]
        scores.append((1 + np.corrcoef(phi.flatten(), of_shown.flatten())[0, 1]) / 2)
    return torch.tensor(scores, dtype=torch.float64)


@pytest.mark.parametrize("limit", [None, 1, 3])
def test_values_are_those_of_the_naive_loop(limit):
    x = normal(4, 2, 3, 3)
    for explain in (swirl, lambda rows: rows**3 - rows):
        closely(coherency(explain, x, max_examples_per_batch=limit), by_hand(explain, x))


def test_a_map_of_what_it_shows_is_coherent_and_its_opposite_is_not():
    x = expected([0, 1, 1, 0, 1], [1, 0, 0, 0, 0])  # shown through itself it stays the same
    closely(coherency(torch.clone, x), expected(1, 1))
    signs = iter((1, -1))
    closely(coherency(lambda rows: next(signs) * rows, x), expected(0, 0))


def test_a_map_that_does_not_depend_on_the_input_scores_1():
    edges = normal(1, 6).expand(3, 6)
    closely(coherency(lambda rows: edges.clone(), normal(3, 6)), expected(1, 1, 1))


def test_a_map_that_is_new_noise_each_time_scores_a_half_on_average():
    draw = torch.Generator().manual_seed(3)
    score = coherency(lambda rows: torch.randn(rows.shape, generator=draw), torch.ones(400, 100))
    assert abs(score.mean() - 0.5) < 4 * 0.05 / 20  # the correlation of 100 pairs of numbers has a deviation of 0.1


def test_it_is_nan_where_a_map_is_constant():
    x = normal(2, 4)
    assert coherency(torch.ones_like, x).isnan().all()
    assert coherency(lambda rows: rows * (rows == x), x + 0).shape == (2,)
    closely(coherency(lambda rows: torch.where((rows == x).all(), rows, 1.0), x), expected(torch.nan, torch.nan))


def test_the_input_is_shown_as_average_drop_shows_it():
    """The explanation sees the rows that the model of `average_drop` sees."""
    x, seen = normal(3, 2, 2, 2), []

    def explain(rows):
        seen.append(rows.clone())
        return swirl(rows)

    coherency(explain, x)
    rows = []
    average_drop(lambda copies: rows.append(copies.clone()) or copies.flatten(1).exp().sum(1), x, swirl(x))
    assert_close(torch.cat(seen), torch.cat(rows), rtol=0, atol=0)


def test_arguments_of_the_explanation_reach_it_and_a_tuple_is_one_map():
    x = (normal(3, 4), normal(3, 2, 2, seed=1))
    score = coherency(IntegratedGradients(smooth_model), x, baselines=(x[0] / 2, x[1] / 3), n_steps=5)
    assert score.shape == (3,)
    assert not torch.equal(score, coherency(IntegratedGradients(smooth_model), x, n_steps=5))
    alone = [coherency(Saliency(smooth_model), tuple(t[[b]] for t in x)) for b in range(3)]
    closely(coherency(Saliency(smooth_model), x), torch.cat(alone))

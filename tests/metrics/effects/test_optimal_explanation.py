from __future__ import annotations

from functools import partial
from itertools import product

import pytest
import torch
from torch.testing import assert_close

from captum_ext.feature_masks import patches
from captum_ext.metrics import infidelity, optimal_explanation
from captum_ext.perturbations import gaussian, noisy_baseline, segment_removal, square_removal

from ...conftest import smooth_model
from ...oracles import Recorder, differ

exactly = partial(assert_close, rtol=0, atol=0)
closely = partial(assert_close, rtol=1e-8, atol=1e-8)

ALL = {
    "gaussian": gaussian,
    "noisy baseline": partial(noisy_baseline, std=0.5),
    "squares": partial(square_removal, size=2),
    "binary squares": partial(square_removal, size=2, multiply_by_inputs=True),
    "segments": partial(segment_removal, n=2),
}
every = pytest.mark.parametrize("perturb_func", ALL.values(), ids=ALL)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, W = normal(3, 2, 3, 4) + 3, normal(2, 3, 4, seed=2)
BLOCKS = torch.tensor([[[[5, 5, 1, 1], [-1, 9, 3, 3], [-1, 9, 9, 0]]]])


def linear(rows):
    return (rows * W).flatten(1).sum(1)


def test_gaussian_noise_recovers_the_weights_of_a_linear_model():
    closely(optimal_explanation(linear, gaussian, X, n_perturb_samples=40, seed=0), W.expand_as(X))


def test_binary_removals_recover_what_each_feature_adds():
    """Single positions, both channels: the value that a position's channels share."""
    squares = partial(square_removal, size=1, multiply_by_inputs=True)
    phi = optimal_explanation(linear, squares, X, 0.5, n_perturb_samples=12)
    closely(phi * 2, (W * (X - 0.5)).sum(1, keepdim=True).expand_as(X))


def test_segments_of_an_additive_model_get_what_they_add():
    segments = partial(segment_removal, n=2, multiply_by_inputs=True)
    phi = optimal_explanation(linear, segments, X, feature_mask=BLOCKS, n_perturb_samples=60, seed=0)
    for block in BLOCKS.unique():
        inside = (block == BLOCKS).expand_as(X)
        adds = (W * X * inside).flatten(1).sum(1) / inside[0].sum()
        closely(phi[inside].reshape(3, -1), adds[:, None].expand(3, int(inside[0].sum())))


@every
@pytest.mark.parametrize("mask", [None, BLOCKS])
@pytest.mark.parametrize("draws", [4, 60])
def test_no_other_map_has_less_infidelity_under_the_same_draws(perturb_func, mask, draws):
    segments = "segment" in str(perturb_func)
    settings = {"n_perturb_samples": draws, "seed": 3}
    best = optimal_explanation(smooth_model, perturb_func, X, feature_mask=mask, **settings)
    score = partial(infidelity, smooth_model, perturb_func, X, **settings, feature_mask=mask if segments else None)
    others = {}
    for trial, size in product(range(12), (1e-3, 0.1, 1.0)):
        other = normal(3, 2, 3, 4, seed=trial)
        if mask is not None:  # maps that are constant on features are compared
            other = normal(3, 11, seed=trial)[:, (BLOCKS + 1)[0]].expand_as(X)
        others[trial, size] = best + size * other
    least = score(best)
    for scores in score(others).values():
        assert (least <= scores + 1e-12).all()
    if draws == 60 or mask is not None:
        assert (least < score(torch.zeros_like(X))).all()


@every
def test_it_is_the_least_squares_solution_of_its_own_draws(perturb_func):
    seen = []

    def noted(inputs, seed=None):
        seen.append(perturb_func(inputs, seed=seed))
        return seen[-1]

    phi = optimal_explanation(smooth_model, noted, X, n_perturb_samples=30, seed=1)
    ((moved, perturbed),) = seen
    for b in range(3):
        i = moved.reshape(3, 30, 24)[b]
        d = smooth_model(X[[b]]) - smooth_model(perturbed.unflatten(0, (3, 30))[b])
        closely(phi[b].flatten(), torch.linalg.pinv(i.T @ i, rtol=1e-12) @ (i.T @ d))


def test_with_fewer_draws_than_features_the_smallest_solution_explains_them_all():
    phi = optimal_explanation(smooth_model, gaussian, X, n_perturb_samples=5, seed=0)
    closely(
        infidelity(smooth_model, gaussian, X, phi, n_perturb_samples=5, seed=0), torch.zeros(3, dtype=torch.float64)
    )
    assert (infidelity(smooth_model, gaussian, X, phi, n_perturb_samples=50, seed=0) > 1e-6).all()


def test_tensors_of_a_tuple_are_solved_together():
    x, w = (normal(2, 3), normal(2, 2, 2, seed=1)), (normal(3, seed=2), normal(2, 2, seed=3))
    model = lambda a, b: a @ w[0] + (b * w[1]).sum((1, 2))  # noqa: E731
    first, second = optimal_explanation(model, gaussian, x, n_perturb_samples=20, seed=0)
    closely(first, w[0].expand(2, 3))
    closely(second, w[1].expand(2, 2, 2))


def test_examples_may_have_masks_of_their_own():
    mask = torch.stack([(torch.arange(12) // (3 + b)).reshape(1, 3, 4) for b in range(3)])
    seeds = torch.tensor([4, 5, 6])
    settings = {"perturb_func": partial(segment_removal, n=1), "n_perturb_samples": 9}
    together = optimal_explanation(smooth_model, inputs=X, feature_mask=mask, seed=seeds, **settings)
    for b in range(3):
        alone = optimal_explanation(smooth_model, inputs=X[[b]], feature_mask=mask[[b]], seed=seeds[[b]], **settings)
        closely(alone, together[[b]])


@pytest.mark.parametrize("limit", [1, 4, 50])
def test_the_limit_holds_and_changes_nothing(limit):
    model = Recorder(smooth_model)
    phi = optimal_explanation(
        model, gaussian, X, feature_mask=patches(X, 2), n_perturb_samples=10, seed=0, max_examples_per_batch=limit
    )
    free = optimal_explanation(smooth_model, gaussian, X, feature_mask=patches(X, 2), n_perturb_samples=10, seed=0)
    closely(phi, free)
    assert max(model.sizes) <= limit
    assert model.rows == 3 + 3 * 10


def test_frozen_features_get_nothing():
    phi = optimal_explanation(linear, gaussian, X, feature_mask=BLOCKS, frozen=[5, 9], n_perturb_samples=40, seed=0)
    frozen = torch.isin(BLOCKS, torch.tensor([5, 9])).expand_as(X)
    assert (phi[frozen] == 0).all()
    assert differ(phi, torch.zeros_like(phi))[~frozen].all()


def test_shape_and_type_are_those_of_the_inputs_and_the_output():
    phi = optimal_explanation(lambda rows: rows.float().sum((1, 2, 3)), gaussian, X.float(), seed=0)
    assert phi.shape == X.shape
    assert phi.dtype == torch.float32
    assert_close(phi, torch.ones(3, 2, 3, 4), rtol=1e-3, atol=1e-3)
    assert isinstance(optimal_explanation(linear, gaussian, (X,), seed=0), tuple)

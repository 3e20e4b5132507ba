"""Parameter randomisation of denoised maps against a naive loop."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from captum.attr import InputXGradient
from torch import nn
from torch.testing import assert_close

from captum_ext import random_attribution
from captum_ext._core.draws import draw_seeds
from captum_ext.metrics import parameter_randomization_curve, smooth_mprt, smooth_mprt_curve
from captum_ext.metrics.randomisation._random_weights import randomized

from ...oracles import differ


@pytest.fixture
def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).double()


@pytest.fixture
def inputs():
    return torch.randn(3, 3, 4, dtype=torch.float64) * torch.tensor([1.0, 10.0, 0.1]).reshape(3, 1, 1)


def explained(model, x):
    return InputXGradient(model).attribute(x.clone().requires_grad_(), target=1).detach()


@pytest.mark.parametrize("order", ["top_down", "bottom_up", "independent", "full"])
def test_the_curve_is_the_naive_loop_over_models_examples_and_draws(net, inputs, order):
    seeds = draw_seeds([3, 4, 5], 3, 6)
    std = [0.2 * (x.max() - x.min()) for x in inputs]

    def denoised(model, b):
        maps = []
        for seed in seeds[b]:
            noise = torch.randn(3, 4, generator=torch.Generator().manual_seed(int(seed)), dtype=torch.float64)
            maps.append(explained(model, inputs[[b]] + std[b] * noise))
        return torch.stack(maps).mean(0).flatten()

    own = [denoised(net, b) for b in range(3)]
    wanted = [
        [scipy.stats.spearmanr(own[b], denoised(twin, b)).statistic for b in range(3)]
        for twin in randomized(net, order, 2)
    ]
    settings = {"noise_level": 0.2, "order": order, "weights_seed": 2, "seed": [3, 4, 5], "target": 1}
    curve = smooth_mprt_curve(net, InputXGradient, inputs, 6, **settings)
    assert_close(curve, torch.tensor(wanted).T.double())
    assert_close(smooth_mprt(net, InputXGradient, inputs, 6, **settings), curve.mean(1))


def test_without_noise_it_is_parameter_randomisation(net, inputs):
    settings = {"order": "bottom_up", "similarity": "pearson", "target": 1}
    assert_close(
        smooth_mprt_curve(net, InputXGradient, inputs, 3, noise_level=0, **settings),
        parameter_randomization_curve(net, InputXGradient, inputs, **settings),
    )


def test_noise_is_as_large_as_the_tensors_own_range(net):
    class Spread:
        """An explanation that notes what it is given."""

        def __init__(self, model):
            self.model = model

        def attribute(self, inputs):
            seen.append(inputs)
            return inputs

    seen = []
    small = torch.linspace(0, 1, 500, dtype=torch.float64).expand(1, 500)
    large, flat = 100 * small, torch.full((1, 500), 3.0, dtype=torch.float64)
    smooth_mprt(net, Spread, (small, large, flat), 8, noise_level=0.5, order="full", seed=0)
    moved = [torch.cat([rows[t] for rows in seen]) for t in range(3)]
    assert_close((moved[0] - small).std().item(), 0.5, rtol=0.1, atol=0)
    assert_close((moved[1] - large).std().item(), 50.0, rtol=0.1, atol=0)
    assert (moved[2] == 3).all()


def test_all_models_see_the_same_noise(net, inputs):
    seen = []

    def noting(model):
        return lambda x: seen.append(x) or x

    smooth_mprt(net, noting, inputs, 4, 12)
    assert len(seen) == 3
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


def test_a_map_that_does_not_depend_on_the_model_scores_1(net, inputs):
    assert_close(smooth_mprt(net, random_attribution, inputs, 3), torch.ones(3, dtype=torch.float64))


def test_the_cost_is_n_rows_an_example_for_the_model_and_for_each_layer(net, inputs):
    rows = []

    def counted(model):
        return lambda x: rows.append(len(x)) or x.cos()

    smooth_mprt(net, counted, inputs, 5, 4)
    assert max(rows) <= 4
    assert sum(rows) == 3 * 3 * 5


def test_more_draws_begin_with_the_draws_of_fewer(net, inputs):
    first = smooth_mprt(net, InputXGradient, inputs, 1, seed=0, target=1, order="full")
    assert differ(smooth_mprt(net, InputXGradient, inputs, 2, seed=0, target=1, order="full"), first).any()
    assert torch.equal(smooth_mprt(net, InputXGradient, inputs, 1, seed=0, target=1, order="full"), first)

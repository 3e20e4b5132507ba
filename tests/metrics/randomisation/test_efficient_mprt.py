"""The rise of an explanation's complexity against numpy's histograms, and maps of which the answer is known."""

from __future__ import annotations

from functools import partial
from itertools import chain

import numpy as np
import pytest
import scipy.stats
import torch
from captum.attr import InputXGradient
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from captum_ext import random_attribution
from captum_ext.metrics import efficient_mprt
from captum_ext.metrics.randomisation._random_weights import randomized


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(18, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def made(before, after, model):
    """An explanation that is one map of the model with its own parameters, and another with any others."""
    own = next(model.parameters())
    return lambda model: partial(lambda maps, x: maps, before if next(model.parameters()) is own else after)


@given(bins=st.integers(2, 120), batch=st.integers(1, 4), seed=st.integers(0, 20))
def test_the_score_is_the_relative_rise_of_the_entropy_of_numpys_histogram(bins, batch, seed):
    model, draw = net(), np.random.default_rng(seed)
    before, after = (torch.from_numpy(draw.normal(size=(batch, 2, 3, 3)) ** 3) for _ in range(2))
    entropies = [[scipy.stats.entropy(np.histogram(m, bins=bins)[0]) for m in maps.numpy()] for maps in (before, after)]
    wanted = (np.array(entropies[1]) - entropies[0]) / entropies[0]
    assert_close(efficient_mprt(model, made(before, after, model), before, n_bins=bins), torch.from_numpy(wanted))


def test_the_other_model_has_all_its_parameters_random():
    model, x = net(), torch.randn(4, 2, 3, 3, dtype=torch.float64)
    models = chain([model], randomized(model, "full", 5))
    maps = [InputXGradient(m).attribute(x.requires_grad_(), target=1).detach() for m in models]
    wanted = efficient_mprt(model, made(*maps, model), x)
    assert_close(efficient_mprt(model, InputXGradient, x, weights_seed=5, target=1), wanted)


def test_a_map_that_does_not_depend_on_the_model_scores_exactly_0():
    x = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    assert torch.equal(efficient_mprt(net(), random_attribution, x), torch.zeros(4, dtype=torch.float64))


def test_a_peak_that_becomes_noise_rises_and_noise_that_becomes_a_peak_falls():
    model = net()
    peak, noise = torch.zeros(1, 100), torch.rand(1, 100)
    peak[0, 3] = 1
    assert efficient_mprt(model, made(peak, noise, model), peak) > 10
    assert -1 <= efficient_mprt(model, made(noise, peak, model), peak) < -0.9


def test_a_constant_map_of_the_model_has_no_score_and_leaves_its_neighbour_alone():
    model = net()
    before, after = torch.rand(2, 10), torch.rand(2, 10)
    before[0] = 0.3
    scores = efficient_mprt(model, made(before, after, model), before)
    assert scores[0].isnan()
    assert torch.equal(scores[1:], efficient_mprt(model, made(before[1:], after[1:], model), before[1:]))


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_the_scale_of_maps_and_a_shift_do_not_count(scale):
    model = net()
    before, after = torch.rand(3, 50, dtype=torch.float64), torch.rand(3, 50, dtype=torch.float64)
    score = efficient_mprt(model, made(before, after, model), before)
    assert_close(efficient_mprt(model, made(before, after * scale, model), before), score)
    assert_close(efficient_mprt(model, made(before + 7, after, model), before), score)

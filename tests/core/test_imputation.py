from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext._core.imputation import solved_by_iteration, solved_directly
from captum_ext.baselines import NoisyLinear

from ..oracles import differ

exactly = partial(assert_close, rtol=0, atol=0)
SOLVERS = [solved_directly, solved_by_iteration]
silent = NoisyLinear(noise=0.0)


def uniform(*shape, seed=0):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def filled_by_hand(image, removed):
    """One channel: the equation of every removed place, solved densely."""
    height, width = image.shape
    places = [(i, j) for i in range(height) for j in range(width) if removed[i, j]]
    matrix, right = np.eye(len(places)), np.zeros(len(places))
    for row, (i, j) in enumerate(places):
        weights = {}
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                inside = 0 <= i + di < height and 0 <= j + dj < width
                if inside and (di, dj) != (0, 0):
                    weights[i + di, j + dj] = 1 / 6 if 0 in (di, dj) else 1 / 12
        for place, weight in weights.items():
            share = weight / sum(weights.values())
            if place in places:
                matrix[row, places.index(place)] -= share
            else:
                right[row] += share * float(image[place])
    result = image.clone()
    for place, value in zip(places, np.linalg.solve(matrix, right)):
        result[place] = value
    return result


@pytest.mark.parametrize("solve", SOLVERS)
@given(
    height=st.integers(1, 5), width=st.integers(2, 6), share=st.sampled_from([0.2, 0.6, 0.9]), seed=st.integers(0, 99)
)
def test_a_removed_place_is_the_weighted_mean_of_its_neighbours(solve, height, width, share, seed):
    x = uniform(2, 2, height, width, seed=seed)
    mask = uniform(2, 1, height, width, seed=seed + 1) < share
    mask[..., 0, 0] = False  # something is left
    filled = torch.where(mask, solve(x, mask.expand_as(x)), x)
    for b in range(2):
        for c in range(2):
            assert_close(filled[b, c], filled_by_hand(x[b, c], mask[b, 0]), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shared", [True, False])
def test_both_ways_to_solve_agree(shared):
    x = uniform(3, 2, 24, 20)
    mask = uniform(3, 1 if shared else 2, 24, 20, seed=1) < torch.tensor([0.3, 0.7, 0.95]).reshape(3, 1, 1, 1)
    mask = mask.expand_as(x).clone()
    mask[1, :, 4:20, 3:18] = True
    direct, iterated = (solve(x, mask) for solve in SOLVERS)
    assert_close(torch.where(mask, direct, x), torch.where(mask, iterated, x), rtol=1e-8, atol=1e-8)


def test_a_plane_is_filled_in_as_it_was():
    """Away from the borders the weights are even."""
    plane = (torch.arange(9.0)[:, None] + 3 * torch.arange(8.0)).double().expand(1, 2, 9, 8)
    mask = torch.zeros(1, 1, 9, 8, dtype=torch.bool)
    mask[..., 2:6, 2:6] = True
    assert_close(silent.fill(plane, mask), plane, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("solve", SOLVERS)
def test_an_image_does_not_depend_on_those_beside_it(solve):
    x, mask = uniform(3, 2, 8, 8), (uniform(3, 1, 8, 8, seed=1) < 0.7).expand(3, 2, 8, 8)
    for b in range(3):
        exactly(solve(x, mask)[b], solve(x[b : b + 1], mask[b : b + 1])[0])


def test_what_is_left_stays_and_the_noise_is_the_same_in_every_step():
    x, mask = uniform(2, 3, 6, 6), uniform(2, 1, 6, 6, seed=1) < 0.5
    noisy, more = NoisyLinear().fill(x, mask), NoisyLinear().fill(x, mask | (uniform(2, 1, 6, 6, seed=2) < 0.5))
    whole = mask.expand_as(x)
    exactly(noisy[~whole], x[~whole])
    noise = noisy - silent.fill(x, mask)
    assert 0.005 < noise[whole].std() < 0.02
    exactly(NoisyLinear().fill(x, mask), noisy)
    assert differ(NoisyLinear(seed=1).fill(x, mask), noisy).any()
    assert differ(more, noisy).any()


def test_of_an_image_of_which_nothing_is_left_there_is_noise_alone():
    x, mask = uniform(2, 1, 4, 4), torch.ones(2, 1, 4, 4, dtype=torch.bool)
    exactly(silent.fill(x, mask), torch.zeros_like(x))
    for solve in SOLVERS:
        exactly(solve(x, mask), torch.zeros_like(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_type_of_the_images_is_kept(dtype):
    x, mask = uniform(1, 1, 5, 5), uniform(1, 1, 5, 5, seed=1) < 0.5
    filled = NoisyLinear().fill(x.to(dtype), mask)
    assert filled.dtype == dtype
    assert_close(filled.double(), NoisyLinear().fill(x, mask), rtol=0, atol=0.1)


def test_equal_settings_are_equal_and_pickle():
    assert NoisyLinear(0.1, 2) == NoisyLinear(0.1, 2) != NoisyLinear(0.1, 3)
    assert pickle.loads(pickle.dumps(NoisyLinear(0.1, 2))) == NoisyLinear(0.1, 2)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    NoisyLinear().fill(uniform(1, 1, 3, 3), torch.ones(1, 1, 3, 3, dtype=torch.bool))
    assert torch.equal(torch.get_rng_state(), before)

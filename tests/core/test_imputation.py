from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import diags_array, eye_array, kron
from scipy.sparse.linalg import spsolve
from torch.testing import assert_close

from captum_ext._core import imputation
from captum_ext._core.imputation import solved
from captum_ext.baselines import NoisyLinear

from ..oracles import differ

exactly = partial(assert_close, rtol=0, atol=0)
solve = partial(solved, tolerance=1e-12)
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


@given(
    height=st.integers(1, 5), width=st.integers(2, 6), share=st.sampled_from([0.2, 0.6, 0.9]), seed=st.integers(0, 99)
)
def test_a_removed_place_is_the_weighted_mean_of_its_neighbours(height, width, share, seed):
    x = uniform(2, 2, height, width, seed=seed)
    mask = uniform(2, 1, height, width, seed=seed + 1) < share
    mask[..., 0, 0] = False  # something is left
    filled = torch.where(mask, solve(x, mask.expand_as(x)), x)
    for b in range(2):
        for c in range(2):
            assert_close(filled[b, c], filled_by_hand(x[b, c], mask[b, 0]), rtol=1e-8, atol=1e-8)


def solved_by_scipy(image, removed):
    """One channel: the same equations, as a sparse matrix."""
    height, width = image.shape
    band = [diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[-1, 1]) for n in (height, width)]
    rows, columns = (b + 2 * eye_array(n) for b, n in zip(band, (height, width)))
    weights = (kron(rows, columns) - 4 * eye_array(height * width)).tocsr()
    system = (diags_array(weights.sum(1)) - weights).tocsr()
    left, removed = ~removed.flatten().numpy(), removed.flatten().numpy()
    values = image.flatten().numpy().copy()
    values[removed] = spsolve(system[removed][:, removed].tocsc(), -system[removed][:, left] @ values[left])
    return torch.from_numpy(values).reshape(height, width)


def removed_in_patterns(height, width):
    """Masks with next to nothing left, in pieces of all sizes, and with next to nothing removed."""
    i, j, drawn = torch.arange(height)[:, None], torch.arange(width), uniform(height, width, seed=1)
    wave = (i / 7).sin() + (j / 11).cos() + 0.3 * drawn
    corner = torch.ones(height, width, dtype=torch.bool)
    corner[0, 0] = False
    scattered = [drawn < share for share in (0.02, 0.5, 0.9, 0.999)]
    patterns = torch.stack([*scattered, wave < 0, wave < 1.2, wave > 1.2, (i + j) % 2 == 0, 0 * i + j % 2 == 0, corner])
    return patterns & corner  # something is left


@pytest.mark.parametrize("size", [(96, 96), (33, 120), (64, 7), (2, 40), (1, 50)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_large_image_is_filled_in_as_by_a_sparse_solver(dtype, size):
    removed = removed_in_patterns(*size)
    x = uniform(len(removed), 2, *size).to(dtype)
    filled = silent.fill(x, removed[:, None])
    error = 3e-7 if dtype == torch.float32 else 1e-9
    for b, mask in enumerate(removed):
        for c in range(2):
            assert_close(filled[b, c].double(), solved_by_scipy(x[b, c].double(), mask), rtol=0, atol=error)


def test_channels_may_be_removed_at_different_places():
    x, mask = uniform(1, 2, 24, 20), uniform(1, 2, 24, 20, seed=1) < 0.7
    for c in range(2):
        assert_close(silent.fill(x, mask)[0, c], solved_by_scipy(x[0, c], mask[0, c]), rtol=0, atol=1e-9)


@pytest.fixture
def steps(monkeypatch):
    """How often the finest grid is at work on an image with a pattern of `removed_in_patterns`."""

    def counted(grids, right):
        cycles.append(right.shape[-1])
        return one_cycle(grids, right)

    def number(side, pattern):
        cycles.clear()
        solved(uniform(1, 1, side, side), removed_in_patterns(side, side)[pattern][None, None], 1e-9)
        return cycles.count(side)

    cycles, one_cycle = [], imputation._nearly_solved
    monkeypatch.setattr(imputation, "_nearly_solved", counted)
    return number


def test_the_steps_hardly_grow_with_the_image(steps):
    assert steps(256, 5) <= min(2 * steps(32, 5), 25)


@pytest.mark.parametrize(("pattern", "most"), [*enumerate([6, 11, 13, 14, 14, 16, 12, 7, 8, 13])])
def test_no_pattern_takes_more_steps_than_a_sound_cycle_needs(pattern, most, steps):
    """The steps around a cycle mend what it does wrong: a grid that is moved or missing shows in their number alone."""
    assert steps(128, pattern) <= most + 1


def test_what_cannot_be_solved_is_no_number():
    """A value that is left and is no number makes its image and channel undefined, and no other."""
    x, mask = uniform(2, 2, 12, 12), (uniform(2, 1, 12, 12, seed=1) < 0.5).expand(2, 2, 12, 12)
    x[0, 1][~mask[0, 1]] = torch.nan
    filled = solve(x, mask)
    assert filled[0, 1][mask[0, 1]].isnan().all()
    exactly(filled[1], solve(x[1:], mask[1:])[0])
    assert filled[0, 0].isfinite().all()


def test_a_plane_is_filled_in_as_it_was():
    """Away from the borders the weights are even."""
    plane = (torch.arange(9.0)[:, None] + 3 * torch.arange(8.0)).double().expand(1, 2, 9, 8)
    mask = torch.zeros(1, 1, 9, 8, dtype=torch.bool)
    mask[..., 2:6, 2:6] = True
    assert_close(silent.fill(plane, mask), plane, rtol=1e-10, atol=1e-10)


def test_an_image_does_not_depend_on_those_beside_it():
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
    exactly(solve(x, mask), torch.zeros_like(x))
    exactly(solve(x[..., :1, :1], mask[..., :1, :1]), torch.zeros_like(x[..., :1, :1]))


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

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from captum_ext._core.draws import draw_seeds, example_seeds, generators, normal, uniform

from ..oracles import differ

exactly = partial(assert_close, rtol=0, atol=0)


@given(seed=st.integers(0, 2**40), batch=st.integers(1, 5), draws=st.integers(1, 6), more=st.integers(0, 5))
def test_a_larger_batch_and_a_longer_run_begin_with_the_draws_of_smaller_ones(seed, batch, draws, more):
    large = draw_seeds(seed, batch + more, draws + more)
    exactly(draw_seeds(seed, batch, draws), large[:batch, :draws])


@given(seeds=st.lists(st.integers(0, 2**60), min_size=1, max_size=5), draws=st.integers(1, 5))
def test_with_a_seed_of_its_own_an_example_draws_alike_in_every_batch(seeds, draws):
    together = draw_seeds(seeds, len(seeds), draws)
    for b, seed in enumerate(seeds):
        exactly(draw_seeds([seed], 1, draws)[0], together[b])


def test_the_draws_of_all_examples_and_of_other_seeds_differ():
    seeds = torch.stack([draw_seeds(seed, 20, 50) for seed in (0, 1, 2**40)])
    assert len(seeds.unique()) == seeds.numel()


def test_neighbouring_example_seeds_have_nothing_in_common():
    seeds = draw_seeds(range(100), 100, 20)
    assert len(seeds.unique()) == seeds.numel()


@pytest.mark.parametrize("form", [list, tuple, torch.tensor])
def test_one_seed_per_example_may_be_a_list_a_tuple_or_a_tensor(form):
    exactly(draw_seeds(form([3, 4, 5]), 3, 4), draw_seeds([3, 4, 5], 3, 4))


def test_the_same_seed_repeats_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    exactly(draw_seeds(7, 3, 4), draw_seeds(7, 3, 4))
    exactly(torch.get_rng_state(), state)


def test_without_a_seed_the_global_one_governs_and_moves_on():
    torch.manual_seed(3)
    first, second = draw_seeds(None, 3, 4), draw_seeds(None, 3, 4)
    torch.manual_seed(3)
    exactly(draw_seeds(None, 3, 4), first)
    assert not torch.equal(first, second)


def test_the_seeds_of_draws_are_evenly_spread():
    seeds = draw_seeds(0, 50, 100).double().flatten() / 2**62
    assert stats.kstest(seeds, "uniform").pvalue > 0.001


NOISE = {
    "uniform": (partial(uniform, low=-1.0, high=3.0), stats.uniform(-1, 4)),
    "normal": (partial(normal, mean=2.0, std=0.5), stats.norm(2, 0.5)),
}


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_has_its_distribution_in_every_place_and_none_depends_on_another(noise, dtype):
    draw, law = NOISE[noise]
    (values,) = draw(draw_seeds(0, 40, 50).flatten(), (torch.zeros(1, 3, dtype=dtype),))
    assert values.shape == (2000, 3)
    for column in values.T:
        assert stats.kstest(column.double(), law.cdf).pvalue > 0.001
    off_diagonal = torch.corrcoef(values.T) - torch.eye(3)
    assert off_diagonal.abs().max() < 4 / math.sqrt(2000)
    lagged = torch.corrcoef(torch.stack([values[1:, 0], values[:-1, 0]]))[0, 1]  # of one draw and the next
    assert abs(lagged) < 4 / math.sqrt(2000)


@pytest.mark.parametrize("noise", NOISE)
def test_a_row_of_noise_belongs_to_its_seed(noise):
    draw, _ = NOISE[noise]
    like = torch.zeros(1, 3), torch.zeros(1, 2, 2)
    seeds = draw_seeds(0, 1, 6)[0]
    whole = draw(seeds, like)
    for rows in (slice(2), slice(3, 6), [4, 0, 5]):
        for part, all_of_it in zip(draw(seeds[rows], like), whole):
            exactly(part, all_of_it[rows])


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_noise_has_the_type_of_the_inputs_and_for_half_precision_the_values_of_float32(noise, dtype):
    draw, _ = NOISE[noise]
    seeds = draw_seeds(0, 1, 4)[0]
    (values,) = draw(seeds, (torch.zeros(1, 5, dtype=dtype),))
    assert values.dtype == dtype
    if dtype != torch.float64:
        exactly(values, draw(seeds, (torch.zeros(1, 5),))[0].to(dtype))
    else:
        assert differ(values, values.float().double()).all()


def test_the_tensors_of_a_tuple_draw_one_after_the_other():
    a, b = uniform(draw_seeds(0, 1, 4)[0], (torch.zeros(1, 3), torch.zeros(1, 3)), 0, 1)
    assert differ(a, b).all()


def test_a_generator_belongs_to_its_seed():
    seed = draw_seeds(0, 1, 2)[0].tolist()
    first, again, other = (torch.rand(3, generator=g) for g in generators([seed[0], seed[0], seed[1]]))
    exactly(first, again)
    assert differ(first, other).all()


@pytest.mark.parametrize(
    ("seed", "error", "words"),
    [
        (-1, ValueError, "`seed` must be at least 0, got -1"),
        (1.5, TypeError, "`seed` must be an integer, got float 1.5"),
        (True, TypeError, "`seed` must be an integer"),
        ([1, 2], ValueError, "one for each of the 3 examples, got 2"),
        ([1, 2, -3], ValueError, "`seed` must be at least 0, got -3"),
    ],
)
def test_a_wrong_seed_is_named(seed, error, words):
    with pytest.raises(error, match=words):
        example_seeds(seed, 3)

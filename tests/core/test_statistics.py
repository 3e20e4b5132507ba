from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch.testing import assert_close

from captum_ext._core.statistics import (
    CORRELATIONS,
    area,
    count_pairs,
    kendall,
    mean_ranks,
    pearson,
    ratio,
    spearman,
    to_unit,
    wide,
)

from ..oracles import differ

exactly = partial(assert_close, rtol=0, atol=0, equal_nan=True)
closely = partial(assert_close, rtol=1e-11, atol=1e-11)

SCIPY = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}
BOTH = pytest.mark.parametrize("name", CORRELATIONS)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def correlate(name, a, b, where=None, resolution=0.0):
    """The correlation over the places `where`, each side known to `resolution`."""
    a, b = torch.broadcast_tensors(a, b)
    where = torch.ones(a.shape, dtype=torch.bool) if where is None else where
    resolution = torch.as_tensor(resolution, dtype=torch.float64).expand(a.shape[:-1])
    return CORRELATIONS[name](a, b, where, resolution, resolution)


@BOTH
@given(
    rows=st.integers(1, 4), n=st.integers(2, 30), levels=st.sampled_from([1, 2, 100]), offset=st.sampled_from([0, 1e4])
)
def test_correlations_are_those_of_scipy_also_with_ties(name, rows, n, levels, offset):
    a, b = ((normal(rows, n, seed=s) * levels).round(decimals=0 if levels < 100 else 9) for s in (1, 2))
    a[:, 0], b[:, 0] = 500, -700  # never constant
    score = correlate(name, a + offset, b)
    assert_close(score, expected([SCIPY[name](p, q)[0] for p, q in zip(a + offset, b)]), rtol=1e-9, atol=1e-9)


@BOTH
@given(rows=st.integers(1, 4), n=st.integers(4, 20))
def test_places_left_out_do_not_count_whatever_they_hold(name, rows, n):
    a, b = normal(rows, n, seed=1), normal(rows, n, seed=2)
    where = torch.rand(rows, n, generator=torch.Generator().manual_seed(n)) < 0.6
    where[:, :3] = True
    score = correlate(name, a, b, where)
    wanted = [SCIPY[name](p[w], q[w])[0] for p, q, w in zip(a, b, where)]
    closely(score, expected(wanted))
    exactly(correlate(name, a.masked_fill(~where, torch.nan), b.masked_fill(~where, torch.inf), where), score)


@BOTH
def test_leading_axes_broadcast(name):
    a, b = normal(3, 2, 9, seed=1), normal(2, 9, seed=2)  # several methods, one series of outputs
    where = torch.ones(2, 9, dtype=torch.bool)
    zero = torch.zeros(2, dtype=torch.float64)
    score = CORRELATIONS[name](a, b, where, zero, zero)
    assert score.shape == (3, 2)
    for m in range(3):
        exactly(score[m], correlate(name, a[m], b))


@BOTH
def test_a_constant_side_has_no_correlation(name):
    a, b = normal(4, 9, seed=1), normal(4, 9, seed=2)
    a[0], b[1], a[2], b[2] = 3.0, 0.0, 1.0, 1.0
    assert correlate(name, a, b).isnan().tolist() == [True, True, True, False]


@BOTH
@pytest.mark.parametrize("value", [1.0, -3e8, 1e-12])
def test_a_side_that_varies_by_its_rounding_alone_has_no_correlation(name, value):
    eps = abs(value) * torch.finfo(torch.float64).eps
    noisy = value + eps * torch.tensor([0, 1, 0, 0, 1, 1, 0, 1], dtype=torch.float64)
    assert len(noisy.unique()) == 2
    assert correlate(name, noisy[None], normal(1, 8), resolution=eps).isnan().all()
    assert correlate(name, normal(1, 8), noisy[None], resolution=eps).isnan().all()


@BOTH
def test_a_side_that_varies_by_more_than_its_rounding_has_one(name):
    small = 1 + 1e-12 * torch.arange(8.0).double()
    closely(
        correlate(name, small[None], torch.arange(8.0).double()[None], resolution=2.3e-16), expected([1.0]), atol=1e-6
    )


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_scale_of_a_side_does_not_count(name, dtype):
    a, b = normal(4, 9, seed=1).to(dtype), normal(4, 9, seed=2).to(dtype)
    smallest, largest = torch.finfo(dtype).tiny, torch.finfo(dtype).max / a.abs().max()
    score = correlate(name, a.double(), b.double())
    for scale in (smallest * 64, largest):
        power = 2.0 ** math.floor(math.log2(scale))
        closely(correlate(name, a * power, b), score, atol=2e-2 if dtype == torch.float16 else 1e-4)
        exactly(correlate(name, a * power, b), correlate(name, (a * power).double() / power, b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dividing_by_a_power_of_two_rounds_nothing(dtype):
    values = torch.tensor([[3.0, -0.7], [1e-38, 3e38], [0.0, 0.0], [1e-45, 0.0], [math.inf, 1.0]], dtype=dtype)
    unit, power = to_unit(values)
    exactly(unit * power, values.double())
    finite = unit[:4].abs().amax(1)
    assert (((finite >= 1) & (finite < 2)) | (finite == 0)).all()


@BOTH
def test_fewer_than_two_places_have_no_correlation(name):
    a, b = normal(2, 5, seed=1), normal(2, 5, seed=2)
    where = torch.zeros(2, 5, dtype=torch.bool)
    where[1, 3] = True
    assert correlate(name, a, b, where).isnan().all()


@BOTH
def test_correlations_never_leave_minus_one_to_one(name):
    a = normal(200, 3)
    for sign in (1, -1):
        score = correlate(name, a, sign * 7.3 * a)
        assert (score.abs() <= 1).all()
        closely(score, torch.full_like(score, sign))


def test_correlations_of_ranks_see_the_order_alone():
    a, b = normal(3, 9, seed=1), normal(3, 9, seed=2)
    for name in ("spearman", "kendall"):
        exactly(correlate(name, a.exp(), b**3), correlate(name, a, b))
    assert differ(correlate("pearson", a.exp(), b**3), correlate("pearson", a, b)).all()


@given(
    n=st.integers(2, 40),
    levels=st.sampled_from([2, 5, 1000]),
    share=st.sampled_from([0.3, 0.7, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_kendall_is_scipys_over_any_places_and_ties(n, levels, share, seed):
    drawn = torch.Generator().manual_seed(seed)
    a, b = torch.randint(levels, (2, 3, n), generator=drawn).double()
    where = (torch.rand(3, n, generator=drawn) < share) | (torch.arange(n) < 2)
    wanted = [stats.kendalltau(p[w], q[w]).statistic for p, q, w in zip(a, b, where)]
    assert_close(correlate("kendall", a, b, where), expected(wanted), rtol=1e-14, atol=1e-15, equal_nan=True)


def test_kendall_of_many_places_needs_no_table_of_pairs():
    """Of 2 ** 16 places a table would have 2 ** 32 entries. Of places cut into two halves, half the pairs agree."""
    rise = torch.arange(2**16).double()[None]
    exactly(correlate("kendall", rise, rise**3), expected([1.0]))
    exactly(correlate("kendall", rise, -rise), expected([-1.0]))
    closely(correlate("kendall", rise, rise.roll(2**15)), expected([1 - 2**16 / (2**16 - 1)]))


@given(n=st.integers(1, 40), levels=st.sampled_from([1, 2, 5, 1000]), seed=st.integers(0, 2**32))
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_pairs_are_counted_as_in_a_table_of_them_also_among_ties_and_infinite_values(dtype, n, levels, seed):
    drawn = torch.Generator().manual_seed(seed)
    a, b = torch.randint(levels, (2, 3, n), generator=drawn).to(dtype)
    a[a == levels - 1], b[b == 0] = torch.inf, -torch.inf
    where = torch.rand(3, n, generator=drawn) < 0.8
    for got, p, q, w in zip(torch.stack(count_pairs(a, b, where), -1), a, b, where):
        first, second = ((v[w][:, None] > v[w]).int() - (v[w][:, None] < v[w]).int() for v in (p, q))
        tables = (first * 0 == 0, first == 0, second == 0, (first == 0) & (second == 0), first * second < 0)
        assert got.tolist() == [int(t.triu(1).sum()) for t in tables]


def test_pairs_of_a_long_series_are_counted_exactly():
    """Two orders of 2 ** 19 places whose halves are swapped differ in 2 ** 36 pairs, more than an int32 can count."""
    rise = torch.arange(2**19).float()[None]
    pairs = count_pairs(rise, rise.roll(2**18), torch.ones_like(rise, dtype=torch.bool))
    assert [int(count) for count in pairs] == [2**18 * (2**19 - 1), 0, 0, 0, 2**36]


def test_a_nan_in_a_series_is_no_number_in_its_correlation_alone():
    a, b = normal(2, 6, seed=1), normal(2, 6, seed=2)
    a[0, 3] = torch.nan
    for function in (pearson, spearman, kendall):
        zero = torch.zeros(2, dtype=torch.float64)
        assert function(a, b, torch.ones(2, 6, dtype=torch.bool), zero, zero).isnan().tolist() == [True, False]


@given(n=st.integers(1, 20), levels=st.sampled_from([1, 3, 1000]))
def test_mean_ranks_are_those_of_scipy(n, levels):
    values = (normal(3, n) * levels).round()
    where = torch.rand(3, n, generator=torch.Generator().manual_seed(n)) < 0.7
    ranks = mean_ranks(values, where)
    for v, r, w in zip(values, ranks, where):
        exactly(r[w], torch.from_numpy(stats.rankdata(v[w]) - 1.0))


@given(points=st.integers(2, 12), ends=st.sampled_from([(0.0, 1.0), (1.0, 0.0), (0.2, 0.9)]))
def test_the_area_is_the_trapezoid_rule_over_the_range(points, ends):
    curve, grid = normal(3, points), torch.linspace(*ends, points, dtype=torch.float64)
    closely(area(curve, grid), torch.from_numpy(integrate.trapezoid(curve, grid) / (ends[1] - ends[0])))


def test_the_area_of_a_constant_is_the_constant_and_uneven_grids_count():
    grid = expected([0.0, 0.1, 0.7, 1.0])
    closely(area(torch.full((1, 4), 3.0).double(), grid), expected([3.0]))
    closely(area(2 * grid[None], grid), expected([1.0]))


def test_turning_a_curve_around_keeps_its_area():
    curve, grid = normal(3, 7), torch.linspace(0, 1, 7, dtype=torch.float64)
    closely(area(curve.flip(1), grid), area(curve, grid))
    closely(area(curve.flip(1), grid.flip(0)), area(curve, grid))


def test_a_ratio_counts_a_denominator_of_exactly_0_as_1():
    exactly(ratio(expected([6, 6, 6, 0]), expected([2, 0, 1e-300, 0])), expected([3, 6, 6e300, 0]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_statistics_are_accumulated_in_float64(dtype):
    assert wide(torch.ones(2, dtype=dtype)).dtype == torch.float64

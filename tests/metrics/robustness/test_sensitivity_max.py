from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch
from captum.attr import InputXGradient, Saliency
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from captum_ext.metrics import default_perturb_func, sensitivity_max

from ... import oracles
from ...oracles import Recorder, RecordingPerturbation

exactly = partial(assert_close, rtol=0, atol=0)
closely = partial(assert_close, rtol=1e-9, atol=1e-12)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def curved(rows):
    """An explanation that is neither linear nor the same for all elements."""
    return torch.sin(rows * 3) * rows + rows.flatten(1).sum(1).reshape(-1, *[1] * (rows.dim() - 1))


def curved_of_two(a, b):
    """An explanation of a pair that mixes its halves."""
    return a**2 + b.flatten(1).sum(1, keepdim=True), torch.cos(b) * a.sum(1).reshape(-1, 1, 1)


def moved_by(step):
    return lambda rows: rows + step


# ---------------------------------------------------------------- identities


def test_the_gradient_of_a_linear_model_does_not_move(linear, w, x):
    exactly(sensitivity_max(Saliency(linear), x), torch.zeros(3, dtype=torch.float64))
    exactly(sensitivity_max(lambda rows: w.expand_as(rows), x), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("r", [0.02, 0.5])
def test_gradient_times_input_of_a_linear_model_stays_below_its_bound_and_reaches_it_at_every_corner(linear, w, x, r):
    explain = InputXGradient(linear)
    bound = r * w.norm() / (w * x).norm(dim=1)
    inside = sensitivity_max(explain, x, perturb_radius=r, n_perturb_samples=50, seed=0)
    assert (inside < bound).all()
    assert (inside > bound / 2).all()
    for corner in itertools.islice(itertools.product([-r, r], repeat=6), 0, 64, 9):
        closely(sensitivity_max(explain, x, moved_by(expected(corner)), n_perturb_samples=1), bound)


def test_a_constant_explanation_of_zeros_scores_0(x):
    exactly(sensitivity_max(torch.zeros_like, x), torch.zeros(3, dtype=torch.float64))


def test_a_norm_of_0_counts_as_1():
    score = sensitivity_max(lambda rows: rows, torch.zeros(1, 2).double(), lambda rows: rows + expected([3.0, 4.0]))
    exactly(score, expected([5.0]))


def test_scaling_the_explanation_changes_nothing(x):
    score = partial(sensitivity_max, inputs=x, seed=0)
    closely(score(lambda rows: -7 * curved(rows)), score(curved))


def test_more_draws_never_score_less(x):
    scores = torch.stack([sensitivity_max(curved, x, n_perturb_samples=n, seed=0) for n in (1, 2, 5, 20)])
    assert (scores.diff(dim=0) >= 0).all()
    assert (scores[-1] > scores[0]).all()


# ---------------------------------------------------------------- against the naive loop


@given(
    shape=st.sampled_from([(1,), (5,), (2, 3), (2, 2, 2)]),
    batch=st.integers(1, 3),
    n=st.integers(1, 8),
    limit=st.sampled_from([None, 1, 2, 5, 7, 100]),
    norm_ord=st.sampled_from(["fro", "nuc", 1, 2, 3, 0.5, math.inf]),
)
def test_values_are_those_of_the_naive_loop(shape, batch, n, limit, norm_ord):
    x = normal(batch, *shape)
    perturb = RecordingPerturbation()
    score = sensitivity_max(curved, x, perturb, n_perturb_samples=n, norm_ord=norm_ord, max_examples_per_batch=limit)
    draws = perturb.draws(batch)
    assert [len(d) for d in draws] == [n] * batch
    order = 2 if isinstance(norm_ord, str) else norm_ord
    closely(score, expected(oracles.sensitivity_max(curved, x, draws, order)))


@pytest.mark.parametrize(
    ("norm_ord", "order"), [("fro", 2), ("nuc", 2), (1, 1), (2, 2), (3.5, 3.5), (math.inf, math.inf)]
)
def test_each_norm_is_that_of_the_vector_of_all_elements(norm_ord, order):
    x, perturb = normal(2, 3, 2, 2), RecordingPerturbation()
    score = sensitivity_max(curved, x, perturb, norm_ord=norm_ord)
    closely(score, expected(oracles.sensitivity_max(curved, x, perturb.draws(2), order)))


@given(
    batch=st.integers(1, 4), n=st.integers(1, 12), radius=st.floats(0.001, 2), limit=st.sampled_from([None, 1, 3, 7])
)
def test_the_default_draws_give_the_values_of_the_naive_loop(batch, n, radius, limit):
    x = normal(batch, 4)
    explain = Recorder(lambda rows, example: curved(rows))
    score = sensitivity_max(
        lambda rows, additional_forward_args: explain(rows, additional_forward_args),
        x,
        perturb_radius=radius,
        n_perturb_samples=n,
        max_examples_per_batch=limit,
        seed=1,
        additional_forward_args=torch.arange(batch),
    )
    draws = [[] for _ in range(batch)]
    for rows, example in explain.calls:
        for row, b in zip(rows, example.tolist()):
            if not torch.equal(row, x[b]):
                assert (row - x[b]).abs().max() <= radius
                draws[b].append((row,))
    assert [len(d) for d in draws] == [n] * batch
    closely(score, expected(oracles.sensitivity_max(curved, x, draws)))


@pytest.mark.parametrize("limit", [None, 1, 3])
def test_tuples_give_the_values_of_the_naive_loop(limit):
    x = normal(2, 3), normal(2, 2, 2, seed=1)
    perturb = RecordingPerturbation()
    score = sensitivity_max(lambda rows: curved_of_two(*rows), x, perturb, max_examples_per_batch=limit)
    closely(score, expected(oracles.sensitivity_max(curved_of_two, x, perturb.draws(2))))


@pytest.mark.parametrize("form", [lambda e: e, lambda e: (e,), lambda e: [e]], ids=["tensor", "tuple", "list"])
def test_a_single_explanation_of_a_tuple_of_inputs_is_one_vector_an_example(form):
    x = normal(4, 3), normal(4, 2, 2, seed=1)
    perturb = RecordingPerturbation()
    score = sensitivity_max(lambda rows: form(curved_of_two(*rows)[0]), x, perturb)
    assert score.shape == (4,)
    closely(score, expected(oracles.sensitivity_max(lambda a, b: curved_of_two(a, b)[0], x, perturb.draws(4))))


# ---------------------------------------------------------------- the default perturbation


def test_it_moves_within_the_ball_in_the_type_and_place_of_the_inputs():
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        x = torch.zeros(5, 3, 4, dtype=dtype), torch.ones(5, 2, dtype=dtype)
        moved = default_perturb_func(x, 0.25)
        assert isinstance(moved, tuple)
        for m, t in zip(moved, x):
            assert (m.dtype, m.shape) == (t.dtype, t.shape)
            assert 0 < (m - t).abs().max() <= 0.25


def test_its_noise_is_uniform_in_every_place():
    (moved,) = default_perturb_func(torch.zeros(3000, 2, dtype=torch.float64), 0.5)
    for noise in moved.T:
        assert stats.kstest(noise, "uniform", (-0.5, 1)).pvalue > 0.001
    assert abs(torch.corrcoef(moved.T)[0, 1]) < 4 / math.sqrt(3000)


def test_its_rows_differ_and_the_global_seed_repeats_them():
    x = torch.zeros(3, 4)
    torch.manual_seed(1)
    (first,), (second,) = default_perturb_func(x), default_perturb_func(x)
    torch.manual_seed(1)
    exactly(default_perturb_func(x)[0], first)
    assert len(torch.cat([first, second]).unique(dim=0)) == 6


def test_any_function_with_a_second_argument_by_position_gets_the_radius(x):
    def with_radius(rows, size=0.0):
        return rows + size

    class Moving:
        def __call__(self, rows, size):
            return rows + size

    for perturb in (with_radius, Moving(), lambda rows, size: rows + size, partial(with_radius)):
        moved = sensitivity_max(lambda rows: rows, x, perturb, perturb_radius=0.5)
        closely(moved, 0.5 * math.sqrt(6) / x.norm(dim=1))


def test_a_function_with_one_argument_or_one_by_keyword_gets_no_radius(x):
    def by_keyword(rows, *, size=0.25):
        return rows + size

    for perturb in (by_keyword, lambda rows: rows + 0.25):
        moved = sensitivity_max(lambda rows: rows, x, perturb, perturb_radius=0.5)
        closely(moved, 0.25 * math.sqrt(6) / x.norm(dim=1))


# ---------------------------------------------------------------- the draws


def shown(x, seed, n=4, limit=None):
    """`{example: its perturbed rows}` in the order they were explained."""
    explain = Recorder(lambda rows, example: rows)
    sensitivity_max(
        lambda rows, additional_forward_args: explain(rows, additional_forward_args),
        x,
        n_perturb_samples=n,
        max_examples_per_batch=limit,
        seed=seed,
        additional_forward_args=torch.arange(len(x)),
    )
    rows, of = (torch.cat(parts) for parts in zip(*explain.calls))
    return {b: rows[of == b].tolist()[1:] for b in range(len(x))}


def test_the_draws_of_an_example_depend_on_its_seed_alone():
    x, seeds, order = normal(4, 3), [40, 41, 42, 43], [2, 0, 3, 1]
    whole = shown(x, seeds)
    permuted = shown(x[order], [seeds[b] for b in order])
    assert [permuted[i] for i in range(4)] == [whole[b] for b in order]
    assert shown(x[2:], seeds[2:]) == {0: whole[2], 1: whole[3]}
    for limit in (1, 3, 50):
        assert shown(x, seeds, limit=limit) == whole


def test_a_longer_run_begins_with_the_draws_of_a_shorter_one():
    x = normal(2, 3)
    short, long = shown(x, 7, n=3), shown(x, 7, n=8)
    assert {b: rows[:3] for b, rows in long.items()} == short


def test_without_a_seed_the_global_one_governs():
    x = normal(2, 3)
    torch.manual_seed(5)
    first, second = shown(x, None), shown(x, None)
    torch.manual_seed(5)
    assert shown(x, None) == first != second


def test_permuting_the_examples_permutes_the_scores_and_a_batch_is_its_two_halves():
    x, seeds, order = normal(4, 6), torch.tensor([5, 6, 7, 8]), torch.tensor([2, 0, 3, 1])
    whole = sensitivity_max(curved, x, seed=seeds)
    exactly(sensitivity_max(curved, x[order], seed=seeds[order]), whole[order])
    exactly(torch.cat([sensitivity_max(curved, x[h], seed=seeds[h]) for h in (slice(2), slice(2, 4))]), whole)


# ---------------------------------------------------------------- where the copies lie


@pytest.mark.parametrize("search", ["vertices", "block"])
def test_gradient_times_input_of_a_linear_model_reaches_its_bound_at_any_corner(search, linear, w, x):
    bound = 0.5 * w.norm() / (w * x).norm(dim=1)
    score = partial(sensitivity_max, InputXGradient(linear), x, perturb_radius=0.5, search=search)
    closely(score(n_perturb_samples=1), bound)
    closely(score(n_perturb_samples=7), bound)


def copies_of(x, search, n, radius=0.25, **arguments):
    """`[B, n, ...]`: the copies that were explained."""
    explain = Recorder(lambda rows: curved(rows))
    sensitivity_max(explain, x, perturb_radius=radius, n_perturb_samples=n, search=search, **arguments)
    rows = torch.cat([call[0] for call in explain.calls])[len(x) :]
    return rows.unflatten(0, (len(x), n)) if search == "vertices" else rows.unflatten(0, (n, len(x))).transpose(0, 1)


@pytest.mark.parametrize("search", ["vertices", "block"])
@pytest.mark.parametrize("limit", [None, 2])
def test_every_copy_is_a_corner_and_every_element_goes_both_ways(search, limit):
    x = normal(3, 2, 4)
    steps = copies_of(x, search, 20, max_examples_per_batch=limit) - x[:, None]
    closely(steps.abs(), torch.full_like(steps, 0.25), rtol=1e-9, atol=1e-9)
    assert ((steps > 0).any(1) & (steps < 0).any(1)).all()


def test_random_corners_are_even_and_differ_between_draws_and_examples():
    up = copies_of(torch.zeros(2, 1000).double(), "vertices", 2) > 0
    assert abs(up.double().mean() - 0.5) < 0.05
    assert len({tuple(corner) for corner in up.flatten(0, 1).tolist()}) == 4


def naive_block_search(explain, x, corner, radius, draws):
    """One example of one tensor: its value after every flip of a block, from the first corner on."""
    base = explain(x[None])[0]
    sign = [1 if up else -1 for up in corner.flatten().tolist()]

    def value(signs):
        moved = x + radius * torch.tensor(signs).reshape(x.shape)
        return float((explain(moved[None])[0] - base).norm() / base.norm())

    best, parts, left = value(sign), 2, draws - 1
    while left:
        parts = min(parts, len(sign))
        for i in range(parts):
            block = range(i * len(sign) // parts, (i + 1) * len(sign) // parts)
            other = [-s if e in block else s for e, s in enumerate(sign)]
            if left and value(other) > best:
                sign, best = other, value(other)
            left = max(left - 1, 0)
        parts *= 2
    return best


@given(
    shape=st.sampled_from([(1,), (5,), (2, 3)]),
    batch=st.integers(1, 3),
    n=st.integers(1, 25),
    limit=st.sampled_from([None, 1, 2]),
)
def test_a_block_search_is_the_naive_one(shape, batch, n, limit):
    x = normal(batch, *shape)
    arguments = {"perturb_radius": 0.5, "n_perturb_samples": n, "max_examples_per_batch": limit, "seed": 3}
    score = sensitivity_max(curved, x, search="block", **arguments)
    first = copies_of(x, "block", n, 0.5, seed=3)[:, 0] > x
    closely(score, expected([naive_block_search(curved, x[b], first[b], 0.5, n) for b in range(batch)]))


def test_a_block_search_finds_the_corner_where_a_linear_explanation_moves_most():
    """An explanation of one element, `w . x`: the random corners of many draws stay below what its search reaches."""
    w = normal(24, seed=2)
    score = partial(
        sensitivity_max, lambda rows: (rows @ w)[:, None], normal(3, 24), n_perturb_samples=2 * 2**6, seed=1
    )
    most = 0.02 * w.abs().sum() / (normal(3, 24) @ w).abs()
    closely(score(search="block"), most, rtol=1e-6)
    assert (score(search="random") < score(search="vertices")).all()
    assert (score(search="vertices") < 0.95 * most).all()


def test_a_tuple_is_searched_as_one_example():
    x = normal(2, 3), normal(2, 2, 2, seed=1)
    for search in ("vertices", "block"):
        together = sensitivity_max(
            lambda rows: torch.cat([r.flatten(1) for r in rows], 1) ** 2, x, search=search, seed=0
        )
        beside = torch.cat([t.flatten(1) for t in x], 1)
        assert (together > 0).all()
        most = (0.02 * (2 * beside.abs() + 0.02)).norm(dim=1) / (beside**2).norm(dim=1)
        assert (together <= most * (1 + 1e-14)).all()  # the worst corner reaches it, up to rounding


# ---------------------------------------------------------------- what the explanation is asked


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 5, 64])
@pytest.mark.parametrize("own", [True, False])
def test_it_explains_each_example_once_and_each_draw_within_the_limit(limit, own, x):
    explain = Recorder(curved)
    perturb = {} if own else {"perturb_func": lambda rows: rows + torch.rand_like(rows)}
    sensitivity_max(explain, x, n_perturb_samples=50, max_examples_per_batch=limit, **perturb)
    assert explain.rows == 3 + 3 * 50
    limit = limit or 64
    first = -(-3 // limit)
    assert sum(explain.sizes[:first]) == 3
    for part in (explain.sizes[:first], explain.sizes[first:]):
        assert all(size == limit for size in part[:-1])
        assert part[-1] <= limit


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 64])
def test_the_limit_changes_nothing(limit, x):
    exactly(sensitivity_max(curved, x, max_examples_per_batch=limit, seed=0), sensitivity_max(curved, x, seed=0))


def test_arguments_with_a_row_per_example_follow_the_copies_and_others_stay(x):
    offset, shared = normal(3, 6, seed=1), normal(2, 6, seed=2)

    def explain(rows, target, additional_forward_args, baselines, name):
        own, for_all, number, nothing = additional_forward_args
        assert torch.equal(for_all, shared)
        assert for_all is not shared  # a copy, as an explanation may write
        assert (number, nothing, name) == (2.5, None, "kept")
        assert len(own) == len(rows) == len(target) == len(baselines[0])
        return rows * own + torch.as_tensor(target)[:, None] - baselines[0]

    score = sensitivity_max(
        explain,
        x,
        seed=0,
        max_examples_per_batch=4,
        target=[1, 0, 2],
        additional_forward_args=(offset, shared, 2.5, None),
        baselines=(x / 2,),
        name="kept",
    )
    for b, t in enumerate([1, 0, 2]):
        seeds = sensitivity_max(lambda rows, b=b, t=t: rows * offset[b] + t - x[b] / 2, x, seed=0)
        closely(score[b], seeds[b])


def test_an_attribution_object_means_its_attribute(linear, x):
    exactly(
        sensitivity_max(InputXGradient(linear), x, seed=0), sensitivity_max(InputXGradient(linear).attribute, x, seed=0)
    )


def test_it_may_explain_with_gradients_under_no_grad(linear, x):
    with torch.no_grad():
        assert (sensitivity_max(InputXGradient(linear), x) > 0).all()


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"norm_ord": "max"}, ValueError, "`norm_ord`.*'fro' or 'nuc'.*'max'"),
        ({"n_perturb_samples": 0}, ValueError, "`n_perturb_samples` must be at least 1"),
        ({"max_examples_per_batch": 0}, ValueError, "`max_examples_per_batch` must be at least 1"),
        ({"perturb_func": lambda rows: rows[:1]}, ValueError, "perturbed inputs of the shape"),
        ({"explanation_func": lambda rows: rows.sum()}, ValueError, "a row for each of its 3 input rows"),
        ({"explanation_func": lambda rows: None}, TypeError, "must return a tensor.*NoneType"),
        ({"explanation_func": 3}, TypeError, "`explanation_func` must be a function"),
        ({"seed": [1, 2]}, ValueError, "`seed`.*each of the 3 examples, got 2"),
        ({"return_convergence_delta": True}, ValueError, "`return_convergence_delta` must be left out"),
    ],
)
def test_a_wrong_argument_is_named(wrong, error, words, x):
    with pytest.raises(error, match=words):
        sensitivity_max(**{"explanation_func": curved, "inputs": x} | wrong)

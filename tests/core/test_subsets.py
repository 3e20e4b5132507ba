from __future__ import annotations

import math
from collections import Counter
from functools import partial
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext._core import subsets
from captum_ext._core.draws import draw_seeds
from captum_ext._core.subsets import random_subsets

from .. import oracles

exactly = partial(assert_close, rtol=0, atol=0)
CPU = torch.device("cpu")


def masks(rows, size=1000):
    """`[R, F]` and `[R]`: the features that each row lacks and its example, made `size` at a time."""
    removed, example = zip(*rows.batches(lambda: size))
    assert all(len(r) == size for r in removed[:-1])
    return torch.cat(removed), torch.cat(example)


def drawn(counts, sizes, draws, seed=0, size=1000):
    """`{(example, k): [subset, ...]}` in the order of the draws, and the rows."""
    chosen = random_subsets(torch.tensor(counts), torch.tensor(sizes), draws, seed, CPU)
    removed, example = masks(chosen.rows, size)
    found = {}
    for b in range(len(counts)):
        assert not removed[chosen.whole[b]].any()
        assert example[chosen.whole[b]] == b
        for k in range(len(sizes[b])):
            rows = chosen.row[b, k][chosen.valid[b, k]]
            assert (example[rows] == b).all()
            found[b, k] = [tuple(r.nonzero().flatten().tolist()) for r in removed[rows]]
    return found, chosen


# ---------------------------------------------------------------- random sets


@given(
    counts=st.lists(st.integers(2, 9), min_size=1, max_size=3),
    draws=st.integers(1, 40),
    seed=st.integers(0, 1000),
    size=st.integers(1, 50),
)
def test_random_subsets_have_their_size_and_come_once_each_where_there_are_few(counts, draws, seed, size):
    sizes = [[1, f // 2, f - 1] for f in counts]
    found, chosen = drawn(counts, sizes, draws, seed, size)
    for (b, k), sets in found.items():
        n, f = sizes[b][k], counts[b]
        assert all(len(s) == n and max(s) < f for s in sets)
        if math.comb(f, n) <= draws:
            assert sorted(sets) == list(combinations(range(f), n))
        else:
            assert len(sets) == draws
    assert len(chosen.rows) == len(counts) + sum(map(len, found.values()))


@pytest.mark.parametrize(("features", "n"), [(5, 2), (6, 3), (7, 6), (4, 4)])
def test_as_many_draws_as_there_are_sets_take_each_once_and_one_draw_less_is_random(features, n):
    every = list(combinations(range(features), n))
    found, _ = drawn([features] * 40, [[n]] * 40, len(every))
    assert all(sorted(sets) == every for sets in found.values())
    if len(every) > 1:
        found, _ = drawn([features] * 40, [[n]] * 40, len(every) - 1)
        assert any(len(set(sets)) < len(sets) for sets in found.values())


def test_the_sets_of_one_draw_are_nested_and_of_different_draws_are_not():
    found, _ = drawn([20], [[3, 8, 15]], 10)
    for small, middle, large in zip(*(found[0, k] for k in range(3))):
        assert set(small) < set(middle) < set(large)
    assert len(set(found[0, 1])) == 10


@pytest.mark.parametrize(("features", "n", "draws"), [(5, 2, 9), (6, 3, 19), (7, 1, 6), (7, 6, 6)])
def test_random_subsets_are_equally_likely(features, n, draws):
    batch = 100
    found, _ = drawn([features] * batch, [[n]] * batch, draws, seed=5)
    counts = Counter(s for sets in found.values() for s in sets)
    assert len(counts) == math.comb(features, n)
    assert oracles.chi_square_p(list(counts.values())) > 0.001


def test_pairs_of_successive_draws_are_equally_likely():
    batch = 400
    found, _ = drawn([4] * batch, [[1]] * batch, 3, seed=2)
    pairs = Counter((a, b) for sets in found.values() for a, b in pairwise(sets))
    assert len(pairs) == 16
    assert oracles.chi_square_p(list(pairs.values())) > 0.001


def test_draws_depend_on_the_seed_of_the_example_alone():
    seeds, order = [5, 6, 7], [2, 0, 1]
    whole, _ = drawn([9, 7, 8], [[2, 5], [2, 5], [2, 5]], 10, seeds)
    permuted, _ = drawn([8, 9, 7], [[2, 5]] * 3, 10, [seeds[b] for b in order])
    assert all(permuted[i, k] == whole[b, k] for i, b in enumerate(order) for k in range(2))
    alone, _ = drawn([7], [[2, 5]], 10, [6])
    assert all(alone[0, k] == whole[1, k] for k in range(2))
    assert drawn([9, 7, 8], [[2, 5]] * 3, 10, seeds, size=3)[0] == whole


def test_a_longer_run_begins_with_the_draws_of_a_shorter_one():
    short, _ = drawn([12, 15], [[4], [4]], 10)
    long, _ = drawn([12, 15], [[4], [4]], 25)
    assert {key: sets[:10] for key, sets in long.items()} == short


def test_a_size_draws_alike_whatever_other_sizes_are_asked_for():
    alone, _ = drawn([12], [[4]], 10)
    beside, _ = drawn([12], [[2, 4, 9]], 10)
    assert alone[0, 0] == beside[0, 1]


@given(count=st.integers(0, 60), data=st.data())
def test_the_number_of_subsets_is_the_binomial_or_the_most_that_matters(count, data):
    size, most = data.draw(st.integers(0, count)), data.draw(st.integers(1, 10**6))
    assert subsets._subsets_up_to(count, size, most) == min(math.comb(count, size), most)


def test_counting_the_subsets_of_a_large_image_is_quick():
    assert subsets._subsets_up_to(150_000, 75_000, 51) == 51


# ---------------------------------------------------------------- the size of a batch may change on the way


def test_the_rows_are_the_same_when_the_batch_shrinks_on_the_way():
    chosen = random_subsets(torch.tensor([6, 6]), torch.tensor([[2], [3]]), 9, 0, CPU)
    sizes = iter([7, 7, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1])
    removed, example = zip(*chosen.rows.batches(lambda: next(sizes)))
    assert [len(r) for r in removed] == [7, 7, 2, 2, 1, 1]
    whole, of = masks(chosen.rows)
    exactly(torch.cat(removed), whole)
    exactly(torch.cat(example), of)


def test_rows_are_those_of_a_loop_over_them_where_some_are_random_and_some_enumerated():
    counts, sizes, draws = torch.tensor([3, 9, 4]), torch.tensor([[1, 2], [1, 4], [2, 3]]), 6
    rows, seeds = random_subsets(counts, sizes, draws, 5, CPU).rows, draw_seeds(5, 3, draws)
    removed, _ = masks(rows, 7)

    def naive(b, ordering, count):
        if ordering < draws:
            g = torch.Generator().manual_seed(int(seeds[b, ordering]))
            return (torch.randperm(int(counts[b]), generator=g) < count).tolist()
        subsets_of_size = list(combinations(range(int(counts[b])), int(sizes[b, ordering // draws - 1])))
        return [count > 0 and i in subsets_of_size[ordering % draws] for i in range(int(counts[b]))]

    for row, b, ordering, count in zip(removed, rows.example.tolist(), rows.ordering.tolist(), rows.count.tolist()):
        assert row.tolist() == naive(b, ordering, count) + [False] * (9 - int(counts[b]))

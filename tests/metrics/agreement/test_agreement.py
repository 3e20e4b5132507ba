"""Metrics of agreement: closed forms, SciPy, and naive loops over features and pairs of them."""

from __future__ import annotations

import math
import warnings
from functools import partial
from itertools import combinations, permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from captum_ext.metrics import (
    feature_agreement,
    pairwise_rank_agreement,
    rank_agreement,
    rank_correlation,
    sign_agreement,
    signed_rank_agreement,
)

from ... import oracles

exactly = partial(assert_close, rtol=0, atol=0, equal_nan=True)
closely = partial(assert_close, rtol=1e-12, atol=1e-12, equal_nan=True)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def wide(values):
    return torch.tensor(values, dtype=torch.float64)


def score(metric, phi, other, **arguments):
    return metric(phi, phi, other, **arguments)


# ---- naive loops: two lists of numbers, and those to rank by


def sign(v):
    return (v > 0) - (v < 0)


def share_of_top(a, b, a_by, b_by, k, agree):
    order_a, order_b = (sorted(range(len(a)), key=lambda i: -by[i]) for by in (a_by, b_by))
    common = [i for i in order_a[:k] if i in order_b[:k]]
    return sum(agree(a[i], b[i], order_a.index(i), order_b.index(i)) for i in common) / k


def spearman(a, b, a_by, b_by):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return float(stats.spearmanr(a_by, b_by)[0]) if len(a) > 1 else math.nan


def pairs(a, b, a_by, b_by):
    of_pairs = list(combinations(range(len(a)), 2))
    same = sum(sign(a_by[i] - a_by[j]) == sign(b_by[i] - b_by[j]) for i, j in of_pairs)
    return same / len(of_pairs) if of_pairs else math.nan


TOPS = {
    "feature_agreement": (feature_agreement, lambda a, b, ra, rb: True),
    "sign_agreement": (sign_agreement, lambda a, b, ra, rb: sign(a) == sign(b)),
    "rank_agreement": (rank_agreement, lambda a, b, ra, rb: ra == rb),
    "signed_rank_agreement": (signed_rank_agreement, lambda a, b, ra, rb: ra == rb and sign(a) == sign(b)),
}
NAIVE = {
    name: (partial(metric, k=2), partial(share_of_top, k=2, agree=agree)) for name, (metric, agree) in TOPS.items()
}
NAIVE |= {
    "rank_correlation": (rank_correlation, spearman),
    "pairwise_rank_agreement": (pairwise_rank_agreement, pairs),
}
SIGNS = {
    "all": lambda v: v,
    "positive": lambda v: max(v, 0.0),
    "negative": lambda v: max(-v, 0.0),
    "absolute_value": abs,
}
every_metric = pytest.mark.parametrize("name", NAIVE)
every_top = pytest.mark.parametrize("name", TOPS)


def naive(name, a, b, by="absolute_value"):
    """`a` and `b` list the features of each example."""
    return wide([NAIVE[name][1](p, q, [SIGNS[by](v) for v in p], [SIGNS[by](v) for v in q]) for p, q in zip(a, b)])


@every_metric
@given(st.integers(1, 3), st.integers(2, 11), st.integers(1, 6), st.sampled_from(list(SIGNS)), st.integers(0, 10**6))
def test_scores_are_those_of_the_naive_loop_also_with_ties(name, batch, features, levels, by, seed):
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.randint(-levels, levels + 1, (batch, features), generator=draw).double() / 4 for _ in range(2))
    closely(score(NAIVE[name][0], a, b, sign=by), naive(name, a.tolist(), b.tolist(), by))


@every_top
@pytest.mark.parametrize("k", [1, 3, 7])
def test_the_top_is_as_large_as_asked_for(name, k):
    metric, agree = TOPS[name]
    a, b = normal(6, 7), normal(6, 7) + normal(6, 7, seed=1) / 3
    wanted = [share_of_top(p, q, [*map(abs, p)], [*map(abs, q)], k, agree) for p, q in zip(a.tolist(), b.tolist())]
    closely(score(metric, a, b, k=k), wide(wanted))


# ---------------------------------------------------------------- what a feature is

MASK = torch.tensor([[0, 0, 1, 1, 2, 5], [4, 3, 3, 1, 2, 2], [0, 1, 2, 3, 4, 5]])  # 4, 4 and 6 groups


@every_metric
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
@pytest.mark.parametrize("frozen", [(), (2, 3)])
def test_features_are_the_groups_of_a_mask_but_for_the_frozen(name, aggregate, frozen):
    a, b = normal(3, 6), normal(3, 6, seed=1)

    def totals(phi):
        of_examples = oracles.features_of(phi, MASK, frozen=frozen)
        return [
            [oracles.attribution_of(group, (row,), aggregate) for group in groups]
            for row, groups in zip(phi, of_examples)
        ]

    grouped = {"feature_mask": MASK, "aggregate": aggregate, "frozen": frozen}
    closely(score(NAIVE[name][0], a, b, **grouped), naive(name, totals(a), totals(b)))


@every_metric
def test_with_one_channel_on_a_side_positions_are_compared(name):
    a, b = normal(3, 2, 2, 3), normal(3, 2, 2, 3, seed=1)
    metric = NAIVE[name][0]
    wanted = naive(name, a.sum(1).flatten(1).tolist(), b.sum(1).flatten(1).tolist())
    closely(metric(a, a.sum(1, keepdim=True), b), wanted)
    closely(metric(a, a, b.sum(1, keepdim=True)), wanted)
    closely(metric(a, {"all": a, "one": a.sum(1, keepdim=True)}, b)["all"], wanted)


@every_metric
def test_features_of_all_tensors_of_a_tuple_are_ranked_together(name):
    a, b = (normal(3, 2, 2), normal(3, 3, seed=1)), (normal(3, 2, 2, seed=2), normal(3, 3, seed=3))
    side_by_side = [torch.cat((p.flatten(1), q), 1) for p, q in (a, b)]
    closely(NAIVE[name][0](a, a, b), score(NAIVE[name][0], *side_by_side))


# ---------------------------------------------------------------- closed forms


@every_metric
def test_an_explanation_agrees_with_itself_also_where_it_has_ties(name):
    phi = normal(4, 9).mul(2).round()
    assert len(phi[0].unique()) < 9
    closely(score(NAIVE[name][0], phi, phi), torch.ones(4).double())


@every_metric
def test_agreement_is_mutual(name):
    a, b = normal(4, 9), normal(4, 9, seed=1)
    closely(score(NAIVE[name][0], a, b), score(NAIVE[name][0], b, a))


@every_metric
def test_the_opposite_has_the_same_importances_and_no_sign_in_common(name):
    phi = normal(4, 9)
    closely(score(NAIVE[name][0], phi, -phi), torch.full((4,), 0.0 if "sign" in name else 1.0).double())


def test_opposite_orders_agree_upon_no_pair_and_correlate_with_minus_one():
    phi = normal(4, 9)
    closely(score(rank_correlation, phi, -phi, sign="all"), -torch.ones(4).double())
    closely(score(pairwise_rank_agreement, phi, -phi, sign="all"), torch.zeros(4).double())


CHANCE = {
    "feature_agreement": 2 / 5,
    "sign_agreement": 2 / 5,  # all signs are the same here
    "rank_agreement": 1 / 5,
    "signed_rank_agreement": 1 / 5,
    "rank_correlation": 0,
    "pairwise_rank_agreement": 1 / 2,
}


@every_metric
def test_chance_is_what_all_orders_score_on_average(name):
    orders = wide(list(permutations(range(1, 6))))
    phi = orders[:1].expand_as(orders)
    closely(score(NAIVE[name][0], phi, orders).mean(), wide(CHANCE[name]))


@every_top
def test_several_k_are_columns_and_fractions_are_of_the_examples_own_features(name):
    a, b = normal(3, 6), normal(3, 6) + normal(3, 6, seed=1) / 2
    at = partial(score, TOPS[name][0], a, b, feature_mask=MASK)
    several = at(k=[1, 0.5, 4])
    for column, k in zip(several.T, [1, 0.5, 4]):
        exactly(column, at(k=k))
    halves = [at(k=2)[0], at(k=2)[1], at(k=3)[2]]
    exactly(several[:, 1], torch.stack(halves))


def test_the_four_agreements_are_nested():
    a, b = normal(50, 8), normal(50, 8) + normal(50, 8, seed=1)
    by_name = {name: score(metric, a, b, k=[1, 3, 8]) for name, (metric, _) in TOPS.items()}
    for less, more in [("sign", "feature"), ("rank", "feature"), ("signed_rank", "sign"), ("signed_rank", "rank")]:
        assert (by_name[f"{less}_agreement"] <= by_name[f"{more}_agreement"]).all()
        assert (by_name[f"{less}_agreement"] < by_name[f"{more}_agreement"]).any()
    exactly(by_name["feature_agreement"][:, 2], torch.ones(50).double())  # all features


def test_without_ties_pairs_are_kendalls_tau():
    a, b = normal(5, 40), normal(5, 40) + normal(5, 40, seed=1)
    tau = wide([stats.kendalltau(p, q)[0] for p, q in zip(a, b)])
    closely(score(pairwise_rank_agreement, a, b, sign="all"), (1 + tau) / 2)


@pytest.mark.parametrize("features", [2, 3, 4, 5, 7, 8, 9, 16, 17, 33])
def test_pairs_are_counted_whole_for_any_number_of_features(features):
    a, b = (normal(4, features, seed=s).mul(3).round() for s in (0, 1))
    closely(score(pairwise_rank_agreement, a, b), naive("pairwise_rank_agreement", a.tolist(), b.tolist()))


def test_pairs_of_an_image_are_counted_without_comparing_each():
    phi = normal(1, 1, 150, 150)  # 253 million pairs
    closely(score(pairwise_rank_agreement, phi, phi.flip(3).flip(3)), torch.ones(1).double())
    assert abs(score(pairwise_rank_agreement, phi, normal(1, 1, 150, 150, seed=1)).item() - 0.5) < 0.01


@every_metric
def test_an_infinite_attribution_is_only_the_most_important(name):
    a, b = normal(3, 6), normal(3, 6, seed=1)
    infinite, large = a.clone(), a.clone()
    infinite[:, 2], large[:, 2] = torch.inf, 99
    exactly(score(NAIVE[name][0], infinite, b), score(NAIVE[name][0], large, b))
    ragged = partial(score, NAIVE[name][0], feature_mask=MASK)
    exactly(ragged(infinite, b), ragged(large, b))


# ---------------------------------------------------------------- what is undefined


@pytest.mark.parametrize("constant", [torch.zeros(1, 3), torch.full((1, 3), 0.1), torch.tensor([[0.3, -0.3, 0.3]])])
def test_where_all_features_are_equally_important_ranks_do_not_correlate(constant):
    phi = normal(1, 3)
    assert score(rank_correlation, phi, constant.double()).isnan().all()
    assert score(rank_correlation, constant.double(), phi).isnan().all()
    exactly(score(pairwise_rank_agreement, phi, constant.double()), torch.zeros(1).double())


def test_a_single_feature_makes_no_pair():
    phi, mask = normal(2, 3), torch.tensor([[0, 0, 0], [0, 0, 1]])
    assert score(pairwise_rank_agreement, phi, phi, feature_mask=mask).isnan().tolist() == [True, False]
    assert score(rank_correlation, phi, phi, feature_mask=mask).isnan().tolist() == [True, False]


# ---------------------------------------------------------------- several methods


def test_the_agreement_of_all_methods_with_each_other_is_one_line():
    maps = {name: normal(3, 6, seed=s) for s, name in enumerate("abc")}
    table = {name: feature_agreement(maps["a"], maps, other, k=3) for name, other in maps.items()}
    for one, other in permutations(maps, 2):
        exactly(table[one][other], table[other][one])
        exactly(table[one][other], score(feature_agreement, maps[one], maps[other], k=3))
    exactly(table["a"]["a"], torch.ones(3).double())

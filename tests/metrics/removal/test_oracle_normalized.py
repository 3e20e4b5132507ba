from __future__ import annotations

from functools import partial
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.metrics import aopc, deletion, insertion, irof, minimal_subset, oracle_normalized, srg, sufficiency

from ... import oracles
from ...conftest import smooth_model
from ...oracles import Recorder

closely = partial(assert_close, rtol=1e-10, atol=1e-10)
MASK = torch.tensor([[4, 4, 0, 9, 9, 9], [1, 1, 1, 1, 0, 0], [0, 1, 2, 3, 4, 5]])  # 3, 2 and 6 groups


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def greedy_by_hand(model, example, features, best):
    """The features in the order they go: at each step the one without which the output is `best`, min or max."""
    gone = []
    while len(gone) < len(features):
        left = [i for i in range(len(features)) if i not in gone]
        without = {i: oracles.without(example, [features[j] for j in [*gone, i]], (0.0,)) for i in left}
        gone.append(best(left, key=lambda i: oracles.score(model, without[i])))
    return gone


def relevance_by_hand(x, mask, first):
    """Attributions that order each example as the greedy searches do."""
    phi = torch.zeros_like(x)
    for b, features in enumerate(oracles.features_of(x, mask)):
        order = greedy_by_hand(smooth_model, oracles.example_of(x, b), features, min if first else max)
        for place, i in enumerate(order):
            for _, flat in features[i]:
                phi[b].view(-1)[flat] = -place if first else place
    return phi


SCORES = {
    "srg": (srg, max),
    "deletion": (deletion, min),
    "deletion of the least relevant": (partial(deletion, mode="lerf"), max),
    "insertion in a few steps": (partial(insertion, n_steps=4), max),
    "aopc": (aopc, max),
    "sufficiency": (partial(sufficiency, shares=0.5), min),
}


@pytest.mark.parametrize(("score", "best"), SCORES.values(), ids=SCORES)
@pytest.mark.parametrize("mask", [None, MASK], ids=["elements", "groups"])
def test_the_better_greedy_order_scores_1(score, best, mask):
    x = normal(3, 6)
    greedy = [relevance_by_hand(x, mask, first) for first in (True, False)]
    call = {"feature_mask": mask, "score": score, "seed": 0}
    found = torch.stack([oracle_normalized(smooth_model, x, phi, **call) for phi in greedy])
    closely(found.amax(0), torch.ones(3).double())
    values = [score(smooth_model, x, phi, feature_mask=mask) for phi in greedy]
    for b in range(3):
        assert found[:, b].argmax() == [float(v[b]) for v in values].index(best(float(v[b]) for v in values))


def test_on_an_additive_model_the_contributions_are_the_oracle_and_all_orders_have_mean_0():
    w = torch.tensor([3.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    x = torch.ones(24, 4, dtype=torch.float64)
    orders = torch.tensor(list(permutations(range(4))), dtype=torch.float64)
    call = {"score": partial(srg, n_steps=5), "seed": 0, "n_perturb_samples": 400}
    closely(oracle_normalized(lambda rows: rows @ w, x[:1], w[None], **call), torch.ones(1).double())
    scores = oracle_normalized(lambda rows: rows @ w, x, orders, **call)
    assert scores.max() == pytest.approx(1)
    assert abs(scores.mean()) < 0.02
    closely(oracle_normalized(lambda rows: rows @ w, x[:1], -w[None], score=srg, seed=0) < 0, torch.tensor([True]))


@given(scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_the_scale_and_the_level_of_the_output_do_not_count(scale, shift):
    x, phi = normal(2, 5), normal(2, 5, seed=1)
    moved = oracle_normalized(lambda rows: scale * smooth_model(rows) + shift, x, phi, score=deletion, seed=0)
    assert_close(moved, oracle_normalized(smooth_model, x, phi, score=deletion, seed=0), rtol=1e-7, atol=1e-7)


def test_it_is_the_formula(smooth):
    x, phi, draws = normal(3, 6), {"a": normal(3, 6, seed=1), "b": normal(3, 6, seed=2)}, 5
    once = {m: oracle_normalized(smooth, x, maps, seed=3, n_perturb_samples=draws) for m, maps in phi.items()}
    gains = {m: srg(smooth, x, maps) for m, maps in phi.items()}
    oracle = torch.stack([srg(smooth, x, relevance_by_hand(x, None, first)) for first in (True, False)]).amax(0)
    random = [(gains[m] - once[m] * oracle) / (1 - once[m]) for m in phi]  # solved for the mean of the random orders
    closely(random[0], random[1])
    together = oracle_normalized(smooth, x, phi, seed=3, n_perturb_samples=draws)
    for m in phi:
        closely(together[m], once[m])


def test_the_sum_over_groups_ranks_the_given_attributions_alone(smooth):
    x, phi = normal(3, 6), normal(3, 6, seed=1)
    call = {"feature_mask": MASK, "seed": 0}
    by_mean, by_sum = (oracle_normalized(smooth, x, phi, aggregate=a, **call) for a in ("mean", "sum"))
    gain = [srg(smooth, x, phi, feature_mask=MASK, aggregate=a) for a in ("mean", "sum")]
    same = gain[0] == gain[1]
    assert torch.equal(by_mean == by_sum, same)


def test_what_it_costs(smooth):
    x, phi = normal(2, 5), normal(2, 5, seed=1)
    model = Recorder(smooth)
    oracle_normalized(model, x, phi, score=partial(srg, n_steps=6), seed=0, n_perturb_samples=3)
    search, curves = 5 * 6, (2 + 2 * 4) + (2 + 5 * 2 * 4)
    assert model.rows <= 2 * (search + curves)
    assert model.rows >= 2 * search


@pytest.mark.parametrize("limit", [1, 7])
def test_the_limit_and_the_batch_change_nothing(limit, smooth):
    x, phi, seed = normal(3, 6), normal(3, 6, seed=1), [1, 2, 3]
    whole = oracle_normalized(smooth, x, phi, feature_mask=MASK, seed=seed)
    model = Recorder(smooth)
    closely(oracle_normalized(model, x, phi, feature_mask=MASK, seed=seed, max_examples_per_batch=limit), whole)
    assert max(model.sizes) <= limit
    parts = [oracle_normalized(smooth, x[[b]], phi[[b]], feature_mask=MASK[[b]], seed=[seed[b]]) for b in range(3)]
    closely(torch.cat(parts), whole)


def test_where_nothing_matters_it_is_nan():
    x = normal(2, 4)
    assert oracle_normalized(lambda rows: 0 * rows[:, 0] + 1, x, x, score=irof, seed=0).isnan().all()


@pytest.mark.parametrize("score", [srg, deletion, aopc, irof, partial(deletion, mode="lerf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_the_best_order_is_a_random_one_up_to_rounding_it_is_nan(score, dtype):
    x, phi = normal(200, 2).to(dtype), normal(200, 2, seed=1).to(dtype)
    call = {"score": score, "seed": 0, "n_perturb_samples": 3}
    one = oracle_normalized(lambda rows: rows.sum(1).sin() + 2, x[:, :1], phi[:, :1], **call)
    assert one.isnan().all()
    two = oracle_normalized(lambda rows: (3 * rows[:, 0]).sin() + rows[:, 1], x, phi, **call)
    assert two.isnan().any()  # all three random orders are the best one of two
    assert two.nan_to_num().abs().max() < 1e3
    even = oracle_normalized(lambda rows: rows.sum(1), torch.full_like(x, 0.1).repeat(1, 3), phi.repeat(1, 3), **call)
    assert even.isnan().all()
    flat = oracle_normalized(lambda rows: (36 + rows.sum(1) / 10).sigmoid(), x.repeat(1, 3), phi.repeat(1, 3), **call)
    assert flat.isnan().all()


@pytest.mark.parametrize("score", [srg, irof])
def test_a_span_far_below_the_output_but_above_its_rounding_counts(score):
    x, phi = normal(4, 5), normal(4, 5, seed=1)
    level = oracle_normalized(lambda rows: smooth_model(rows) + 1e8, x, phi, score=score, seed=0)
    wanted = oracle_normalized(smooth_model, x, phi, score=srg, seed=0)
    assert level.isfinite().all()
    if score is srg:
        assert_close(level, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("limit", [1, 2, 7, 40])
def test_the_limit_chooses_no_other_best_order_where_features_do_nothing(limit):
    """In float32, where a row's output depends on the rows beside it by its rounding."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 33), torch.nn.Linear(33, 1))
    x, phi = normal(6, 8).float(), normal(6, 8, seed=1).float()
    x[:, ::2] = 0
    call = {"score": partial(srg, n_steps=9), "seed": 0}
    of_all = oracle_normalized(net, x, phi, max_examples_per_batch=10_000, **call)
    limited = oracle_normalized(net, x, phi, max_examples_per_batch=limit, **call)
    assert_close(limited, of_all, rtol=1e-3, atol=1e-3, equal_nan=True)


def test_positions_of_images_and_tuples_are_features_too(smooth):
    x, phi = normal(2, 3, 2, 2), normal(2, 1, 2, 2, seed=1)
    positions = torch.arange(4).reshape(1, 1, 2, 2)
    closely(
        oracle_normalized(smooth, x, phi, seed=0),
        oracle_normalized(smooth, x, phi.expand_as(x), feature_mask=positions, seed=0),
    )
    pair = (x[:, 0], x[:, 1]), (x[:, 0].cos(), x[:, 1].sin())
    assert oracle_normalized(smooth, *pair, seed=0).isfinite().all()


def test_a_score_without_a_target_gets_none():
    x, phi, w = normal(2, 5), normal(2, 5, seed=1), normal(5, 3, seed=2)
    call = {"target": [0, 2], "seed": 0, "score": partial(minimal_subset, n_steps=6)}
    assert oracle_normalized(lambda rows: rows @ w, x, phi, **call).shape == (2,)

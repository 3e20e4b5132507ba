"""The searches of `oracle_normalized` against all orders, one by one."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.metrics import (
    aopc,
    comprehensiveness,
    deletion,
    insertion,
    irof,
    minimal_subset,
    oracle_normalized,
    srg,
    sufficiency,
)

from ...oracles import Recorder

closely = partial(assert_close, rtol=1e-9, atol=1e-9)
SCORES = {
    "srg": srg,
    "deletion": deletion,
    "deletion of the least relevant": partial(deletion, mode="lerf", n_steps=9),
    "insertion from a fifth": partial(insertion, start=0.2),
    "aopc in a few steps": partial(aopc, n_steps=4),
    "irof": irof,
    "comprehensiveness": comprehensiveness,
    "sufficiency": partial(sufficiency, shares=[0.2, 0.7]),
}
every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_any_subset(features, seed=0):
    """A model that has an output of its own for every set of features, so that nothing helps but to look."""
    outputs = 2 + normal(2**features, seed=seed)

    def model(rows):
        return outputs[((rows != 0) * (1 << torch.arange(features))).sum(1)]

    return model


def all_orders(features):
    return torch.tensor(list(permutations(range(features))), dtype=torch.float64)


def scores_of_all_orders(score, model, features):
    """As plain as it can be: the score of every order."""
    orders = all_orders(features)
    return score(model, torch.ones(len(orders), features).double(), orders)


# ---------------------------------------------------------------- exact


@every_score
@pytest.mark.parametrize("features", [1, 2, 4])
def test_by_an_exact_search_all_orders_are_from_0_to_1_and_both_are_reached(score, features):
    model, orders = of_any_subset(features), all_orders(features)
    plain = scores_of_all_orders(score, model, features)
    found = oracle_normalized(
        model, torch.ones(len(orders), features).double(), orders, score=score, search="exact", lower="worst"
    )
    if plain.max() - plain.min() < 1e-9:
        assert found.isnan().all()
        return
    wanted = (plain - plain.min()) / (plain.max() - plain.min())
    assert any(torch.allclose(found, side, rtol=0, atol=1e-9) for side in (wanted, 1 - wanted))
    assert found.min() == pytest.approx(0, abs=1e-9)
    assert found.max() == pytest.approx(1, abs=1e-9)


@given(seed=st.integers(0, 10_000), features=st.integers(2, 4), name=st.sampled_from(sorted(SCORES)))
def test_no_search_finds_more_than_the_exact_one_and_none_has_a_worse_worst(seed, features, name):
    model, orders = of_any_subset(features, seed), all_orders(features)
    x, call = torch.ones(len(orders), features).double(), {"score": SCORES[name], "lower": "worst"}
    exact, beam, greedy = (
        oracle_normalized(model, x, orders, search=search, **call) for search in ("exact", "beam", "greedy")
    )
    if not exact.isnan().all():
        assert exact.min() == pytest.approx(0, abs=1e-9)
        assert exact.max() == pytest.approx(1, abs=1e-9)
        for other in (beam, greedy):
            assert other.isnan().all() or (other.max() >= 1 - 1e-9 and other.min() <= 1e-9)


def test_examples_with_fewer_groups_have_orders_of_their_own():
    mask = torch.tensor([[3, 3, 1, 0], [0, 1, 2, 3], [7, 7, 7, 5]])
    x, phi = normal(3, 4), normal(3, 4, seed=1)
    call = {"search": "exact", "lower": "worst", "n_perturb_samples": 3}

    def model(rows):
        return (rows.cumsum(1) * normal(4, seed=2)).sin().sum(1)

    together = oracle_normalized(model, x, phi, feature_mask=mask, **call)
    for b in range(3):
        closely(together[b : b + 1], oracle_normalized(model, x[[b]], phi[[b]], feature_mask=mask[[b]], **call))


def test_chance_is_0_by_default_also_for_an_exact_search():
    model, x, phi = of_any_subset(4), torch.ones(1, 4).double(), normal(1, 4, seed=1)
    best = scores_of_all_orders(srg, model, 4).max()
    found = oracle_normalized(model, x, phi, search="exact", n_perturb_samples=1000, seed=0)
    assert_close(found, srg(model, x, phi) / best, rtol=0, atol=0.06)  # every order has its opposite: the mean is 0


def test_a_score_that_is_no_sum_is_refused_before_the_model_is_called():
    model = Recorder(of_any_subset(4))
    for score in (minimal_subset, partial(minimal_subset, threshold=0.5)):
        with pytest.raises(ValueError, match=r"`search='exact'` needs a `score` that is a weighted sum .* minimal_sub"):
            oracle_normalized(model, torch.ones(1, 4), torch.ones(1, 4), score=score, search="exact")
    assert model.calls == []


# ---------------------------------------------------------------- beam


def beam_by_hand(model, features, sign, width=5):
    """The last path of a beam search over sums of outputs, as a list of features."""
    beam = [(0.0, ())]
    for _ in range(features):
        longer = {}
        for total, order in beam:
            for i in set(range(features)) - set(order):
                row = torch.ones(1, features).double()
                row[0, [*order, i]] = 0
                value, key = total + sign * float(model(row)), frozenset((*order, i))
                if key not in longer or value > longer[key][0]:
                    longer[key] = value, (*order, i)
        beam = sorted(longer.values(), reverse=True)[:width]
    return list(beam[0][1])


@pytest.mark.parametrize("seed", range(4))
def test_the_beam_finds_what_a_beam_by_hand_finds(seed):
    model, x = of_any_subset(7, seed), torch.ones(1, 7).double()
    phi = torch.empty(2, 7).double()
    phi[0, beam_by_hand(model, 7, -1)] = torch.arange(7, 0, -1).double()  # falls first: removed first
    phi[1, beam_by_hand(model, 7, 1)] = torch.arange(7).double()  # stays high: removed last
    score, call = partial(aopc, n_steps=8), {"lower": "worst", "search": "beam"}
    values = torch.cat([score(model, x, p[None]) for p in (*phi, *-phi)])
    found = [oracle_normalized(model, x, p[None], score=score, **call) for p in (*phi, *-phi)]
    closely(torch.cat(found), (values - values.min()) / (values.max() - values.min()))


def test_no_set_is_scored_twice_and_the_beam_takes_at_most_five_times_the_rows_of_the_greedy_search():
    model, x = of_any_subset(6), torch.ones(2, 6).double()
    seen = Recorder(model)
    oracle_normalized(seen, x, normal(2, 6), search="beam", lower="worst", score=partial(srg, n_steps=2))
    rows = torch.cat([call[0] for call in seen.calls])
    assert len(rows) - 8 <= 2 * 2**6  # the curves take the whole and the empty examples, twice
    assert len(rows) <= 5 * 2 * 6 * 7


def test_normalised_aopc_reaches_both_ends_on_an_additive_model():
    w = torch.tensor([3.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    naopc = partial(oracle_normalized, score=aopc, lower="worst", search="beam")
    x, orders = torch.ones(24, 4).double(), all_orders(4)
    scores = naopc(lambda rows: rows @ w, x, orders)
    assert (scores.min(), scores.max()) == (pytest.approx(0), pytest.approx(1))
    closely(naopc(lambda rows: rows @ w, x[:1], w[None]), torch.ones(1).double())
    closely(naopc(lambda rows: rows @ w, x[:1], -w[None]), torch.zeros(1).double())


@pytest.mark.parametrize("limit", [1, 7])
@pytest.mark.parametrize("search", ["beam", "exact"])
def test_the_limit_holds_and_the_batch_changes_nothing(search, limit):
    x, phi = normal(3, 5), normal(3, 5, seed=1)
    call = {"search": search, "lower": "worst"}

    def net(rows):
        return (rows.cumsum(1) * normal(5, seed=2)).sin().sum(1)

    model = Recorder(net)
    limited = oracle_normalized(model, x, phi, max_examples_per_batch=limit, **call)
    assert max(model.sizes) <= limit
    closely(limited, torch.cat([oracle_normalized(net, x[[b]], phi[[b]], **call) for b in range(3)]))

"""Normalised AOPC against all orders of few features, one by one."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import pytest
import torch
from torch.testing import assert_close

from captum_ext.metrics import aopc, normalized_aopc, oracle_normalized, with_stderr

closely = partial(assert_close, rtol=1e-9, atol=1e-9)
SEARCHES = ("greedy", "beam", "exact")


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_any_subset(features, seed=0):
    """A model that has an output of its own for every set of features, so that nothing helps but to look."""
    outputs = normal(2**features, seed=seed)
    return lambda rows: outputs[((rows != 0) * (1 << torch.arange(features))).sum(1)]


def by_hand(model, order):
    """The mean drop over 1, 2, ... removed features, of one order, the most relevant first."""
    row, drops = torch.ones(1, len(order)).double(), []
    whole = model(row)
    for feature in order:
        row[0, feature] = 0
        drops.append(whole - model(row))
    return torch.cat(drops).mean()


@pytest.mark.parametrize("features", [2, 3, 5])
@pytest.mark.parametrize("search", SEARCHES)
def test_between_the_limits_of_all_orders_it_is_the_papers_formula_from_0_to_1(features, search):
    """Five features have 10 sets of 2, so a beam of five may miss the best; an exact search may not."""
    orders = list(permutations(range(features)))
    model = of_any_subset(features, seed=features)
    plain = torch.stack([by_hand(model, order) for order in orders])
    phi = torch.empty(len(orders), features).double()
    for row, order in zip(phi, orders):
        row[list(order)] = torch.arange(features, 0, -1.0).double()
    found = normalized_aopc(model, torch.ones(len(orders), features).double(), phi, search=search)
    if search == "exact" or features == 2:
        closely(found, (plain - plain.min()) / (plain.max() - plain.min()))
        assert (found.min(), found.max()) == (0, 1)
    ranks = found.argsort()
    assert bool((plain[ranks].diff() > -1e-9).all())  # whatever the limits are


@pytest.mark.parametrize("search", SEARCHES)
def test_it_is_the_normalised_aopc_of_one_step_a_feature(search):
    x, phi = normal(3, 6), {"a": normal(3, 6, seed=1), "b": normal(3, 6, seed=2)}
    model = lambda rows: (rows.cumsum(1).sin() * rows).sum(1)  # noqa: E731
    score = partial(aopc, n_steps=7)
    expected = oracle_normalized(model, x, phi, score=score, lower="worst", search=search)
    found = normalized_aopc(model, x, phi, search=search)
    for name in phi:
        closely(found[name], expected[name])


def test_examples_with_other_numbers_of_features_have_each_their_own_steps():
    x, phi = normal(2, 6), normal(2, 6, seed=1)
    mask = torch.tensor([[0, 0, 0, 1, 1, 2], [0, 1, 2, 3, 4, 5]])
    model = lambda rows: (rows.cumsum(1).sin() * rows).sum(1)  # noqa: E731
    together = normalized_aopc(model, x, phi, feature_mask=mask)
    for b in range(2):
        closely(together[b : b + 1], normalized_aopc(model, x[[b]], phi[[b]], feature_mask=mask[[b]]))


def test_the_scale_of_the_output_does_not_count_and_nothing_is_drawn():
    x, phi = normal(4, 5), normal(4, 5, seed=1)
    model = of_any_subset(5)
    scaled = normalized_aopc(lambda rows: 1000 * model(rows) + 3, x, phi)
    closely(scaled, normalized_aopc(model, x, phi))
    assert torch.equal(with_stderr(normalized_aopc)(model, x, phi).stderr, torch.zeros(4).double())
    assert normalized_aopc(lambda rows: rows.sum(1), torch.ones(1, 3), torch.ones(1, 3)).isnan().all()

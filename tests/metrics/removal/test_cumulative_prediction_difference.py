from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch.testing import assert_close

from captum_ext.metrics import cumulative_prediction_difference, deletion_curve

BOTH = pytest.mark.parametrize("mode", ["morf", "lerf"])


def by_definition(model, x, phi, k, mode):
    """One feature after another, in plain loops."""
    sums = []
    for row, attribution in zip(x, phi):
        left, total = row.clone(), 0.0
        for i in attribution.abs().argsort(descending=mode == "morf")[:k]:
            before = model(left[None])[0]
            left[i] = 0
            total += abs(float(before - model(left[None])[0]))
        sums.append(total)
    return torch.tensor(sums, dtype=x.dtype)


@BOTH
@pytest.mark.parametrize("k", [1, 3, 6])
def test_it_is_the_naive_loop(mode, k, smooth, x, phi):
    found = cumulative_prediction_difference(smooth, x, phi, k=k, mode=mode)
    assert_close(found, by_definition(smooth, x, phi, k, mode))


@BOTH
def test_on_an_additive_model_it_is_the_sum_of_absolute_effects_along_the_order(mode, linear, w, x, phi):
    effects = (x * w).abs()
    order = phi.abs().argsort(descending=mode == "morf")
    wanted = effects.gather(1, order).cumsum(1)
    found = cumulative_prediction_difference(linear, x, phi, k=[1, 2, 3, 4, 5, 6], mode=mode)
    assert_close(found, wanted)
    assert_close(found[:, -1], effects.sum(1))  # with all features, no map can be told from another


def test_the_effects_themselves_score_highest_of_all_orders(linear, w, x):
    x = x[:1]
    orders = torch.tensor(list(permutations(range(1, 7)))[::7]).double()
    every = cumulative_prediction_difference(linear, x.expand(len(orders), -1), orders, k=[2, 4])
    best = cumulative_prediction_difference(linear, x, x * w, k=[2, 4])
    least = cumulative_prediction_difference(linear, x, x * w, k=[2, 4], mode="lerf")
    assert (every <= best + 1e-9).all()
    assert (every >= least - 1e-9).all()


def test_opposite_effects_do_not_cancel_out():
    w = torch.tensor([[5.0, -5.0, 1.0]], dtype=torch.float64)

    def model(rows):
        return (rows * w).sum(1)

    x = torch.ones(1, 3, dtype=torch.float64)
    both = {"signed": w, "unsigned": w.abs()}
    found = cumulative_prediction_difference(model, x, both, k=2)
    assert_close(found["signed"], torch.tensor([10.0], dtype=torch.float64))
    assert_close(found["unsigned"], found["signed"])
    after = deletion_curve(model, x, w.abs(), n_steps=4)[:, [0, 2]]
    assert_close(after.diff().abs(), torch.zeros(1, 1, dtype=torch.float64))


@BOTH
def test_examples_may_have_different_numbers_of_features(mode, smooth, x, phi):
    mask = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1]])
    together = cumulative_prediction_difference(smooth, x, phi, feature_mask=mask, k=[1, 1.0, 0.5], mode=mode)
    for b in range(3):
        one = slice(b, b + 1)
        alone = cumulative_prediction_difference(
            smooth, x[one], phi[one], feature_mask=mask[one], k=[1, 1.0, 0.5], mode=mode
        )
        assert_close(together[one], alone)

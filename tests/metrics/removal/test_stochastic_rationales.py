from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.testing import assert_close

from captum_ext.metrics import (
    comprehensiveness,
    stochastic_comprehensiveness,
    stochastic_sufficiency,
    sufficiency,
    with_stderr,
)
from captum_ext.metrics.removal import _chances

BOTH = pytest.mark.parametrize(
    ("metric", "whole"),
    [(stochastic_comprehensiveness, comprehensiveness), (stochastic_sufficiency, sufficiency)],
    ids=["top", "rest"],
)
SHARES = [2, 0.5, 5]


def curved(rows):
    return rows.sum(1).tanh() + (rows**2).sum(1)


@BOTH
def test_with_alpha_1_it_is_the_removal_of_all_of_them(metric, whole, x, phi):
    maps = {"phi": phi, "opposite": -phi}
    score, stderr, _ = with_stderr(metric)(curved, x, maps, shares=SHARES, alpha=1, n_perturb_samples=3, seed=0)
    for name, values in whole(curved, x, maps, shares=SHARES).items():
        assert_close(score[name], values, rtol=1e-12, atol=1e-12)
        assert (stderr[name] < 1e-12).all()


@BOTH
def test_on_an_additive_model_it_comes_to_alpha_times_that(metric, whole, linear, x, phi):
    for alpha in (0.2, 0.7):
        score, stderr, _ = with_stderr(metric)(
            linear, x, phi, shares=SHARES, alpha=alpha, n_perturb_samples=3000, seed=1
        )
        z = (score - alpha * whole(linear, x, phi, shares=SHARES)) / stderr
        assert (z.abs() < 3).all()


def by_definition(model, row, among, probability):
    """The expectation over every subset of the features that may go."""
    expected = 0.0
    for gone in product((0.0, 1.0), repeat=len(among)):
        gone = torch.tensor(gone, dtype=row.dtype)
        chance = torch.where(gone == 1, probability, 1 - probability).prod()
        left = row.clone()
        left[among] = row[among] * (1 - gone)
        expected += chance * (model(row[None]) - model(left[None]))[0]
    return expected


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (0.5, 0.2), (1.0, 0.4)])
def test_many_draws_come_to_the_expectation_over_every_subset(alpha, beta, x, phi):
    """Of six features, `beta=0.2` lets 1.2 go on average: each of the last four with a probability of 0.3."""
    row, order = x[0], phi[0].argsort(descending=True)
    for metric, among in ((stochastic_comprehensiveness, order[:2]), (stochastic_sufficiency, order[2:])):
        probability = torch.tensor(min(alpha, beta * 6 / len(among)), dtype=x.dtype)
        score, stderr, _ = with_stderr(metric)(
            curved, x[:1], phi[:1], shares=2, alpha=alpha, beta=beta, n_perturb_samples=3000, seed=3
        )
        wanted = by_definition(curved, row, among, probability)
        assert abs(float((score - wanted) / stderr.clamp(min=1e-12))) < 3 or torch.isclose(score, wanted).all()


@BOTH
def test_where_nothing_may_go_nothing_drops(metric, whole, x, phi):
    assert_close(stochastic_sufficiency(curved, x, phi, shares=6, seed=0), torch.zeros(3, dtype=x.dtype))
    little = metric(curved, x, phi, shares=3, beta=1e-9, seed=0)
    assert_close(little, torch.zeros(3, dtype=x.dtype))


@BOTH
def test_an_example_with_fewer_features_is_scored_as_it_is_alone(metric, whole, x, phi):
    mask = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1]])
    together = metric(curved, x, phi, feature_mask=mask, shares=[1, 2], seed=[1, 2, 3])
    for b in range(3):
        one = slice(b, b + 1)
        alone = metric(curved, x[one], phi[one], feature_mask=mask[one], shares=[1, 2], seed=[b + 1])
        assert_close(together[one], alone)


@BOTH
def test_methods_share_the_random_numbers(metric, whole, x, phi):
    scores = metric(curved, x, {"phi": phi, "same order": phi**3}, seed=5)
    assert_close(scores["phi"], scores["same order"], rtol=0, atol=0)
    assert_close(scores["phi"], metric(curved, x, phi, seed=5))


def test_each_number_is_drawn_once_for_all_methods_and_shares(x, phi, monkeypatch):
    drawn = []

    def counted(seeds):
        return (drawn.append(seed) or torch.Generator().manual_seed(seed) for seed in seeds)

    monkeypatch.setattr(_chances, "generators", counted)
    maps = {"phi": phi, "opposite": -phi}
    together = stochastic_sufficiency(curved, x, maps, shares=SHARES, n_perturb_samples=7, seed=0)
    assert len(drawn) == len(set(drawn)) == 7 * len(x)
    alone = [
        stochastic_sufficiency(curved, x, phi, shares=k, n_perturb_samples=7, seed=0, max_examples_per_batch=2)
        for k in SHARES
    ]
    assert_close(together["phi"], torch.stack(alone).mean(0))

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.testing import assert_close

from captum_ext.metrics import soft_comprehensiveness, soft_sufficiency
from captum_ext.metrics.removal.soft_rationales import probabilities

BOTH = pytest.mark.parametrize(("metric", "kept"), [(soft_comprehensiveness, False), (soft_sufficiency, True)])


def by_definition(model, row, phi, kept):
    """The expectation over every subset."""
    q = (phi - phi.min()) / (phi.max() - phi.min())
    f_x = model(row[None])
    expected = 0.0
    for among in product((0, 1), repeat=len(row)):
        among = torch.tensor(among)
        chance = torch.where(among == 1, q, 1 - q).prod()
        f_s = model((row * (among if kept else 1 - among))[None])
        expected += chance * (f_x - f_s)
    return expected


@BOTH
def test_many_draws_come_to_the_expectation(metric, kept):
    w = torch.tensor([1.0, 0.5, 2.0, -0.25], dtype=torch.float64)
    x, phi = torch.ones(1, 4, dtype=torch.float64), torch.tensor([[0.3, 0.1, 0.9, -0.2]], dtype=torch.float64)

    def model(rows):
        return rows @ w + (rows @ w) ** 2 / 4

    score = metric(model, x, phi, n_perturb_samples=4000, seed=0)
    assert_close(score, by_definition(model, x[0], phi[0], kept), rtol=0, atol=0.08)


@BOTH
def test_attributions_of_0_and_1_leave_nothing_to_chance(metric, kept, linear, w, x):
    phi = torch.tensor([[1.0, 0, 0, 1, 0, 0]], dtype=torch.float64).expand_as(x)
    replaced = [1, 2, 4, 5] if kept else [0, 3]
    assert_close(metric(linear, x, phi, seed=1), (x * w)[:, replaced].sum(1))


@BOTH
def test_with_a_share_methods_differ_by_order_alone(metric, kept):
    """Attributions and their squares have other probabilities, but with a share these have the same mean."""
    phi = torch.rand(1, 1, 30, dtype=torch.float64)
    counts = torch.tensor([30])
    for share in (0.1, 0.25, 0.6):
        for values in (phi, phi**3):
            q = probabilities(values, counts, share)
            assert_close(q.mean(-1), torch.full((1, 1), share).double())
            assert q.max() <= 1
            assert (q.argsort(-1) == phi.argsort(-1)).float().mean() > 0.5
    whole = probabilities(phi, counts, None)
    assert_close(probabilities(phi, counts, float(whole.mean())), whole)


def test_padding_has_no_say():
    phi = torch.tensor([[[3.0, 1.0, 0.0]]], dtype=torch.float64)
    assert probabilities(phi, torch.tensor([2]), None).tolist() == [[[1.0, 0.0, 0.0]]]
    assert probabilities(phi, torch.tensor([2]), 0.25).tolist() == [[[0.5, 0.0, 0.0]]]


@BOTH
def test_what_is_undefined_is_nan(metric, kept, linear, x):
    assert metric(linear, x, torch.ones_like(x)).isnan().all()
    one_hot = torch.eye(6, dtype=torch.float64)[:3]
    assert metric(lambda rows: rows.abs().sum(1), x, one_hot, share=0.5).isnan().all()  # one of six can go
    assert not metric(lambda rows: rows.abs().sum(1), x, one_hot, share=0.1).isnan().any()


@BOTH
def test_methods_share_the_random_numbers(metric, kept, x, phi):
    def model(rows):
        return rows.abs().sum(1)

    together = metric(model, x, {"a": phi, "b": 2 * phi + 1}, seed=3)
    assert_close(together["a"], together["b"])
    assert_close(together["a"], metric(model, x, phi, seed=3))


@BOTH
def test_a_share_is_a_fraction(metric, kept, linear, x, phi):
    for share in (0, 1, 1.5):
        with pytest.raises(ValueError, match="`share` must be a number between 0 and 1"):
            metric(linear, x, phi, share=share)

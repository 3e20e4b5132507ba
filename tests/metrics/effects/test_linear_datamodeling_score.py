from __future__ import annotations

from itertools import product

import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from torch.testing import assert_close

from captum_ext.metrics import linear_datamodeling_score


def by_definition(model, x, phi, correlation):
    """Over every subset, one example at a time."""
    scores = []
    for row, a in zip(x, phi):
        subsets = [torch.tensor(s) for s in product((0.0, 1.0), repeat=len(row))]
        outputs = [float(model((s * row)[None])) for s in subsets]
        scores.append(correlation([float((s * a).sum()) for s in subsets], outputs)[0])
    return torch.tensor(scores, dtype=torch.float64)


@pytest.mark.parametrize(("name", "correlation"), [("spearman", spearmanr), ("pearson", pearsonr)])
def test_few_features_are_scored_by_every_subset(smooth, x, phi, name, correlation):
    scores = linear_datamodeling_score(smooth, x, phi, n_perturb_samples=64, correlation=name)
    assert_close(scores, by_definition(smooth, x, phi, correlation))


@pytest.mark.parametrize("draws", [2, 30, 64, 100])
def test_a_linear_model_is_explained_perfectly(linear, x, w, draws):
    scores = linear_datamodeling_score(linear, x, {"exact": w * x, "opposite": -w * x}, n_perturb_samples=draws, seed=1)
    assert_close(scores["exact"], torch.ones(3).double())
    assert_close(scores["opposite"], -torch.ones(3).double())


def test_chance_is_0(linear):
    x = torch.ones(40, 6, dtype=torch.float64)
    scores = linear_datamodeling_score(linear, x, torch.randn_like(x), n_perturb_samples=64)
    assert scores.mean().abs() < 0.15


def test_each_feature_is_kept_half_the_time():
    x = torch.ones(1, 12, dtype=torch.float64)
    rows = []

    def model(batch):
        rows.append(batch)
        return batch.sum(1)

    linear_datamodeling_score(model, x, torch.rand_like(x), n_perturb_samples=2000, seed=0)
    kept = torch.cat(rows)
    assert kept.shape == (2000, 12)
    assert (kept.mean(0) - 0.5).abs().max() < 0.05
    assert (kept.T.corrcoef() - torch.eye(12)).abs().max() < 0.1


def test_more_draws_begin_with_those_of_fewer(smooth, x, phi):
    seen = {}
    for draws in (5, 9):
        rows = []
        linear_datamodeling_score(
            lambda b, rows=rows: rows.append(b) or smooth(b), x, phi, n_perturb_samples=draws, seed=3
        )
        seen[draws] = torch.cat(rows).reshape(3, draws, 6)
    assert_close(seen[9][:, :5], seen[5])


def test_examples_may_differ_in_their_number_of_features(smooth, x, phi):
    """One example has all its subsets, the other draws."""
    mask = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5]])
    scores = linear_datamodeling_score(smooth, x[:2], phi[:2], feature_mask=mask, n_perturb_samples=20, seed=[4, 5])
    first, second = (
        linear_datamodeling_score(
            smooth, x[b : b + 1], phi[b : b + 1], feature_mask=mask[b : b + 1], n_perturb_samples=20, seed=[4 + b]
        )
        for b in range(2)
    )
    assert_close(scores, torch.cat((first, second)))


def test_it_is_nan_where_a_side_is_constant(linear, x):
    assert linear_datamodeling_score(linear, x, torch.zeros_like(x)).isnan().all()
    assert linear_datamodeling_score(lambda rows: 0 * rows.sum(1) + 1, x, x).isnan().all()

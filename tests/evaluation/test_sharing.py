"""Metrics of one batch that ask for the same model evaluations: each is made once, and no number changes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from captum_ext import baselines, evaluate, metrics

N, FEATURES = 5, 12
X = torch.randn(N, FEATURES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PHI = {"a": X.cos(), "b": (3 * X).sin()}
TARGETS = [i % 2 for i in range(N)]


class Net(nn.Module):
    """`[rows, 2]`: a row's output is the same bits in every batch."""

    def __init__(self, draws=False):
        super().__init__()
        self.draws, self.rows = draws, 0

    def forward(self, x):
        self.rows += len(x)
        noise = torch.rand(len(x), 1, dtype=x.dtype) if self.draws else 0
        return torch.stack(((x.sin() * torch.arange(1, FEATURES + 1)).sum(1), (x**2).sum(1)), 1) + noise


def run(chosen, model=None, **options):
    model = model or Net()
    result = evaluate(model, list(zip(X, TARGETS)), PHI, chosen, **{"batch_size": 2, **options}).dataset
    return {name: result[name].values for name in chosen}, model.rows


def rows_of(curves, phi=PHI, **settings):
    model = Net()
    for b in range(0, N, 2):
        some = slice(b, b + 2)
        curves(model, X[some], {m: a[some] for m, a in phi.items()}, target=torch.tensor(TARGETS[some]), **settings)
    return model.rows


CURVES = {
    "deletion": metrics.deletion,
    "insertion": metrics.insertion,
    "deletion/lerf": partial(metrics.deletion, mode="lerf"),
    "insertion curve": metrics.insertion_curve,
    "deletion curve": partial(metrics.deletion_curve, mode="lerf"),
    "aopc": metrics.aopc,
    "aopc/lerf": partial(metrics.aopc, mode="lerf"),
    "srg": metrics.srg,
    "irof": metrics.irof,
    "comprehensiveness": metrics.comprehensiveness,
    "sufficiency": metrics.sufficiency,
    "log_odds": partial(metrics.log_odds, shares=[0.25]),
    "monotonicity": metrics.monotonicity,
}


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize("limit", [None, 3])
def test_all_scores_of_removal_curves_cost_the_rows_of_both_curves(limit):
    together, rows = run(CURVES, max_examples_per_batch=limit)
    assert rows == rows_of(metrics.removal_curves) == N * (2 + 2 * 2 * (FEATURES - 1))
    alone = [run({name: metric}, max_examples_per_batch=limit) for name, metric in CURVES.items()]
    assert sum(rows for _, rows in alone) > 2 * rows
    same(together, {name: values for one, _ in alone for name, values in one.items()})


def test_one_curve_costs_the_rows_of_one():
    one = {"deletion": metrics.deletion, "curve": metrics.deletion_curve}
    assert run(one)[1] == rows_of(metrics.deletion_curve) == N * (2 + 2 * (FEATURES - 1))


def test_other_settings_share_nothing():
    settings = {
        "zero": {},
        "one": {"baselines": 1.0},
        "softmax": {"activation": partial(torch.softmax, dim=1)},
        "groups": {"feature_mask": torch.arange(FEATURES)[None] // 2},
        "target": {"target": 1},
    }
    chosen = {name: partial(metrics.deletion, **s) for name, s in settings.items()}
    together, rows = run(chosen)
    alone = [run({name: metric}) for name, metric in chosen.items()]
    assert rows == sum(rows for _, rows in alone)
    same(together, {name: values for one, _ in alone for name, values in one.items()})


def test_baselines_that_draw_are_drawn_for_each_metric():
    drawn = {n: partial(m, baselines=baselines.uniform_noise) for n, m in CURVES.items()}
    together, _ = run(drawn)
    same(together, {name: run({name: metric})[0][name] for name, metric in drawn.items()})


def test_a_model_that_draws_is_asked_by_each_metric():
    together, _ = run(CURVES, Net(draws=True))
    alone = {name: run({name: metric}, Net(draws=True))[0][name] for name, metric in CURVES.items()}
    same(together, alone)

"""A classifier with one output scores as the same classifier with an output for each of its two classes."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from captum_ext import evaluate
from captum_ext.metrics import minimal_subset, negative_fidelity, oracle_normalized, positive_fidelity, road_accuracy


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


W = normal(9, seed=3)
X, PHI = normal(12, 1, 3, 3), normal(12, 1, 3, 3, seed=1)


def logit(rows):
    return (rows.flatten(1) * W).sum(1) - 0.3


def two_logits(rows):
    return torch.stack((-logit(rows) / 2, logit(rows) / 2), 1)


ONE_OUTPUT = {
    "logit": (lambda rows: logit(rows)[:, None], 0),
    "logit without an axis of classes": (logit, 0.0),
    "probability": (lambda rows: logit(rows).sigmoid()[:, None], 0.5),
}
SCORES = {
    "minimal_subset": partial(minimal_subset, n_steps=10),
    "minimal_subset by insertion": partial(minimal_subset, n_steps=10, mode="insertion"),
    "road_accuracy of class 0": partial(road_accuracy, target=0),
    "road_accuracy of class 1": partial(road_accuracy, target=1, baselines=0.0, mode="lerf"),
    "positive_fidelity": positive_fidelity,
    "negative_fidelity of class 1": partial(negative_fidelity, target=1),
    "road_accuracy of each": partial(road_accuracy, target=torch.arange(12) % 2),
}


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize(("model", "threshold"), ONE_OUTPUT.values(), ids=ONE_OUTPUT)
def test_one_output_scores_as_two(score, model, threshold):
    wanted = score(two_logits, X, PHI)
    assert len(wanted.unique()) > 2
    assert_close(score(model, X, PHI, threshold=threshold), wanted)
    assert_close(score(model, X, PHI, threshold=threshold, max_examples_per_batch=1), wanted)


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_one_output_that_is_nan_has_no_class(score):
    broken = X.clone()
    broken[3] = math.nan
    scores = score(logit, broken, PHI, threshold=0)
    assert scores.isnan().tolist() == [b == 3 for b in range(12)]


def test_several_metrics_take_it_where_it_is_set():
    w = W.float()

    def model(rows):
        return (rows.flatten(1) * w).sum(1, keepdim=True)

    scored = oracle_normalized(
        model, X.float(), PHI.float(), score=partial(minimal_subset, threshold=0), target=0, seed=0
    )
    assert scored.shape == (12,)
    data = [(x, 0) for x in X.float()]
    metrics = {"subset": partial(minimal_subset, threshold=0)}
    table = evaluate(model, data, {"phi": PHI.float()}, metrics, devices=["cpu"])
    wanted = minimal_subset(model, X.float(), PHI.float(), threshold=0)
    assert_close(torch.as_tensor(table.dataset.subset.values[0]), wanted)

"""The random logit test against a naive loop, and models of which the answer is known."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from captum.attr import InputXGradient, IntegratedGradients
from torch import nn
from torch.testing import assert_close

from captum_ext._core.draws import draw_seeds
from captum_ext.metrics import random_logit

CLASSES = 5


@pytest.fixture
def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, CLASSES)).double()


@pytest.fixture
def inputs():
    return torch.randn(4, 3, 4, dtype=torch.float64)


def classes_asked_for(target, seed, n_classes=CLASSES, batch=4):
    """What the explanation gets as targets, call by call."""
    seen = []
    random_logit(lambda x, target: seen.append(target) or x, torch.rand(batch, 3), target, n_classes, seed=seed)
    return seen


def test_the_score_is_the_similarity_with_the_map_of_the_other_class(net, inputs):
    target, seed = torch.tensor([0, 4, 2, 2]), [7, 8, 9, 10]
    own, other = classes_asked_for(target, seed)
    assert torch.equal(own, target)
    maps = [InputXGradient(net).attribute(inputs.requires_grad_(), target=t).detach() for t in (own, other)]
    wanted = [scipy.stats.spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(*maps)]
    scores = random_logit(InputXGradient(net), inputs, target, CLASSES, seed=seed)
    assert_close(scores, torch.tensor(wanted).double())


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_the_other_class_is_any_other_one_and_all_of_these_as_often(n_classes):
    own, other = classes_asked_for(n_classes - 1, 0, n_classes, batch=3000)
    assert (own == n_classes - 1).all()
    counts = other.bincount(minlength=n_classes)
    assert counts[-1] == 0
    assert_close(counts[:-1] / 3000, torch.full((n_classes - 1,), 1 / (n_classes - 1)), rtol=0, atol=0.04)


def test_the_other_class_belongs_to_the_examples_seed():
    together = classes_asked_for(0, [1, 2, 3, 4])[1]
    alone = [classes_asked_for(0, [s], batch=1)[1] for s in (1, 2, 3, 4)]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(together, 1 + draw_seeds([1, 2, 3, 4], 4, 1)[:, 0] % (CLASSES - 1))


def test_a_negative_class_counts_from_the_last():
    own, other = classes_asked_for(-1, 0)
    assert (own == CLASSES - 1).all()
    assert torch.equal(other, classes_asked_for(CLASSES - 1, 0)[1])


def test_a_map_that_does_not_depend_on_the_class_scores_1(inputs):
    assert_close(random_logit(lambda x, target: x.sin(), inputs, 0, 3), torch.ones(4, dtype=torch.float64))


def test_opposite_logits_score_minus_1_and_1_by_absolute_values(inputs):
    w = torch.randn(12, dtype=torch.float64)

    def opposite(x):
        return torch.stack((x.flatten(1) @ w, -x.flatten(1) @ w), 1)

    scores = random_logit(InputXGradient(opposite), inputs, 0, 2, similarity="pearson")
    assert_close(scores, -torch.ones(4, dtype=torch.float64))
    assert_close(random_logit(InputXGradient(opposite), inputs, 0, 2, absolute=True), -scores)


def test_linear_logits_score_the_correlation_of_their_attributions():
    w = torch.randn(12, 2, dtype=torch.float64)
    x = torch.ones(1, 12, dtype=torch.float64)
    wanted = scipy.stats.pearsonr(w[:, 0], w[:, 1]).statistic
    score = random_logit(IntegratedGradients(lambda x: x @ w), x, [1], 2, similarity="pearson")
    assert_close(score.item(), float(wanted))


def test_the_explanation_gets_its_other_arguments_and_no_more_rows_than_the_limit(inputs):
    seen = []

    def explain(x, target, baselines, additional_forward_args):
        seen.append(len(x))
        assert len(baselines) == len(target) == len(x)
        assert additional_forward_args == ("all",)
        return x - baselines

    random_logit(explain, inputs, 0, 3, 3, baselines=inputs / 2, additional_forward_args=("all",))
    assert seen == [3, 1, 3, 1]

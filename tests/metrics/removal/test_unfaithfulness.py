"""Unfaithfulness: the divergence between the outputs of the whole example and of what its top features leave."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.nn.functional import kl_div, softplus
from torch.testing import assert_close

from captum_ext import evaluate
from captum_ext.metrics import unfaithfulness

from ...graphs import MASKS, GraphNet, graphs, maps, ordered_by_hand, without_by_hand

softmax = partial(torch.softmax, dim=1)


def two_logits(rows, w):
    return torch.stack((rows @ w, torch.zeros(len(rows), dtype=rows.dtype)), 1)


def bernoulli_divergence(a, b):
    """From the logit a to the logit b."""
    return a.sigmoid() * (a - b) - softplus(a) + softplus(b)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_a_linear_model_of_two_classes_has_the_divergence_of_two_logits(k, x, w, phi):
    kept = torch.zeros_like(x).scatter(1, phi.argsort(1, descending=True)[:, :k], 1) * x
    wanted = 1 - (-bernoulli_divergence(x @ w, kept @ w)).exp()
    scores = unfaithfulness(partial(two_logits, w=w), x, phi, shares=k, activation=softmax)
    assert_close(scores, wanted, atol=1e-12, rtol=1e-9)
    assert (scores == 0).all() == (k == 6)


def test_several_shares_are_averaged(x, w, phi):
    score = partial(unfaithfulness, partial(two_logits, w=w), x, phi, activation=softmax)
    assert_close(score(shares=[1, 4]), (score(shares=1) + score(shares=4)) / 2)


@pytest.mark.parametrize("shares", [1, 2, [1, 3]])
@pytest.mark.parametrize("kind", MASKS)
def test_on_a_message_passing_network_it_is_the_naive_loop(kind, shares):
    """`kl_div` takes the logarithm of the second distribution first."""
    model, inputs = GraphNet().eval(), graphs()
    mask, phi = MASKS[kind](*inputs), maps(inputs)

    def by_hand(b, k):
        order = ordered_by_hand(phi, mask, b)
        whole = model(*(t[b : b + 1] for t in inputs)).softmax(1)
        kept = model(*without_by_hand(inputs, mask, b, order[k:])).softmax(1)
        return 1 - math.exp(-float(kl_div(kept.log(), whole, reduction="sum")))

    sizes = shares if isinstance(shares, list) else [shares]
    wanted = torch.tensor([sum(by_hand(b, k) for k in sizes) / len(sizes) for b in range(4)], dtype=torch.float64)
    given = {"feature_mask": mask, "frozen": -1, "shares": shares, "activation": softmax}
    assert_close(unfaithfulness(model, inputs, phi, **given), wanted)
    assert_close(unfaithfulness(model, inputs, {"a": phi}, max_examples_per_batch=3, **given)["a"], wanted)
    assert wanted.min() > 1e-4


def test_one_output_is_the_probability_of_one_class_of_two(x, w, phi):
    wanted = unfaithfulness(partial(two_logits, w=w), x, phi, activation=softmax)
    for model in (lambda rows: (rows @ w).sigmoid(), lambda rows: (rows @ w).sigmoid()[:, None]):
        assert_close(unfaithfulness(model, x, phi), wanted, atol=1e-9, rtol=1e-6)


def test_a_class_that_only_the_rest_excludes_makes_it_1_and_one_that_both_exclude_counts_for_nothing():
    x, phi = torch.ones(2, 2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])

    def model(rows):  # the whole says (.5, .5, 0), the first feature alone (1, 0, 0)
        both = rows.prod(1)
        return torch.stack((1 - both / 2, both / 2, 0 * both), 1)

    assert unfaithfulness(model, x, phi, shares=1).tolist() == [1, 1]
    empty = unfaithfulness(lambda rows: model(1 - (1 - rows) * 0), x, phi, shares=1)
    assert empty.tolist() == [0, 0]


def test_logits_are_nan_and_said_to_be_no_distribution(x, w, phi):
    with pytest.warns(UserWarning, match="the output must be a probability and is no distribution over classes"):
        assert unfaithfulness(partial(two_logits, w=w), x, phi).isnan().all()


def test_only_examples_without_a_distribution_are_nan(x, w, phi):
    broken = x.clone()
    broken[1] = torch.nan
    scores = unfaithfulness(partial(two_logits, w=w), broken, phi, activation=softmax)
    assert scores.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_types_round_distributions_of_many_classes_and_are_distributions_still(dtype):
    draw = torch.Generator().manual_seed(0)
    x, w = torch.randn(3, 4, generator=draw), torch.randn(4, 1000, generator=draw)
    model = lambda rows: (rows @ w).softmax(1)  # noqa: E731
    small = unfaithfulness(lambda rows: model(rows).to(dtype), x, x, shares=2)
    assert_close(small, unfaithfulness(model, x, x, shares=2), atol=0.02, rtol=0)


def test_there_is_no_target_and_evaluate_passes_none(x, w, phi):
    model = partial(two_logits, w=w)
    data = [(row, 0) for row in x]
    of_softmax = partial(unfaithfulness, activation=softmax)
    result = evaluate(model, data, {"phi": phi}, {"unfaithfulness": of_softmax}, devices=["cpu"])
    assert_close(torch.as_tensor(result.dataset["unfaithfulness"].values[0]), of_softmax(model, x, phi))

"""Consistency: identities, the naive loop, and what a score may depend on."""

import math
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.metrics import consistency

from ... import oracles

closely = partial(assert_close, rtol=1e-12, atol=1e-12, equal_nan=True)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def first_three(rows):
    """Three classes."""
    return rows.flatten(1)[:, :3]


def token(phi: Sequence[float], n):
    places = sorted(range(len(phi)), key=lambda i: -abs(phi[i]))[:n]
    return {(i, math.copysign(1, phi[i]) if phi[i] else 0) for i in places}


def naive(x, phi, references, classes, n):
    scores = []
    for b in range(len(x)):
        own, predicted = token(phi[b].flatten().tolist(), n), int(first_three(x[[b]]).argmax())
        same = [c for r, c in zip(references, classes) if token(r.flatten().tolist(), n) == own]
        scores.append(sum(c == predicted for c in same) / len(same) if same else math.nan)
    return expected(scores)


@given(
    batch=st.integers(1, 4),
    shape=st.sampled_from([(3,), (2, 2), (1, 3, 2)]),
    references=st.integers(1, 60),
    n=st.integers(1, 4),
    limit=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 50),
)
def test_values_are_those_of_the_naive_loop(batch, shape, references, n, limit, seed):
    x, phi = normal(batch, *shape, seed=seed), normal(batch, *shape, seed=seed + 1).round()
    of_others = normal(references, *shape, seed=seed + 2).round()
    classes = torch.randint(3, (references,), generator=torch.Generator().manual_seed(seed))
    score = consistency(first_three, x, phi, of_others, classes, max_examples_per_batch=limit, n_top=n)
    closely(score, naive(x, phi, of_others, classes.tolist(), n))


def test_an_explanation_that_tells_the_class_is_consistent_and_the_opposite_is_not():
    x, others = normal(5, 3).abs(), normal(40, 3, seed=1).abs()
    score = partial(consistency, first_three, x, x, others, n_top=1)
    closely(score(others.argmax(1)), expected([1.0] * 5))
    closely(score((others.argmax(1) + 1) % 3), expected([0.0] * 5))


def test_a_constant_explanation_scores_the_share_of_its_class():
    x = expected([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    score = consistency(first_three, x, torch.ones_like(x), torch.ones(10, 3).double(), [0] * 5 + [1] * 3 + [2] * 2)
    closely(score, expected([0.5, 0.3, 0.2]))


def test_nan_is_where_no_reference_has_the_same_explanation():
    x, others = expected([[3.0, 1.0, 1.0], [1.0, 3.0, 1.0]]), expected([[2.0, 0.0, 0.0]])
    closely(consistency(first_three, x, x, others, [0], n_top=1), expected([1.0, math.nan]))
    closely(consistency(first_three, x, -x, others, [0], n_top=1), expected([math.nan, math.nan]))


def test_the_signs_of_the_top_elements_count_and_their_order_does_not():
    x = expected([[3.0, 2.0, 0.0]])
    score = partial(consistency, first_three, x, x, other_classes=[0], n_top=2)
    closely(score(expected([[1.0, 5.0, 0.5]])), expected([1.0]))
    closely(score(expected([[1.0, -5.0, 0.5]])), expected([math.nan]))


def test_another_discretization_may_be_given():
    x, others = normal(4, 5), normal(50, 5, seed=1)
    score = consistency(
        first_three, x, x, others, first_three(others).argmax(1), discretize=lambda phi: phi[:, :2].sign()
    )
    by_hand = []
    for row in x:
        same = [r for r in others if (r[:2].sign() == row[:2].sign()).all()]
        by_hand.append(sum(float(r[:3].argmax() == row[:3].argmax()) for r in same) / len(same))
    closely(score, expected(by_hand))


def test_a_model_with_one_output_predicts_whether_it_is_above_0():
    x = expected([[2.0, -1.0], [-2.0, 1.0]])
    score = partial(consistency, inputs=x, attributions=x, other_attributions=x, n_top=1)
    for model in (lambda rows: rows.sum(1), lambda rows: rows.sum(1, keepdim=True)):
        closely(score(model, other_classes=[1, 1]), expected([1.0, 0.0]))


def test_methods_have_references_of_their_own_or_share_them():
    x, others = normal(4, 3), {"a": normal(30, 3, seed=1), "b": normal(30, 3, seed=2)}
    classes = torch.arange(30) % 3
    score = partial(consistency, first_three, x, other_classes=classes, n_top=1)
    phi = {"b": x.cos() - 0.5, "a": x}
    together = score(phi, others)
    assert list(together) == ["b", "a"]
    for name in phi:
        closely(together[name], score(phi[name], others[name]))
        closely(score(phi, others["a"])[name], score(phi[name], others["a"]))


def test_the_tensors_of_a_tuple_are_one_explanation():
    x, others = (normal(3, 2), normal(3, 2, 2, seed=1)), (normal(40, 2, seed=2), normal(40, 2, 2, seed=3))
    beside, others_beside = (torch.cat([t.flatten(1) for t in pair], 1) for pair in (x, others))
    classes = torch.arange(40) % 3
    pair = consistency(lambda a, b: first_three(torch.cat((a, b.flatten(1)), 1)), x, x, others, classes, n_top=1)
    closely(pair, consistency(first_three, beside, beside, others_beside, classes, n_top=1))


@pytest.mark.parametrize("limit", [None, 1, 2])
def test_a_row_an_example_serves_all_methods(limit):
    x, model = normal(3, 3), oracles.Recorder(first_three)
    consistency(model, x, {"a": x, "b": -x}, x, [0, 1, 2], max_examples_per_batch=limit)
    assert model.rows == 3
    assert max(model.sizes) <= (limit or 64)

"""Groups that are no features: `frozen`, as every metric on features takes it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.metrics import (
    completeness,
    deletion,
    deletion_curve,
    effective_complexity,
    entropy,
    insertion,
    insertion_curve,
    sensitivity_n,
    sparseness,
)

from .. import oracles
from ..conftest import smooth_model
from ..oracles import Recorder, identified

exactly = partial(assert_close, rtol=0, atol=0, equal_nan=True)
closely = partial(assert_close, rtol=1e-10, atol=1e-10, equal_nan=True)
CURVES = {deletion_curve: oracles.removal_curve, insertion_curve: oracles.reveal_curve}


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def total(*tensors):
    return sum(t.flatten(1).sum(1) for t in tensors)


# ---------------------------------------------------------------- closed forms


def test_with_everything_else_removed_a_frozen_group_is_still_there():
    x = expected([[1.0, 10, 100, 1000]])
    around_7 = {"feature_mask": torch.tensor([[7, 0, 1, 7]]), "n_steps": 3, "frozen": 7}
    exactly(deletion_curve(total, x, x, **around_7), expected([[1111, 1011, 1001]]))
    exactly(deletion_curve(total, x, x, mode="lerf", **around_7), expected([[1111, 1101, 1001]]))
    exactly(insertion_curve(total, x, x, **around_7), expected([[1001, 1101, 1111]]))


def test_a_frozen_group_has_no_rank_however_relevant_it_is():
    x = expected([[1.0, 10, 100]])
    for relevance in (-torch.inf, -5.0, 0.0, 5.0, torch.inf):
        phi = expected([[2.0, relevance, 1.0]])
        curve = deletion_curve(total, x, phi, feature_mask=torch.tensor([[4, 5, 6]]), n_steps=3, frozen=[5])
        exactly(curve, expected([[111, 110, 10]]))


def test_fractions_are_of_the_features_that_are_left():
    x = torch.ones(2, 6, dtype=torch.float64)
    mask = torch.tensor([[0, 1, 2, 3, 4, 9], [9, 9, 9, 9, 0, 1]])
    curve = deletion_curve(total, x, x, feature_mask=mask, n_steps=6, frozen=9)
    exactly(curve, expected([[6, 5, 4, 3, 2, 1], [6, 6, 5, 5, 4, 4]]))  # 0.4, 0.8, 1.2, 1.6 of 2 features, rounded


def test_on_a_linear_model_sensitivity_n_is_1_whatever_the_frozen_group_is_said_to_do(linear, w, x):
    phi = (w * x).index_fill(1, torch.tensor([0, 5]), 1e3)
    mask = torch.tensor([8, 1, 2, 3, 4, 8])
    score = partial(sensitivity_n, linear, x, phi, [1, 2, 3], feature_mask=mask, seed=0)
    closely(score(frozen=8), torch.ones(3, 3, dtype=torch.float64))
    assert score().max() < 0.999


def test_all_features_that_are_left_can_be_drawn_and_no_more(linear, x):
    score = partial(sensitivity_n, linear, x, x, feature_mask=torch.arange(6), frozen=[0, 1])
    assert score(n=[4, 1.0]).isnan().all()  # one set only: constant
    with pytest.raises(ValueError, match="number of features, 4 in example 0; got 5"):
        score(n=5)


def test_what_is_frozen_counts_neither_in_complexity_nor_in_completeness(linear, w, x):
    phi = (w * x).index_fill(1, torch.tensor([0, 5]), 1e3)
    frozen = {"feature_mask": torch.tensor([8, 1, 2, 3, 4, 8]), "frozen": 8}
    inner = phi[:, 1:5]
    closely(sparseness(x, phi, **frozen), sparseness(inner, inner))
    closely(entropy(x, phi, **frozen), entropy(inner, inner))
    closely(completeness(linear, x, phi, **frozen), torch.zeros(3, dtype=torch.float64))
    whole = effective_complexity(linear, x, phi, n_steps=5, tolerance=0.0, **frozen)
    closely(whole, torch.ones(3, dtype=torch.float64))  # of a linear model every feature is needed
    half = effective_complexity(linear, x, phi, n_steps=5, tolerance=0.6, **frozen)
    closely(half, effective_complexity(lambda rows: rows @ w[1:5], x[:, 1:5], inner, n_steps=5, tolerance=0.6))


# ---------------------------------------------------------------- frozen is the same as hidden from removal

HIDDEN = {
    "shared mask": torch.tensor([[3, 0, 1, 1, -2, 3, 0]]),
    "own masks, the id absent in one": torch.tensor(
        [[3, 0, 1, 1, -2, 3, 0], [0, 1, 2, 3, 3, 3, 4], [0, 0, 1, 2, 2, 2, 5]]
    ),
}


@pytest.mark.parametrize("mask", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("metric", [deletion, deletion_curve, insertion, insertion_curve, sensitivity_n])
def test_freezing_is_keeping_the_group_out_of_the_inputs(metric, mask):
    x, phi, b = normal(3, 7), normal(3, 7, seed=1), normal(3, 7, seed=2)
    settings = {"n": [1, 2], "seed": [1]} if metric is sensitivity_n else {"n_steps": 5}
    for example in range(3):
        seen = (mask.expand(3, 7)[example] != 3).nonzero().flatten()

        def rest_only(rows, example=example, seen=seen):
            return smooth_model(x[[example]].repeat(len(rows), 1).index_copy(1, seen, rows))

        one = [example]
        cut = metric(
            rest_only,
            x[one][:, seen],
            phi[one][:, seen],
            baselines=b[one][:, seen],
            feature_mask=mask.expand(3, 7)[one][:, seen],
            **settings,
        )
        frozen = metric(
            smooth_model, x[one], phi[one], baselines=b[one], feature_mask=mask.expand(3, 7)[one], frozen=3, **settings
        )
        closely(frozen, cut)


# ---------------------------------------------------------------- against the naive loop


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.__name__)
@settings(max_examples=30)
@given(
    features=st.integers(1, 8),
    batch=st.integers(1, 3),
    n_steps=st.integers(2, 8),
    mode=st.sampled_from(["morf", "lerf"]),
    aggregate=st.sampled_from(["sum", "mean"]),
    own=st.booleans(),
    ids=st.integers(1, 4),
    frozen=st.lists(st.integers(0, 4), max_size=3),
)
def test_curves_are_those_of_the_naive_loop(curve, features, batch, n_steps, mode, aggregate, own, ids, frozen):
    x, phi = normal(batch, 1 + features), normal(batch, 1 + features, seed=1)
    generator = torch.Generator().manual_seed(ids + features)
    mask = torch.randint(ids, (batch if own else 1, 1 + features), generator=generator) * 3
    mask[:, 0] = -1  # never frozen, so no example is without features
    got = curve(smooth_model, x, phi, 0.5, mask, mode=mode, n_steps=n_steps, aggregate=aggregate, frozen=frozen)
    wanted = oracles.features_of(x, mask, frozen=frozen)
    closely(
        got, expected(CURVES[curve](smooth_model, x, phi, 0.5, wanted, mode, oracles.grid(0, 1, n_steps), aggregate))
    )


X = normal(2, 3), normal(2, 2, 2, seed=1)
PHI = normal(2, 3, seed=2), normal(2, 2, 2, seed=3)
TUPLE_MASKS = {
    "shared": (torch.tensor([[0, 1, 2]]), torch.tensor([[[1, 0], [7, 5]]])),
    "own": (torch.tensor([[0, 1, 1], [2, 4, 4]]), torch.tensor([[[1, 0], [7, 3]]])),
}


@pytest.mark.parametrize("mask", TUPLE_MASKS.values(), ids=TUPLE_MASKS)
@pytest.mark.parametrize("frozen", [[0], [7, 4], [1, 99]], ids=str)
def test_an_id_is_frozen_in_all_tensors_of_a_tuple(mask, frozen, smooth):
    features = oracles.features_of(X, mask, frozen=frozen)
    got = deletion_curve(smooth, X, PHI, feature_mask=mask, n_steps=5, frozen=frozen)
    closely(
        got, expected(oracles.removal_curve(smooth, X, PHI, (0, 0), features, "morf", oracles.grid(0, 1, 5), "mean"))
    )

    model = Recorder(identified(smooth))
    score = sensitivity_n(
        model, X, PHI, [1, 2], feature_mask=mask, additional_forward_args=torch.arange(2), frozen=frozen
    )
    drawn = oracles.drawn_subsets(model.calls, X, features)
    for k, n in enumerate([1, 2]):
        closely(score[:, k], expected(oracles.sensitivity_n(smooth, X, PHI, (0, 0), features, drawn, [n, n])))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_frozen_region_of_an_image_never_changes(channels, smooth):
    x, phi = normal(2, 2, 2, 3), normal(2, channels, 2, 3, seed=1)
    mask = torch.tensor([[[[5, 5, 1], [1, 9, 1]]], [[[3, 3, 3], [5, 3, -8]]]])
    model = Recorder(smooth)
    got = deletion_curve(model, x, phi, feature_mask=mask, n_steps=4, aggregate="sum", frozen=5)
    features = oracles.features_of(x, mask, positions=channels == 1, frozen=[5])
    wanted = oracles.removal_curve(smooth, x, phi, 0, features, "morf", oracles.grid(0, 1, 4), "sum", channels == 1)
    closely(got, expected(wanted))
    for row in torch.cat([call[0] for call in model.calls]):
        assert any(torch.equal(row[:, m[0] == 5], e[:, m[0] == 5]) for e, m in zip(x, mask))


# ---------------------------------------------------------------- what changes nothing


@pytest.mark.parametrize(
    "form", [3, torch.tensor(3), torch.tensor([3]), (3, 3), range(3, 4), np.array([3]), np.int64(3)], ids=repr
)
def test_every_form_of_ids_means_the_same(form, smooth, x, phi):
    mask = torch.tensor([[0, 0, 1, 2, 3, 3]])
    exactly(
        deletion(smooth, x, phi, feature_mask=mask, frozen=form),
        deletion(smooth, x, phi, feature_mask=mask, frozen=[3]),
    )


def test_an_id_that_no_example_has_and_no_id_change_nothing(smooth, x, phi):
    mask = torch.tensor([[0, 0, 1, 2, 3, 4]])
    for metric in (deletion, insertion, partial(sensitivity_n, n=2, seed=0)):
        exactly(metric(smooth, x, phi, feature_mask=mask, frozen=[-3, 77]), metric(smooth, x, phi, feature_mask=mask))
        exactly(metric(smooth, x, phi, feature_mask=mask, frozen=[]), metric(smooth, x, phi, feature_mask=mask))


def test_methods_of_a_mapping_have_the_same_frozen_groups(smooth, x, phi):
    mask, methods = torch.tensor([[0, 0, 1, 2, 3, 4]]), {"a": phi, "b": phi.cos()}
    for metric in (deletion, partial(sensitivity_n, n=2, seed=0)):
        scores = metric(smooth, x, methods, feature_mask=mask, frozen=[0, 3])
        for name, values in methods.items():
            exactly(scores[name], metric(smooth, x, values, feature_mask=mask, frozen=(3, 0)))
